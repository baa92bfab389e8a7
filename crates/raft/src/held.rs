//! Messages that wait until what they speak of is on the disk.
//!
//! Every step of the engine that says something gets a number, and so does every write; a message may go
//! when all writes that were handed out before it, or with it, are durable.

use std::collections::VecDeque;

use bezant_consensus::WriteNumber;
use raft::eraftpb::Message;

/// One step's messages, and what must be durable before they go.
#[derive(Debug)]
struct Step {
    /// The crate's number of the step.
    number: u64,
    /// True when the step wrote something itself.
    writes: bool,
    messages: Vec<Message>,
}

/// All steps whose writes are not durable yet, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Held {
    steps: VecDeque<Step>,
}

/// What became free.
#[derive(Debug, Default)]
pub(crate) struct Freed {
    /// The last step of which all is durable; `None` when nothing changed.
    pub(crate) step: Option<u64>,
    /// To be sent now.
    pub(crate) messages: Vec<Message>,
}

impl Held {
    /// Takes a step.
    pub(crate) fn push(&mut self, number: u64, writes: bool, messages: Vec<Message>) {
        self.steps.push_back(Step { number, writes, messages });
    }

    /// Frees the steps that wait for no write, when nothing before them does.
    pub(crate) fn free_unwritten(&mut self) -> Freed {
        self.free(WriteNumber(0))
    }

    /// Frees everything up to that write, and what waited behind it without a write of its own.
    pub(crate) fn free(&mut self, durable: WriteNumber) -> Freed {
        let mut freed = Freed::default();
        while let Some(step) = self.steps.pop_front_if(|step| !step.writes || step.number <= durable.0) {
            freed.step = Some(step.number);
            freed.messages.extend(step.messages);
        }
        freed
    }
}
