//! `bezant start`: runs one node, alone or in a cluster, until a signal asks it to stop.

mod cluster;
mod exposure;

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bezant_ledger::Ledger;
use bezant_runtime::{ClusterOptions, Options, Running, StartError, StartReport};
use bezant_server::{ClusterToken, HostName, LedgerHandle, Limits, Listeners, ServerOptions};
use bezant_storage::disk::DiskError;
use clap::Args;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde::Deserialize;
use tokio::net::TcpListener;

use self::cluster::{ClusterArgs, FileNode, Place};
pub(crate) use self::cluster::{find_token, is_address};
use crate::exit::Failure;
use crate::output;
use crate::stop::StopSignals;

/// The default address of a node.
const LISTEN_DEFAULT: &str = "127.0.0.1:7070";
/// The default data folder of a node.
const DATA_DIR_DEFAULT: &str = "./bezant-data";

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

/// The settings of a file.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileSettings {
    data_dir: Option<PathBuf>,
    listen: Option<String>,
    #[serde(default)]
    allowed_hosts: Vec<String>,
    tigerbeetle_listen: Option<String>,
    /// A number, or a string for numbers that TOML cannot hold.
    tigerbeetle_cluster: Option<ClusterNumber>,
    token: Option<String>,
    engine: Option<String>,
    #[serde(default)]
    nodes: Vec<FileNode>,
}

/// A number of up to 128 bits. In the file it is a number if it fits into 63 bits, else a string.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "ClusterText")]
struct ClusterNumber(u128);

#[derive(Deserialize)]
#[serde(untagged)]
enum ClusterText {
    Number(u64),
    Text(String),
}

impl TryFrom<ClusterText> for ClusterNumber {
    type Error = std::num::ParseIntError;

    fn try_from(text: ClusterText) -> Result<Self, Self::Error> {
        Ok(Self(match text {
            ClusterText::Number(number) => number.into(),
            ClusterText::Text(text) => text.parse()?,
        }))
    }
}

/// The settings that result from flags, environment and file.
#[derive(Debug, PartialEq, Eq)]
struct Settings {
    data_dir: PathBuf,
    listen: String,
    allowed_hosts: Vec<HostName>,
    tigerbeetle_listen: Option<String>,
    tigerbeetle_cluster: u128,
    /// `None` for a node that is alone.
    place: Option<Place>,
}

impl Settings {
    fn new(args: &StartArgs, file: FileSettings) -> Result<Self, Failure> {
        let place = Place::new(&args.cluster, &file.nodes, file.token.as_deref(), file.engine.as_deref())?;
        let own = place.as_ref().and_then(|place| file.nodes.iter().find(|node| node.id == place.node.0));
        let data_dir =
            args.data_dir.clone().or_else(|| own.and_then(|node| node.data_dir.clone())).or(file.data_dir);
        let listen = args.listen.clone().or_else(|| own.and_then(|node| node.listen.clone())).or(file.listen);
        let tigerbeetle_listen = args
            .tigerbeetle_listen
            .clone()
            .or_else(|| own.and_then(|node| node.tigerbeetle_listen.clone()))
            .or(file.tigerbeetle_listen);
        Ok(Self {
            data_dir: data_dir.unwrap_or_else(|| DATA_DIR_DEFAULT.into()),
            listen: listen.unwrap_or_else(|| LISTEN_DEFAULT.to_owned()),
            allowed_hosts: allowed_hosts(args, file.allowed_hosts)?,
            tigerbeetle_listen,
            tigerbeetle_cluster: args
                .tigerbeetle_cluster
                .or_else(|| file.tigerbeetle_cluster.map(|cluster| cluster.0))
                .unwrap_or(0),
            place,
        })
    }
}

/// The hosts of the flag or the environment; if there are none, those of the file.
fn allowed_hosts(args: &StartArgs, of_file: Vec<String>) -> Result<Vec<HostName>, Failure> {
    if !args.allowed_hosts.is_empty() {
        return Ok(args.allowed_hosts.clone());
    }
    let hosts = of_file.into_iter().map(HostName::try_from);
    hosts.collect::<Result<_, _>>().map_err(|error| Failure::Usage(format!("allowed_hosts: {error}")))
}

fn read_file(path: &Path) -> Result<FileSettings, Failure> {
    let wrong = |error: String| Failure::Usage(format!("{}: {}", path.display(), error.trim_end()));
    let text = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
    toml::from_str(&text).map_err(|error| wrong(format!("{}{}", place(&text, &error), error.message())))
}

