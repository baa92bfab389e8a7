//! The server's limits on this machine: open files bound the connections.

use bezant_server::Limits;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Open files that are reserved for the node itself: its log, checkpoints and history. Clients must not use
/// up all files with connections: a node that cannot open a file takes no writes any more.
const FILES_KEPT: u64 = 256;

/// The server's limits. The number of connections is bounded by the open files that the system allows, less
/// those of the node.
pub(crate) fn limits(has_frames: bool) -> Limits {
    let defaults = Limits::default();
    let frames_wanted = if has_frames { defaults.frame_connections_max } else { 0 };
    let most = defaults.connections_max + frames_wanted;
    let wanted = u64::try_from(most).unwrap_or(u64::MAX).saturating_add(FILES_KEPT);
    let files = allow_files(wanted);
    let all = connections_for(files, most);
    if all < most {
        tracing::warn!(
            files,
            connections = all,
            "the limit of open files bounds the connections: see ulimit -n"
        );
    }
    let (connections_max, frame_connections_max) = share(all, frames_wanted);
    Limits { connections_max, frame_connections_max, ..defaults }
}

/// The connections for gRPC and REST, and those for TigerBeetle's clients. If there are few, each gets half.
fn share(all: usize, frames_wanted: usize) -> (usize, usize) {
    let frames = frames_wanted.min(all / 2);
    (all - frames, frames)
}

/// Raises the limit of open files to `wanted`, as far as the system allows it; returns the new limit.
fn allow_files(wanted: u64) -> u64 {
    let now = getrlimit(Resource::Nofile);
    let (Some(current), most) = (now.current, now.maximum) else { return u64::MAX };
    if current >= wanted {
        return current;
    }
    let raised = most.map_or(wanted, |most| most.min(wanted));
    let change = Rlimit { current: Some(raised), maximum: most };
    if setrlimit(Resource::Nofile, change).is_ok() { raised } else { current }
}

/// The number of connections that the open files allow. If there are few files, the node keeps half of them.
fn connections_for(files: u64, most: usize) -> usize {
    let spare = files.saturating_sub(FILES_KEPT.min(files / 2)).max(1);
    usize::try_from(spare).map_or(most, |spare| spare.min(most))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_files_for_the_node() {
        let cases = [(u64::MAX, 4096), (4352, 4096), (4351, 4095), (1024, 768), (512, 256), (64, 32), (0, 1)];
        for (files, connections) in cases {
            assert_eq!(connections_for(files, 4096), connections, "{files} files");
        }
    }

    #[test]
    fn both_listeners_get_connections_when_there_are_few() {
        assert_eq!(share(4096 + 1024, 1024), (4096, 1024));
        assert_eq!(share(768, 1024), (384, 384));
        assert_eq!(share(768, 0), (768, 0));
        assert_eq!(share(2, 1024), (1, 1));
    }
}
