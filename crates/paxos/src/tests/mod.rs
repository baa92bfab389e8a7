//! Replicas in one thread. The tests deliver messages and sync disks explicitly, so that each test decides
//! what is lost, and what is durable when.

mod floor;
mod golden;
mod model;
mod net;
mod parts;
mod random;
mod roles;
mod situations;
