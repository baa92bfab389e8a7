//! `bezant cluster add`, `promote`, `remove`, `replace` and `transfer-leader`.
//!
//! Every command makes a few changes in sequence. Each change is committed before the command requests the
//! next one. A command that was interrupted can be run again: it skips the changes that are already made.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use bezant_client::{Client, ClientError, ClusterChange};
use bezant_daemon::is_address;
use clap::Args;
use serde::Serialize;

use super::status;
use super::view::{Member, View};
use crate::exit::Failure;
use crate::output::{self, Format};
use crate::pending_change::this_command;
use crate::session::{Global, Session, parse_duration};
use crate::start::find_token;

/// The pause between two looks at the cluster while the command waits.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);
/// How long to wait if neither `--wait` nor `--timeout` is given.
const WAIT_DEFAULT: Duration = Duration::from_mins(10);
/// The longest wait for the answer of one node; and the time for which a look without any answer is repeated.
const LOOK_TIMEOUT: Duration = Duration::from_secs(3);

/// A node, and how long to wait.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bezant cluster promote 4 --token-file token
  bezant cluster remove 2 --server a.example:7070,b.example:7070 --token-file token
  bezant cluster transfer-leader 1 -o json          at a node on loopback

The command works at any node. A leader transfers its leadership before it is removed. A change is refused if the \
reachable voters would be no majority after it. A node that other machines reach requires the cluster's token: \
--token-file FILE, or BEZANT_TOKEN.")]
pub(crate) struct NodeArgs {
    /// Number of the node
    #[arg(value_name = "NODE")]
    node: u64,
    #[command(flatten)]
    wait: WaitArgs,
}

/// A new node and its address.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bezant cluster add 4=d.example:7071 --token-file token
  bezant cluster add 4=d.example:7071 --token-file token --learner     a node that never votes

and on the machine of the new node, before or after:
  bezant start --node 4 --join a.example:7071,b.example:7071 \\
    --peer-listen 0.0.0.0:7071 --token-file token

The node receives a vote when it has all data of the others.")]
pub(crate) struct AddArgs {
    /// Number of the new node, and the address at which the others reach it
    #[arg(value_name = "NODE=HOST:PORT", value_parser = parse_member)]
    member: (u64, String),
    /// Adds the node as a learner: it receives all data and never votes
    #[arg(long)]
    learner: bool,
    #[command(flatten)]
    wait: WaitArgs,
}

/// A node, and the address of its replacement.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bezant cluster replace 3 --token-file token                          the same address
  bezant cluster replace 3 --token-file token --address e.example:7071

and on the machine of the new node, with an empty folder:
  bezant start --node 3 --join a.example:7071,b.example:7071 \\
    --peer-listen 0.0.0.0:7071 --token-file token

The cluster rejects the old disk from then on, even if it comes back.")]
pub(crate) struct ReplaceArgs {
    /// Number of the node
    #[arg(value_name = "NODE")]
    node: u64,
    /// Address at which the others reach the new node [default: the old address]
    #[arg(long, value_name = "HOST:PORT", value_parser = parse_address)]
    address: Option<String>,
    #[command(flatten)]
    wait: WaitArgs,
}

/// How long to wait, and the token that authorizes the caller.
#[derive(Clone, Debug, Args)]
struct WaitArgs {
    /// How long to wait until the change is complete: 30s, 10m [default: the value of --timeout;
    /// without it 10m]
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    wait: Option<Duration>,
    /// File with the cluster's token; or set `BEZANT_TOKEN` to the token itself. A node on loopback does not
    /// ask for it
    #[arg(long, env = "BEZANT_TOKEN_FILE", value_name = "FILE")]
    token_file: Option<PathBuf>,
}

impl WaitArgs {
    /// The time to wait. A `--timeout` without a `--wait` bounds the wait, too.
    fn time(&self, timeout: Option<Duration>) -> Duration {
        self.wait.or(timeout).unwrap_or(WAIT_DEFAULT)
    }
}

fn parse_address(text: &str) -> Result<String, String> {
    if is_address(text) { Ok(text.to_owned()) } else { Err("write it as HOST:PORT".to_owned()) }
}

fn parse_member(text: &str) -> Result<(u64, String), String> {
    let member = text.split_once('=').and_then(|(node, address)| Some((node.parse().ok()?, address)));
    match member {
        Some((node, address)) if node > 0 && is_address(address) => Ok((node, address.to_owned())),
        _ => Err("write it as NODE=HOST:PORT, such as 4=d.example:7071".to_owned()),
    }
}

