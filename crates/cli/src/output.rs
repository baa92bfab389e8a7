//! The output of commands: tables, or JSON for programs. Answers go to stdout, everything else to stderr.
//!
//! A single record is one JSON document; a list or a stream is one document a line. Numbers of more than 53
//! bits are strings, amounts are in minor units.

use std::borrow::Cow;
use std::io::{self, IsTerminal, Write};

use bezant_api::name::{escaped, printable};
use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use serde::Serialize;

use crate::exit::Failure;

/// The format of answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// Aligned columns.
    Table,
    /// JSON, a list as one document a line.
    Json,
}

/// The alignment of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Align {
    /// For names and words.
    Left,
    /// For numbers.
    Right,
}

/// Prints one line.
pub(crate) fn line(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{text}").and_then(|()| stdout.flush()).map_err(Failure::of_output)
}

/// Prints one line to stderr.
pub(crate) fn note(text: &str) {
    // An error of stderr cannot be reported anywhere.
    drop(writeln!(io::stderr().lock(), "{}", printable(text)));
}

/// Prints one JSON document to stderr.
pub(crate) fn note_json(value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string(value).map_err(anyhow::Error::from)?;
    drop(writeln!(io::stderr().lock(), "{}", printable_json(&text)));
    Ok(())
}

/// A note as JSON.
#[derive(Debug, Serialize)]
struct Note<'text> {
    note: &'text str,
}

/// Prints a note to stderr: a line, or with `-o json` a document.
pub(crate) fn remark(format: Format, text: &str) -> Result<(), Failure> {
    match format {
        Format::Table => {
            note(text);
            Ok(())
        }
        Format::Json => note_json(&Note { note: text }),
    }
}

/// Prints one JSON document on one line.
pub(crate) fn json(value: &impl Serialize) -> Result<(), Failure> {
    line(&printable_json(&serde_json::to_string(value).map_err(anyhow::Error::from)?))
}

/// JSON in which every invisible or ambiguous letter is escaped: it has the same meaning, and is safe for a
/// terminal. Such letters occur only in strings.
fn printable_json(text: &str) -> Cow<'_, str> {
    escaped(text, |escaped, letter| {
        let units = letter.encode_utf16(&mut [0; 2]).to_vec();
        escaped.extend(units.into_iter().map(|unit| format!("\\u{unit:04x}")));
    })
}

/// Prints rows under their headings; without rows, prints `nothing` to stderr.
pub(crate) fn table(headings: &[(&str, Align)], rows: &[Vec<String>], nothing: &str) -> Result<(), Failure> {
    if rows.is_empty() {
        note(nothing);
        return Ok(());
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(headings.iter().map(|(heading, _)| *heading));
    table.add_rows(rows.iter().map(|row| row.iter().map(|cell| printable(cell))));
    for (column, (_, align)) in table.column_iter_mut().zip(headings) {
        column.set_padding((0, 2));
        if *align == Align::Right {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    trimmed(&table)
}

/// Prints the fields of one record, one a line.
pub(crate) fn fields(rows: &[(&str, String)]) -> Result<(), Failure> {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table
        .add_rows(rows.iter().map(|(field, value)| vec![(*field).to_owned(), printable(value).into_owned()]));
    table.column_iter_mut().for_each(|column| {
        column.set_padding((0, 2));
    });
    trimmed(&table)
}

fn trimmed(table: &Table) -> Result<(), Failure> {
    let lines: Vec<String> = table.lines().map(|line| line.trim_end().to_owned()).collect();
    line(&lines.join("\n"))
}

/// True when the user asks for no colours (<https://no-color.org>).
pub(crate) fn is_plain() -> bool {
    std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
}

/// A progress bar on a terminal, hidden elsewhere. `length` 0 = unknown.
pub(crate) fn progress(length: u64, what: &str) -> ProgressBar {
    let target =
        if io::stderr().is_terminal() { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let (bar, template) = if length == 0 {
        (ProgressBar::no_length(), "{spinner} {human_pos} {msg}, {elapsed}, {rate}")
    } else {
        (
            ProgressBar::new(length),
            "{bar:30} {percent:>3} % {human_pos} of {human_len} {msg}, {elapsed}, {rate}",
        )
    };
    bar.set_draw_target(target);
    bar.set_message(what.to_owned());
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style.with_key("rate", rate)),
        Err(_) => bar,
    }
}

/// Steps a second, without a fraction.
fn rate(state: &ProgressState, text: &mut dyn std::fmt::Write) {
    // An error here affects only the progress bar.
    write!(text, "{:.0}/s", state.per_sec()).unwrap_or_default();
}
