//! `bezant cluster status`: the status of every node, as the node reports it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bezant_api::json::{
    ClusterGroupReply as GroupJson, ClusterMemberReply as MemberJson, ClusterReply as ClusterJson,
};
use bezant_client::{Client, ClusterReply};
use clap::Args;
use serde::Serialize;

use crate::exit::Failure;
use crate::output::{self, Align, Format};
use crate::session::{Global, SERVER_DEFAULT, addresses};

/// The longest wait for the answer of one node. After it the node counts as unreachable.
const TIMEOUT_MAX: Duration = Duration::from_secs(2);
/// A larger difference between two clocks is reported.
const CLOCK_OFFSET_MAX_NANOS: u64 = 500_000_000;

/// No arguments beside those of the connection.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bezant cluster status --server a.example:7070,b.example:7070,c.example:7070
  bezant cluster status --server 127.0.0.1:7070 -o json

The command asks every address separately, and each node reports its own status; where a cluster has several groups, \
a line for each. With -o json the answer of a node has `nodes` and `groups`. A member at none of these addresses \
is listed with the address at which its peers reach it, and \"not asked\": add its address for clients to --server \
to see its status, too. Such a member does not change the exit code. Exit code 3 when a node does not answer, or no \
node leads. Exit code 1 when all nodes answer, and one of them is not a member, has stopped because it has committed \
entries that contradict the others, is not connected to another node because one refuses the other, has received \
messages of two processes with the same number, has a clock that differs by minutes from the others, or is a voter \
that may not vote: its disk is new or was damaged, and it does not have all data again.")]
pub(crate) struct StatusArgs {}

/// One address, and its status or the error.
#[derive(Debug, Serialize)]
struct Row {
    server: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(flatten)]
    status: Option<ClusterJson>,
}

/// A member of a group that did not answer itself: its status as another node reports it.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct NotAsked {
    node: u64,
    /// Always false: the field distinguishes these lines from the others.
    asked: bool,
    group: u32,
    /// The address at which its peers reach it.
    address: String,
    part: String,
    connected: bool,
}

/// The numbers of all groups that the nodes report.
fn group_numbers<'row>(answers: impl Iterator<Item = &'row ClusterJson>) -> BTreeSet<u32> {
    answers.flat_map(|status| &status.groups).map(|group| group.group).collect()
}

/// The group of that number on each node, with the node.
fn replicas<'row>(
    group: u32,
    answers: impl Iterator<Item = &'row ClusterJson>,
) -> impl Iterator<Item = (&'row ClusterJson, &'row GroupJson)> {
    answers.filter_map(move |status| Some((status, status.groups.iter().find(|it| it.group == group)?)))
}

/// The members that did not answer themselves, as the answering node with the newest list of members reports
/// them, for each group.
fn not_asked<'row>(answers: &(impl Iterator<Item = &'row ClusterJson> + Clone)) -> Vec<NotAsked> {
    let groups = group_numbers(answers.clone());
    groups.into_iter().flat_map(|group| not_asked_of(group, answers)).collect()
}

/// The same for one group.
fn not_asked_of<'row>(
    group: u32,
    answers: &(impl Iterator<Item = &'row ClusterJson> + Clone),
) -> Vec<NotAsked> {
    let rank =
        |(_, it): &(&ClusterJson, &GroupJson)| (it.removed.is_none(), it.members_index, it.role == "leader");
    let best = replicas(group, answers.clone()).max_by_key(rank);
    let Some((status, best)) = best.filter(|(_, best)| best.removed.is_none()) else {
        return Vec::new();
    };
    let missing = best.members.iter().filter(|member| !answers.clone().any(|row| row.node == member.node));
    let address = |node| status.nodes.iter().find(|it| it.node == node).map(|it| it.address.clone());
    let line = |member: &MemberJson| NotAsked {
        node: member.node,
        asked: false,
        group,
        address: address(member.node).unwrap_or_default(),
        part: member.part.clone(),
        connected: member.connected,
    };
    missing.map(line).collect()
}

/// All addresses of `--server`.
pub(super) fn servers(global: &Global) -> Vec<String> {
    addresses(global.server.as_deref().unwrap_or(SERVER_DEFAULT))
}

