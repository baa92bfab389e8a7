//! A node of the ledger, from its settings to its last answer: what a program needs to run one.
//!
//! ```no_run
//! use bezant_daemon::{Daemon, GivenSettings, Settings, SettingsFile, StopSignals};
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let given = GivenSettings { data_dir: Some("ledger".into()), ..GivenSettings::default() };
//! let settings = Settings::new(given, SettingsFile::default())?;
//! let mut stop = StopSignals::new()?;
//! let Some(daemon) = Daemon::start(settings, stop.next()).await? else { return Ok(()) };
//! println!("listens on {}", daemon.http_address()?);
//! daemon.serve(async move { stop.next().await }).await?;
//! # Ok(())
//! # }
//! ```
//!
//! [`Settings::new`] merges what the program was given with the file that all nodes of a cluster share, and
//! checks it. [`Daemon::start`] listens, raises the limit of open files and recovers the folder;
//! [`Daemon::serve`] answers clients until it is asked to stop.
//!
//! Always holds: the addresses are bound before the folder is opened, so that a second node on them fails at
//! once; a node that stops lets another one lead, and finishes the requests in flight. This crate prints
//! nothing and knows no command line: an error names a setting, and the program adds how it is given.

mod cluster;
mod daemon;
mod error;
mod exposure;
mod file;
mod limits;
mod settings;
mod stop;

pub use cluster::{ClusterSettings, find_token, is_address};
pub use daemon::Daemon;
pub use error::{DaemonError, Listening, SettingsError};
pub use file::SettingsFile;
pub use settings::{GivenSettings, Settings};
pub use stop::StopSignals;
