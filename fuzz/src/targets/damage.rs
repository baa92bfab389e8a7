//! Files with the damage that faulty disks and wrong operations cause. An input is a list of instructions of
//! eight bytes; each damages one place of a valid folder. So a mutated input causes other damage, and the
//! inputs stay small.

use bezant_storage::MemoryDisk;

/// Size of an instruction in bytes: kind, file, offset (3), length, value (2).
const SIZE: usize = 8;
/// Instructions of an input, at most.
const COUNT_MAX: usize = 32;
const BLOCK: usize = 4096;

/// The files of a valid folder.
pub(super) type Image = Vec<(String, Vec<u8>)>;

/// Every file of the disk.
pub(super) fn image_of(disk: &MemoryDisk) -> Image {
    let names = bezant_storage::disk::Disk::list(disk).expect("a memory disk without faults lists its files");
    names
        .into_iter()
        .map(|name| {
            let content = disk.content(&name).expect("a listed file is there");
            (name, content)
        })
        .collect()
}

/// Inputs with one instruction each: flips of single bits all over the folder, and one input for each other
/// kind of damage.
pub(super) fn seeds() -> Vec<Vec<u8>> {
    let bit = |place: u32| {
        let [low, middle, high, _] = (place * 211).to_le_bytes();
        let [file, bit, ..] = place.to_le_bytes();
        vec![0, file % 4, low, middle, high, 0, bit, 0]
    };
    let coarse = (1..8).map(|kind| vec![kind, 1, 0, 0x20, 0, 3, 1, 0]);
    std::iter::once(Vec::new()).chain((0..200).map(bit)).chain(coarse).collect()
}

/// True when the input flips a single bit and does nothing else.
pub(super) fn is_one_bit(input: &[u8]) -> bool {
    input.len() == SIZE && input[0].is_multiple_of(8)
}

/// The folder with the damage of `input`.
pub(super) fn damaged(image: &Image, input: &[u8]) -> MemoryDisk {
    let mut image = image.clone();
    for instruction in input.as_chunks::<SIZE>().0.iter().take(COUNT_MAX) {
        damage(&mut image, *instruction);
    }
    let disk = MemoryDisk::new();
    for (name, content) in image {
        disk.put(&name, &content);
    }
    disk
}

fn damage(image: &mut Image, [kind, file, low, middle, high, size, first, second]: [u8; SIZE]) {
    if image.is_empty() {
        return;
    }
    let (file, value) = (usize::from(file) % image.len(), usize::from(u16::from_le_bytes([first, second])));
    let content = &mut image[file].1;
    let offset = usize::try_from(u32::from_le_bytes([low, middle, high, 0])).unwrap_or(0);
    let offset = offset % content.len().max(1);
    let end = content.len().min(offset + usize::from(size) + 1);
    match kind % 8 {
        0 => content.iter_mut().skip(offset).take(1).for_each(|byte| *byte ^= 1 << (first % 8)),
        1 => content[offset..end].fill(first),
        2 => {
            let from = offset - offset % 512;
            let end = content.len().min(from + 512 * (usize::from(size) + 1));
            content[from..end].fill(0);
        }
        3 => copy_block(image, value, file, offset),
        4 => content.truncate(offset),
        5 => drop(image.remove(file)),
        6 => content[offset..end].iter_mut().for_each(|byte| *byte = byte.wrapping_add(first)),
        _ => content.resize(content.len() + usize::from(size) * 512, first),
    }
}

/// Simulates a disk that writes a block to the wrong place.
fn copy_block(image: &mut Image, value: usize, file: usize, offset: usize) {
    let source = &image[value % image.len()].1;
    let from = (value / image.len()) % (source.len() / BLOCK).max(1) * BLOCK;
    let Some(block) = source.get(from..from + BLOCK).map(<[u8]>::to_vec) else { return };
    let place = offset - offset % BLOCK;
    if let Some(target) = image[file].1.get_mut(place..place + BLOCK) {
        target.copy_from_slice(&block);
    }
}