/// Asks one node for its status.
pub(super) async fn ask(address: &str, timeout: Duration) -> Result<ClusterReply, Failure> {
    let client = Client::builder()
        .address(address)
        .deadline(timeout)
        .connect_timeout(timeout)
        .attempt_timeout(timeout)
        .connect()
        .await?;
    let status = client.cluster().await?;
    if status.groups.is_empty() {
        let text =
            format!("{address} reports no groups: it has version 0.1, so use the command of that version");
        return Err(Failure::Unavailable(text));
    }
    Ok(status)
}

pub(super) async fn run(global: &Global) -> Result<(), Failure> {
    let timeout = global.timeout().min(TIMEOUT_MAX);
    let servers = servers(global);
    let mut rows = Vec::new();
    let mut offsets = Vec::new();
    for server in servers {
        let (error, status) = match ask(&server, timeout).await {
            Ok(status) => (None, Some(status)),
            Err(error) => (Some(error.to_string()), None),
        };
        for node in status.iter().flat_map(|status| &status.nodes) {
            let offset = node.clock_offset.unwrap_or(0);
            if offset.unsigned_abs() > CLOCK_OFFSET_MAX_NANOS {
                offsets.push(format!(
                    "the clock of node {} is {} that of node {}",
                    node.node,
                    distance(offset),
                    status.as_ref().map_or(0, |status| status.node)
                ));
            }
        }
        rows.push(Row { server, error, status: status.map(ClusterJson::from) });
    }
    let others = not_asked(&rows.iter().filter_map(|row| row.status.as_ref()));
    if global.output == Format::Json {
        rows.iter().try_for_each(output::json)?;
        others.iter().try_for_each(output::json)?;
    } else {
        table(&rows, &others)?;
        offsets.iter().for_each(|text| output::note(text));
    }
    let unanswered: Vec<_> = rows.iter().filter(|row| row.error.is_some()).map(|row| &*row.server).collect();
    if !unanswered.is_empty() {
        return Err(Failure::Unavailable(format!("no answer from {}", unanswered.join(", "))));
    }
    let answers = || rows.iter().filter_map(|row| row.status.as_ref());
    let troubles: Vec<String> = answers().flat_map(troubles).collect();
    let groups = group_numbers(answers());
    for group in &groups {
        if replicas(*group, answers()).all(|(_, group)| group.leader.is_none()) {
            let name = if groups.len() == 1 { String::new() } else { format!(" group {group}") };
            let waits = replicas(*group, answers()).filter_map(|(_, group)| group.first_start.as_deref());
            return Err(Failure::Unavailable(no_leader(&name, waits.collect(), &troubles)));
        }
    }
    if troubles.is_empty() { Ok(()) } else { Err(anyhow::anyhow!(troubles.join("\nbezant: ")).into()) }
}

/// The message that no node leads, with the reasons that the nodes report. `group` is the name of the group
/// where there are several.
fn no_leader(group: &str, mut waits: Vec<&str>, troubles: &[String]) -> String {
    waits.sort_unstable();
    waits.dedup();
    let why = if waits.is_empty() { String::new() } else { format!(": {}", waits.join("; ")) };
    let troubles = troubles.iter().map(|trouble| format!("\nbezant: {trouble}"));
    troubles.fold(format!("no node leads{group}{why}"), |text, trouble| text + &trouble)
}

/// The difference of two clocks as text, in a unit that fits.
fn distance(offset: i64) -> String {
    const SECOND: u64 = 1_000_000_000;
    const DAY: u64 = 86_400 * SECOND;
    let off = offset.unsigned_abs();
    let span = match off {
        _ if offset == i64::MAX || offset == i64::MIN => "292 years or more".to_owned(),
        0..10_000_000_000 => format!("{} ms", off / 1_000_000),
        _ if off < 2 * 3_600 * SECOND => format!("{} s", off / SECOND),
        _ if off < 2 * DAY => format!("{} hours", off / (3_600 * SECOND)),
        _ if off < 730 * DAY => format!("{} days", off / DAY),
        _ => format!("{} years", off / (365 * DAY)),
    };
    format!("{span} {}", if offset < 0 { "earlier than" } else { "later than" })
}

