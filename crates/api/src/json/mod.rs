//! The shapes of REST: JSON bodies of requests and of answers.
//!
//! Integers of 64 bits and more are strings of decimal digits, because many JSON parsers keep only 53 bits of
//! a number; an amount is in minor units. Bodies of requests are parsed strictly: an unknown field is refused
//! with its name, and so is a number that should be a string. Every function here is pure and total.

mod books;
mod cluster;
mod moment;
mod number;
mod query;
mod reply;
mod request;

pub use books::{BooksReply, LedgerReply, TotalsReply};
pub use cluster::{
    ChangeClusterBody, ChangeClusterReply, ClusterChangeBody, ClusterGroupReply, ClusterMemberReply,
    ClusterNodeReply, ClusterReply,
};
pub use moment::Moment;
pub use number::{Amount, SignedAmount, Text64};
pub use query::{
    AccountsQuery, EventsQuery, HistoryQuery, HoldsQuery, Paged, PagedHolds, Side, TransfersQuery,
    parse_query,
};
pub use reply::{
    AccountReply, AssetReply, BalanceReply, BalancesReply, BatchReply, BoundsReply, ChainReply, ChangeReply,
    EventReply, EventsPage, Page, Problem, ProblemField, TransferReply,
};
pub use request::{
    AccountBody, AssetBody, Batch, BoundsBody, BoundsChangeBody, NameBody, ResolutionBody, TransferBody,
    parse_accounts, parse_assets, parse_bounds, parse_bounds_change, parse_cluster_change, parse_name,
    parse_resolution, parse_transfers,
};
