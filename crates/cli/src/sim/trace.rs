//! `bezant sim --trace` and `--html`: draws one run, as text or as a page.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Context;
use bezant_sim::{SimOptions, TraceWindow, TracedRun, simulate_traced};
use clap::Args;

use super::Totals;
use crate::exit::Failure;
use crate::output::{self, Format};

/// Which part of a run is drawn, and how.
#[derive(Debug, Args)]
pub(super) struct TraceArgs {
    /// Draw the run as text: time runs downwards, each node has a lane, each message an arrow
    #[arg(long, conflicts_with = "seeds")]
    trace: bool,
    /// Write the drawing as one self-contained page for a browser
    #[arg(long, value_name = "FILE", conflicts_with = "seeds")]
    html: Option<PathBuf>,
    /// Draw from this simulated millisecond on [default: the beginning]
    #[arg(long, value_name = "MS")]
    from: Option<u64>,
    /// Draw up to this simulated millisecond [default: the end]
    #[arg(long, value_name = "MS")]
    until: Option<u64>,
    /// Draw only these nodes, such as 1,2 (text)
    #[arg(long, value_name = "NUMBERS", value_delimiter = ',', requires = "trace")]
    nodes: Vec<u64>,
    /// Draw heartbeats too (text; a page has a box for them)
    #[arg(long, requires = "trace")]
    all: bool,
}

impl TraceArgs {
    /// An error for `--from` or `--until` without a drawing.
    pub(super) fn check(&self) -> Result<(), Failure> {
        let is_idle = !self.is_asked() && (self.from.is_some() || self.until.is_some());
        let text = "--from and --until select what is drawn: add --trace or --html FILE";
        if is_idle { Err(Failure::Usage(text.to_owned())) } else { Ok(()) }
    }

    /// True when one run is to be drawn.
    pub(super) const fn is_asked(&self) -> bool {
        self.trace || self.html.is_some()
    }

    /// Runs one seed, draws it, and then prints its totals.
    pub(super) fn run(&self, options: SimOptions, format: Format) -> Result<ExitCode, Failure> {
        let begun = Instant::now();
        let until_millis = self.until.unwrap_or(u64::MAX);
        let window =
            TraceWindow { from_millis: self.from.unwrap_or(0), until_millis, ..TraceWindow::default() };
        let TracedRun { result, trace } = simulate_traced(options, window);
        if self.trace {
            let drawing = trace.drawing().with_nodes(&self.nodes);
            let drawing = if self.all { drawing.with_heartbeats() } else { drawing };
            // With JSON, stdout holds only documents.
            match format {
                Format::Table => output::line(drawing.to_string().trim_end())?,
                Format::Json => output::note(drawing.to_string().trim_end()),
            }
        }
        if let Some(path) = &self.html {
            fs::write(path, trace.html())
                .with_context(|| format!("the page {} cannot be written", path.display()))?;
            output::note(&format!("{} events in {}", trace.len(), path.display()));
        }
        let mut totals = Totals { seeds: 1, seconds: begun.elapsed().as_secs_f64(), ..Totals::default() };
        match &result {
            Ok(report) => totals.add(report),
            Err(reason) => {
                totals.failures = 1;
                output::note(&format!("seed {}: {reason}", options.seed));
            }
        }
        totals.report(format)?;
        // With a deliberate bug, the run must fail.
        let is_good = result.is_err() == options.bug.is_some();
        Ok(if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}
