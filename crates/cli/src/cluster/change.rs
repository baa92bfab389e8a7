//! `bezant cluster add`, `promote`, `remove`, `replace` and `transfer-leader`.
//!
//! Every command is a few changes, one after the other, each agreed by the cluster before the next is asked for. One
//! that was interrupted is run again: a step that was made already is passed over.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use bezant_client::{Client, ClientError, ClusterChange, ClusterNode, ClusterReply};
use clap::Args;
use serde::Serialize;

use super::status;
use crate::change::this_command;
use crate::exit::Failure;
use crate::output::{self, Format};
use crate::session::{Global, Session, parse_duration};
use crate::start::{find_token, is_address};

/// How often the cluster is looked at while something is waited for.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);
/// How long to wait where nobody says.
const WAIT_DEFAULT: Duration = Duration::from_mins(10);
/// After that long a node that does not come is worth a word.
const PATIENCE: Duration = Duration::from_secs(3);

/// A node, and how long to wait.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bezant cluster promote 4 --token-file token
  bezant cluster remove 2 --server a.example:7070,b.example:7070 --token-file token
  bezant cluster transfer-leader 1 -o json          at a node on loopback

Any node may be asked. A node that leads hands the lead over before it is removed; a change that would leave too \
few nodes to agree on anything is refused. A node that other machines reach asks for the cluster's token: \
--token-file FILE, or BEZANT_TOKEN.")]
pub(crate) struct NodeArgs {
    /// Number of the node
    #[arg(value_name = "NODE")]
    node: u64,
    #[command(flatten)]
    wait: WaitArgs,
}

/// A node, and where it is.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bezant cluster add 4=d.example:7071 --token-file token
  bezant cluster add 4=d.example:7071 --token-file token --learner     a node that never votes

and on the machine of the new node, before or after:
  bezant start --node 4 --join a.example:7071,b.example:7071 \\
    --peer-listen 0.0.0.0:7071 --token-file token

It is given a vote once it has everything that the others have.")]
pub(crate) struct AddArgs {
    /// Number of the new node, and where the others reach it
    #[arg(value_name = "NODE=HOST:PORT", value_parser = parse_member)]
    member: (u64, String),
    /// It learns everything and gets no vote
    #[arg(long)]
    learner: bool,
    #[command(flatten)]
    wait: WaitArgs,
}

/// A node, and where it begins anew.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bezant cluster replace 3 --token-file token                          the same address
  bezant cluster replace 3 --token-file token --address e.example:7071

and on the machine of the new node, with an empty folder:
  bezant start --node 3 --join a.example:7071,b.example:7071 \\
    --peer-listen 0.0.0.0:7071 --token-file token

The old disk takes part in nothing from then on, even if it comes back.")]
pub(crate) struct ReplaceArgs {
    /// Number of the node
    #[arg(value_name = "NODE")]
    node: u64,
    /// Where the others reach it from now on [default: where they did]
    #[arg(long, value_name = "HOST:PORT", value_parser = parse_address)]
    address: Option<String>,
    #[command(flatten)]
    wait: WaitArgs,
}

/// How long to wait, and what proves that the caller may ask.
#[derive(Clone, Debug, Args)]
struct WaitArgs {
    /// How long to wait until the change is complete: 30s, 10m [default: --timeout, or 10m where there is none]
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    wait: Option<Duration>,
    /// File with the cluster's token; or set `BEZANT_TOKEN` to the token itself. A node on loopback does not ask for it
    #[arg(long, env = "BEZANT_TOKEN_FILE", value_name = "FILE")]
    token_file: Option<PathBuf>,
}

