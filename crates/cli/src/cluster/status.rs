//! `bezant cluster status`: the status of every node, as the node reports it.

use std::time::Duration;

use bezant_api::json::{ClusterNodeReply as ClusterNodeJson, ClusterReply as ClusterJson};
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

The command asks every address separately, and each node reports its own status. A member at none of these addresses \
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

/// A member of the cluster that did not answer itself: its status as another node reports it.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct NotAsked {
    node: u64,
    /// Always false: the field distinguishes these lines from the others.
    asked: bool,
    /// The address at which its peers reach it.
    address: String,
    part: String,
    connected: bool,
}

/// The members that did not answer themselves, as the answering node with the newest list of members reports
/// them.
fn not_asked<'row>(answers: &(impl Iterator<Item = &'row ClusterJson> + Clone)) -> Vec<NotAsked> {
    let rank = |it: &&ClusterJson| (it.removed.is_none(), it.members_index, it.role == "leader");
    let Some(best) = answers.clone().max_by_key(rank).filter(|best| best.removed.is_none()) else {
        return Vec::new();
    };
    let missing = best.nodes.iter().filter(|member| !answers.clone().any(|row| row.node == member.node));
    let line = |member: &ClusterNodeJson| NotAsked {
        node: member.node,
        asked: false,
        address: member.address.clone(),
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
    Ok(client.cluster().await?)
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
    if answers().all(|status| status.leader.is_none()) {
        return Err(Failure::Unavailable(no_leader(answers(), &troubles)));
    }
    if troubles.is_empty() { Ok(()) } else { Err(anyhow::anyhow!(troubles.join("\nbezant: ")).into()) }
}

/// The message that no node leads, with the reasons that the nodes report.
fn no_leader<'row>(answers: impl Iterator<Item = &'row ClusterJson>, troubles: &[String]) -> String {
    let mut waits: Vec<&str> = answers.filter_map(|status| status.first_start.as_deref()).collect();
    waits.sort_unstable();
    waits.dedup();
    let why = if waits.is_empty() { String::new() } else { format!(": {}", waits.join("; ")) };
    let troubles = troubles.iter().map(|trouble| format!("\nbezant: {trouble}"));
    troubles.fold(format!("no node leads{why}"), |text, trouble| text + &trouble)
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

/// Everything that is wrong with a node, or with its connections, as the node itself reports it.
fn troubles(status: &ClusterJson) -> Vec<String> {
    let node = status.node;
    let mut troubles = Vec::new();
    if let Some(reason) = &status.removed {
        troubles.push(format!("node {node} is not a member: {reason}"));
    }
    if let Some(reason) = &status.stopped {
        troubles.push(format!("node {node} has stopped: {reason}"));
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
    if lacks_vote(status) {
        troubles.push(format!("node {node} is a voter, and may not vote: it does not have all data (yet)"));
    }
    troubles
}

/// True for a voter that may not vote. Before the first start of a cluster is complete, no node votes: that
/// does not count.
fn lacks_vote(status: &ClusterJson) -> bool {
    let is_active = status.removed.is_none() && status.stopped.is_none() && status.first_start.is_none();
    status.may_vote == Some(false) && is_active && part(status) == "voter"
}

/// The node's part in its own list of members; "removed" if it is no longer a member, "alone" without a
/// cluster.
fn part(status: &ClusterJson) -> String {
    let is_in = status.removed.is_none();
    let own = status.nodes.iter().find(|node| is_in && node.node == status.node);
    let alone = if status.nodes.is_empty() { "alone" } else { "removed" };
    own.map_or_else(|| alone.to_owned(), |node| node.part.clone())
}

fn table(rows: &[Row], others: &[NotAsked]) -> Result<(), Failure> {
    let newest = rows.iter().filter_map(|row| row.status.as_ref()).map(|status| status.committed).max();
    let newest = newest.unwrap_or(0);
    let cells = |row: &Row| {
        let Some(status) = &row.status else {
            let mut cells = vec!["?".to_owned(), row.server.clone(), "no answer".to_owned()];
            cells.resize(10, String::new());
            return cells;
        };
        let role = match &status.read_only {
            Some(_) if status.stopped.is_some() => "stopped".to_owned(),
            Some(_) => format!("{}, takes no writes", status.role),
            None if status.first_start.is_some() => format!("{}, first start", status.role),
            None if status.no_state.is_some() => format!("{}, no state yet", status.role),
            None => status.role.clone(),
        };
        let install = status.install_size.map(|size| {
            format!("fetches a checkpoint: {}%", status.install_bytes.unwrap_or(0) * 100 / size.max(1))
        });
        let connected = status.nodes.iter().filter(|node| node.connected).count();
        vec![
            status.node.to_string(),
            row.server.clone(),
            install.unwrap_or(role),
            if lacks_vote(status) { "voter, may not vote".to_owned() } else { part(status) },
            status.term.to_string(),
            status.applied.to_string(),
            newest.saturating_sub(status.applied).to_string(),
            status.agreed.map_or_else(|| "-".to_owned(), |at| format!("{at} ({})", status.agreed_nodes)),
            format!("{connected}/{}", status.nodes.len()),
            status.disk_available.map_or_else(|| "-".to_owned(), |bytes| format!("{} GiB", bytes >> 30)),
        ]
    };
    let headings = [
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
    let other_cells = |other: &NotAsked| {
        let connected = if other.connected { "yes" } else { "no" };
        let mut cells = vec![other.node.to_string(), format!("{} (peers)", other.address)];
        cells.extend(["not asked".to_owned(), other.part.clone()]);
        cells.resize(8, "-".to_owned());
        cells.extend([connected.to_owned(), "-".to_owned()]);
        cells
    };
    let cells: Vec<_> = rows.iter().map(cells).chain(others.iter().map(other_cells)).collect();
    output::table(&headings, &cells, "no nodes")
}

#[cfg(test)]
mod tests {
    use bezant_client::ClusterNode;

    use super::*;

    fn reported(may_vote: Option<bool>, part: &str, removed: &str, refused: &str) -> Vec<String> {
        let node = |node, part: &str, refused: &str| ClusterNode {
            node,
            part: part.to_owned(),
            refused: refused.to_owned(),
            ..ClusterNode::default()
        };
        troubles(&ClusterJson::from(ClusterReply {
            node: 3,
            may_vote,
            removed: removed.to_owned(),
            nodes: vec![node(1, "voter", refused), node(3, part, "")],
            ..ClusterReply::default()
        }))
    }

    #[test]
    fn members_that_were_not_asked_are_listed() {
        let answer = |node, members_index, members: &[u64]| {
            let member = |node: &u64| ClusterNode {
                node: *node,
                address: format!("n{node}:7071"),
                part: "voter".to_owned(),
                connected: *node != 3,
                ..ClusterNode::default()
            };
            let nodes = members.iter().map(member).collect();
            ClusterJson::from(ClusterReply { node, members_index, nodes, ..ClusterReply::default() })
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
        let answer = |node, first_start: &str| {
            let part = "voter".to_owned();
            ClusterJson::from(ClusterReply {
                node,
                may_vote: Some(false),
                first_start: first_start.to_owned(),
                nodes: vec![ClusterNode { node, part, ..ClusterNode::default() }],
                ..ClusterReply::default()
            })
        };
        let waits = "the first start waits for node 3 at c:7071";
        let answers = [answer(1, waits), answer(2, waits)];
        assert_eq!(
            answers.iter().flat_map(troubles).count(),
            0,
            "no node votes before the cluster has begun"
        );
        assert_eq!(no_leader(answers.iter(), &[]), format!("no node leads: {waits}"));
        let refused = ["node 1 and node 3 do not communicate: another token".to_owned()];
        let text = no_leader([answer(1, "")].iter(), &refused);
        assert_eq!(text, "no node leads\nbezant: node 1 and node 3 do not communicate: another token");
    }

    #[test]
    fn a_node_that_is_no_full_member_is_reported() {
        let nothing: [&str; 0] = [];
        assert_eq!(reported(Some(true), "voter", "", ""), nothing);
        assert_eq!(reported(None, "voter", "", ""), nothing, "an earlier version");
        assert_eq!(reported(Some(false), "learner", "", ""), nothing, "a learner never votes");
        assert!(reported(Some(false), "voter", "", "")[0].contains("may not vote"));
        assert!(
            reported(Some(true), "voter", "", "another disk")[0]
                .contains("node 1 do not communicate: another disk")
        );
        let removed = reported(Some(false), "voter", "another disk", "");
        assert!(removed.len() == 1 && removed[0].contains("is not a member: another disk"), "{removed:?}");
        let stopped = troubles(&ClusterJson::from(ClusterReply {
            node: 2,
            may_vote: Some(false),
            stopped: "its log is committed up to entry 9".to_owned(),
            ..ClusterReply::default()
        }));
        assert_eq!(stopped, ["node 2 has stopped: its log is committed up to entry 9"]);
        let off =
            ClusterReply { node: 2, clock: "its clock shows 2326".to_owned(), ..ClusterReply::default() };
        assert_eq!(troubles(&ClusterJson::from(off)), ["node 2 has a wrong clock: its clock shows 2326"]);
        let twins =
            ClusterNode { node: 3, connected: true, refused: "two".to_owned(), ..ClusterNode::default() };
        let twins = ClusterReply { node: 2, nodes: vec![twins], ..ClusterReply::default() };
        assert_eq!(troubles(&ClusterJson::from(twins)), ["node 2 reports: two"]);
    }
}
