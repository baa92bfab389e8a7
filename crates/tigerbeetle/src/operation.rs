//! The operations of requests, and the check that a body has the shape of its operation.

use bezant_codec::{ACCOUNT_FILTER_SIZE, Batches, QUERY_FILTER_SIZE, trailer_size};
use bezant_types::limits::{EVENTS_MAX, RECORD_SIZE, RESULT_SIZE, RESULTS_MAX};

use crate::event::{CHANGE_EVENT_SIZE, CHANGE_FILTER_SIZE};
use crate::frame::BODY_SIZE_MAX;
use crate::message::Reason;

/// Bytes of an id.
pub const ID_SIZE: usize = 16;
/// Bytes of the body of a request that opens a session.
pub const REGISTER_BODY_SIZE: usize = 256;

/// An operation that clients of the 0.17 line send.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Operation {
    /// Opens a session.
    Register = 2,
    /// Reads change events in commit order, with the balances after each.
    GetChangeEvents = 137,
    /// Reads accounts by id.
    LookupAccounts = 140,
    /// Reads transfers by id.
    LookupTransfers = 141,
    /// Reads the transfers of an account.
    GetAccountTransfers = 142,
    /// Reads the balances of an account after each of its transfers.
    GetAccountBalances = 143,
    /// Reads accounts by their fields.
    QueryAccounts = 144,
    /// Reads transfers by their fields.
    QueryTransfers = 145,
    /// Creates accounts.
    CreateAccounts = 146,
    /// Creates transfers.
    CreateTransfers = 147,
}

impl Operation {
    /// The operation with this number; `None` also for the operations of older clients.
    pub const fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            2 => Self::Register,
            137 => Self::GetChangeEvents,
            140 => Self::LookupAccounts,
            141 => Self::LookupTransfers,
            142 => Self::GetAccountTransfers,
            143 => Self::GetAccountBalances,
            144 => Self::QueryAccounts,
            145 => Self::QueryTransfers,
            146 => Self::CreateAccounts,
            147 => Self::CreateTransfers,
            _ => return None,
        })
    }

    /// Bytes of one event of a request.
    pub const fn event_size(self) -> usize {
        match self {
            Self::Register => REGISTER_BODY_SIZE,
            Self::GetChangeEvents => CHANGE_FILTER_SIZE,
            Self::LookupAccounts | Self::LookupTransfers => ID_SIZE,
            Self::GetAccountTransfers | Self::GetAccountBalances => ACCOUNT_FILTER_SIZE,
            Self::QueryAccounts | Self::QueryTransfers => QUERY_FILTER_SIZE,
            Self::CreateAccounts | Self::CreateTransfers => RECORD_SIZE,
        }
    }

    /// Bytes of one result of a reply.
    pub const fn result_size(self) -> usize {
        match self {
            Self::Register => 64,
            Self::GetChangeEvents => CHANGE_EVENT_SIZE,
            Self::LookupAccounts
            | Self::LookupTransfers
            | Self::GetAccountTransfers
            | Self::GetAccountBalances
            | Self::QueryAccounts
            | Self::QueryTransfers => RECORD_SIZE,
            Self::CreateAccounts | Self::CreateTransfers => RESULT_SIZE,
        }
    }

    /// The batches of a request's body, for operations that come in batches. The error is the reason to evict
    /// the client: the body has another shape, or the reply might not fit in a frame.
    pub fn batches(self, body: &[u8]) -> Result<Batches<'_>, Reason> {
        let batches = Batches::decode(body, self.event_size()).map_err(|_| Reason::InvalidBody)?;
        let results = match self {
            Self::Register | Self::GetChangeEvents => return Err(Reason::InvalidBody),
            Self::CreateAccounts | Self::CreateTransfers | Self::LookupAccounts | Self::LookupTransfers => {
                batches.records()
            }
            Self::GetAccountTransfers | Self::GetAccountBalances => results_of_filters(&batches, 120)?,
            Self::QueryAccounts | Self::QueryTransfers => results_of_filters(&batches, 56)?,
        };
        let reply_size = results * self.result_size() + trailer_size(batches.count(), self.result_size());
        if batches.records() > EVENTS_MAX || reply_size > BODY_SIZE_MAX {
            return Err(Reason::InvalidBody);
        }
        Ok(batches)
    }
}

