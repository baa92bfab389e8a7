//! Opens a table: lists its files, selects those that belong to the position, and rebuilds what is missing.
//!
//! The caller's position is authoritative. Rows after it count as absent, whatever is on the disk: their
//! pages are overwritten when the rows are appended again. Runs that extend past it are removed. From the
//! other runs the largest usable ones are opened. Where none is usable, first runs are built from the rows.

use std::ops::Range;
use std::sync::Arc;

use bezant_types::HistoryPosition;

use super::error::HistoryError;
use super::job::build_from_files;
use super::options::TableLayout;
use super::page::Table;
use super::row::Row;
use super::rows::{RowFiles, RowWriter};
use super::run::{Run, RunError, RunName};
use super::run_writer::UNFINISHED;
use super::state::TableState;
use super::tail::{Tail, identities};
use super::tail_file;
use crate::disk::{BLOCK_SIZE, Disk};

/// The files of a history.
#[derive(Debug, Default)]
pub(crate) struct Folder {
    /// Runs of both tables.
    pub(crate) runs: Vec<RunName>,
    /// Positions of the tail files.
    pub(crate) tails: Vec<HistoryPosition>,
}

impl Folder {
    /// Lists the files and removes unfinished ones.
    pub(crate) fn read(disk: &dyn Disk) -> Result<Self, HistoryError> {
        let mut folder = Self::default();
        for file in disk.list()? {
            let run = |file: &str| {
                RunName::parse(file, Table::Movements).or_else(|| RunName::parse(file, Table::Refusals))
            };
            if let Some(name) = run(&file) {
                folder.runs.push(name);
            } else if let Some(position) = tail_file::parse(&file) {
                folder.tails.push(position);
            } else if file.strip_suffix(UNFINISHED).and_then(run).is_some() {
                disk.remove(&file)?;
            }
        }
        Ok(folder)
    }
}

/// Opens a table whose next row is `end`.
pub(crate) fn open_table<R: Row>(
    disk: &Arc<dyn Disk>,
    layout: TableLayout,
    end: u64,
    folder: &Folder,
) -> Result<(TableState<R>, RowWriter<R>), HistoryError> {
    layout.check(R::PER_PAGE);
    let block_rows = layout.run_pages * R::PER_PAGE;
    let blocks = end / block_rows;
    let full_pages = end / R::PER_PAGE;
    let partial_count = end % R::PER_PAGE;
    let files = RowFiles::open(&**disk, layout, full_pages)?;
    let runs = open_runs(disk, &files, folder, blocks, block_rows)?;

    let first = blocks * block_rows;
    let mut rows = files.read_rows(first / R::PER_PAGE, full_pages)?;
    let partial = partial_rows(&**disk, layout, full_pages, partial_count, folder)?;
    rows.extend_from_slice(&partial);
    let mut tail = Tail::new(first, block_rows);
    let identities = identities(first, &rows);
    tail.push(rows.into(), &identities);
    assert_eq!(tail.end(), end, "the tail ends at the position");

    let writer = RowWriter::new(Arc::clone(disk), layout, end, &partial);
    Ok((TableState { files, runs: runs.into(), tail }, writer))
}

/// The first `count` rows of page `page`; at the position, the page is partly filled.
fn partial_rows<R: Row>(
    disk: &dyn Disk,
    layout: TableLayout,
    page: u64,
    count: u64,
    folder: &Folder,
) -> Result<Vec<R>, HistoryError> {
    if count == 0 {
        return Ok(Vec::new());
    }
    // Later rows may have filled the page before the flush: then it is in the file of rows.
    if let Ok(files) = RowFiles::<R>::open(disk, layout, page + 1)
        && files.read_pages(page, &mut [0; BLOCK_SIZE]).is_ok()
    {
        let mut rows = files.read_rows(page, page + 1)?;
        rows.truncate(super::page::place(count));
        return Ok(rows);
    }
    tail_file::read(disk, &folder.tails, page, count)
}

/// Opens runs that cover the first `blocks` blocks, and removes all other runs.
fn open_runs<R: Row>(
    disk: &Arc<dyn Disk>,
    files: &RowFiles<R>,
    folder: &Folder,
    blocks: u64,
    block_rows: u64,
) -> Result<Vec<Arc<Run>>, HistoryError> {
    let names: Vec<RunName> = folder.runs.iter().copied().filter(|name| name.table == R::TABLE).collect();
    let mut runs: Vec<Arc<Run>> = Vec::new();
    let mut next = 0;
    while next < blocks {
        let fits = |name: &&RunName| name.blocks().start == next && name.blocks().end <= blocks;
        let mut fitting: Vec<&RunName> = names.iter().filter(fits).collect();
        fitting.sort_by_key(|name| std::cmp::Reverse(name.level));
        let mut opened = None;
        for name in fitting {
            opened = open_run(&**disk, *name, block_rows)?;
            if opened.is_some() {
                break;
            }
        }
        let run = match opened {
            Some(run) => run,
            None => build_from_files(disk, files, next, block_rows)?,
        };
        next = run.name.blocks().end;
        runs.push(Arc::new(run));
    }
    for name in names {
        if !runs.iter().any(|run| run.name == name) {
            disk.remove(&name.file())?;
        }
    }
    Ok(runs)
}

/// Opens a run; `None` when it must be rebuilt.
fn open_run(disk: &dyn Disk, name: RunName, block_rows: u64) -> Result<Option<Run>, HistoryError> {
    let blocks = name.blocks();
    let rows: Range<u64> = blocks.start * block_rows..blocks.end * block_rows;
    match Run::open(disk, name, &rows) {
        Ok(run) => Ok(Some(run)),
        Err(RunError::Damaged) => Ok(None),
        Err(RunError::Version(version)) => Err(HistoryError::Version { file: name.file(), version }),
        Err(RunError::Disk(error)) => Err(HistoryError::Disk(error)),
    }
}
