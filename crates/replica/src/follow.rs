//! What a follower does: it forwards its clients' commands, and installs a checkpoint when it lags too far.
//! Also what every replica does beside commands: it cuts checkpoints, and compares their digests.

use alloc::string::ToString;
use alloc::vec::Vec;

use bezant_consensus::{Engine, Input as EngineInput, Members};
use bezant_rsm::StateMachine;
use bezant_types::{LogIndex, NodeId};

use crate::checkpoint::{Checkpoints, PIECE_SIZE, Stage};
use crate::digests::Verdict;
use crate::event::{Installable, Output, Refusal};
use crate::install::{Install, Step};
use crate::message::{Chunk, ForwardNumber, Outcome, PeerMessage};
use crate::pipeline::InFlight;
use crate::queue::Origin;
use crate::replica::Replica;

impl<M: StateMachine, E: Engine> Replica<M, E> {
    /// Forwards waiting commands to the leader.
    pub(crate) fn forward(&mut self, leader: NodeId) {
        while self.forwards.has_capacity(self.ticks)
            && let Some((origin, command)) = self.queue.pop()
        {
            match origin {
                Origin::Client(ticket) => {
                    let number = self.forwards.push(ticket, command.clone(), self.ticks);
                    let message = PeerMessage::Forward(number, command);
                    self.outputs.push_back(Output::Send { to: leader, message });
                }
                Origin::Peer(..) | Origin::Own => self.refuse(origin, Refusal::NoLeader),
            }
        }
    }

    pub(crate) fn send_outcome(&mut self, to: NodeId, number: ForwardNumber, outcome: Outcome) {
        self.outputs.push_back(Output::Send { to, message: PeerMessage::Outcome(number, outcome) });
    }

    pub(crate) fn handle_outcome(&mut self, number: ForwardNumber, outcome: Outcome) {
        let Some(forwarded) = self.forwards.take(number) else { return };
        let ticket = forwarded.ticket;
        match outcome {
            Outcome::Done { index, time, results } => {
                let events = forwarded.command.events;
                self.outputs.push_back(Output::Answer { ticket, index, time, events, results });
            }
            Outcome::NotDone => {
                self.forwards.handle_denied(self.ticks);
                self.queue.push_first(Origin::Client(ticket), forwarded.command, self.ticks);
            }
            Outcome::Overloaded => self.refuse(Origin::Client(ticket), Refusal::Overloaded),
            Outcome::ReadOnly(reason) => self.refuse(Origin::Client(ticket), Refusal::ReadOnly(reason)),
            Outcome::NotTaken(reason) => self.refuse(Origin::Client(ticket), Refusal::NotTaken(reason)),
            Outcome::Unknown => self.refuse(Origin::Client(ticket), Refusal::Interrupted),
        }
    }

    /// Begins to fetch a checkpoint. Nothing is applied until it is installed.
    pub(crate) fn begin_install(&mut self, from: NodeId, index: LogIndex) {
        let position = self.machine.position();
        let (install, pull) = Install::begin(from, index, position, self.ticks);
        self.install = Some(install);
        self.outputs.push_back(Output::Send { to: from, message: PeerMessage::Pull(pull) });
    }

    pub(crate) fn handle_chunk(&mut self, from: NodeId, chunk: Chunk) {
        let ticks = self.ticks;
        if let Some(install) = &mut self.install {
            let step = install.take(from, chunk, ticks);
            self.work_on_install(step);
        }
    }

    pub(crate) fn handle_rows_installed(&mut self) {
        let ticks = self.ticks;
        if let Some(install) = &mut self.install {
            let step = install.handle_rows_installed(ticks);
            self.work_on_install(step);
        }
    }

    pub(crate) fn tick_install(&mut self) {
        let (ticks, node) = (self.ticks, self.options.node);
        let leader = self.engine.leader().filter(|leader| *leader != node);
        let peers = if self.install.is_some() { self.peers() } else { Vec::new() };
        if let Some(install) = &mut self.install {
            let step = install.handle_tick(leader, &peers, ticks);
            self.work_on_install(step);
        }
        self.install_if_complete();
    }

