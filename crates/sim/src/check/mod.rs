//! Checkers, one file each. Every one says what must hold, and in words what did not.

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

pub(crate) use floor::nothing_is_given_up_in_silence;
pub(crate) use leaders::one_leader_a_term;
pub(crate) use log::one_entry_an_index;
pub(crate) use members::members_are_equal;
pub(crate) use order::nobody_reads_the_past;
pub(crate) use progress::everybody_goes_on;
pub(crate) use repair::every_replica_may_vote;
pub(crate) use replay::answers_follow_the_log;
pub(crate) use replicas::states_are_equal;
pub(crate) use time::time_only_grows;
