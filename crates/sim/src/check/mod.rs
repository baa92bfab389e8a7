//! The checkers, one in each file. A checker states what must hold, and its error states what did not hold.

mod bounds;
mod floor;
mod keyed;
mod leaders;
mod log;
mod members;
mod once;
mod order;
mod progress;
mod repair;
mod replay;
mod replicas;
mod time;

pub(crate) use floor::no_loss_is_unreported;
pub(crate) use leaders::one_leader_a_term;
pub(crate) use log::one_entry_an_index;
pub(crate) use members::members_are_equal;
pub(crate) use order::no_read_shows_the_past;
pub(crate) use progress::every_client_progresses;
pub(crate) use repair::every_replica_may_vote;
pub(crate) use replay::answers_follow_the_log;
pub(crate) use replicas::states_are_equal;
pub(crate) use time::time_only_grows;
