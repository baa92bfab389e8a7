//! Faults as marks of a trace.

use bezant_types::NodeId;

use super::MarkKind;
use crate::faults::Fault;

const MILLI: u64 = 1_000_000;

/// The mark of a fault: its kind, its nodes (none for the whole world), and its text.
pub(crate) fn mark(fault: Fault) -> (MarkKind, Vec<NodeId>, String) {
    use MarkKind::{Crash, Disk, Network, Process};
    let kind = fault.kind();
    let (mark, nodes, more) = match fault {
        Fault::PowerLoss(node, away) | Fault::Kill(node, away) => (Crash, vec![node], back(away)),
        Fault::Blackout(away) => (Crash, vec![], back(away)),
        Fault::PowerLossAfterVote(node) => (Crash, vec![node], "at its next vote".to_owned()),
        Fault::PowerLossInWrite(node, after) | Fault::DiskFailure(node, after) => {
            (Disk, vec![node], format!("at operation {after} from now on"))
        }
        Fault::SlowDisk(node, more) => (Disk, vec![node], format!("a flush takes {} ms more", more / MILLI)),
        Fault::FullDisk(node, space, away) => {
            (Disk, vec![node], format!("space for {} KiB more, for {} ms", space >> 10, away / MILLI))
        }
        Fault::CopyDisk(node) => (Disk, vec![node], String::new()),
        Fault::BitRot(node, away) | Fault::Rewind(node, away) => (Disk, vec![node], back(away)),
        Fault::Pause(node, long) => (Process, vec![node], format!("for {} ms", long / MILLI)),
        Fault::ClockJump(node, by) => {
            (Process, vec![node], format!("by {} ms", by / i64::try_from(MILLI).unwrap_or(1)))
        }
        Fault::Isolate(node) | Fault::Mute(node) | Fault::Deaf(node) => (Network, vec![node], String::new()),
        Fault::CutPair(one, other) => (Network, vec![one, other], String::new()),
        Fault::Split(mask) => {
            let side: Vec<NodeId> = (0..64).filter(|bit| mask >> bit & 1 == 1).map(NodeId).collect();
            (Network, side, "cut from the others".to_owned())
        }
        Fault::Heal => (Network, vec![], "no direction is cut".to_owned()),
        Fault::Weather(loss, doubles, delay_max) => {
            let text = format!(
                "lost {loss} in 1000, duplicated {doubles} in 1000, delayed up to {} ms",
                delay_max / MILLI
            );
            (Network, vec![], text)
        }
        // The name of the kind is enough.
        Fault::TransferLeadership => (MarkKind::Note, vec![], String::new()),
    };
    let text = if more.is_empty() { kind.to_owned() } else { format!("{kind}: {more}") };
    (mark, nodes, text)
}

fn back(away: u64) -> String {
    format!("back in {} ms", away / MILLI)
}
