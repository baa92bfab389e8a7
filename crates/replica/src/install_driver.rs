//! A replica that lags too far fetches a checkpoint of a peer and installs it. Nothing is applied meanwhile.

use alloc::string::ToString;
use alloc::vec::Vec;

use bezant_consensus::{Engine, Input as EngineInput, Members};
use bezant_rsm::StateMachine;
use bezant_types::{LogIndex, NodeId};

use crate::event::{Installable, Output, Refusal};
use crate::install::{Install, Step};
use crate::message::{Chunk, PeerMessage};
use crate::replica::Replica;

impl<M: StateMachine, E: Engine> Replica<M, E> {
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
}
