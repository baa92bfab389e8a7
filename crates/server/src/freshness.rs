//! How fresh an answer must be and how fresh it is: in headers, for REST and gRPC alike.
//!
//! A request sends `bezant-read: linearizable` (the default), `session` or `stale`; with `session` it also
//! sends the highest `bezant-index` that its client has received. Every answer has in `bezant-index` the last
//! log entry that it reflects. An answer to a stale read also has in `bezant-age-ms` the milliseconds since
//! this node last had everything that its leader reported as committed, or `unknown` when that has not
//! happened since the node started.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use bezant_api::{ErrorCode, Failure};
use bezant_runtime::Consistency;
use bezant_types::LogIndex;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::LedgerHandle;

const READ: HeaderName = HeaderName::from_static("bezant-read");
const INDEX: HeaderName = HeaderName::from_static("bezant-index");
const AGE: HeaderName = HeaderName::from_static("bezant-age-ms");
/// The value in place of an age.
const UNKNOWN: &str = "unknown";

/// What the request demands, and what its answer reflects. Clones belong to the same answer.
#[derive(Clone, Debug)]
pub(crate) struct Freshness {
    consistency: Consistency,
    /// The last log entry that anything read or written reflects; 0 = nothing was read or written yet. `None`
    /// where the answer does not report it.
    shown: Option<Arc<AtomicU64>>,
}

impl Freshness {
    /// Parses the headers of a request.
    pub(crate) fn of(headers: &HeaderMap) -> Result<Self, Failure> {
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
        Ok(Self { consistency, shown: Some(Arc::default()) })
    }

    /// For answers that reflect everything that was acknowledged before the request, and do not report an
    /// index.
    pub(crate) const fn linearizable() -> Self {
        Self { consistency: Consistency::Linearizable, shown: None }
    }

    /// The consistency that the reads of the request must have.
    pub(crate) const fn consistency(&self) -> Consistency {
        self.consistency
    }

    /// Notes that the answer reflects everything up to this entry.
    pub(crate) fn note(&self, index: LogIndex) {
        if let Some(shown) = &self.shown {
            shown.fetch_max(index.0, Relaxed);
        }
    }

    /// The last log entry that the answer reflects; 0 = none is known.
    fn shown(&self) -> u64 {
        self.shown.as_ref().map_or(0, |shown| shown.load(Relaxed))
    }

    /// Writes into the headers of the answer what it reflects.
    pub(crate) fn write_headers(&self, handle: &LedgerHandle, headers: &mut HeaderMap) {
        let shown = self.shown();
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

    #[test]
    fn the_highest_entry_of_all_clones_is_shown() {
        let freshness = Freshness::of(&HeaderMap::new()).unwrap();
        freshness.clone().note(LogIndex(7));
        freshness.note(LogIndex(5));
        assert_eq!(freshness.shown(), 7);
        let unreported = Freshness::linearizable();
        unreported.note(LogIndex(7));
        assert_eq!(unreported.shown(), 0);
    }
}