/// Everything that is wrong with a node, with its replicas, or with its connections, as the node itself reports
/// it.
fn troubles(status: &ClusterJson) -> Vec<String> {
    let node = status.node;
    let mut troubles = Vec::new();
    for group in &status.groups {
        let name = replica_name(status, group);
        if let Some(reason) = &group.removed {
            troubles.push(format!("{name} is not a member: {reason}"));
        }
        if let Some(reason) = &group.stopped {
            troubles.push(format!("{name} has stopped: {reason}"));
        }
    }
    if let Some(reason) = &status.clock {
        troubles.push(format!("node {node} has a wrong clock: {reason}"));
    }
    for other in &status.nodes {
        match &other.refused {
            // Two processes have that node's number: one is connected, and the other is refused.
            Some(reason) if other.connected => troubles.push(format!("node {node} reports: {reason}")),
            Some(reason) => {
                troubles.push(format!("node {node} and node {} do not communicate: {reason}", other.node));
            }
            None => {}
        }
    }
    for group in &status.groups {
        let name = replica_name(status, group);
        for member in &group.members {
            if let Some(reason) = &member.refused {
                troubles.push(format!("{name} and node {} do not communicate: {reason}", member.node));
            }
        }
        if lacks_vote(status.node, group) {
            troubles.push(format!("{name} is a voter, and may not vote: it does not have all data (yet)"));
        }
    }
    troubles
}

/// A node, with the group where it has several.
fn replica_name(status: &ClusterJson, group: &GroupJson) -> String {
    let node = status.node;
    if status.groups.len() == 1 {
        format!("node {node}")
    } else {
        format!("node {node} (group {})", group.group)
    }
}

/// True for a voter that may not vote. Before the first start of a group is complete, no node votes: that
/// does not count.
fn lacks_vote(node: u64, group: &GroupJson) -> bool {
    let is_active = group.removed.is_none() && group.stopped.is_none() && group.first_start.is_none();
    !group.may_vote && is_active && part(node, group) == "voter"
}

/// The node's part in its own list of members; "removed" if it is no longer a member, "alone" without a
/// cluster.
fn part(node: u64, group: &GroupJson) -> String {
    let is_in = group.removed.is_none();
    let own = group.members.iter().find(|member| is_in && member.node == node);
    let alone = if group.members.is_empty() { "alone" } else { "removed" };
    own.map_or_else(|| alone.to_owned(), |member| member.part.clone())
}

/// Columns of the table without that of the group.
const COLUMNS: usize = 10;

/// Prints a line for each node, or for each replica where the cluster has several groups.
fn table(rows: &[Row], others: &[NotAsked]) -> Result<(), Failure> {
    let replicas = || rows.iter().filter_map(|row| row.status.as_ref()).flat_map(|status| &status.groups);
    let mut newest = BTreeMap::new();
    for group in replicas() {
        let committed: &mut u64 = newest.entry(group.group).or_default();
        *committed = (*committed).max(group.committed);
    }
    let mut lines: Vec<(Option<u32>, Vec<String>)> = Vec::new();
    for row in rows {
        let Some(status) = &row.status else {
            let mut cells = vec!["?".to_owned(), row.server.clone(), "no answer".to_owned()];
            cells.resize(COLUMNS, String::new());
            lines.push((None, cells));
            continue;
        };
        for group in &status.groups {
            let newest = newest.get(&group.group).copied().unwrap_or_default();
            lines.push((Some(group.group), replica_cells(&row.server, status, group, newest)));
        }
    }
    for other in others {
        let connected = if other.connected { "yes" } else { "no" };
        let mut cells = vec![other.node.to_string(), format!("{} (peers)", other.address)];
        cells.extend(["not asked".to_owned(), other.part.clone()]);
        cells.resize(COLUMNS - 2, "-".to_owned());
        cells.extend([connected.to_owned(), "-".to_owned()]);
        lines.push((Some(other.group), cells));
    }
    let mut headings = vec![
        ("NODE", Align::Right),
        ("SERVER", Align::Left),
        ("ROLE", Align::Left),
        ("PART", Align::Left),
        ("TERM", Align::Right),
        ("APPLIED", Align::Right),
        ("LAG", Align::Right),
        ("SAME STATE", Align::Right),
        ("CONNECTED", Align::Right),
        ("DISK LEFT", Align::Right),
    ];
    if newest.len() > 1 {
        headings.insert(2, ("GROUP", Align::Right));
        for (group, cells) in &mut lines {
            cells.insert(2, group.map_or_else(String::new, |group| group.to_string()));
        }
    }
    let cells: Vec<_> = lines.into_iter().map(|(_, cells)| cells).collect();
    output::table(&headings, &cells, "no nodes")
}