    fn work_on_install(&mut self, step: Step) {
        let Some(install) = &self.install else { return };
        let to = install.from;
        match step {
            Step::Ignore => {}
            Step::Ask(pull) => self.outputs.push_back(Output::Send { to, message: PeerMessage::Pull(pull) }),
            Step::TakeRows { from, until, bytes } => {
                self.outputs.push_back(Output::InstallRows { from, until, bytes });
            }
            Step::Complete => self.install_if_complete(),
        }
    }

    /// Installs a complete checkpoint, unless this replica is cutting one itself: that one is finished first.
    fn install_if_complete(&mut self) {
        if !self.checkpoints.is_idle() || self.failed.is_some() {
            return;
        }
        let complete = self.install.as_mut().and_then(Install::take_complete);
        let Some((head, members, terms, bytes)) = complete else { return };
        if let Some(conflict) = self.check_checkpoint(&head, &terms) {
            self.stop_before_install(conflict);
            return;
        }
        match M::restore(&bytes) {
            Ok(machine) => {
                let known = self.engine.members();
                let is_newer = members.index > known.index;
                let since = |members: &Members| members.get(self.options.node).map(|member| member.since);
                if is_newer && since(&members) != since(known) {
                    // This node was removed. Its state belongs to the members that it knows, and to no newer
                    // list.
                    self.refuse_install();
                    return;
                }
                if is_newer {
                    // Output before the checkpoint, so that no crash leaves a checkpoint without its members.
                    self.outputs.push_back(Output::Members(members.clone()));
                }
                self.check_install(head.index);
                self.outputs.push_back(Output::Terms(terms.clone()));
                self.installing = Some((machine, head, members, terms));
                self.outputs.push_back(Output::InstallCheckpoint(Installable {
                    index: head.index,
                    term: head.term,
                    time: head.time,
                    position: head.position,
                    digest: head.digest,
                    bytes,
                }));
            }
            Err(error) => {
                if let Some(install) = &self.install {
                    self.outputs.push_back(Output::Unreadable {
                        from: install.from,
                        index: head.index,
                        reason: error.to_string(),
                    });
                }
                self.refuse_install();
            }
        }
    }

    /// The driver could not use the rows or the checkpoint that were fetched.
    pub(crate) fn handle_install_failed(&mut self) {
        self.installing = None;
        // The peer's terms may be on disk already. They are not the terms of this replica's log, so these
        // must be written again.
        self.has_new_terms = true;
        self.refuse_install();
    }

    fn refuse_install(&mut self) {
        let ticks = self.ticks;
        if let Some(install) = &mut self.install {
            install.refuse(ticks);
        }
    }

    /// The checkpoint is durable: the state continues after it.
    pub(crate) fn handle_installed(&mut self) {
        let Some((machine, head, members, terms)) = self.installing.take() else { return };
        self.check_install(head.index);
        self.install = None;
        for entry in self.pipeline.restart(head.index) {
            for origin in entry.origins {
                self.refuse(origin, Refusal::Interrupted);
            }
        }
        self.time = self.time.max(machine.time());
        self.machine = machine;
        self.applied = head.index;
        self.adopt_terms(&head, &terms);
        self.checkpoints.index = head.index;
        self.checkpoints.log_bytes = 0;
        let (index, term) = (head.index, head.term);
        self.engine.handle(EngineInput::Installed { index, term, members });
        self.handle_digest(self.options.node, head.index, head.digest);
        self.drain_engine();
    }

