//! How the history is cut in files, buffers and runs. Fixed for good once a folder exists: the addresses of
//! rows and the borders of runs follow from these numbers.

/// The layout of one table. All sizes are in pages of 4096 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableLayout {
    /// Pages of rows that one run of level 0 indexes; a multiple of `buffer_pages`.
    pub run_pages: u64,
    /// Pages that are written at once.
    pub buffer_pages: u64,
    /// Pages of a file; a multiple of `buffer_pages`.
    pub file_pages: u64,
    /// Pages by which a file grows, ahead of what is written to it.
    pub growth_pages: u64,
}

/// The layout of both tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HistoryOptions {
    /// Movements: 12 rows a page.
    pub movements: TableLayout,
    /// Refusals: 126 rows a page.
    pub refusals: TableLayout,
}

impl Default for HistoryOptions {
    /// 98,304 movements a run, 1 MiB a write, 256 MiB a file; 64,512 refusals a run.
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
    /// Stops the program when the numbers do not fit each other.
    pub(crate) fn check(&self, rows_per_page: u64) {
        assert!(self.buffer_pages > 0, "a write holds a page");
        assert!(self.growth_pages > 0, "a file grows");
        assert!(self.run_pages > 0, "a run indexes something");
        assert!(self.run_pages.is_multiple_of(self.buffer_pages), "the rows of a full run are written");
        assert!(self.file_pages.is_multiple_of(self.buffer_pages), "a write goes to one file");
        assert!(self.run_pages * rows_per_page <= 1 << 20, "a row of a first run has 20 bits");
    }
}