impl WaitArgs {
    /// Who says how long to try, and nothing of waiting, wants an answer by then.
    fn patience(&self, timeout: Option<Duration>) -> Duration {
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

/// What a command ends with.
#[derive(Debug, Serialize)]
struct Done {
    node: u64,
    /// What became of it.
    outcome: &'static str,
    members_index: u64,
    /// Nodes with a vote.
    voters: Vec<u64>,
    leader: u64,
}

/// A command under way.
struct Work<'global> {
    global: &'global Global,
    client: Client,
    until: Instant,
    /// The log entry behind which the last change is made.
    made_at: u64,
    /// The command that goes on after this one.
    repeat: String,
    /// What was said last.
    said: String,
}

/// What a node is to be in the end.
#[derive(Clone, Copy, Debug)]
enum Wanted {
    Nobody,
    Member,
    Voter,
}

impl Wanted {
    fn is_met(self, cluster: &ClusterReply, node: u64) -> bool {
        let part = cluster.nodes.iter().find(|member| member.node == node).map(|member| member.part.as_str());
        match self {
            Self::Nobody => part.is_none(),
            Self::Member => part.is_some(),
            Self::Voter => part == Some("voter"),
        }
    }
}

impl<'global> Work<'global> {
    async fn begin(global: &'global Global, wait: &WaitArgs) -> Result<Self, Failure> {
        let until = Instant::now() + wait.patience(global.timeout_asked());
        let mut builder = Session::builder(global)?;
        if let Some(token) = find_token(wait.token_file.as_deref(), None)? {
            builder = builder.token(token);
        }
        let client = builder.connect().await?;
        Ok(Self { global, client, until, made_at: 0, repeat: this_command(&[]), said: String::new() })
    }

    /// What is left of the time to wait; a moment at least, so that whoever is asked can answer.
    fn left(&self) -> Duration {
        self.until.saturating_duration_since(Instant::now()).max(LOOK_INTERVAL)
    }

    /// A line for people, once.
    fn say(&mut self, text: &str) {
        if self.global.output != Format::Json && self.said != text {
            output::note(text);
            text.clone_into(&mut self.said);
        }
    }

    /// Waits before the next look; an error once it has taken too long.
    async fn pause(&self, what: &str) -> Result<(), Failure> {
        if Instant::now() >= self.until {
            return Err(Failure::Unavailable(format!("{what}, and the time to wait is over")));
        }
        tokio::time::sleep(LOOK_INTERVAL).await;
        Ok(())
    }

    /// What a failure means for the change: a part of it may be made.
    fn explain(&self, failure: Failure) -> Failure {
        match failure {
            Failure::Unavailable(reason) | Failure::TimedOut(reason) if self.made_at > 0 => {
                Failure::PartlyMade { what: "the change", reason, repeat: self.repeat.clone() }
            }
            failure => failure,
        }
    }

