//! The sizes of files, buffers and runs of the history. They must not change once a folder exists: the
//! addresses of rows and the boundaries of runs depend on them.

/// The layout of one table. All sizes are in pages of 4096 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableLayout {
    /// Pages of rows in one run of level 0; a multiple of `buffer_pages`.
    pub run_pages: u64,
    /// Pages per write.
    pub buffer_pages: u64,
    /// Pages per file; a multiple of `buffer_pages`.
    pub file_pages: u64,
    /// Pages by which a file grows, before they are written to.
    pub growth_pages: u64,
}

/// The layout of both tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HistoryOptions {
    /// Movements: 12 rows per page.
    pub movements: TableLayout,
    /// Refusals: 126 rows per page.
    pub refusals: TableLayout,
}

impl Default for HistoryOptions {
    /// 98,304 movements per run, 1 MiB per write, 256 MiB per file; 64,512 refusals per run.
    fn default() -> Self {
        Self {
            movements: TableLayout {
                run_pages: 1 << 13,
                buffer_pages: 1 << 8,
                file_pages: 1 << 16,
                growth_pages: 1 << 12,
            },
            refusals: TableLayout {
                run_pages: 1 << 9,
                buffer_pages: 1 << 6,
                file_pages: 1 << 16,
                growth_pages: 1 << 8,
            },
        }
    }
}

impl TableLayout {
    /// Panics when the sizes do not fit together.
    pub(crate) fn check(&self, rows_per_page: u64) {
        assert!(self.buffer_pages > 0, "a write has at least one page");
        assert!(self.growth_pages > 0, "a file grows by at least one page");
        assert!(self.run_pages > 0, "a run indexes at least one page");
        assert!(self.run_pages.is_multiple_of(self.buffer_pages), "the rows of a full run are written");
        assert!(self.file_pages.is_multiple_of(self.buffer_pages), "a write goes to one file");
        assert!(self.run_pages * rows_per_page <= 1 << 20, "a row of a first run has 20 bits");
    }
}
