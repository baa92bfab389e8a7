//! Rows for transfer to another replica: the rows that follow those that it has.
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 16 | first position: movements u64, refusals u64 |
//! | 16 | 8 | number of movements u32, of refusals u32 |
//! | 24 | ... | the movements, then the refusals, in the format of the disk |
//! | end - 8 | 8 | checksum of everything before |

use bezant_codec::{Reader, checksum};
use bezant_types::{HistoryPosition, Movement, Refusal, RowBatch};
use bytes::{BufMut, Bytes, BytesMut};
use thiserror::Error;

use super::error::HistoryError;
use super::reader::HistoryReader;
use super::row::Row;
use super::view::{Groups, View};

const HEAD_SIZE: usize = 24;
const CHECKSUM_SIZE: usize = 8;

/// The bytes are not a valid chunk.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("the rows are not what was sent")]
pub struct RowChunkError;

/// Rows that follow a position.
#[derive(Clone, Debug)]
pub struct RowChunk {
    /// Position of the first row of each table.
    pub from: HistoryPosition,
    /// Movements from `from` on.
    pub movements: RowBatch<Movement>,
    /// Refusals from `from` on.
    pub refusals: RowBatch<Refusal>,
}

impl HistoryReader {
    /// The rows from position `from` up to `until`: at least one row, and as many as fit into `size_max`
    /// bytes. The chunk is empty when there are no rows between the positions. Rows after the current end are
    /// not sent.
    pub fn chunk(
        &self,
        from: HistoryPosition,
        until: HistoryPosition,
        size_max: usize,
    ) -> Result<RowChunk, HistoryError> {
        let (movements, refusals) = self.views();
        let movements = rows(&movements, from.movements..until.movements, size_max)?;
        let taken = movements.len() * <Movement as Row>::SIZE;
        // Refusals fill the space that the movements leave.
        let left = if taken == 0 { size_max } else { size_max.saturating_sub(taken) };
        let refusals = if taken > 0 && left < <Refusal as Row>::SIZE {
            Vec::new()
        } else {
            rows(&refusals, from.refusals..until.refusals, left)?
        };
        Ok(RowChunk { from, movements: RowBatch::new(movements), refusals: RowBatch::new(refusals) })
    }
}

fn rows<R: Row>(
    view: &View<R>,
    range: std::ops::Range<u64>,
    size_max: usize,
) -> Result<Vec<R>, HistoryError> {
    let mut rows = Vec::new();
    if range.is_empty() {
        return Ok(rows);
    }
    view.scan(&Groups::new(), range, false, |_, row| {
        rows.push(row);
        (rows.len() + 1) * R::SIZE <= size_max
    })?;
    Ok(rows)
}

impl RowChunk {
    /// The chunk's bytes for the wire.
    ///
    /// # Panics
    /// When there are more than 2^32 rows.
    pub fn encode(&self) -> Bytes {
        let count = |count: usize| u32::try_from(count).expect("invariant: a chunk is limited");
        let size =
            self.movements.len() * <Movement as Row>::SIZE + self.refusals.len() * <Refusal as Row>::SIZE;
        let mut bytes = BytesMut::with_capacity(HEAD_SIZE + size + CHECKSUM_SIZE);
        bytes.put_u64_le(self.from.movements);
        bytes.put_u64_le(self.from.refusals);
        bytes.put_u32_le(count(self.movements.len()));
        bytes.put_u32_le(count(self.refusals.len()));
        put_rows(&mut bytes, &self.movements);
        put_rows(&mut bytes, &self.refusals);
        let checksum = checksum(&bytes);
        bytes.put_u64_le(checksum);
        bytes.freeze()
    }

    /// Decodes bytes from the wire.
    pub fn decode(bytes: &[u8]) -> Result<Self, RowChunkError> {
        let (content, tail) =
            bytes.split_last_chunk::<CHECKSUM_SIZE>().map(|(it, tail)| (it, *tail)).ok_or(RowChunkError)?;
        if u64::from_le_bytes(tail) != checksum(content) {
            return Err(RowChunkError);
        }
        let mut reader = Reader::new(content);
        let wrong = |_| RowChunkError;
        let from = HistoryPosition {
            movements: reader.u64().map_err(wrong)?,
            refusals: reader.u64().map_err(wrong)?,
        };
        let movements = usize::try_from(reader.u32().map_err(wrong)?).map_err(|_| RowChunkError)?;
        let refusals = usize::try_from(reader.u32().map_err(wrong)?).map_err(|_| RowChunkError)?;
        let rest = &content[HEAD_SIZE..];
        let size = movements.checked_mul(<Movement as Row>::SIZE).ok_or(RowChunkError)?;
        let (for_movements, for_refusals) = rest.split_at_checked(size).ok_or(RowChunkError)?;
        if Some(for_refusals.len()) != refusals.checked_mul(<Refusal as Row>::SIZE) {
            return Err(RowChunkError);
        }
        Ok(Self { from, movements: read_rows(for_movements)?, refusals: read_rows(for_refusals)? })
    }
}

fn put_rows<R: Row>(bytes: &mut BytesMut, rows: &[R]) {
    for row in rows {
        let at = bytes.len();
        bytes.put_bytes(0, R::SIZE);
        row.write(&mut bytes[at..]);
    }
}

fn read_rows<R: Row>(bytes: &[u8]) -> Result<RowBatch<R>, RowChunkError> {
    let rows: Option<Vec<R>> = bytes.chunks_exact(R::SIZE).map(R::read).collect();
    rows.map(RowBatch::new).ok_or(RowChunkError)
}
