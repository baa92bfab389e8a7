//! One run of the load, step by step.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::books::{self, BooksBefore};
use crate::clients::{self, Connection, Progress};
use crate::error::LoadError;
use crate::queries;
use crate::report::Report;
use crate::settings::{Settings, Target};
use crate::wire::Wire;
use crate::workload::Load;

/// How long a server may take to answer again after it was started again.
const RESTART_TIMEOUT: Duration = Duration::from_mins(2);

/// One run of the load: open, then measured.
#[derive(Debug)]
pub struct Run {
    settings: Settings,
    target: Target,
    load: Load,
    /// `None` if the target has no address for gRPC.
    connection: Option<Connection>,
    /// The books before the load; `None` if the target has no address for gRPC.
    before: Option<BooksBefore>,
    wire: Wire,
    /// Sum of the amounts that were sent, in minor units.
    amount_sum: u128,
}

impl Run {
    /// Connects to the servers, reads their books, and creates the accounts of the load. The ids of the run
    /// are made from `number`: no other run on these servers may have the same.
    pub async fn open(settings: &Settings, target: &Target, number: u64) -> Result<Self, LoadError> {
        let load = Load::new(settings, number, target.frames.is_some());
        let mut connection = Connection::open_any(&target.urls).await?;
        let before = match &mut connection {
            Some(connection) => Some(BooksBefore::read(connection).await?),
            None => None,
        };
        let mut wire = Wire::open(target, load.clients).await?;
        clients::create_accounts(&load, &mut wire).await?;
        let (settings, target) = (settings.clone(), target.clone());
        Ok(Self { settings, target, load, connection, before, wire, amount_sum: 0 })
    }

    /// Sends all transfers, checks the books, and sends the queries; `progress` grows meanwhile.
    ///
    /// In a cluster a node may fail and another may become the leader: the load goes on, and the report
    /// contains the number of retries. An error says why there are no figures: a server cannot be reached, a
    /// transfer was refused, or the books do not match what was sent.
    pub async fn measure(&mut self, progress: &Progress) -> Result<Report, LoadError> {
        let outcome = clients::send_transfers(&self.load, &self.target, progress).await?;
        self.amount_sum = outcome.amount_sum;
        if outcome.retries > 0 {
            // The node of the first connection may be down.
            self.connection = Connection::open_any(&self.target.urls).await?;
        }
        if let Wire::Frames(frames) = &mut self.wire {
            books::check_accounts(frames, &self.load, self.amount_sum).await?;
        }
        let mut queries = Vec::new();
        if let (Some(connection), Some(before)) = (&mut self.connection, self.before) {
            before.check(connection, &self.load, self.amount_sum).await?;
            queries = queries::ask(&self.load, &self.settings, connection, &outcome.sample).await?;
        }
        Ok(Report::new(&self.settings, &self.target, &outcome, queries))
    }

    /// Waits until a server that was started again at `start` answers at `url`, and checks that its books are
    /// the same as before. Returns the time to its first answer; `None` if the target has no address for
    /// gRPC.
    pub async fn check_restarted(&self, url: &str, start: Instant) -> Result<Option<Duration>, LoadError> {
        let Some(before) = self.before else { return Ok(None) };
        let mut connection = Connection::open_retrying(url, RESTART_TIMEOUT).await?;
        let elapsed = start.elapsed();
        before.check(&mut connection, &self.load, self.amount_sum).await?;
        Ok(Some(elapsed))
    }
}

/// A number for a run on servers that may hold the ids of earlier runs: the time, in milliseconds.
pub fn run_number_now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(1)
}