/// The cells of a replica. `newest` is the last entry that any node knows as committed in its group.
fn replica_cells(server: &str, status: &ClusterJson, group: &GroupJson, newest: u64) -> Vec<String> {
    let role = match &group.read_only {
        Some(_) if group.stopped.is_some() => "stopped".to_owned(),
        Some(_) => format!("{}, takes no writes", group.role),
        None if group.first_start.is_some() => format!("{}, first start", group.role),
        None if group.no_state.is_some() => format!("{}, no state yet", group.role),
        None => group.role.clone(),
    };
    let install = group.install_size.map(|size| {
        format!("fetches a checkpoint: {}%", group.install_bytes.unwrap_or(0) * 100 / size.max(1))
    });
    let connected = group.members.iter().filter(|member| member.connected).count();
    let lacks_vote = lacks_vote(status.node, group);
    vec![
        status.node.to_string(),
        server.to_owned(),
        install.unwrap_or(role),
        if lacks_vote { "voter, may not vote".to_owned() } else { part(status.node, group) },
        group.term.to_string(),
        group.applied.to_string(),
        newest.saturating_sub(group.applied).to_string(),
        group.agreed.map_or_else(|| "-".to_owned(), |at| format!("{at} ({})", group.agreed_nodes)),
        format!("{connected}/{}", group.members.len()),
        status.disk_available.map_or_else(|| "-".to_owned(), |bytes| format!("{} GiB", bytes >> 30)),
    ]
}

#[cfg(test)]
mod tests {
    use bezant_client::{ClusterGroup, ClusterMember, ClusterNode};

    use super::*;

    fn status(node: u64, nodes: Vec<ClusterNode>, groups: Vec<ClusterGroup>) -> ClusterJson {
        ClusterReply { node, nodes, groups, ..ClusterReply::default() }.into()
    }

    /// The ledger's group of a healthy replica.
    fn group() -> ClusterGroup {
        ClusterGroup { group: 1, may_vote: true, ..ClusterGroup::default() }
    }

    fn member(node: u64, part: &str) -> ClusterMember {
        ClusterMember { node, part: part.to_owned(), connected: node != 3, ..ClusterMember::default() }
    }

    fn reported(may_vote: bool, part: &str, removed: &str, refused: &str) -> Vec<String> {
        let node =
            |node, refused: &str| ClusterNode { node, refused: refused.to_owned(), ..ClusterNode::default() };
        let members = vec![member(1, "voter"), member(3, part)];
        let group = ClusterGroup { may_vote, removed: removed.to_owned(), members, ..group() };
        troubles(&status(3, vec![node(1, refused), node(3, "")], vec![group]))
    }

    #[test]
    fn members_that_were_not_asked_are_listed() {
        let answer = |node, members_index, members: &[u64]| {
            let address = |node: &u64| ClusterNode {
                node: *node,
                address: format!("n{node}:7071"),
                ..ClusterNode::default()
            };
            let nodes = members.iter().map(address).collect();
            let members = members.iter().map(|node| member(*node, "voter")).collect();
            status(node, nodes, vec![ClusterGroup { members_index, members, ..group() }])
        };
        let of = |answers: &[ClusterJson]| {
            not_asked(&answers.iter())
                .into_iter()
                .map(|it| (it.node, it.address, it.connected))
                .collect::<Vec<_>>()
        };
        let all = [answer(1, 9, &[1, 2, 3]), answer(2, 9, &[1, 2, 3]), answer(3, 9, &[1, 2, 3])];
        assert_eq!(of(&all), []);
        let expected = [(2, "n2:7071".to_owned(), true), (3, "n3:7071".to_owned(), false)];
        assert_eq!(of(&all[..1]), expected);
        let newer = [answer(1, 9, &[1, 2, 3]), answer(2, 12, &[1, 2, 4])];
        assert_eq!(of(&newer), [(4, "n4:7071".to_owned(), true)], "the newest list of members counts");
        assert_eq!(of(&[answer(0, 0, &[])]), [], "a node that is alone");
    }

