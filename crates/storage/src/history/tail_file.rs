//! Tail files: what a flush found of the page that was only begun, of each table.
//!
//! A page of rows is written once, when it is full. So that a flush can promise all rows, it puts those of
//! the two begun pages in a small file of their own, named by the position; a file is never written twice.
//! A checkpoint is cut before the flush that goes with it: the rows of its begun page are then in the page
//! itself, if that is full by now, or in the tail file.

use std::sync::Arc;

use bezant_types::HistoryPosition;

use super::error::{HistoryError, RESTORE_FOLDER};
use super::page::{Content, PAGE_SIZE, Page, PageName, Table, payload, place, verify};
use super::row::Row;
use super::rows::{RowWriter, page_error};
use crate::disk::{BLOCK_SIZE, Disk, DiskError, OpenMode};

/// The file of a position.
pub(crate) fn file_name(position: HistoryPosition) -> String {
    format!("history-tail-{:020}-{:020}", position.movements, position.refusals)
}

/// The position that a file is named by.
pub(crate) fn parse(file: &str) -> Option<HistoryPosition> {
    let (movements, refusals) = file.strip_prefix("history-tail-")?.split_once('-')?;
    let position = HistoryPosition { movements: movements.parse().ok()?, refusals: refusals.parse().ok()? };
    (file_name(position) == file).then_some(position)
}

/// Makes the begun pages durable. Where there is no room, no earlier file has changed.
pub(crate) fn write(
    disk: &Arc<dyn Disk>,
    movements: &RowWriter<impl Row>,
    refusals: &RowWriter<impl Row>,
) -> Result<HistoryPosition, HistoryError> {
    let no_room = |error| match error {
        DiskError::Full { .. } => HistoryError::NoRoom(error),
        other => HistoryError::Disk(other),
    };
    let position = HistoryPosition { movements: movements.next(), refusals: refusals.next() };
    let name = file_name(position);
    let file = match disk.open(&name, OpenMode::Write) {
        Err(DiskError::NotFound { .. }) => disk.open(&name, OpenMode::Create).map_err(no_room)?,
        // A flush at this position before a crash wrote the same bytes, or some of them.
        other => other?,
    };
    let mut bytes = movements.begun_page().to_vec();
    bytes.extend_from_slice(&refusals.begun_page());
    // A piece that was written is written over by the next try, or removed as any file that no checkpoint needs.
    file.write_at(0, &bytes).map_err(no_room)?;
    file.sync()?;
    disk.sync_folder()?;
    Ok(position)
}

/// The first `count` rows of the begun page `number`, from any of the files that has them.
///
/// Several may: a crash during a flush leaves a torn one beside the whole one of an earlier flush.
pub(crate) fn read<R: Row>(
    disk: &dyn Disk,
    files: &[HistoryPosition],
    number: u64,
    count: u64,
) -> Result<Vec<R>, HistoryError> {
    let mut result =
        Err(HistoryError::Damaged { file: "history-tail".to_owned(), offset: 0, advice: RESTORE_FOLDER });
    for position in files {
        let end = match R::TABLE {
            Table::Movements => position.movements,
            Table::Refusals => position.refusals,
        };
        if end / R::PER_PAGE == number && end % R::PER_PAGE >= count {
            result = read_file(disk, &file_name(*position), number, end % R::PER_PAGE);
            if result.is_ok() {
                break;
            }
        }
    }
    let mut rows = result?;
    rows.truncate(place(count));
    Ok(rows)
}

/// The rows of the begun page `number` in one file, which must be `count`.
fn read_file<R: Row>(disk: &dyn Disk, file: &str, number: u64, count: u64) -> Result<Vec<R>, HistoryError> {
    let offset = (R::TABLE as u64 - 1) * PAGE_SIZE;
    let damaged = || HistoryError::Damaged { file: file.to_owned(), offset, advice: RESTORE_FOLDER };
    let mut bytes = [0; BLOCK_SIZE];
    disk.open(file, OpenMode::Read)?.read_at(offset, &mut bytes).map_err(|error| match error {
        DiskError::EndOfFile { .. } => damaged(),
        other => HistoryError::Disk(other),
    })?;
    let page: &Page = &bytes;
    let name = PageName { table: R::TABLE, content: Content::Tail, run: 0, number };
    let held =
        verify(page, name).map_err(|error| page_error(error, file.to_owned(), offset, RESTORE_FOLDER))?;
    if u64::from(held) != count {
        return Err(damaged());
    }
    let rows = payload(page).chunks_exact(R::SIZE).take(place(count));
    rows.map(|bytes| R::read(bytes).ok_or_else(damaged)).collect()
}
