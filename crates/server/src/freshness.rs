//! How fresh an answer must be, and how fresh it is: said in headers, for REST and gRPC alike.
//!
//! A request says `bezant-read: linearizable` (what counts when it says nothing), `session` or `stale`, and with
//! `session` the highest `bezant-index` that its client has seen. Every answer says in `bezant-index` the
//! last log entry that shows in it, and one to a stale read in `bezant-age-ms` how long ago this node had
//! all that its leader said to be agreed, or `unknown` when it had not since it started. The question belongs to the task, so that no call in between can forget to pass it on.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use bezant_api::{ErrorCode, Failure};
use bezant_runtime::Consistency;
use bezant_types::LogIndex;
use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::task::futures::TaskLocalFuture;

use crate::LedgerHandle;

const READ: HeaderName = HeaderName::from_static("bezant-read");
const INDEX: HeaderName = HeaderName::from_static("bezant-index");
const AGE: HeaderName = HeaderName::from_static("bezant-age-ms");
/// In place of an age.
const UNKNOWN: &str = "unknown";

tokio::task_local! {
    static CURRENT: Arc<Freshness>;
}

/// What the request asks for, and what its answer has.
#[derive(Debug)]
pub(crate) struct Freshness {
    consistency: Consistency,
    /// The last entry that shows in anything that was read or done; 0 = nothing was.
    shown: AtomicU64,
}

impl Freshness {
    /// Reads what a request asks for.
    pub(crate) fn of(headers: &HeaderMap) -> Result<Arc<Self>, Failure> {
        let text = |name: &HeaderName| headers.get(name).map(|value| value.to_str().unwrap_or("?").trim());
        let index = match text(&INDEX) {
            None => LogIndex(0),
            Some(index) => LogIndex(index.parse().map_err(|_| {
                invalid("the header Bezant-Index is the log index of an earlier answer, a number")
            })?),
        };
        let consistency = match text(&READ) {
            None | Some("linearizable") => Consistency::Linearizable,
            Some("session") => Consistency::AtLeast(index),
            Some("stale") => Consistency::Stale,
            Some(_) => return Err(invalid("the header Bezant-Read is linearizable, session or stale")),
        };
        Ok(Arc::new(Self { consistency, shown: AtomicU64::new(0) }))
    }

    /// Does some work that is asked about in this way.
    pub(crate) fn scope<Work: Future>(self: &Arc<Self>, work: Work) -> TaskLocalFuture<Arc<Self>, Work> {
        CURRENT.scope(Arc::clone(self), work)
    }

    /// Says in the answer's headers what it shows.
    pub(crate) fn tell(&self, handle: &LedgerHandle, headers: &mut HeaderMap) {
        let shown = self.shown.load(Relaxed);
        if shown != 0 {
            headers.insert(INDEX, HeaderValue::from(shown));
        }
        if self.consistency == Consistency::Stale {
            let age = handle.cluster().age().map(|age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX));
            headers.insert(AGE, age.map_or(HeaderValue::from_static(UNKNOWN), HeaderValue::from));
        }
    }
}

fn invalid(text: &str) -> Failure {
    Failure::new(ErrorCode::InvalidField, text)
}

/// How fresh what this task reads must be.
pub(crate) fn consistency() -> Consistency {
    CURRENT.try_with(|current| current.consistency).unwrap_or(Consistency::Linearizable)
}

/// Something that shows everything up to this entry becomes part of this task's answer.
pub(crate) fn note(index: LogIndex) {
    CURRENT.try_with(|current| current.shown.fetch_max(index.0, Relaxed)).unwrap_or_default();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(headers: &[(HeaderName, &'static str)]) -> Result<Consistency, ErrorCode> {
        let headers: HeaderMap =
            headers.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect();
        Freshness::of(&headers).map(|asked| asked.consistency).map_err(|failure| failure.code)
    }

    #[test]
    fn headers_say_how_fresh_an_answer_must_be() {
        assert_eq!(of(&[]), Ok(Consistency::Linearizable));
        assert_eq!(of(&[(READ, "stale")]), Ok(Consistency::Stale));
        assert_eq!(of(&[(READ, "session"), (INDEX, "7")]), Ok(Consistency::AtLeast(LogIndex(7))));
        assert_eq!(of(&[(INDEX, "7")]), Ok(Consistency::Linearizable), "a write's answer is no demand");
        assert_eq!(of(&[(READ, "fresh")]), Err(ErrorCode::InvalidField));
        assert_eq!(of(&[(READ, "session"), (INDEX, "x")]), Err(ErrorCode::InvalidField));
    }

    #[tokio::test]
    async fn the_last_entry_shown_is_kept() {
        let asked = Freshness::of(&HeaderMap::new()).unwrap();
        asked
            .scope(async {
                note(LogIndex(7));
                note(LogIndex(5));
            })
            .await;
        assert_eq!(asked.shown.load(Relaxed), 7);
        assert_eq!(consistency(), Consistency::Linearizable, "outside of a request");
    }
}