/// The result of a command, as JSON.
#[derive(Debug, Serialize)]
struct Done {
    node: u64,
    /// `votes`, `learns`, `leads`, `is removed` or `is replaced`.
    outcome: &'static str,
    members_index: u64,
    /// Numbers of the nodes with a vote.
    voters: Vec<u64>,
    leader: u64,
}

/// A command in progress.
struct Work<'global> {
    global: &'global Global,
    client: Client,
    until: Instant,
    /// Log index of the last change that this command made; 0 = none.
    made_at: u64,
    /// The command that continues if this one fails.
    repeat: String,
    /// The last progress line that was printed.
    last_line: String,
}

/// The required role of a node at the end of a command.
#[derive(Clone, Copy, Debug)]
enum Wanted {
    Absent,
    Member,
    Voter,
}

impl Wanted {
    fn is_met(self, cluster: &View, node: u64) -> bool {
        let part =
            cluster.members.iter().find(|member| member.node == node).map(|member| member.part.as_str());
        match self {
            Self::Absent => part.is_none(),
            Self::Member => part.is_some(),
            Self::Voter => part == Some("voter"),
        }
    }
}

impl<'global> Work<'global> {
    async fn begin(global: &'global Global, wait: &WaitArgs) -> Result<Self, Failure> {
        let until = Instant::now() + wait.time(global.timeout_asked());
        let mut builder = Session::builder(global)?;
        if let Some(token) = find_token(wait.token_file.as_deref())? {
            builder = builder.token(token);
        }
        let client = builder.connect().await?;
        Ok(Self { global, client, until, made_at: 0, repeat: this_command(&[]), last_line: String::new() })
    }

    /// The rest of the time to wait; at least [`LOOK_INTERVAL`], so that a node has time to answer.
    fn left(&self) -> Duration {
        self.until.saturating_duration_since(Instant::now()).max(LOOK_INTERVAL)
    }

    /// Prints a progress line, unless it equals the last one or the output is JSON.
    fn note(&mut self, text: &str) {
        if self.global.output != Format::Json && self.last_line != text {
            output::note(text);
            text.clone_into(&mut self.last_line);
        }
    }

    /// Waits before the next look; fails when the time to wait is over.
    async fn pause(&self, what: &str) -> Result<(), Failure> {
        if Instant::now() >= self.until {
            return Err(Failure::Unavailable(format!("{what}, and the time to wait is over")));
        }
        tokio::time::sleep(LOOK_INTERVAL).await;
        Ok(())
    }

    /// The failure of the whole command: a part of its changes may be made.
    fn explain(&self, failure: Failure) -> Failure {
        match failure {
            Failure::Unavailable(reason) | Failure::TimedOut(reason) if self.made_at > 0 => {
                Failure::PartlyMade { what: "the change", reason, repeat: self.repeat.clone() }
            }
            failure => failure,
        }
    }

