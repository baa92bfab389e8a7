//! The load generator: it sends transfers to a running ledger, measures the ledger, and checks its books.
//!
//! A [`Run`] creates accounts, sends transfers between accounts chosen at random, queries histories, and
//! returns the figures as data ([`Report`]). It returns them only when every transfer was accepted and the
//! books match what was sent: their totals, their count, and debits equal to credits.
//!
//! ```no_run
//! use bezant_load::{Progress, Run, Settings, Target};
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), bezant_load::LoadError> {
//! let settings = Settings { transfers: 100_000, clients: 8, batch: 1, ..Settings::default() };
//! let target = Target { urls: vec!["http://127.0.0.1:7070".to_owned()], frames: None };
//! let mut run = Run::open(&settings, &target, bezant_load::run_number_now()).await?;
//! let report = run.measure(&Progress::default()).await?;
//! println!("{} transfers a second", report.transfers_per_second);
//! # Ok(())
//! # }
//! ```
//!
//! Accounts and transfers of a run stay on the server for good. With equal settings and an equal run number, a
//! client's n-th transfer has the same accounts and amount in every run.
//!
//! It never prepares the load ahead of the run, so its memory does not grow with the length of the run. It
//! starts no server and prints nothing.
#![deny(clippy::float_arithmetic)]

mod books;
mod caller;
mod clients;
mod error;
mod frames;
mod grpc;
mod queries;
mod report;
mod run;
mod settings;
mod wire;
mod workload;

pub use books::Totals;
pub use clients::Progress;
pub use error::LoadError;
pub use frames::{Frames, FramesError};
pub use report::{Latency, QueryReport, Report};
pub use run::{Run, run_number_now};
pub use settings::{IdOrder, Settings, Target};
