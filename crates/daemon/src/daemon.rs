//! A node that runs: its sockets, its replica and its server.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bezant_ledger::Ledger;
use bezant_runtime::{ClusterOptions, Options, Running, StartError, StartReport};
use bezant_server::{ClusterToken, LedgerHandle, Listeners, ServerOptions};
use tokio::net::TcpListener;

use crate::cluster::ClusterSettings;
use crate::error::{DaemonError, Listening};
use crate::exposure;
use crate::limits::limits;
use crate::settings::Settings;

/// A node that runs. When it is dropped before [`serve`](Self::serve), it stops, and its threads end later.
#[derive(Debug)]
pub struct Daemon {
    data_dir: PathBuf,
    listeners: Listeners,
    running: Running<Ledger>,
    options: ServerOptions,
}

impl Daemon {
    /// Listens on the addresses of the node, and recovers its folder. `None` when `stop` was ready before: a
    /// node that joins a cluster may wait without end until it was added.
    pub async fn start(
        mut settings: Settings,
        stop: impl Future<Output = ()>,
    ) -> Result<Option<Self>, DaemonError> {
        let data_dir = settings.data_dir.clone();
        if data_dir.exists() && !data_dir.is_dir() {
            return Err(DaemonError::NoFolder { path: data_dir });
        }
        let listeners = listen(&settings).await?;
        let cluster = settings.cluster.take().map(ClusterSettings::listen).transpose()?;
        let token = cluster.as_ref().map(|cluster| ClusterToken::new(&cluster.token));
        let options = Options { is_clock_accepted: settings.accept_clock, ..Options::new(data_dir.clone()) };
        let give_up = cluster.as_ref().map(|cluster| Arc::clone(&cluster.give_up)).unwrap_or_default();
        let mut beginning = tokio::task::spawn_blocking(move || begin(&options, cluster));
        let begun = tokio::select! {
            begun = &mut beginning => begun,
            () = stop => {
                give_up.store(true, Ordering::Release);
                beginning.await
            }
        };
        let running = match begun? {
            Err(StartError::GaveUp { .. }) => return Ok(None),
            begun => begun.map_err(|source| DaemonError::Start { data_dir: data_dir.clone(), source })?,
        };
        if give_up.load(Ordering::Acquire) {
            tokio::task::spawn_blocking(|| running.stop()).await?;
            return Ok(None);
        }
        let limits = limits(listeners.tigerbeetle.is_some());
        let options = ServerOptions { limits, allowed_hosts: settings.allowed_hosts, token };
        Ok(Some(Self { data_dir, listeners, running, options }))
    }

    /// The folder of the node.
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// What the start found in the folder.
    pub const fn report(&self) -> &StartReport {
        self.running.report()
    }

    /// The handle of the node.
    pub fn handle(&self) -> LedgerHandle {
        self.running.handle()
    }

    /// The address for gRPC and REST.
    pub fn http_address(&self) -> io::Result<SocketAddr> {
        self.listeners.http.local_addr()
    }

    /// The address for TigerBeetle's clients, and the cluster that they must name; `None` = none.
    pub fn tigerbeetle_address(&self) -> io::Result<Option<(SocketAddr, u128)>> {
        let listener = self.listeners.tigerbeetle.as_ref();
        listener.map(|(listener, cluster)| Ok((listener.local_addr()?, *cluster))).transpose()
    }

    /// The sentence that warns of the listeners that other machines can reach; `None` when there is none.
    pub fn exposure_warning(&self) -> io::Result<Option<String>> {
        let mut addresses = vec![self.http_address()?];
        addresses.extend(self.tigerbeetle_address()?.map(|(address, _)| address));
        Ok(exposure::warning(&addresses, self.options.token.is_some()))
    }

    /// Serves until `stop` is ready, then stops in good order: another node leads, and the requests in flight
    /// are finished. A future that is dropped before its end stops the node at once, as a crash would.
    pub async fn serve(self, stop: impl Future<Output = ()> + Send + 'static) -> Result<(), DaemonError> {
        let Self { listeners, running, options, .. } = self;
        let handle = running.handle();
        let shutdown = async move {
            stop.await;
            handle.transfer_leadership();
        };
        let served = bezant_server::serve(listeners, running.handle(), options, shutdown).await;
        tokio::task::spawn_blocking(move || running.stop()).await?;
        Ok(served?)
    }
}

fn begin(options: &Options, cluster: Option<ClusterOptions>) -> Result<Running<Ledger>, StartError> {
    match cluster {
        Some(cluster) => bezant_runtime::start_member(options, cluster),
        None => bezant_runtime::start(options),
    }
}

/// Listens on the addresses before anything else, so that a second node on them fails at once.
async fn listen(settings: &Settings) -> Result<Listeners, DaemonError> {
    let bind = async |listening, address: &String| {
        let bound = TcpListener::bind(address).await;
        bound.map_err(|source| DaemonError::Listen { listening, address: address.clone(), source })
    };
    let http = bind(Listening::Http, &settings.listen).await?;
    let tigerbeetle = match &settings.tigerbeetle_listen {
        Some(address) => Some((bind(Listening::TigerBeetle, address).await?, settings.tigerbeetle_cluster)),
        None => None,
    };
    Ok(Listeners { http, tigerbeetle })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::SettingsFile;
    use crate::settings::GivenSettings;

    fn settings(data_dir: &Path) -> Settings {
        let given = GivenSettings {
            data_dir: Some(data_dir.to_owned()),
            listen: Some("127.0.0.1:0".to_owned()),
            ..GivenSettings::default()
        };
        Settings::new(given, SettingsFile::default()).unwrap()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_node_runs_until_it_is_asked_to_stop() {
        let folder = tempfile::tempdir().unwrap();
        // The second start needs the lock that the first one has released.
        for _ in 0..2 {
            let daemon =
                Daemon::start(settings(folder.path()), std::future::pending()).await.unwrap().unwrap();
            assert!(daemon.http_address().unwrap().port() > 0);
            assert_eq!(daemon.exposure_warning().unwrap(), None);
            let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
            let serving = tokio::spawn(daemon.serve(async { drop(stopped.await) }));
            stop.send(()).unwrap();
            serving.await.unwrap().unwrap();
        }
    }

    #[tokio::test]
    async fn a_folder_and_addresses_are_checked_before_the_start() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let refused = Daemon::start(settings(file.path()), std::future::pending()).await;
        assert!(matches!(refused, Err(DaemonError::NoFolder { .. })));
        let folder = tempfile::tempdir().unwrap();
        let wrong = Settings { listen: "nowhere".to_owned(), ..settings(folder.path()) };
        let refused = Daemon::start(wrong, std::future::pending()).await;
        assert!(matches!(refused, Err(DaemonError::Listen { listening: Listening::Http, .. })));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "the folder was not opened");
    }
}
