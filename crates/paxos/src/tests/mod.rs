//! Replicas in one thread. The tests deliver messages and sync disks explicitly, so that each test decides
//! which messages are lost and when writes are durable.

mod floor;
mod golden;
mod limits;
mod model;
mod net;
mod parts;
mod random;
mod roles;
mod situations;
