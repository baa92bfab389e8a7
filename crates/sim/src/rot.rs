//! Bit rot: what a disk gives back is not what it was given.

use bezant_storage::MemoryDisk;
use bezant_storage::disk::Disk;

use crate::random::Random;

/// How the names of log, checkpoint and history begin and end; the records are left alone.
const KINDS: [(&str, &str); 3] = [("log-", ".bzl"), ("checkpoint-", ".bzc"), ("history-", "")];

/// Turns a few bits over in one file; says which. `None` when nothing is there yet that was written.
pub(crate) fn rot(disk: &MemoryDisk, random: &mut Random) -> Option<String> {
    let files = disk.list().unwrap_or_default();
    let first = usize::try_from(random.below(3)).unwrap_or(0);
    let kinds = KINDS.iter().cycle().skip(first).take(KINDS.len());
    let mut candidates = kinds.map(|(start, end)| {
        let is_it = |name: &&String| name.starts_with(start) && name.ends_with(end) && !is_aside(name);
        files.iter().filter(is_it).cloned().collect::<Vec<String>>()
    });
    let file = candidates.find_map(|names| random.pick(&names).cloned())?;
    let content = disk.content(&file).unwrap_or_default();
    // A place that was written: what nobody reads may change as it likes.
    let written: Vec<usize> = (0..content.len()).filter(|at| content[*at] != 0).collect();
    for _ in 0..random.between(1, 3) {
        let at = random.pick(&written).copied()?;
        let bit = u8::try_from(random.below(8)).unwrap_or(0);
        disk.flip_bit(&file, at as u64, bit).ok()?;
    }
    // A bit that was turned over twice is what it was.
    (disk.content(&file).ok()? != content).then_some(file)
}

/// True for what an earlier repair has put aside.
fn is_aside(name: &str) -> bool {
    name.ends_with(".damaged")
}
