//! Whether a request is taken: everything that can be said of it without its session, in the order of the protocol.

use bezant_codec::Batches;
use bezant_ledger::SessionHead;
use bezant_rsm::{Context, SessionRequest};
use bezant_tigerbeetle::message::Reason;
use bezant_tigerbeetle::operation::REGISTER_BODY_SIZE;
use bezant_tigerbeetle::{CHANGE_FILTER_SIZE, Operation, Release, Request};

use super::VIEW;
use super::read::Question;

/// What is to be done.
#[derive(Clone, Copy, Debug)]
pub(super) enum Work<'body> {
    /// Opens a session.
    Register,
    /// Creates accounts or transfers.
    Create(bezant_ledger::Operation, Batches<'body>),
    /// Answers a question.
    Read(Question<'body>),
}

/// What a request asks for, or why its client is evicted.
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
            // The client says how large it would like bodies to be; 0, as all of this line say, is "you choose".
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

/// What goes into the log of who asks.
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
    fn reasons_come_in_the_order_of_the_protocol() {
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
    fn an_empty_call_is_taken() {
        let mut body = Vec::new();
        put_trailer(&mut body, &[0], 128);
        let work = check(&request(147, Release::OWN), &body).unwrap();
        assert!(matches!(work, Work::Create(bezant_ledger::Operation::CreateTransfers, _)));
    }
}
