//! Runs every parser of bytes from outside (sockets, files, command lines) on damaged bytes.
//!
//! A [`Target`] is a plain function over bytes with a few valid inputs to start from. The same functions run
//! in three ways: in `cargo test` for a fixed number of inputs; for any time with
//! `cargo run --release -p bezant-fuzz -- --seconds 60` on the stable compiler; and under libFuzzer with
//! coverage (see `fuzz/libfuzzer`). The generator is seeded, so a run can be repeated. A failing input is
//! printed as hex and can be replayed.
//!
//! What always holds for a target: it returns, whatever the bytes are. A panic, an abort or a hang is a
//! failure.

mod drive;
mod mutate;
mod random;
pub mod targets;

pub use drive::{Failure, Limit, Report, replay, run};
pub use mutate::Mutator;
pub use random::Random;
pub use targets::{TARGETS, Target};
