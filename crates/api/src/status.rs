//! Names of statuses: the operation determines which list a number belongs to.

use bezant_codec::Operation;

/// The name of a status of an operation, in snake case; `unknown` for an unknown number.
pub fn status_name(operation: Operation, number: u32) -> &'static str {
    status_of(operation, number).0
}

/// Name and meaning of a status of an operation.
pub(crate) fn status_of(operation: Operation, number: u32) -> (&'static str, &'static str) {
    operation.status(number).unwrap_or(("unknown", "The status is not known to this program."))
}
