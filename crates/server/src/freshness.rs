//! How fresh an answer must be and how fresh it is: in headers, for REST and gRPC alike.
//!
//! A request sends `bezant-read: linearizable` (the default), `session` or `stale`; with `session` it also
//! sends the highest `bezant-index` that its client has received. Every answer has in `bezant-index` the last
//! log entry that it reflects. An answer to a stale read also has in `bezant-age-ms` the milliseconds since
//! this node last had everything that its leader reported as committed, or `unknown` when that has not
//! happened since the node started. The demand is stored in the task, so that no call in between can lose it.

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
/// The value in place of an age.
const UNKNOWN: &str = "unknown";

tokio::task_local! {
    static CURRENT: Arc<Freshness>;
}

/// What the request demands, and what its answer reflects.
#[derive(Debug)]
pub(crate) struct Freshness {
    consistency: Consistency,
    /// The last log entry that anything read or written reflects; 0 = nothing was read or written yet.
    shown: AtomicU64,
}

impl Freshness {
    /// Parses the headers of a request.
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

    /// Runs `work`; its reads use this consistency and note their index here.
    pub(crate) fn scope<Work: Future>(self: &Arc<Self>, work: Work) -> TaskLocalFuture<Arc<Self>, Work> {
        CURRENT.scope(Arc::clone(self), work)
    }

    /// Writes into the headers of the answer what it reflects.
    pub(crate) fn write_headers(&self, handle: &LedgerHandle, headers: &mut HeaderMap) {
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

/// The consistency that the reads of this task must have; linearizable outside of a request.
pub(crate) fn consistency() -> Consistency {
    CURRENT.try_with(|current| current.consistency).unwrap_or(Consistency::Linearizable)
}

/// Notes that this task's answer reflects everything up to this entry.
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
    fn headers_set_how_fresh_an_answer_must_be() {
        assert_eq!(of(&[]), Ok(Consistency::Linearizable));
        assert_eq!(of(&[(READ, "stale")]), Ok(Consistency::Stale));
        assert_eq!(of(&[(READ, "session"), (INDEX, "7")]), Ok(Consistency::AtLeast(LogIndex(7))));
        assert_eq!(
            of(&[(INDEX, "7")]),
            Ok(Consistency::Linearizable),
            "the index of a write's answer is no demand"
        );
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