    /// Makes a change. Returns false if it was made before, perhaps by an earlier try whose answer was lost.
    /// The caller has checked that a node to remove was a member, so `NotFound` means that it is removed
    /// already.
    async fn change(&mut self, change: ClusterChange, node: u64, address: &str) -> Result<bool, Failure> {
        loop {
            match self.client.change_cluster(change, node, address).await {
                Ok(index) => {
                    self.made_at = index;
                    return Ok(true);
                }
                Err(ClientError::FailedPrecondition { code, reason }) => match code.as_str() {
                    "member_exists" => return Ok(false),
                    "node_behind" => {
                        self.note(&reason);
                        self.pause(&reason).await?;
                    }
                    "node_leads" => self.move_leadership(node).await?,
                    _ => return Err(self.refused(reason).await),
                },
                Err(ClientError::NotFound { .. }) if change == ClusterChange::Remove => return Ok(false),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// The failure for a change that was refused; a node that is alone gets the flags that start a cluster.
    async fn refused(&self, reason: String) -> Failure {
        let is_alone = self.look_once().await.is_ok_and(|cluster| cluster.members.is_empty());
        let flags = if is_alone { " (`bezant start --node`, `--nodes`)" } else { "" };
        Failure::Refused(format!("{reason}{flags}"))
    }

    /// The status of the cluster as the leader reports it. If none of the servers asked leads: as the one with
    /// the highest applied index reports it.
    async fn look(&self) -> Result<View, Failure> {
        let begun = Instant::now();
        loop {
            match self.look_once().await {
                // Between two leaders, or while a node starts, there may be no answer for a moment.
                Err(_) if begun.elapsed() < LOOK_TIMEOUT && Instant::now() < self.until => {
                    tokio::time::sleep(LOOK_INTERVAL).await;
                }
                found => return found,
            }
        }
    }

    async fn look_once(&self) -> Result<View, Failure> {
        let mut best: Option<View> = None;
        let mut failure = Failure::Unavailable("no node answers".to_owned());
        for server in status::servers(self.global) {
            match status::ask(&server, self.global.timeout().min(LOOK_TIMEOUT).min(self.left())).await {
                Ok(found) => {
                    let rank = |it: &View| (it.is_leader, it.applied);
                    if let Some(found) = View::of(&found)
                        && best.as_ref().is_none_or(|best| rank(best) < rank(&found))
                    {
                        best = Some(found);
                    }
                }
                Err(error) => failure = error,
            }
        }
        best.ok_or(failure)
    }

    /// Transfers the leadership from `leader` to another voter: a connected one, with most of the log.
    async fn move_leadership(&mut self, leader: u64) -> Result<(), Failure> {
        let cluster = self.look().await?;
        let others = cluster.members.iter().filter(|node| node.node != leader && node.part == "voter");
        let best = others.max_by_key(|node| (node.connected, node.matched));
        // With too few others, the next leader would refuse the change, and the transfer would have been useless.
        let Some(other) = best.filter(|_| enough_stay(&cluster.members, leader)) else {
            return Err(Failure::Refused(format!(
                "without node {leader}, the reachable voters are no majority of the voters that are left"
            )));
        };
        self.note(&format!("node {leader} leads: its leadership is transferred to node {}", other.node));
        self.lead(other.node).await
    }

    /// Transfers the leadership to a node, and waits until the node leads.
    async fn lead(&mut self, node: u64) -> Result<(), Failure> {
        loop {
            match self.client.change_cluster(ClusterChange::Lead, node, "").await {
                Ok(_) => {}
                Err(ClientError::FailedPrecondition { code, reason }) if code == "node_behind" => {
                    self.note(&reason);
                }
                Err(ClientError::FailedPrecondition { reason, .. }) => {
                    return Err(self.refused(reason).await);
                }
                Err(error) => return Err(error.into()),
            }
            // An election takes a moment, so the next request comes only after several looks.
            for _ in 0..4 {
                if self.look().await?.leader == node {
                    return Ok(());
                }
                self.pause(&format!("node {node} does not lead yet")).await?;
            }
        }
    }

    /// Waits until the last change is complete, a node leads, and the node has the wanted role. The applied
    /// index alone does not show that: the index of a change that an earlier try made is not known here.
    async fn settle(&mut self, node: u64, wanted: Wanted) -> Result<View, Failure> {
        loop {
            // Between two leaders there may be no answer for a moment.
            if let Ok(cluster) = self.look().await {
                let is_changing =
                    cluster.members.iter().any(|node| ["joining", "leaving"].contains(&node.part.as_str()));
                let is_up_to_date = cluster.applied >= self.made_at;
                // A node that was removed receives no later changes.
                let is_gone =
                    cluster.members.iter().any(|node| node.node == cluster.node && node.part == "leaving");
                let is_done = !is_changing && cluster.leader != 0 && wanted.is_met(&cluster, node);
                if is_up_to_date && (is_gone || is_done) {
                    return Ok(cluster);
                }
            }
            self.pause("the change is not complete yet").await?;
        }
    }

    /// The status of a node in the list of members; `None` if it is not a member.
    async fn node(&self, node: u64) -> Result<Option<Member>, Failure> {
        let cluster = self.look().await?;
        Ok(cluster.members.into_iter().find(|member| member.node == node))
    }

    /// Waits until a new node is connected; prints how to start it. Its lag is reported later, when it is
    /// promoted.
    async fn wait_for(&mut self, node: u64) -> Result<(), Failure> {
        while !self.node(node).await?.is_some_and(|node| node.connected) {
            if let Some(line) = start_line(&self.look().await?.members, node) {
                self.note(&format!(
                    "waits for node {node}: start it on its machine, on an empty folder, with the token of the cluster:\n  {line}"
                ));
            }
            self.pause(&format!("node {node} has not connected yet")).await?;
        }
        Ok(())
    }

    /// Makes the last change of a command, and ends the command.
    async fn finish(
        &mut self,
        change: ClusterChange,
        node: u64,
        wanted: Wanted,
        outcome: &'static str,
    ) -> Result<(), Failure> {
        self.change(change, node, "").await?;
        self.end(node, wanted, outcome).await
    }

    /// Waits until the changes are complete, and prints the outcome.
    async fn end(&mut self, node: u64, wanted: Wanted, outcome: &'static str) -> Result<(), Failure> {
        let cluster = self.settle(node, wanted).await?;
        let is_voter = |node: &&Member| node.part == "voter";
        let voters: Vec<u64> = cluster.members.iter().filter(is_voter).map(|node| node.node).collect();
        let shown = if self.global.output == Format::Json {
            let (members_index, leader) = (cluster.members_index, cluster.leader);
            output::json(&Done { node, outcome, members_index, voters, leader })
        } else {
            let list = voters.iter().map(u64::to_string).collect::<Vec<_>>().join(", ");
            let leads = if outcome == "leads" && cluster.leader == node {
                String::new()
            } else {
                format!(", and node {} leads", cluster.leader)
            };
            output::line(&format!("node {node} {outcome}; nodes {list} vote{leads}"))
        };
        shown.map_err(|failure| {
            failure.after(format!("the change (node {node} {outcome})"), vec![node.into()])
        })
    }
}

/// Whether the connected voters are a majority of the voters without `leaving`.
fn enough_stay(members: &[Member], leaving: u64) -> bool {
    let staying = || members.iter().filter(|node| node.node != leaving && node.part == "voter");
    staying().filter(|node| node.connected).count() * 2 > staying().count()
}

/// The whole command that starts a new member; `None` while the member is not in the list of the node that
/// answers.
fn start_line(members: &[Member], node: u64) -> Option<String> {
    let address = &members.iter().find(|member| member.node == node)?.address;
    let (host, port) = address.rsplit_once(':')?;
    let others: Vec<_> = members
        .iter()
        .filter(|other| other.node != node && other.part == "voter")
        .map(|other| other.address.as_str())
        .collect();
    let listen = if host == "localhost" || host.starts_with("127.") || host == "[::1]" {
        // On the same machine as the others it needs its own folder and port.
        format!("--peer-listen {address} --listen {host}:0 --data-dir ./bezant-data-{node}")
    } else {
        format!("--peer-listen 0.0.0.0:{port} --listen 0.0.0.0:7070")
    };
    Some(format!("bezant start --node {node} --join {} {listen} --token-file token", others.join(",")))
}

pub(super) async fn add(global: &Global, args: &AddArgs) -> Result<(), Failure> {
    let mut work = Work::begin(global, &args.wait).await?;
    let added = add_to(&mut work, args).await;
    added.map_err(|failure| work.explain(failure))
}

async fn add_to(work: &mut Work<'_>, args: &AddArgs) -> Result<(), Failure> {
    let (node, address) = &args.member;
    if !work.change(ClusterChange::Add, *node, address).await? {
        let known = work.node(*node).await?.map(|node| node.address).unwrap_or_default();
        if known != *address {
            let text = format!("node {node} is a member already, and is reached at {known}");
            return Err(Failure::Refused(text));
        }
    }
    work.wait_for(*node).await?;
    if args.learner {
        return work.end(*node, Wanted::Member, "learns").await;
    }
    work.finish(ClusterChange::Promote, *node, Wanted::Voter, "votes").await
}

pub(super) async fn promote(global: &Global, args: &NodeArgs) -> Result<(), Failure> {
    let mut work = Work::begin(global, &args.wait).await?;
    let promoted = work.finish(ClusterChange::Promote, args.node, Wanted::Voter, "votes").await;
    promoted.map_err(|failure| work.explain(failure))
}

pub(super) async fn remove(global: &Global, args: &NodeArgs) -> Result<(), Failure> {
    let mut work = Work::begin(global, &args.wait).await?;
    if work.node(args.node).await?.is_none() {
        return Err(Failure::NotFound(format!("the cluster has no node {}", args.node)));
    }
    let removed = work.finish(ClusterChange::Remove, args.node, Wanted::Absent, "is removed").await;
    removed.map_err(|failure| work.explain(failure))
}

pub(super) async fn replace(global: &Global, args: &ReplaceArgs) -> Result<(), Failure> {
    let mut work = Work::begin(global, &args.wait).await?;
    let replaced = replace_in(&mut work, args).await;
    replaced.map_err(|failure| work.explain(failure))
}

async fn replace_in(work: &mut Work<'_>, args: &ReplaceArgs) -> Result<(), Failure> {
    let node = args.node;
    let known = work.node(node).await?;
    let address = match (&args.address, &known) {
        (Some(address), _) => address.clone(),
        (None, Some(known)) => known.address.clone(),
        (None, None) => {
            let text = format!(
                "the cluster has no node {node} (any more): name the address of the new node with --address HOST:PORT"
            );
            return Err(Failure::NotFound(text));
        }
    };
    // A learner is already the new node, added by an earlier try.
    if let Some(known) = known.filter(|known| known.part != "learner") {
        if known.connected {
            return Err(Failure::Refused(format!(
                "node {node} runs, and is connected to the node that answers: stop it first if you want to replace its disk"
            )));
        }
        if args.address.is_none() {
            // After the removal the cluster no longer has the address.
            work.repeat = this_command(&["--address", &address]);
        }
        work.change(ClusterChange::Remove, node, "").await?;
        work.settle(node, Wanted::Absent).await?;
        let text = format!(
            "node {node} is removed: the cluster rejects its old disk from now on. If this command ends early, \
             continue with: {}",
            work.repeat
        );
        work.note(&text);
    }
    work.change(ClusterChange::Add, node, &address).await?;
    work.wait_for(node).await?;
    work.finish(ClusterChange::Promote, node, Wanted::Voter, "is replaced").await
}

pub(super) async fn transfer_leader(global: &Global, args: &NodeArgs) -> Result<(), Failure> {
    let mut work = Work::begin(global, &args.wait).await?;
    work.lead(args.node).await?;
    work.end(args.node, Wanted::Voter, "leads").await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_to_start_a_member_is_complete() {
        let member = |node, address: &str, part: &str| Member {
            node,
            address: address.to_owned(),
            part: part.to_owned(),
            ..Member::default()
        };
        let mut members =
            vec![member(1, "a:7071", "voter"), member(2, "b:7071", "voter"), member(4, "d:7075", "learner")];
        let line = "bezant start --node 4 --join a:7071,b:7071 --peer-listen 0.0.0.0:7075 --listen 0.0.0.0:7070 \
                    --token-file token";
        assert_eq!(start_line(&members, 4).as_deref(), Some(line));
        assert_eq!(start_line(&members, 5), None);
        members.push(member(5, "127.0.0.1:7075", "learner"));
        let line = start_line(&members, 5).unwrap();
        assert!(
            line.contains("--peer-listen 127.0.0.1:7075 --listen 127.0.0.1:0 --data-dir ./bezant-data-5"),
            "{line}"
        );
    }

    #[test]
    fn a_leader_is_not_removed_without_a_majority_of_others() {
        let member = |node, part: &str, connected| Member {
            node,
            part: part.to_owned(),
            connected,
            ..Member::default()
        };
        let mut members = [member(1, "voter", true), member(2, "voter", false), member(3, "voter", true)];
        assert!(!enough_stay(&members, 3), "one of two is not connected");
        assert!(enough_stay(&members, 2));
        members[1].connected = true;
        assert!(enough_stay(&members, 3));
        assert!(!enough_stay(&[member(1, "voter", true), member(2, "learner", true)], 1), "no voter is left");
    }

    #[test]
    fn a_timeout_bounds_the_wait_unless_a_wait_is_named() {
        let (short, long) = (Duration::from_secs(5), Duration::from_mins(2));
        let time = |wait, timeout| WaitArgs { wait, token_file: None }.time(timeout);
        assert_eq!(time(None, None), WAIT_DEFAULT);
        assert_eq!(time(None, Some(short)), short);
        assert_eq!(time(Some(long), Some(short)), long);
    }

    #[test]
    fn a_member_is_a_number_and_an_address() {
        assert_eq!(parse_member("4=d.example:7071"), Ok((4, "d.example:7071".to_owned())));
        for wrong in ["4", "=a:1", "x=a:1", "0=a:1", "4=a", "4=:1", "4=a:99999"] {
            assert!(parse_member(wrong).is_err(), "{wrong}");
        }
    }
}
