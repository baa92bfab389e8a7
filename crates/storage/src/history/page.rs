//! Pages: the unit of 4096 bytes that is written, checked and read in every file of the history.
//!
//! The header of a page contains its identity: the format version, the table, the kind of content, the run
//! and the page number. The checksum is seeded with the page number. So a reader detects a page that the disk
//! wrote to, or read from, the wrong place, as it detects a flipped bit. The layout is in
//! docs/formats/history.md.

use bezant_codec::checksum_seeded;

use crate::disk::BLOCK_SIZE;

/// Bytes of the header.
pub(crate) const HEADER_SIZE: usize = 64;
/// Bytes after the header.
pub(crate) const PAYLOAD_SIZE: usize = BLOCK_SIZE - HEADER_SIZE;
/// The size of a page, for file offsets.
pub(crate) const PAGE_SIZE: u64 = BLOCK_SIZE as u64;
/// The format that this program writes and reads.
const VERSION: u16 = 1;

/// One page.
pub(crate) type Page = [u8; BLOCK_SIZE];

/// The table to which a page belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Table {
    Movements = 1,
    Refusals = 2,
}

impl Table {
    /// The table's name, as a part of file names.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Movements => "movements",
            Self::Refusals => "refusals",
        }
    }

    /// True for a table that queries search by time: its runs contain pages of timestamps.
    pub(crate) const fn has_timestamps(self) -> bool {
        matches!(self, Self::Movements)
    }
}

/// The content of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Content {
    /// A full page of rows of the table.
    Rows = 0,
    /// The rows of a page that was not full at a flush.
    Tail = 1,
    /// Postings: each key with the numbers of the rows that contain it.
    Postings = 2,
    /// The first timestamp of every page of rows.
    Timestamps = 3,
    /// Blocks of the run's filter over ids and resolutions.
    Filter = 4,
    /// The first key and row of every page of postings.
    Directory = 5,
    /// The sizes of the other parts of the run.
    Footer = 6,
}

/// The identity of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PageName {
    pub(crate) table: Table,
    pub(crate) content: Content,
    /// The run (the sorted index file) to which the page belongs: the level in the upper 8 bits, the number
    /// in the others. 0 for pages of rows.
    pub(crate) run: u64,
    /// The page number. Pages of rows are counted over all files of the table, other pages within their file.
    pub(crate) number: u64,
}

/// Why bytes are not the expected page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PageError {
    /// A wrong checksum or identity.
    Damaged,
    /// The page has another format version than this program reads; this is the version found.
    Version(u16),
}

/// Overwrites the first 64 bytes with the header. `count` is how many rows or bytes of the payload are in
/// use; the content determines which.
pub(crate) fn seal(page: &mut Page, name: PageName, count: u32) {
    let [v0, v1] = VERSION.to_le_bytes();
    page[8..12].copy_from_slice(&[v0, v1, name.table as u8, name.content as u8]);
    page[12..16].copy_from_slice(&count.to_le_bytes());
    page[16..24].copy_from_slice(&name.number.to_le_bytes());
    page[24..32].copy_from_slice(&name.run.to_le_bytes());
    page[32..HEADER_SIZE].fill(0);
    let sum = checksum_seeded(name.number, &page[8..]);
    page[..8].copy_from_slice(&sum.to_le_bytes());
}

/// Checks that the bytes are the page `name`; returns the `count` with which it was sealed.
pub(crate) fn verify(page: &Page, name: PageName) -> Result<u32, PageError> {
    if u64_at(page, 0) != checksum_seeded(name.number, &page[8..]) {
        return Err(PageError::Damaged);
    }
    let version = u16::from_le_bytes([page[8], page[9]]);
    if version != VERSION {
        return Err(PageError::Version(version));
    }
    let is_expected = page[10] == name.table as u8
        && page[11] == name.content as u8
        && u64_at(page, 16) == name.number
        && u64_at(page, 24) == name.run;
    if !is_expected {
        return Err(PageError::Damaged);
    }
    Ok(u32::from_le_bytes([page[12], page[13], page[14], page[15]]))
}

/// The bytes after the header.
pub(crate) fn payload(page: &Page) -> &[u8; PAYLOAD_SIZE] {
    page.last_chunk().expect("invariant: a page is longer than its payload")
}

/// The bytes after the header, for writing.
pub(crate) fn payload_mut(page: &mut Page) -> &mut [u8; PAYLOAD_SIZE] {
    page.last_chunk_mut().expect("invariant: a page is longer than its payload")
}

/// The integer at offset `at`, which must be in range.
pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut value = [0; 8];
    value.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(value)
}

/// The integer at offset `at`, which must be in range.
pub(crate) fn u128_at(bytes: &[u8], at: usize) -> u128 {
    let mut value = [0; 16];
    value.copy_from_slice(&bytes[at..at + 16]);
    u128::from_le_bytes(value)
}

/// Converts a `u64` to an index into memory.
///
/// # Panics
/// When `number` does not fit in `usize`.
pub(crate) fn place(number: u64) -> usize {
    usize::try_from(number).expect("invariant: an index in memory fits in usize")
}

/// The bytes as pages; an incomplete page at the end is left out.
pub(crate) fn pages(bytes: &[u8]) -> &[Page] {
    bytes.as_chunks().0
}

/// The bytes as pages, for writing; an incomplete page at the end is left out.
pub(crate) fn pages_mut(bytes: &mut [u8]) -> &mut [Page] {
    bytes.as_chunks_mut().0
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: PageName = PageName { table: Table::Movements, content: Content::Rows, run: 3, number: 7 };

    #[test]
    fn a_page_verifies_only_under_its_own_name() {
        let mut page = [9; BLOCK_SIZE];
        seal(&mut page, NAME, 12);
        assert_eq!(verify(&page, NAME), Ok(12));
        assert_eq!(verify(&page, PageName { number: 8, ..NAME }), Err(PageError::Damaged));
        assert_eq!(verify(&page, PageName { run: 4, ..NAME }), Err(PageError::Damaged));
        assert_eq!(verify(&page, PageName { table: Table::Refusals, ..NAME }), Err(PageError::Damaged));
        assert_eq!(verify(&page, PageName { content: Content::Tail, ..NAME }), Err(PageError::Damaged));
    }

    #[test]
    fn every_byte_counts() {
        let mut page = [0; BLOCK_SIZE];
        seal(&mut page, NAME, 0);
        for at in 0..BLOCK_SIZE {
            page[at] ^= 1;
            assert_eq!(verify(&page, NAME), Err(PageError::Damaged), "byte {at}");
            page[at] ^= 1;
        }
        assert_eq!(verify(&[0; BLOCK_SIZE], NAME), Err(PageError::Damaged), "a page that was never written");
    }

    #[test]
    fn a_newer_version_is_not_reported_as_damage() {
        let mut page = [0; BLOCK_SIZE];
        seal(&mut page, NAME, 0);
        page[8] = 2;
        let sum = checksum_seeded(NAME.number, &page[8..]);
        page[..8].copy_from_slice(&sum.to_le_bytes());
        assert_eq!(verify(&page, NAME), Err(PageError::Version(2)));
    }
}