/// The line of the file with the error, and its key: messages of the parser name no key.
fn place(text: &str, error: &toml::de::Error) -> String {
    let Some(before) = error.span().and_then(|span| text.get(..span.start)) else { return String::new() };
    let at = before.matches('\n').count();
    let line = text.lines().nth(at).unwrap_or_default().trim();
    let key = line.split_once('=').map(|(key, _)| format!(", {}", key.trim())).unwrap_or_default();
    format!("line {}{key}: ", at + 1)
}

/// Open files that are reserved for the node itself: its log, checkpoints and history. Clients must not use
/// up all files with connections: a node that cannot open a file takes no writes any more.
const FILES_KEPT: u64 = 256;

/// The server's limits. The number of connections is bounded by the open files that the system allows, less
/// those of the node.
fn limits(has_frames: bool) -> Limits {
    let defaults = Limits::default();
    let frames_wanted = if has_frames { defaults.frame_connections_max } else { 0 };
    let most = defaults.connections_max + frames_wanted;
    let wanted = u64::try_from(most).unwrap_or(u64::MAX).saturating_add(FILES_KEPT);
    let files = allow_files(wanted);
    let all = connections_for(files, most);
    if all < most {
        tracing::warn!(
            files,
            connections = all,
            "the limit of open files bounds the connections: see ulimit -n"
        );
    }
    let (connections_max, frame_connections_max) = share(all, frames_wanted);
    Limits { connections_max, frame_connections_max, ..defaults }
}

/// The connections for gRPC and REST, and those for TigerBeetle's clients. If there are few, each gets half.
fn share(all: usize, frames_wanted: usize) -> (usize, usize) {
    let frames = frames_wanted.min(all / 2);
    (all - frames, frames)
}

/// Raises the limit of open files to `wanted`, as far as the system allows it; returns the new limit.
fn allow_files(wanted: u64) -> u64 {
    let now = getrlimit(Resource::Nofile);
    let (Some(current), most) = (now.current, now.maximum) else { return u64::MAX };
    if current >= wanted {
        return current;
    }
    let raised = most.map_or(wanted, |most| most.min(wanted));
    let change = Rlimit { current: Some(raised), maximum: most };
    if setrlimit(Resource::Nofile, change).is_ok() { raised } else { current }
}

/// The number of connections that the open files allow. If there are few files, the node keeps half of them.
fn connections_for(files: u64, most: usize) -> usize {
    let spare = files.saturating_sub(FILES_KEPT.min(files / 2)).max(1);
    usize::try_from(spare).map_or(most, |spare| spare.min(most))
}

/// Runs the node until a signal asks it to stop.
pub(crate) async fn run(args: &StartArgs) -> Result<(), Failure> {
    let file = args.config.as_deref().map(read_file).transpose()?;
    let mut settings = Settings::new(args, file.unwrap_or_default())?;
    // Signals are received from here on, so that a signal during recovery is not lost.
    let mut stop = StopSignals::new()?;
    if settings.data_dir.exists() && !settings.data_dir.is_dir() {
        let path = settings.data_dir.display();
        return Err(Failure::Usage(format!("{path} is no folder: --data-dir takes the folder of a node")));
    }
    let listeners = listen(&settings).await?;
    let cluster = settings.place.take().map(Place::listen).transpose()?;
    let cluster_token = cluster.as_ref().map(|cluster| ClusterToken::new(&cluster.token));
    let options = Options { is_clock_accepted: args.accept_clock, ..Options::new(settings.data_dir.clone()) };
    let give_up = cluster.as_ref().map(|cluster| Arc::clone(&cluster.give_up)).unwrap_or_default();
    let mut beginning = tokio::task::spawn_blocking(move || begin(&options, cluster));
    let begun = tokio::select! {
        begun = &mut beginning => begun,
        () = stop.next() => {
            give_up.store(true, Ordering::Release);
            beginning.await
        }
    };
    let running = match begun.map_err(anyhow::Error::from)? {
        Err(StartError::GaveUp { .. }) => return Ok(()),
        begun => begun.map_err(|error| why_not(&settings.data_dir, &error))?,
    };
    if give_up.load(Ordering::Acquire) {
        tokio::task::spawn_blocking(|| running.stop()).await.map_err(anyhow::Error::from)?;
        return Ok(());
    }
    greet(&listeners, &settings.data_dir, running.report(), &running.handle())?;
    exposure::warn(&listeners, cluster_token.is_some())?;
    let options = ServerOptions {
        limits: limits(listeners.tigerbeetle.is_some()),
        allowed_hosts: settings.allowed_hosts,
        token: cluster_token,
    };
    serve(listeners, running, options, &mut stop).await
}

