//! Replicas in one thread: messages are carried and disks are synced by hand, so that a test decides what is lost, and
//! what is on disk when.

mod floor;
mod golden;
mod model;
mod net;
mod random;
mod situations;
