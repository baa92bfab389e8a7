//! `bezant cluster`: shows the status of the nodes of a cluster, and changes its members.

mod change;
mod status;
mod view;

use clap::Subcommand;

use crate::exit::Failure;
use crate::session::Global;

/// The commands about a cluster.
#[derive(Debug, Subcommand)]
pub(crate) enum ClusterCommand {
    /// Show the status of every node
    Status(status::StatusArgs),
    /// Add a node: it fetches all data of the others, and then votes
    Add(change::AddArgs),
    /// Give a learner a vote
    Promote(change::NodeArgs),
    /// Remove a node for good
    Remove(change::NodeArgs),
    /// Replace a node whose disk is lost: its number starts again on an empty folder
    Replace(change::ReplaceArgs),
    /// Transfer the leadership to a node
    TransferLeader(change::NodeArgs),
}

impl ClusterCommand {
    pub(crate) async fn run(self, global: &Global) -> Result<(), Failure> {
        match self {
            Self::Status(_) => status::run(global).await,
            Self::Add(args) => change::add(global, &args).await,
            Self::Promote(args) => change::promote(global, &args).await,
            Self::Remove(args) => change::remove(global, &args).await,
            Self::Replace(args) => change::replace(global, &args).await,
            Self::TransferLeader(args) => change::transfer_leader(global, &args).await,
        }
    }
}
