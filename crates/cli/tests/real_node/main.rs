//! The built program as people run it: a real node on a folder of its own, and the commands and the client
//! against it.

mod frames;
mod holds;
mod node;
mod retry;
mod tour;
