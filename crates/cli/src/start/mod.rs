//! `bezant start`: runs one node, alone or in a cluster, until a signal asks it to stop.

mod advice;
mod cluster;

use std::path::PathBuf;
use std::pin::pin;

use bezant_daemon::{Daemon, GivenSettings, Settings, SettingsFile, StopSignals};
use bezant_runtime::StartReport;
use bezant_server::HostName;
use bezant_types::NodeId;
use clap::Args;

use self::cluster::ClusterArgs;
pub(crate) use self::cluster::find_token;
use crate::exit::Failure;
use crate::output;

/// Arguments of a start.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bezant start
  bezant start --data-dir /var/lib/bezant --listen 0.0.0.0:7070
  bezant start --allowed-hosts ledger.example     with a proxy of that name in front of it
  bezant start --config bezant.toml
  bezant start --listen 127.0.0.1:0        any free port; it is printed
  bezant start --tigerbeetle-listen 127.0.0.1:3001        also for TigerBeetle's clients
  bezant start --config cluster.toml --node 2     one of several nodes
  bezant start --node 4 --join a.example:7071,b.example:7071 --peer-listen 0.0.0.0:7071 \\
    --token-file token        a new node for them: see `bezant cluster add`

A file for --config:
  data_dir = \"/var/lib/bezant\"
  listen = \"127.0.0.1:7070\"
  allowed_hosts = [\"ledger.example\"]
  tigerbeetle_listen = \"127.0.0.1:3001\"

A file for all nodes of a cluster; each is started with its --node:
  token = \"...\"        or BEZANT_TOKEN, or --token-file
  engine = \"raft\"      or \"paxos\"; of a new cluster
  listen = \"0.0.0.0:7070\"
  nodes = [
    { id = 1, peer = \"a.example:7071\" },
    { id = 2, peer = \"b.example:7071\" },
    { id = 3, peer = \"c.example:7071\", data_dir = \"/data/bezant\" },
  ]

Flags take precedence over the environment, and the environment over the file. Ctrl-C, SIGTERM or a \
closed terminal (SIGHUP, unless nohup ignores it) stops the node in good order; a second signal \
ends it at once, and loses nothing that was acknowledged.")]
pub(crate) struct StartArgs {
    /// Folder with all data of the node [default: ./bezant-data]
    #[arg(long, env = "BEZANT_DATA_DIR", value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Address to listen on [default: 127.0.0.1:7070]
    #[arg(long, env = "BEZANT_LISTEN", value_name = "ADDRESS")]
    listen: Option<String>,
    /// Hosts that requests may name, in addition to those of loopback: NAME,NAME [default: on loopback none,
    /// elsewhere any]
    #[arg(long, env = "BEZANT_ALLOWED_HOSTS", value_name = "LIST", value_delimiter = ',')]
    allowed_hosts: Vec<HostName>,
    /// Address to listen on for TigerBeetle's clients of the 0.17 line [default: none]
    #[arg(long, env = "BEZANT_TIGERBEETLE_LISTEN", value_name = "ADDRESS")]
    tigerbeetle_listen: Option<String>,
    /// Cluster that those clients must name [default: 0]
    #[arg(long, env = "BEZANT_TIGERBEETLE_CLUSTER", value_name = "NUMBER")]
    tigerbeetle_cluster: Option<u128>,
    /// TOML file with the same settings
    #[arg(long, env = "BEZANT_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Accepts the clock of this machine although it does not fit the last entry of the ledger: for one start
    /// of a node that is alone, or of all nodes when none of their clocks fits
    #[arg(long)]
    accept_clock: bool,
    #[command(flatten)]
    cluster: ClusterArgs,
}

impl StartArgs {
    /// The settings that the flags and the environment give.
    fn given(self) -> Result<GivenSettings, Failure> {
        self.cluster.add_to(GivenSettings {
            data_dir: self.data_dir,
            listen: self.listen,
            allowed_hosts: self.allowed_hosts,
            tigerbeetle_listen: self.tigerbeetle_listen,
            tigerbeetle_cluster: self.tigerbeetle_cluster,
            accept_clock: self.accept_clock,
            ..GivenSettings::default()
        })
    }
}

/// Runs the node until a signal asks it to stop.
pub(crate) async fn run(args: StartArgs) -> Result<(), Failure> {
    let usage = |error| Failure::Usage(advice::of_settings(&error));
    let file = args.config.as_deref().map(SettingsFile::read).transpose().map_err(usage)?;
    let settings = Settings::new(args.given()?, file.unwrap_or_default()).map_err(usage)?;
    if let Some(note) = join_note(&settings) {
        output::note(&note);
    }
    // Signals are received from here on, so that a signal during recovery is not lost.
    let mut stop = StopSignals::new()?;
    let Some(daemon) = Daemon::start(settings, stop.next()).await.map_err(advice::of_daemon)? else {
        return Ok(());
    };
    greet(&daemon)?;
    if let Some(warning) = daemon.exposure_warning()? {
        output::note(&warning);
    }
    serve(daemon, &mut stop).await
}

/// What a node that joins waits for; `None` for a folder that holds its members, and for a node that does not
/// join.
fn join_note(settings: &Settings) -> Option<String> {
    let cluster = settings.cluster.as_ref().filter(|cluster| !cluster.join.is_empty())?;
    let is_member = ["members.bzm", "members.copy"].iter().any(|file| settings.data_dir.join(file).exists());
    let node = cluster.node;
    (!is_member).then(|| {
        format!(
            "joins the cluster; if node {node} is not a member yet: `bezant cluster add {node}=HOST:PORT` at another node"
        )
    })
}

/// Serves until the first signal, then stops in good order. A second signal stops the node at once.
async fn serve(daemon: Daemon, stop: &mut StopSignals) -> Result<(), Failure> {
    let (stop_sender, stop_receiver) = tokio::sync::oneshot::channel::<()>();
    let mut serving = pin!(daemon.serve(async move {
        // The sender is dropped without a message only when the whole program ends.
        drop(stop_receiver.await);
    }));
    tokio::select! {
        result = &mut serving => return result.map_err(advice::of_daemon),
        () = stop.next() => {}
    }
    output::note("stopping; again to stop at once");
    let is_serving = stop_sender.send(()).is_ok();
    tracing::debug!(is_serving, "the server was asked to stop");
    tokio::select! {
        result = serving => result.map_err(advice::of_daemon),
        () = stop.next() => Err(Failure::Other(anyhow::anyhow!("stopped at once"))),
    }
}

/// What a start found in the folder, in one line. A node of a cluster is not ready before there is a leader.
fn what_was_found(report: &StartReport, is_alone: bool) -> String {
    let (entries, checkpoint) = (report.entries_replayed, report.checkpoint);
    let (history, millis) = (report.history.movements, report.elapsed.as_millis());
    if report.is_new {
        let how = if is_alone { "ready" } else { "started" };
        return format!("a new ledger, {how} in {millis} ms");
    }
    if checkpoint.0 == 0 && entries == 0 {
        return format!(
            "no ledger in the folder yet: this node fetches what the other nodes have, started in {millis} ms"
        );
    }
    format!(
        "recovered {entries} log entries after checkpoint {checkpoint}, {history} movements, in {millis} ms"
    )
}

/// The node and the others of its cluster, in one line.
fn place_in_cluster(node: NodeId, others: &[String]) -> String {
    if others.is_empty() {
        return format!("node {node}, the only one of its cluster");
    }
    format!("node {node} of a cluster with {}", others.join(", "))
}

fn greet(daemon: &Daemon) -> Result<(), Failure> {
    let (report, handle) = (daemon.report(), daemon.handle());
    let address = daemon.http_address()?;
    output::line(&format!("bezant {} listens on http://{address}", env!("CARGO_PKG_VERSION")))?;
    if let Some((address, cluster)) = daemon.tigerbeetle_address()? {
        output::line(&format!("TigerBeetle clients: {address}, cluster {cluster}"))?;
    }
    let way =
        if report.is_direct { "direct I/O" } else { "buffered I/O: this file system has no direct I/O" };
    output::line(&format!("data in {} ({way})", daemon.data_dir().display()))?;
    let cluster = handle.cluster();
    if !cluster.nodes.is_empty() {
        let others = cluster.nodes.iter().filter(|node| node.node != cluster.node);
        let others: Vec<String> = others.map(|node| format!("{} at {}", node.node, node.address)).collect();
        output::line(&place_in_cluster(cluster.node, &others))?;
    }
    output::line(&what_was_found(report, cluster.nodes.is_empty()))?;
    let is_first_start = report.is_new && cluster.nodes.len() > 1;
    if is_first_start {
        output::line(
            "the first start of a cluster: no node leads before all of them have met, so start each",
        )?;
    }
    if let Some(cut) = &report.cut {
        let (bytes, file, reason) = (cut.bytes, &cut.file, cut.reason);
        output::line(&format!(
            "cut {bytes} bytes off {file}: a crash had torn its end, and no client had an answer for them ({reason})"
        ))?;
    }
    let server = if address.port() == 7070 { String::new() } else { format!(" --server http://{address}") };
    // An empty line ends the output of a start: scripts wait for it.
    output::line("")?;
    if !report.is_new {
        return Ok(());
    }
    if cluster.nodes.is_empty() {
        return suggest(&server);
    }
    let mut cluster = handle.watch_cluster();
    tokio::spawn(async move {
        let leader = cluster.wait_for(|cluster| cluster.leader.is_some()).await;
        let leader = leader.ok().and_then(|cluster| cluster.leader);
        // A write to a closed terminal fails, which does not matter here.
        leader.map(|leader| output::line(&format!("node {leader} leads")).and_then(|()| suggest(&server)))
    });
    Ok(())
}

/// Prints the commands to try with a new ledger that takes writes.
fn suggest(server: &str) -> Result<(), Failure> {
    output::line("Try next, in another terminal:")?;
    output::line(&format!("  bezant account create alice --asset EUR{server}"))?;
    output::line(&format!("  bezant account create bob --asset EUR{server}"))?;
    output::line(&format!("  bezant pay alice bob 10.50 EUR{server}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_joins_says_what_it_waits_for() {
        let folder = tempfile::tempdir().unwrap();
        let settings = |join: &[&str]| {
            let given = GivenSettings {
                data_dir: Some(folder.path().to_owned()),
                node: Some(4),
                nodes: vec![(NodeId(4), "d:7071".to_owned())],
                join: join.iter().map(|text| (*text).to_owned()).collect(),
                token: Some("a token of some length".to_owned()),
                ..GivenSettings::default()
            };
            Settings::new(given, SettingsFile::default()).unwrap()
        };
        assert_eq!(join_note(&settings(&[])), None);
        assert_eq!(
            join_note(&settings(&["a:7071"])).unwrap(),
            "joins the cluster; if node 4 is not a member yet: `bezant cluster add 4=HOST:PORT` at another node"
        );
        std::fs::write(folder.path().join("members.bzm"), "").unwrap();
        assert_eq!(join_note(&settings(&["a:7071"])), None, "it is a member");
    }

    #[test]
    fn a_cluster_of_one_has_no_others() {
        assert_eq!(place_in_cluster(NodeId(1), &[]), "node 1, the only one of its cluster");
        let others = ["2 at b:1".to_owned(), "3 at c:1".to_owned()];
        assert_eq!(place_in_cluster(NodeId(1), &others), "node 1 of a cluster with 2 at b:1, 3 at c:1");
    }

    #[test]
    fn only_a_new_ledger_is_called_new() {
        let report = |is_new, entries_replayed| StartReport {
            is_new,
            checkpoint: bezant_types::LogIndex(0),
            entries_replayed,
            history: bezant_types::HistoryPosition::default(),
            cut: None,
            repairs: Vec::new(),
            is_direct: false,
            elapsed: std::time::Duration::ZERO,
        };
        for (is_new, entries, words) in [
            (true, 0, "a new ledger"),
            (false, 0, "fetches what the other nodes have"),
            (false, 3, "recovered 3 log entries"),
        ] {
            let line = what_was_found(&report(is_new, entries), true);
            assert!(line.starts_with(words) || line.contains(words), "{line}");
        }
        let line = what_was_found(&report(true, 0), false);
        assert!(!line.contains("ready"), "a cluster takes no writes before there is a leader: {line}");
    }
}
