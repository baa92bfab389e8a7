//! Log entries: decoding and encoding must give the same bytes.

use bezant_rsm::{Command, Entry};
use bezant_types::Nanos;
use bytes::Bytes;

use super::Target;

pub(super) const TARGET: Target =
    Target { name: "entry", about: "log entries: commands of many clients, merged", seeds, run };

fn seeds() -> Vec<Vec<u8>> {
    let command = |operation, events, size| Command { operation, events, body: Bytes::from(vec![3; size]) };
    [
        vec![],
        vec![command(2, 1, 128)],
        vec![command(1, 2, 256), command(2, 1, 128), command(8, 5, 0)],
        vec![command(4, 1, 160), command(9, 1, 7)],
    ]
    .map(|commands| {
        Entry { time: Nanos(1_700_000_000_000_000_000), commands, checkpoint: false, rules: 0 }
            .encode()
            .to_vec()
    })
    .to_vec()
}

fn run(input: &[u8]) {
    let bytes = Bytes::copy_from_slice(input);
    if let Ok(entry) = Entry::decode(&bytes) {
        assert_eq!(entry.encode(), bytes, "an entry has one encoding");
    }
}
