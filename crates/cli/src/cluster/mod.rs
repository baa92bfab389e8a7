//! `bezant cluster`: where the nodes of a cluster stand, and who takes part.

mod change;
mod status;

use clap::Subcommand;

use crate::exit::Failure;
use crate::session::Global;

/// About the cluster.
#[derive(Debug, Subcommand)]
pub(crate) enum ClusterCommand {
    /// Show what every node says of itself
    Status(status::StatusArgs),
    /// Add a node: it learns everything that the others have, and then votes
    Add(change::AddArgs),
    /// Give a learner a vote
    Promote(change::NodeArgs),
    /// Remove a node for good
    Remove(change::NodeArgs),
    /// Replace a node whose disk is lost: its number begins anew on an empty folder
    Replace(change::ReplaceArgs),
    /// Let a node lead
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
