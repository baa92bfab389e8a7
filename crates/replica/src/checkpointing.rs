//! Every replica cuts its own checkpoints, at the entries that the leader chose.

use bezant_consensus::{Engine, Input as EngineInput};
use bezant_rsm::StateMachine;
use bezant_types::LogIndex;

use crate::checkpoint::{Checkpoints, PIECE_SIZE, Stage};
use crate::event::Output;
use crate::message::PeerMessage;
use crate::pipeline::InFlight;
use crate::replica::Replica;

impl<M: StateMachine, E: Engine> Replica<M, E> {
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