/// The maximum number of results that the filters can find. Each filter is a separate batch, with its limit
/// at offset `limit_at`.
fn results_of_filters(batches: &Batches<'_>, limit_at: usize) -> Result<usize, Reason> {
    if batches.sizes().any(|size| size != 1) {
        return Err(Reason::InvalidBody);
    }
    let limit = |filter: &[u8]| {
        let bytes = filter.get(limit_at..).and_then(<[u8]>::first_chunk);
        let limit = u32::from_le_bytes(bytes.copied().unwrap_or_default());
        usize::try_from(limit).unwrap_or(RESULTS_MAX).min(RESULTS_MAX)
    };
    Ok(batches.iter().map(limit).sum())
}

#[cfg(test)]
mod tests {
    use bezant_codec::put_trailer;

    use super::*;

    fn filter(size: usize, limit_at: usize, limit: u32) -> Vec<u8> {
        let mut bytes = vec![0; size];
        bytes[limit_at..limit_at + 4].copy_from_slice(&limit.to_le_bytes());
        bytes
    }

    fn body(record: &[u8], sizes: &[usize], record_size: usize) -> Vec<u8> {
        let mut body = record.repeat(sizes.iter().sum());
        put_trailer(&mut body, sizes, record_size);
        body
    }

    #[test]
    fn operation_numbers_equal_those_of_the_protocol() {
        let known = (0..=u8::MAX).filter(|number| Operation::from_number(*number).is_some());
        assert_eq!(known.collect::<Vec<_>>(), [2, 137, 140, 141, 142, 143, 144, 145, 146, 147]);
        assert!(
            (0..=u8::MAX).all(|number| Operation::from_number(number).is_none_or(|it| it as u8 == number))
        );
    }

    #[test]
    fn the_largest_request_is_a_full_one() {
        for (operation, size) in [(Operation::CreateTransfers, 128), (Operation::LookupAccounts, 16)] {
            let event = vec![0; size];
            assert_eq!(operation.batches(&body(&event, &[8189], size)).unwrap().records(), 8189);
            let more = body(&event, &[8190], size);
            assert_eq!(operation.batches(&more).unwrap_err(), Reason::InvalidBody);
        }
    }

    #[test]
    fn requests_whose_replies_might_not_fit_are_refused() {
        let one = |operation: Operation, limit_at, limit, sizes: &[usize]| {
            let size = operation.event_size();
            let body = body(&filter(size, limit_at, limit), sizes, size);
            operation.batches(&body).map(|batches| batches.count())
        };
        for (operation, limit_at) in [(Operation::GetAccountTransfers, 120), (Operation::QueryAccounts, 56)] {
            assert_eq!(one(operation, limit_at, 8190, &[1]), Ok(1), "a limit that is too large is capped");
            assert_eq!(one(operation, limit_at, u32::MAX, &[1]), Ok(1));
            assert_eq!(one(operation, limit_at, 4094, &[1, 1]), Ok(2));
            assert_eq!(one(operation, limit_at, 8189, &[1, 1]), Err(Reason::InvalidBody));
            assert_eq!(one(operation, limit_at, 1, &[2]), Err(Reason::InvalidBody), "one filter a batch");
            assert_eq!(one(operation, limit_at, 1, &[1, 0]), Err(Reason::InvalidBody));
        }
        let many = body(&[0; 16], &[8189, 0, 0, 0], 16);
        assert_eq!(Operation::LookupTransfers.batches(&many).unwrap().count(), 4);
        let sizes: Vec<usize> = std::iter::once(8189).chain([0; 63]).collect();
        let many = body(&[0; 16], &sizes, 16);
        assert_eq!(Operation::LookupTransfers.batches(&many).unwrap_err(), Reason::InvalidBody);
    }
}
