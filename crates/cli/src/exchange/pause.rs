//! The pause of expiry around an import: it begins before anything is created, and ends with the import.
//!
//! An import that fails for good resumes expiry before it reports the failure. An interrupted import keeps
//! the pause, since the next one goes on; it reports that expiry is paused, and how to end the pause.

use bezant_client::{ClientError, ExpiryStatus, TransferId};
use bezant_types::{HoldFilter, HoldPlace, Nanos};
use clap::Args;
use serde::Serialize;

use super::history::send;
use crate::exit::Failure;
use crate::json::Text;
use crate::output;
use crate::output::Format;
use crate::session::Session;

/// The message of an import that was interrupted.
pub(super) const STATE: &str = "Start the same import again: it goes on where this one ended, and nothing is done twice. \
     Until then expiry is paused, and imported reserves do not expire here: it runs again at the end of an import, at the \
     first transfer that is not imported, or with `bezant import resume-expiry`";

/// The pause of one import.
#[derive(Debug, Default)]
pub(super) struct Pause {
    is_on: bool,
}

impl Pause {
    /// Pauses the expiry of a ledger that has `movements` movements.
    pub(super) async fn begin(&mut self, session: &Session, movements: u64) -> Result<(), Failure> {
        let asked = async {
            match session.client.pause_expiry(movements).await {
                // An older server has no such operation.
                Err(ClientError::Invalid { .. }) => Ok(None),
                outcome => outcome.map(|outcome| Some(outcome.status)),
            }
        };
        match send(session, asked).await? {
            Some(ExpiryStatus::Created) => {
                self.is_on = true;
                Ok(())
            }
            Some(ExpiryStatus::MovementsDiffer) => Err(Failure::Refused(
                "something moved in this ledger while the import began, and nothing was imported; nothing else may \
                 write to it: start the import again"
                    .to_owned(),
            )),
            Some(ExpiryStatus::ExpiryInvalid) | None => Err(Failure::Usage(
                "the server is older than this program and cannot pause expiry for an import: update it first; nothing \
                 was imported"
                    .to_owned(),
            )),
        }
    }

    /// True when this import has paused expiry and not resumed it.
    pub(super) const fn is_on(&self) -> bool {
        self.is_on
    }

    /// Resumes expiry, after everything was imported.
    pub(super) async fn end(&mut self, session: &Session) -> Result<(), Failure> {
        send(session, session.client.resume_expiry()).await?;
        self.is_on = false;
        Ok(())
    }

    /// Resumes expiry after a failure that the same import would have again. After another failure it says how
    /// to go on ([`STATE`]), unless the failure is one of the server or of the connection: for those, [`send`]
    /// has recorded that text already.
    pub(super) async fn settle<T>(self, session: &Session, result: Result<T, Failure>) -> Result<T, Failure> {
        match result {
            Err(failure) if self.is_on && is_final(&failure) => {
                Err(match session.client.resume_expiry().await {
                    Ok(_) => failure,
                    Err(_) => failure.and(STATE),
                })
            }
            Err(failure @ (Failure::Other(_) | Failure::Damaged(_) | Failure::NotFound(_))) if self.is_on => {
                Err(failure.and(STATE))
            }
            result => result,
        }
    }
}

/// True when the same import would fail again.
const fn is_final(failure: &Failure) -> bool {
    matches!(
        failure,
        Failure::Status { .. } | Failure::Refused(_) | Failure::Usage(_) | Failure::Verification(_)
    )
}

/// `bezant import resume-expiry`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bezant import resume-expiry
  bezant import resume-expiry --server http://127.0.0.1:7080

`bezant import history` and `bezant import tigerbeetle` pause the expiry of imported reserves, \
and resume it at their end. If an import was interrupted, and you do not want to start it again, \
this command resumes expiry: overdue reserves expire at once, the others in time. Once a reserve \
has expired here, an import of the same source cannot go on.

The first transfer that is not imported does the same. `bezant books` shows whether expiry is \
paused. Where it is not, nothing changes.")]
pub(crate) struct ResumeArgs {}

/// The answer of `bezant import resume-expiry`.
#[derive(Debug, Serialize)]
struct Resumed {
    was_paused: bool,
}

/// Resumes expiry.
pub(super) async fn resume(session: &Session) -> Result<(), Failure> {
    let was_paused = session.client.books().await?.expiry_is_paused;
    session.client.resume_expiry().await?;
    if session.output == Format::Json {
        return output::json(&Resumed { was_paused });
    }
    output::line(if was_paused {
        "expiry runs again: what is late expires now, the rest in its time"
    } else {
        "expiry was not paused: nothing has changed"
    })
}

/// Open reserves that have a timeout at the source and none here: an earlier version imported them.
#[derive(Debug, Default, Serialize)]
pub(super) struct Timeless {
    count: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_id: Option<Text<TransferId>>,
}

impl Timeless {
    pub(super) fn new(ids: &[TransferId]) -> Self {
        Self { count: ids.len(), first_id: ids.first().copied().map(Text) }
    }

    /// Reports on stderr that these reserves do not expire.
    pub(super) fn report(&self) {
        if let Self { count, first_id: Some(Text(first)) } = self {
            output::note(&format!(
                "{count} of the reserves that are still pending have a timeout at the source and none here, since an \
                 earlier version imported them: they do not expire. Post or void them; the first is transfer {first}"
            ));
        }
    }
}

/// The open reserves of the ledger that never expire.
pub(super) async fn open_without_timeout(session: &Session) -> Result<Vec<TransferId>, Failure> {
    let mut ids = Vec::new();
    let mut after = HoldPlace { expires_at: Nanos::NEVER, timestamp: Nanos(0) };
    loop {
        let filter = HoldFilter { after, ..HoldFilter::default() };
        let page = session.client.holds(&filter).await?;
        let Some(last) = page.last() else { return Ok(ids) };
        after = HoldPlace::of(&last.transfer);
        ids.extend(page.iter().map(|view| view.transfer.id));
    }
}