    /// Makes a change. `Ok(false)`: it was made before, maybe by a try of the client whose answer was lost. Who is removed was a member.
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
                        self.say(&reason);
                        self.pause(&reason).await?;
                    }
                    "node_leads" => self.move_lead(node).await?,
                    _ => return Err(Failure::Refused(reason)),
                },
                Err(ClientError::NotFound { .. }) if change == ClusterChange::Remove => return Ok(false),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// The cluster as its leader sees it, or else the node that knows most of those that were named.
    async fn look(&self) -> Result<ClusterReply, Failure> {
        let begun = Instant::now();
        loop {
            match self.look_once().await {
                // Between two leaders, or while a node starts, nobody may answer for a moment.
                Err(_) if begun.elapsed() < PATIENCE && Instant::now() < self.until => {
                    tokio::time::sleep(LOOK_INTERVAL).await;
                }
                found => return found,
            }
        }
    }

    async fn look_once(&self) -> Result<ClusterReply, Failure> {
        let mut best: Option<ClusterReply> = None;
        let mut failure = Failure::Unavailable("no node answers".to_owned());
        for server in status::servers(self.global) {
            match status::ask(&server, self.global.timeout().min(PATIENCE).min(self.left())).await {
                Ok(found) => {
                    let rank = |it: &ClusterReply| (it.role == "leader", it.applied);
                    if best.as_ref().is_none_or(|best| rank(best) < rank(&found)) {
                        best = Some(found);
                    }
                }
                Err(error) => failure = error,
            }
        }
        best.ok_or(failure)
    }

    /// Lets another node lead, whichever is able to.
    async fn move_lead(&mut self, leader: u64) -> Result<(), Failure> {
        let cluster = self.look().await?;
        let others = cluster.nodes.iter().filter(|node| node.node != leader && node.part == "voter");
        // The next leader would refuse it, and the lead would have moved for nothing.
        if !enough_stay(&cluster.nodes, leader) {
            return Err(Failure::Refused(format!(
                "without node {leader}, too few of the voters that are left can be reached to agree on anything"
            )));
        }
        let Some(other) = others.max_by_key(|node| (node.connected, node.matched)) else {
            return Err(Failure::Refused(format!("node {leader} leads, and no other could")));
        };
        self.say(&format!("node {leader} leads: node {} is asked to", other.node));
        self.lead(other.node).await
    }

    /// Until that node leads.
    async fn lead(&mut self, node: u64) -> Result<(), Failure> {
        loop {
            match self.client.change_cluster(ClusterChange::Lead, node, "").await {
                Ok(_) => {}
                Err(ClientError::FailedPrecondition { code, reason }) if code == "node_behind" => {
                    self.say(&reason);
                }
                Err(ClientError::FailedPrecondition { reason, .. }) => return Err(Failure::Refused(reason)),
                Err(error) => return Err(error.into()),
            }
            // An election takes a moment: it is not asked again before that.
            for _ in 0..4 {
                if self.look().await?.leader == node {
                    return Ok(());
                }
                self.pause(&format!("node {node} does not lead yet")).await?;
            }
        }
    }

    /// Until the last change is complete, somebody leads, and the node is what it was to become: a change that was made by
    /// an earlier try has no entry of which is known that all who answer have it.
    async fn settle(&mut self, node: u64, wanted: Wanted) -> Result<ClusterReply, Failure> {
        loop {
            // Between two leaders nobody may answer for a moment.
            if let Ok(cluster) = self.look().await {
                let is_changing =
                    cluster.nodes.iter().any(|node| ["joining", "leaving"].contains(&node.part.as_str()));
                let is_up_to_date = cluster.applied >= self.made_at;
                // One that was removed hears no more of it.
                let is_gone =
                    cluster.nodes.iter().any(|node| node.node == cluster.node && node.part == "leaving");
                let is_done = !is_changing && cluster.leader != 0 && wanted.is_met(&cluster, node);
                if is_up_to_date && (is_gone || is_done) {
                    return Ok(cluster);
                }
            }
            self.pause("the change is not complete yet").await?;
        }
    }

    /// What is known of a node; `None` for one that takes no part.
    async fn node(&self, node: u64) -> Result<Option<ClusterNode>, Failure> {
        let cluster = self.look().await?;
        Ok(cluster.nodes.into_iter().find(|member| member.node == node))
    }

    /// Until a new node has come; says how to start it. How far behind it is is told when it is to vote.
    async fn wait_for(&mut self, node: u64) -> Result<(), Failure> {
        while !self.node(node).await?.is_some_and(|node| node.connected) {
            if let Some(line) = start_line(&self.look().await?.nodes, node) {
                self.say(&format!(
                    "waits for node {node}: start it on its machine, on an empty folder, with the token of the cluster:\n  {line}"
                ));
            }
            self.pause(&format!("node {node} has not come yet")).await?;
        }
        Ok(())
    }

    async fn end(&mut self, node: u64, wanted: Wanted, outcome: &'static str) -> Result<(), Failure> {
        let cluster = self.settle(node, wanted).await?;
        let is_voter = |node: &&ClusterNode| node.part == "voter";
        let voters: Vec<u64> = cluster.nodes.iter().filter(is_voter).map(|node| node.node).collect();
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

/// Whether those who stay without that voter can agree, as far as they are connected.
fn enough_stay(members: &[ClusterNode], leaving: u64) -> bool {
    let staying = || members.iter().filter(|node| node.node != leaving && node.part == "voter");
    staying().filter(|node| node.connected).count() * 2 > staying().count()
}

/// The whole line that starts a new member; `None` while the one that answers does not know it.
fn start_line(members: &[ClusterNode], node: u64) -> Option<String> {
    let address = &members.iter().find(|member| member.node == node)?.address;
    let (host, port) = address.rsplit_once(':')?;
    let others: Vec<_> = members
        .iter()
        .filter(|other| other.node != node && other.part == "voter")
        .map(|other| other.address.as_str())
        .collect();
    let listen = if host == "localhost" || host.starts_with("127.") || host == "[::1]" {
        // Beside the others on one machine: a folder and a port of its own.
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
            let text = format!("node {node} takes part already, and is reached at {known}");
            return Err(Failure::Refused(text));
        }
    }
    work.wait_for(*node).await?;
    if args.learner {
        return work.end(*node, Wanted::Member, "learns").await;
    }
    work.change(ClusterChange::Promote, *node, "").await?;
    work.end(*node, Wanted::Voter, "votes").await
}

