//! How fresh an answer must be and how fresh it is: in headers, for REST and gRPC alike.
//!
//! A request sends `bezant-read: linearizable` (the default), `session` or `stale`; with `session` it also
//! sends the `bezant-session` of the last answer that its client has received. Every answer has in
//! `bezant-session`, as a [`SessionToken`], the last log entry that it reflects, together with what
//! the request had seen, so that a client can replace its token by that of the answer. An answer to a
//! stale read also has in `bezant-age-ms` the milliseconds since this node last had everything that its leader
//! reported as committed, or `unknown` when that has not happened since the node started.
//!
//! Version 0.1 had the number of that entry in `bezant-index`. A request with that header is refused: without
//! its session the answer could be older than what the client has seen.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use bezant_api::token::{LEDGER_GROUP, SessionToken, TokenError};
use bezant_api::{ErrorCode, Failure};
use bezant_runtime::Consistency;
use bezant_types::LogIndex;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::LedgerHandle;

const READ: HeaderName = HeaderName::from_static("bezant-read");
const SESSION: HeaderName = HeaderName::from_static("bezant-session");
/// The header of version 0.1 in place of the session.
const INDEX: HeaderName = HeaderName::from_static("bezant-index");
const AGE: HeaderName = HeaderName::from_static("bezant-age-ms");
/// The value in place of an age.
const UNKNOWN: &str = "unknown";

/// What the request demands, and what its answer reflects. Clones belong to the same answer.
#[derive(Clone, Debug)]
pub(crate) struct Freshness {
    consistency: Consistency,
    /// `None` where the answer does not report what it reflects.
    shown: Option<Arc<Shown>>,
}

/// What an answer reflects.
#[derive(Debug, Default)]
struct Shown {
    /// The last log entry that anything read or written reflects; 0 = nothing was read or written yet.
    index: AtomicU64,
    /// What the token of the request has seen; nothing without one.
    before: SessionToken,
}

impl Freshness {
    /// Parses the headers of a request.
    pub(crate) fn of(headers: &HeaderMap) -> Result<Self, Failure> {
        let text = |name: &HeaderName| headers.get(name).map(|value| value.to_str().unwrap_or("?").trim());
        if headers.contains_key(INDEX) {
            return Err(invalid(&format!("the header Bezant-Index: {}", TokenError::NumberOfSession)));
        }
        let session = text(&SESSION).map_or_else(|| Ok(SessionToken::default()), str::parse);
        let session = session.map_err(|error| invalid(&format!("the header Bezant-Session: {error}")))?;
        let consistency = match text(&READ) {
            None | Some("linearizable") => Consistency::Linearizable,
            Some("session") => Consistency::AtLeast(session.seen(LEDGER_GROUP)),
            Some("stale") => Consistency::Stale,
            Some(_) => return Err(invalid("the header Bezant-Read is linearizable, session or stale")),
        };
        Ok(Self { consistency, shown: Some(Arc::new(Shown { before: session, ..Shown::default() })) })
    }

    /// For answers that reflect everything that was acknowledged before the request, and do not report what
    /// they reflect.
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
            shown.index.fetch_max(index.0, Relaxed);
        }
    }

    /// The session after the answer; `None` = nothing was read or written.
    fn session(&self) -> Option<SessionToken> {
        let shown = self.shown.as_ref()?;
        let mut session = SessionToken::of(LEDGER_GROUP, LogIndex(shown.index.load(Relaxed)));
        if session.is_empty() {
            return None;
        }
        session.merge(&shown.before);
        Some(session)
    }

    /// Writes into the headers of the answer what it reflects.
    pub(crate) fn write_headers(&self, handle: &LedgerHandle, headers: &mut HeaderMap) {
        if let Some(session) = self.session()
            && let Ok(session) = HeaderValue::try_from(session.to_string())
        {
            headers.insert(SESSION, session);
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
    use bezant_types::GroupId;

    use super::*;

    fn of(headers: &[(HeaderName, &str)]) -> Result<Consistency, String> {
        let value = |value| HeaderValue::from_str(value).unwrap();
        let headers: HeaderMap = headers.iter().map(|(name, text)| (name.clone(), value(text))).collect();
        Freshness::of(&headers).map(|asked| asked.consistency).map_err(|failure| {
            assert_eq!(failure.code, ErrorCode::InvalidField);
            failure.detail
        })
    }

    #[test]
    fn headers_set_how_fresh_an_answer_must_be() {
        assert_eq!(of(&[]), Ok(Consistency::Linearizable));
        assert_eq!(of(&[(READ, "stale")]), Ok(Consistency::Stale));
        let mut session = SessionToken::of(LEDGER_GROUP, LogIndex(7));
        session.merge(&SessionToken::of(GroupId(2), LogIndex(9)));
        let session = session.to_string();
        assert_eq!(of(&[(READ, "session"), (SESSION, &session)]), Ok(Consistency::AtLeast(LogIndex(7))));
        assert_eq!(of(&[(READ, "session")]), Ok(Consistency::AtLeast(LogIndex(0))), "a new session");
        assert_eq!(
            of(&[(SESSION, &session)]),
            Ok(Consistency::Linearizable),
            "the session of a write's answer is no demand"
        );
        assert!(of(&[(READ, "fresh")]).is_err());
        assert!(
            of(&[(READ, "session"), (SESSION, "x")]).unwrap_err().contains("Bezant-Session: the text is")
        );
    }

    #[test]
    fn numbers_in_place_of_sessions_are_refused() {
        for headers in [&[(INDEX, "7")][..], &[(READ, "session"), (INDEX, "0")], &[(SESSION, "7")]] {
            let detail = of(headers).unwrap_err();
            assert!(detail.ends_with("send the `Bezant-Session` of the last answer"), "{detail}");
        }
    }

    #[test]
    fn an_answer_names_its_session() {
        let freshness = Freshness::of(&HeaderMap::new()).unwrap();
        assert_eq!(freshness.session(), None, "nothing was read");
        freshness.note(LogIndex(7));
        assert_eq!(freshness.session(), Some(SessionToken::of(LEDGER_GROUP, LogIndex(7))));
        let mut before = SessionToken::of(LEDGER_GROUP, LogIndex(5));
        before.merge(&SessionToken::of(GroupId(2), LogIndex(9)));
        for (read, own) in [("session", 7), ("stale", 7), ("stale", 3), ("linearizable", 7)] {
            let headers = [(READ, read.to_owned()), (SESSION, before.to_string())];
            let headers = headers.map(|(name, value)| (name, HeaderValue::try_from(value).unwrap()));
            let freshness = Freshness::of(&headers.into_iter().collect()).unwrap();
            freshness.note(LogIndex(own));
            let session = freshness.session().unwrap();
            assert_eq!(
                (session.seen(LEDGER_GROUP), session.seen(GroupId(2))),
                (LogIndex(own.max(5)), LogIndex(9)),
                "{read}: a session never goes back"
            );
        }
    }

    #[test]
    fn the_highest_entry_of_all_clones_is_shown() {
        let freshness = Freshness::of(&HeaderMap::new()).unwrap();
        freshness.clone().note(LogIndex(7));
        freshness.note(LogIndex(5));
        assert_eq!(freshness.session(), Some(SessionToken::of(LEDGER_GROUP, LogIndex(7))));
        let unreported = Freshness::linearizable();
        unreported.note(LogIndex(7));
        assert_eq!(unreported.session(), None);
    }
}