    #[test]
    fn each_group_has_its_own_list_of_members() {
        let of_group = |number, members_index, nodes: &[u64]| ClusterGroup {
            group: number,
            members_index,
            members: nodes.iter().map(|node| member(*node, "voter")).collect(),
            ..group()
        };
        let answers = [
            status(1, Vec::new(), vec![of_group(1, 9, &[1, 2]), of_group(2, 3, &[1, 4])]),
            status(2, Vec::new(), vec![of_group(1, 5, &[1, 2, 3])]),
        ];
        assert_eq!(group_numbers(answers.iter()), [1, 2].into());
        let listed: Vec<_> = not_asked(&answers.iter()).iter().map(|it| (it.group, it.node)).collect();
        assert_eq!(listed, [(2, 4)]);
        let stopped = ClusterGroup { stopped: "why".to_owned(), ..of_group(2, 3, &[1]) };
        let two = status(1, Vec::new(), vec![of_group(1, 9, &[1]), stopped]);
        assert_eq!(troubles(&two), ["node 1 (group 2) has stopped: why"]);
        assert_eq!(no_leader(" group 2", Vec::new(), &[]), "no node leads group 2");
    }

    #[test]
    fn the_difference_of_clocks_has_a_unit_that_fits() {
        let hour = 3_600_000_000_000;
        for (offset, text) in [
            (600_000_000, "600 ms later than"),
            (-90_500_000_000, "90 s earlier than"),
            (30 * hour, "30 hours later than"),
            (-72 * hour, "3 days earlier than"),
            (24 * 365 * 56 * hour, "56 years later than"),
            (i64::MAX, "292 years or more later than"),
            (i64::MIN, "292 years or more earlier than"),
        ] {
            assert_eq!(distance(offset), text);
        }
    }

    #[test]
    fn the_reason_for_waiting_is_reported_once() {
        let waits = "the first start waits for node 3 at c:7071";
        let members = vec![member(1, "voter")];
        let group = ClusterGroup { may_vote: false, first_start: waits.to_owned(), members, ..group() };
        let answer = status(1, Vec::new(), vec![group]);
        assert_eq!(troubles(&answer), [""; 0], "no node votes before the cluster has begun");
        assert_eq!(no_leader("", vec![waits, waits], &[]), format!("no node leads: {waits}"));
        let refused = ["node 1 and node 3 do not communicate: another token".to_owned()];
        let text = no_leader("", Vec::new(), &refused);
        assert_eq!(text, "no node leads\nbezant: node 1 and node 3 do not communicate: another token");
    }

    #[test]
    fn a_node_that_is_no_full_member_is_reported() {
        let nothing: [&str; 0] = [];
        assert_eq!(reported(true, "voter", "", ""), nothing);
        assert_eq!(reported(false, "learner", "", ""), nothing, "a learner never votes");
        assert!(reported(false, "voter", "", "")[0].contains("may not vote"));
        assert!(
            reported(true, "voter", "", "another disk")[0]
                .contains("node 1 do not communicate: another disk")
        );
        let removed = reported(false, "voter", "another disk", "");
        assert!(removed.len() == 1 && removed[0].contains("is not a member: another disk"), "{removed:?}");
        let stopped = "its log is committed up to entry 9".to_owned();
        let stopped = status(2, Vec::new(), vec![ClusterGroup { may_vote: false, stopped, ..group() }]);
        assert_eq!(troubles(&stopped), ["node 2 has stopped: its log is committed up to entry 9"]);
        let off =
            ClusterReply { node: 2, clock: "its clock shows 2326".to_owned(), ..ClusterReply::default() };
        assert_eq!(troubles(&ClusterJson::from(off)), ["node 2 has a wrong clock: its clock shows 2326"]);
        let twins =
            ClusterNode { node: 3, connected: true, refused: "two".to_owned(), ..ClusterNode::default() };
        assert_eq!(troubles(&status(2, vec![twins], Vec::new())), ["node 2 reports: two"]);
        let refused = ClusterMember { refused: "another kind".to_owned(), ..member(3, "voter") };
        let refusing = ClusterGroup { members: vec![refused], ..group() };
        let expected = ["node 2 and node 3 do not communicate: another kind"];
        assert_eq!(troubles(&status(2, Vec::new(), vec![refusing])), expected);
    }
}
