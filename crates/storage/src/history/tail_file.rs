//! Tail files: the partial page of each table at a flush.
//!
//! A page of rows is written once, when it is full. So that a flush makes all rows durable, it writes the
//! rows of the two partial pages to a separate small file, named by the position. A tail file that is
//! complete is never changed. Between a checkpoint's position and its flush, more rows may be appended. If
//! they fill the checkpoint's partial page, its rows are in the page itself, otherwise in the tail file.

use std::sync::Arc;

use bezant_types::HistoryPosition;

use super::error::{HistoryError, RESTORE_FOLDER};
use super::page::{Content, PAGE_SIZE, Page, PageName, Table, payload, place, verify};
use super::row::Row;
use super::rows::{RowWriter, page_error};
use crate::disk::{BLOCK_SIZE, Disk, DiskError, OpenMode};

/// The name of the file for a position.
pub(crate) fn file_name(position: HistoryPosition) -> String {
    format!("history-tail-{:020}-{:020}", position.movements, position.refusals)
}

/// The position in a file's name; `None` for all other names.
pub(crate) fn parse(file: &str) -> Option<HistoryPosition> {
    let (movements, refusals) = file.strip_prefix("history-tail-")?.split_once('-')?;
    let position = HistoryPosition { movements: movements.parse().ok()?, refusals: refusals.parse().ok()? };
    (file_name(position) == file).then_some(position)
}

/// Makes the partial pages durable. On a full disk no earlier file has changed.
pub(crate) fn write(
    disk: &Arc<dyn Disk>,
    movements: &RowWriter<impl Row>,
    refusals: &RowWriter<impl Row>,
) -> Result<HistoryPosition, HistoryError> {
    let no_space = |error| match error {
        DiskError::Full { .. } => HistoryError::NoSpace(error),
        other => HistoryError::Disk(other),
    };
    let position = HistoryPosition { movements: movements.next(), refusals: refusals.next() };
    let name = file_name(position);
    let file = match disk.open(&name, OpenMode::Write) {
        Err(DiskError::NotFound { .. }) => disk.open(&name, OpenMode::Create).map_err(no_space)?,
        // A flush at this position before a crash wrote the same bytes, or some of them.
        other => other?,
    };
    let mut bytes = movements.partial_page().to_vec();
    bytes.extend_from_slice(&refusals.partial_page());
    // If the write is incomplete, the next try at this position overwrites the file. If there is no such try,
    // the next process removes the file with those that no checkpoint needs.
    file.write_at(0, &bytes).map_err(no_space)?;
    file.sync()?;
    disk.sync_folder()?;
    Ok(position)
}

/// The first `count` rows of the partial page `number`, from any file that has them.
///
/// Several files may have them: a crash during a flush leaves a torn file beside the intact one of an earlier
/// flush.
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

/// The rows of the partial page `number` in one file, which must have `count` of them.
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
