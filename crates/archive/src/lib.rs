//! Exported histories: written, read and verified without a server.
//!
//! An export is the history of a ledger, or of one account, as JSON Lines or CSV. [`ExportWriter`] writes it,
//! [`open`] reads it record by record, and [`verify`] proves that it is whole: every line has its checksum,
//! every hash chain leads from its first head to the last one, and the sums of every row follow from the rows
//! before it. [`Walk`] is the same proof for rows from any other source, such as a running server.
//!
//! ```no_run
//! use std::path::Path;
//!
//! # fn main() -> Result<(), bezant_archive::ArchiveError> {
//! let verified = bezant_archive::verify(Path::new("ledger.jsonl"), None)?;
//! println!("{} movements", verified.covered.movements);
//! for (id, _, balances) in verified.walk.accounts() {
//!     println!("account {id} was debited {} in all", balances.debits_posted);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! A file can be forged as a whole, with good checksums and good chains. It proves only as much as the heads
//! that the reader has from another source ([`Walk::expect`], [`Walk::chains`]).
//!
//! Always holds: what is written is read back equal; memory does not grow with the number of movements, only
//! with accounts and pending transfers. It never decides about money, and it depends on the records and their
//! bytes alone: an auditor runs no code of the server.
#![deny(clippy::float_arithmetic)]

mod error;
mod lines;
#[doc(hidden)]
pub mod packed;
mod rows;
mod verify;
mod walk;

pub use error::{ArchiveError, Damage, DamagedRecord, NotAnExport};
pub use lines::{End, ExportFile, ExportReader, ExportWriter, FileFormat, Header, Record, open};
pub use verify::{Verified, verify};
pub use walk::{Broken, Covered, Scope, Walk};