    pub(crate) fn begin_checkpoint_if_due(&mut self, done: &InFlight<M::Found>) {
        let is_wanted = done.entry.as_ref().is_some_and(|entry| entry.checkpoint);
        if !(is_wanted && self.checkpoints.is_idle() || self.checkpoints.is_overdue()) {
            return;
        }
        // This entry was applied because the disk records it as committed. The engine has not output it yet,
        // and still needs the entries of the log.
        if self.engine.standing().committed < done.index {
            return;
        }
        self.check_own_checkpoint(done.index);
        self.machine.begin_checkpoint();
        self.checkpoints.stage = Stage::Cutting { pieces_in_flight: 0 };
        self.checkpoints.index = self.applied;
        self.checkpoints.term = done.term;
        self.checkpoints.time = self.machine.time();
        self.checkpoints.position = self.machine.position();
        self.checkpoints.log_bytes = 0;
        self.checkpoints.size = 0;
        self.output_terms();
        self.outputs.push_back(Output::CheckpointBegin { index: self.applied, term: done.term });
        self.cut_pieces();
    }

    pub(crate) fn handle_piece_taken(&mut self) {
        if let Stage::Cutting { pieces_in_flight } = &mut self.checkpoints.stage {
            *pieces_in_flight -= 1;
        }
        self.cut_pieces();
    }

    fn cut_pieces(&mut self) {
        while self.checkpoints.wants_piece() {
            if let Some(piece) = self.machine.poll_checkpoint(PIECE_SIZE) {
                self.checkpoints.size += piece.len();
                if let Stage::Cutting { pieces_in_flight } = &mut self.checkpoints.stage {
                    *pieces_in_flight += 1;
                }
                self.outputs.push_back(Output::CheckpointPiece(piece));
            } else {
                let Checkpoints { index, time, position, .. } = self.checkpoints;
                self.checkpoints.stage = Stage::Writing;
                self.outputs.push_back(Output::CheckpointEnd { index, time, position });
            }
        }
    }

    pub(crate) fn handle_checkpoint_written(&mut self, index: LogIndex, digest: [u8; 32]) {
        if !self.end_checkpoint(index) {
            return;
        }
        self.check_own_checkpoint(index);
        let term = self.checkpoints.term;
        self.outputs.push_back(Output::Release(index));
        self.engine.handle(EngineInput::Released { index, term });
        for peer in self.peers() {
            let message = PeerMessage::Digest { index, digest };
            self.outputs.push_back(Output::Send { to: peer, message });
        }
        self.handle_digest(self.options.node, index, digest);
        self.drain_engine();
    }

    pub(crate) fn handle_digest(&mut self, from: NodeId, index: LogIndex, digest: [u8; 32]) {
        let voters: Vec<NodeId> = self.engine.members().voters().collect();
        let verdict = self.digests.push(from, index, digest, &voters);
        if self.has_diverged {
            return;
        }
        let (is_outvoted, what, advice) = match verdict {
            Verdict::Fine => return,
            Verdict::Differs(others) => {
                self.outputs.push_back(Output::Differs { index, others });
                return;
            }
            Verdict::Outvoted => (
                true,
                "is not that of the majority",
                "Stop it and keep a copy of its folder for analysis. When it starts again, it fetches \
                 everything from the others, which continue without it",
            ),
            Verdict::Split => (
                false,
                "differs from the states of other voters, and no majority has the same state",
                "The other voters stop as well. Keep copies of all folders: the operator must find out which \
                 state is right. A state machine that depends on a clock, or on the order of a hash map, can \
                 cause this",
            ),
        };
        let reason = alloc::format!(
            "this replica's state after entry {index} {what}. It no longer takes part in the cluster. {advice}"
        );
        self.has_diverged = true;
        self.outputs.push_back(Output::Diverged { index, is_outvoted, reason: reason.clone() });
        self.handle_failed(reason);
    }

    /// Ends the checkpoint under way, so that another one can begin. Returns false when `index` is not that
    /// checkpoint's.
    pub(crate) fn end_checkpoint(&mut self, index: LogIndex) -> bool {
        let is_under_way = index == self.checkpoints.index && !self.checkpoints.is_idle();
        if is_under_way {
            self.checkpoints.stage = Stage::Idle;
        }
        is_under_way
    }
}
