//! The built program as people run it: a real node on a folder of its own, and the commands and the client
//! against it.

mod clock;
mod exposed;
mod frames;
mod gate;
mod holds;
mod imports;
mod node;
mod outcome;
mod pause;
#[path = "../../src/demo/ports.rs"]
mod ports;
mod retry;
mod tour;
