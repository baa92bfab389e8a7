//! Bit rot: a disk returns other bytes than were written.

use bezant_storage::MemoryDisk;
use bezant_storage::disk::Disk;

use crate::random::Random;

/// The beginnings and ends of the names of log, checkpoint and history files. Other files, the records, are
/// not damaged.
const KINDS: [(&str, &str); 3] = [("log-", ".bzl"), ("checkpoint-", ".bzc"), ("history-", "")];

/// Flips a few bits of one file, and returns its name. `None` when nothing was damaged.
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
    // Only bytes that are not zero: damage of unused bytes would have no effect.
    let written: Vec<usize> = (0..content.len()).filter(|at| content[*at] != 0).collect();
    for _ in 0..random.between(1, 3) {
        let at = random.pick(&written).copied()?;
        let bit = u8::try_from(random.below(8)).unwrap_or(0);
        disk.flip_bit(&file, at as u64, bit).ok()?;
    }
    // A bit that was flipped twice has its old value.
    (disk.content(&file).ok()? != content).then_some(file)
}

/// True for a file that an earlier repair has set aside.
fn is_aside(name: &str) -> bool {
    name.ends_with(".damaged")
}
