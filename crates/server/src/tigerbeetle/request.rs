//! The checks of a request that need no session, in the order that the protocol defines.

use bezant_codec::Batches;
use bezant_ledger::SessionHead;
use bezant_rsm::{Context, SessionRequest};
use bezant_tigerbeetle::message::Reason;
use bezant_tigerbeetle::operation::REGISTER_BODY_SIZE;
use bezant_tigerbeetle::{CHANGE_FILTER_SIZE, Operation, Release, Request};

use super::VIEW;
use super::read::Question;

/// The work that a valid request asks for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Work<'body> {
    /// A session is opened.
    Register,
    /// Accounts or transfers are created.
    Create(bezant_ledger::Operation, Batches<'body>),
    /// A lookup or a query is answered.
    Read(Question<'body>),
}

/// The work that a request asks for, or the reason to evict its client.
pub(super) fn check<'body>(request: &Request, body: &'body [u8]) -> Result<Work<'body>, Reason> {
    if request.release < Release::OLDEST {
        return Err(Reason::ReleaseTooLow);
    }
    if request.release > Release::NEWEST {
        return Err(Reason::ReleaseTooHigh);
    }
    let operation = Operation::from_number(request.operation).ok_or(Reason::InvalidOperation)?;
    match operation {
        Operation::Register => {
            // The client sends the size that it would like bodies to have; 0, which all clients of this
            // release line send, leaves the choice to the server.
            let is_whole = body.len() == REGISTER_BODY_SIZE && body.iter().skip(4).all(|byte| *byte == 0);
            if is_whole { Ok(Work::Register) } else { Err(Reason::InvalidBody) }
        }
        Operation::GetChangeEvents => {
            let filter = body.first_chunk().filter(|_| body.len() == CHANGE_FILTER_SIZE);
            filter.map(|filter| Work::Read(Question::Changes(filter))).ok_or(Reason::InvalidBody)
        }
        Operation::CreateAccounts => {
            Ok(Work::Create(bezant_ledger::Operation::CreateAccounts, operation.batches(body)?))
        }
        Operation::CreateTransfers => {
            Ok(Work::Create(bezant_ledger::Operation::CreateTransfers, operation.batches(body)?))
        }
        Operation::LookupAccounts
        | Operation::LookupTransfers
        | Operation::GetAccountTransfers
        | Operation::GetAccountBalances
        | Operation::QueryAccounts
        | Operation::QueryTransfers => Ok(Work::Read(Question::Batches(operation, operation.batches(body)?))),
    }
}

/// The head that the log stores with a request.
pub(super) const fn head(request: &Request) -> SessionHead {
    SessionHead {
        request: SessionRequest {
            client: request.client,
            session: request.session,
            number: request.number,
            release: request.release.0,
            checksum: request.checksum,
            parent: Context(request.parent),
        },
        view: VIEW,
        batches: 0,
        operation: 0,
    }
}

#[cfg(test)]
mod tests {
    use bezant_codec::put_trailer;
    use bezant_types::{ClientId, SessionNumber};

    use super::*;

    fn request(operation: u8, release: Release) -> Request {
        Request {
            client: ClientId(1),
            session: SessionNumber(1),
            number: 1,
            operation,
            parent: 0,
            checksum: 0,
            release,
            view: 0,
        }
    }

    #[test]
    fn eviction_reasons_follow_the_order_of_the_protocol() {
        let reason = |operation, release| check(&request(operation, release), b"junk").unwrap_err();
        assert_eq!(reason(99, Release::new(0, 16, 78)), Reason::ReleaseTooLow);
        assert_eq!(reason(99, Release::new(0, 18, 0)), Reason::ReleaseTooHigh);
        assert_eq!(reason(99, Release::OWN), Reason::InvalidOperation);
        for older in [6, 128, 129, 136, 138, 139] {
            assert_eq!(reason(older, Release::OWN), Reason::InvalidOperation, "operation {older}");
        }
        for known in [2, 137, 140, 141, 142, 143, 144, 145, 146, 147] {
            assert_eq!(reason(known, Release::OWN), Reason::InvalidBody, "operation {known}");
        }
    }

    #[test]
    fn an_empty_request_is_accepted() {
        let mut body = Vec::new();
        put_trailer(&mut body, &[0], 128);
        let work = check(&request(147, Release::OWN), &body).unwrap();
        assert!(matches!(work, Work::Create(bezant_ledger::Operation::CreateTransfers, _)));
    }
}