fn begin(options: &Options, cluster: Option<ClusterOptions>) -> Result<Running<Ledger>, StartError> {
    match cluster {
        Some(cluster) => bezant_runtime::start_member(options, cluster),
        None => bezant_runtime::start(options),
    }
}

/// Listens on the addresses before anything else, so that a second node on them fails at once.
async fn listen(settings: &Settings) -> Result<Listeners, Failure> {
    let bind = async |flag, address: &str| {
        TcpListener::bind(address).await.map_err(|error| why_not_listening(flag, address, &error))
    };
    let http = bind("--listen", &settings.listen).await?;
    let tigerbeetle = match &settings.tigerbeetle_listen {
        Some(address) => Some((bind("--tigerbeetle-listen", address).await?, settings.tigerbeetle_cluster)),
        None => None,
    };
    Ok(Listeners { http, tigerbeetle })
}

/// The failure for an address that is not valid, or one that is not available now.
fn why_not_listening(flag: &str, listen: &str, error: &io::Error) -> Failure {
    if error.kind() == io::ErrorKind::InvalidInput {
        return Failure::Usage(format!(
            "{listen:?} is no address to listen on: {error}; write {flag} HOST:PORT, such as 127.0.0.1:7070"
        ));
    }
    Failure::Unavailable(format!("cannot listen on {listen}: {error}; {flag} takes another address"))
}

/// The failure for a folder of another node or cluster, one that cannot be used now, or one that is damaged.
fn why_not(data_dir: &Path, error: &StartError) -> Failure {
    let text = format!("{}: {error}", data_dir.display());
    match error {
        StartError::Clock { .. } => return Failure::Unavailable(text),
        StartError::OfCluster { .. }
        | StartError::OtherNode { .. }
        | StartError::OtherCluster { .. }
        | StartError::OtherEngine { .. }
        | StartError::OtherAddress { .. }
        | StartError::NotEmpty { .. }
        | StartError::Foreign { .. } => return Failure::Usage(text),
        _ => {}
    }
    let mut cause: Option<&dyn Error> = Some(error);
    while let Some(error) = cause {
        if error.is::<DiskError>() || error.is::<io::Error>() {
            return Failure::Unavailable(text);
        }
        cause = error.source();
    }
    Failure::Damaged(text)
}

