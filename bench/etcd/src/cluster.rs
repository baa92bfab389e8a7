//! The members of an etcd: waits until all of them answer and one leads, and connects to them.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tonic::transport::{Channel, Endpoint};

use crate::Target;
use crate::etcd::kv_client::KvClient;
use crate::etcd::maintenance_client::MaintenanceClient;
use crate::etcd::{RangeRequest, StatusRequest, StatusResponse};

/// How long all members together may take to start.
const START_TIMEOUT: Duration = Duration::from_mins(1);
/// How long one call may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// The time before a member that is not ready is asked again.
const LOOK: Duration = Duration::from_millis(20);
/// Limit of an answer in bytes: 100,000 keys without their values.
const REPLY_BYTES_MAX: usize = 64 << 20;

/// Members that answer, and the one that led when they were asked.
#[derive(Clone, Debug)]
pub(crate) struct Cluster {
    urls: Vec<String>,
    /// Index of the leader in `urls`.
    leader: usize,
    /// The version that the leader reports.
    pub(crate) version: String,
}

impl Cluster {
    /// Waits until every member answers a linearizable read, and all name one leader, which is among them.
    pub(crate) async fn wait(urls: &[String]) -> Result<Self> {
        let begun = Instant::now();
        loop {
            let error = match look(urls).await {
                Ok(cluster) => return Ok(cluster),
                Err(error) => error,
            };
            if begun.elapsed() > START_TIMEOUT {
                return Err(error).with_context(|| format!("not ready within {START_TIMEOUT:?}"));
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// URL of the leader.
    pub(crate) fn leader(&self) -> &str {
        &self.urls[self.leader]
    }

    /// A separate connection for the client with that number.
    pub(crate) async fn connect_to(&self, target: Target, client: usize) -> Result<KvClient<Channel>> {
        let url = match target {
            Target::Leader => self.leader(),
            Target::All => &self.urls[client % self.urls.len()],
        };
        Ok(KvClient::new(connect(url).await?).max_decoding_message_size(REPLY_BYTES_MAX))
    }
}

async fn connect(url: &str) -> Result<Channel> {
    let endpoint =
        Endpoint::from_shared(url.to_owned()).with_context(|| format!("{url} is not an address"))?;
    let endpoint = endpoint.connect_timeout(CALL_TIMEOUT).timeout(CALL_TIMEOUT).tcp_nodelay(true);
    endpoint.connect().await.with_context(|| format!("{url} cannot be reached"))
}

/// Asks every member once; an error unless all are ready.
async fn look(urls: &[String]) -> Result<Cluster> {
    let mut statuses = Vec::new();
    for url in urls {
        let channel = connect(url).await?;
        // The read goes through the leader, so an answer shows that this member is connected to it.
        let read = RangeRequest { key: "bezant-bench".into(), ..RangeRequest::default() };
        KvClient::new(channel.clone()).range(read).await.with_context(|| url.clone())?;
        let status = MaintenanceClient::new(channel).status(StatusRequest {}).await;
        statuses.push(status.with_context(|| url.clone())?.into_inner());
    }
    let leader = leader_of(&statuses)?;
    Ok(Cluster { urls: urls.to_vec(), leader, version: statuses.swap_remove(leader).version })
}

/// The index of the member that all of them report as the leader.
fn leader_of(statuses: &[StatusResponse]) -> Result<usize> {
    let named = statuses.first().map_or(0, |status| status.leader);
    if named == 0 || statuses.iter().any(|status| status.leader != named) {
        bail!("the members report different leaders");
    }
    let is_leader = |status: &StatusResponse| status.header.is_some_and(|header| header.member_id == named);
    statuses.iter().position(is_leader).context("the leader is not among the given members")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::etcd::ResponseHeader;

    fn status(member_id: u64, leader: u64) -> StatusResponse {
        let header = Some(ResponseHeader { member_id, revision: 1 });
        StatusResponse { header, version: "3.4.23".to_owned(), leader }
    }

    #[test]
    fn all_members_must_report_the_same_leader() {
        assert_eq!(leader_of(&[status(7, 9), status(9, 9)]).unwrap(), 1);
        leader_of(&[]).unwrap_err();
        leader_of(&[status(7, 0), status(9, 0)]).unwrap_err();
        leader_of(&[status(7, 7), status(9, 9)]).unwrap_err();
        leader_of(&[status(7, 8), status(9, 8)]).unwrap_err();
    }
}
