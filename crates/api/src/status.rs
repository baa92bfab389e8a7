//! Names of statuses: the operation determines which list a number belongs to.

use bezant_codec::Operation;
use bezant_types::{
    AccountChangeStatus, AssetStatus, CreateAccountStatus, CreateTransferStatus, ExpiryStatus,
};

/// The name of a status of an operation, in snake case; `unknown` for an unknown number.
pub fn status_name(operation: Operation, number: u32) -> &'static str {
    status_of(operation, number).0
}

/// Name and meaning of a status of an operation.
pub(crate) fn status_of(operation: Operation, number: u32) -> (&'static str, &'static str) {
    macro_rules! read {
        ($status:ty) => {
            <$status>::from_number(number).map(|status| (status.name(), status.meaning()))
        };
    }
    match operation {
        Operation::CreateAccounts => read!(CreateAccountStatus),
        Operation::CreateAccountsExtended => {
            read!(CreateAccountStatus).or_else(|_| read!(AccountChangeStatus))
        }
        Operation::CreateTransfers | Operation::CreateTransfersExtended => read!(CreateTransferStatus),
        Operation::SetBounds | Operation::ChangeBounds | Operation::SetName => read!(AccountChangeStatus),
        Operation::SetExpiry => read!(ExpiryStatus),
        Operation::RegisterAssets
        | Operation::Expire
        | Operation::OpenSession
        | Operation::SessionCreate
        | Operation::SessionReply
        | Operation::CreateKeyed => read!(AssetStatus),
    }
    .unwrap_or(("unknown", "The status is not known to this program."))
}
