//! Tests of the built program: a real node on its own folder, and the commands and the client against it.

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