pub(super) async fn promote(global: &Global, args: &NodeArgs) -> Result<(), Failure> {
    let mut work = Work::begin(global, &args.wait).await?;
    let promoted = async {
        work.change(ClusterChange::Promote, args.node, "").await?;
        work.end(args.node, Wanted::Voter, "votes").await
    };
    let promoted = promoted.await;
    promoted.map_err(|failure| work.explain(failure))
}

pub(super) async fn remove(global: &Global, args: &NodeArgs) -> Result<(), Failure> {
    let mut work = Work::begin(global, &args.wait).await?;
    if work.node(args.node).await?.is_none() {
        return Err(Failure::NotFound(format!("the cluster has no node {}", args.node)));
    }
    let removed = async {
        work.change(ClusterChange::Remove, args.node, "").await?;
        work.end(args.node, Wanted::Nobody, "is removed").await
    };
    let removed = removed.await;
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
                "the cluster has no node {node} (any more): say with --address HOST:PORT where it begins anew"
            );
            return Err(Failure::NotFound(text));
        }
    };
    // One that learns is the new one already, of an earlier try.
    if let Some(known) = known.filter(|known| known.part != "learner") {
        if known.connected {
            return Err(Failure::Refused(format!(
                "node {node} works, and is connected to the node that answers: stop it first, if its disk is to go"
            )));
        }
        if args.address.is_none() {
            // Once the old one is out, the cluster does not know its address any more.
            work.repeat = this_command(&["--address", &address]);
        }
        work.change(ClusterChange::Remove, node, "").await?;
        work.settle(node, Wanted::Nobody).await?;
        let text = format!(
            "node {node} is removed: what its old disk says is not believed any more. If this command ends early, \
             this goes on from here: {}",
            work.repeat
        );
        work.say(&text);
    }
    work.change(ClusterChange::Add, node, &address).await?;
    work.wait_for(node).await?;
    work.change(ClusterChange::Promote, node, "").await?;
    work.end(node, Wanted::Voter, "is replaced").await
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
    fn the_line_to_start_a_member_is_whole() {
        let member = |node, address: &str, part: &str| ClusterNode {
            node,
            address: address.to_owned(),
            part: part.to_owned(),
            ..ClusterNode::default()
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
    fn a_leader_stays_where_too_few_others_could_agree() {
        let member = |node, part: &str, connected| ClusterNode {
            node,
            part: part.to_owned(),
            connected,
            ..ClusterNode::default()
        };
        let mut members = [member(1, "voter", true), member(2, "voter", false), member(3, "voter", true)];
        assert!(!enough_stay(&members, 3), "of two, one is away");
        assert!(enough_stay(&members, 2));
        members[1].connected = true;
        assert!(enough_stay(&members, 3));
        assert!(!enough_stay(&[member(1, "voter", true), member(2, "learner", true)], 1), "no voter is left");
    }

    #[test]
    fn a_timeout_bounds_the_wait_unless_a_wait_is_named() {
        let (short, long) = (Duration::from_secs(5), Duration::from_mins(2));
        let patience = |wait, timeout| WaitArgs { wait, token_file: None }.patience(timeout);
        assert_eq!(patience(None, None), WAIT_DEFAULT);
        assert_eq!(patience(None, Some(short)), short);
        assert_eq!(patience(Some(long), Some(short)), long);
    }

    #[test]
    fn a_member_is_a_number_and_an_address() {
        assert_eq!(parse_member("4=d.example:7071"), Ok((4, "d.example:7071".to_owned())));
        for wrong in ["4", "=a:1", "x=a:1", "0=a:1", "4=a", "4=:1", "4=a:99999"] {
            assert!(parse_member(wrong).is_err(), "{wrong}");
        }
    }
}