/// Serves until the first signal, then stops in good order. A second signal stops the node at once.
async fn serve(
    listeners: Listeners,
    running: Running<Ledger>,
    options: ServerOptions,
    stop: &mut StopSignals,
) -> Result<(), Failure> {
    let (stop_sender, stop_receiver) = tokio::sync::oneshot::channel::<()>();
    let shutdown = async move {
        // The sender is dropped without a message only when the whole program ends.
        drop(stop_receiver.await);
    };
    let server = bezant_server::serve(listeners, running.handle(), options, shutdown);
    let mut server = pin!(server);
    let early = tokio::select! {
        result = &mut server => Some(result),
        () = stop.next() => None,
    };
    if let Some(result) = early {
        tokio::task::spawn_blocking(move || running.stop()).await.map_err(anyhow::Error::from)?;
        return result.map_err(|error| anyhow::Error::from(error).into());
    }
    output::note("stopping; again to stop at once");
    running.handle().transfer_leadership();
    let is_serving = stop_sender.send(()).is_ok();
    tracing::debug!(is_serving, "the server was asked to stop");
    let in_good_order = async {
        let served = server.await;
        tokio::task::spawn_blocking(move || running.stop()).await.map_err(anyhow::Error::from)?;
        served.map_err(anyhow::Error::from)
    };
    tokio::select! {
        result = in_good_order => result.map_err(Failure::from),
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

fn greet(
    listeners: &Listeners,
    data_dir: &Path,
    report: &StartReport,
    handle: &LedgerHandle,
) -> Result<(), Failure> {
    let address = listeners.http.local_addr()?;
    output::line(&format!("bezant {} listens on http://{address}", env!("CARGO_PKG_VERSION")))?;
    if let Some((listener, cluster)) = &listeners.tigerbeetle {
        output::line(&format!("TigerBeetle clients: {}, cluster {cluster}", listener.local_addr()?))?;
    }
    let way =
        if report.is_direct { "direct I/O" } else { "buffered I/O: this file system has no direct I/O" };
    output::line(&format!("data in {} ({way})", data_dir.display()))?;
    let cluster = handle.cluster();
    if !cluster.nodes.is_empty() {
        let others = cluster.nodes.iter().filter(|node| node.node != cluster.node);
        let others: Vec<String> = others.map(|node| format!("{} at {}", node.node, node.address)).collect();
        output::line(&format!("node {} of a cluster with {}", cluster.node, others.join(", ")))?;
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

    #[test]
    fn flags_precede_the_file_and_the_file_precedes_defaults() {
        let file = || FileSettings {
            data_dir: Some("from-file".into()),
            tigerbeetle_cluster: Some(ClusterNumber(7)),
            ..FileSettings::default()
        };
        let args = StartArgs {
            data_dir: Some("from-flag".into()),
            listen: None,
            allowed_hosts: Vec::new(),
            tigerbeetle_listen: None,
            tigerbeetle_cluster: Some(8),
            config: None,
            accept_clock: false,
            cluster: ClusterArgs::default(),
        };
        let settings = Settings::new(&args, file()).unwrap();
        assert_eq!((settings.data_dir.as_path(), settings.tigerbeetle_cluster), (Path::new("from-flag"), 8));
        let args = StartArgs { data_dir: None, tigerbeetle_cluster: None, ..args };
        let settings = Settings::new(&args, file()).unwrap();
        assert_eq!(settings.tigerbeetle_cluster, 7);
        assert_eq!(
            (settings.data_dir.as_path(), settings.listen.as_str()),
            (Path::new("from-file"), LISTEN_DEFAULT)
        );
        let settings = Settings::new(&args, FileSettings::default()).unwrap();
        assert_eq!(settings.data_dir, Path::new(DATA_DIR_DEFAULT));
    }

    #[test]
    fn connections_leave_files_for_the_node() {
        let cases = [(u64::MAX, 4096), (4352, 4096), (4351, 4095), (1024, 768), (512, 256), (64, 32), (0, 1)];
        for (files, connections) in cases {
            assert_eq!(connections_for(files, 4096), connections, "{files} files");
        }
    }

    #[test]
    fn both_listeners_get_connections_when_there_are_few() {
        assert_eq!(share(4096 + 1024, 1024), (4096, 1024));
        assert_eq!(share(768, 1024), (384, 384));
        assert_eq!(share(768, 0), (768, 0));
        assert_eq!(share(2, 1024), (1, 1));
    }

    #[test]
    fn a_cluster_is_a_number_or_a_string_with_one() {
        let cluster = |text: &str| {
            toml::from_str::<FileSettings>(&format!("tigerbeetle_cluster = {text}\n"))
                .ok()
                .and_then(|file| file.tigerbeetle_cluster)
        };
        assert_eq!(cluster("7"), Some(ClusterNumber(7)));
        assert_eq!(cluster(&format!("\"{}\"", u128::MAX)), Some(ClusterNumber(u128::MAX)));
        assert_eq!((cluster("-1"), cluster("\"x\"")), (None, None));
    }

    #[test]
    fn a_folder_of_another_node_is_wrong_use_not_damage() {
        let node = bezant_types::NodeId(1);
        let code = |error: &StartError| why_not(Path::new("d"), error).number();
        let engine = bezant_runtime::EngineKind::Raft;
        for error in [
            StartError::OfCluster { node },
            StartError::OtherNode { found: node, wanted: node },
            StartError::OtherCluster { node },
            StartError::OtherEngine { node, found: engine, wanted: engine },
            StartError::NotEmpty { node },
            StartError::Foreign { file: "README".to_owned() },
        ] {
            assert_eq!(code(&error), 2, "{error}");
        }
        assert_eq!(code(&StartError::Entries), 5);
    }

    #[test]
    fn an_error_of_the_file_names_its_line_and_key() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "listen = \"127.0.0.1:1\"\ndata_dir = 7\n").unwrap();
        let error = read_file(file.path()).unwrap_err().to_string();
        assert!(error.contains("line 2, data_dir: "), "{error}");
    }

    #[test]
    fn unknown_settings_are_refused() {
        assert!(toml::from_str::<FileSettings>("listen = \"127.0.0.1:1\"\n").is_ok());
        let error = toml::from_str::<FileSettings>("lisen = \"127.0.0.1:1\"\n").unwrap_err();
        assert!(error.message().contains("lisen"), "the error names it: {error}");
    }
}
