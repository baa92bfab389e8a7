//! `bezant inspect`: reads the log and the checkpoints of a stopped node in full, and never writes to them.

use std::path::{Path, PathBuf};

use bezant_runtime::FileDisk;
use bezant_storage::checkpoint::{self, CheckpointSummary};
use bezant_storage::log::{self, FrameSummary, LogSummary, SegmentSummary};
use bezant_types::LogIndex;
use clap::Args;
use serde::Serialize;

use crate::exit::Failure;
use crate::json::{Text, moment};
use crate::output;
use crate::output::{Align, Format};

/// The lock file: every folder has it after the first start of a node.
const LOCK_NAME: &str = "lock";

/// Arguments of an inspection.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bezant inspect ./bezant-data
  bezant inspect ./bezant-data --frames SEGMENT     every frame of one segment
  bezant inspect ./bezant-data -o json

The node must be stopped. Ends with code 5 if anything is damaged, and names the \
damage, the file and the offset; with code 4 if the folder holds no data of Bezant.")]
pub(crate) struct InspectArgs {
    /// Data folder of a stopped node
    folder: PathBuf,
    /// Segment of the log whose frames to list: its name, or its path
    #[arg(long, value_name = "SEGMENT")]
    frames: Option<String>,
}

/// Prints the files of the folder, or the frames of one segment; an error if anything is damaged.
pub(crate) fn run(format: Format, args: &InspectArgs) -> Result<(), Failure> {
    if !args.folder.is_dir() {
        return Err(Failure::NotFound(format!("there is no folder {}", args.folder.display())));
    }
    let folder = args.folder.display();
    let disk = FileDisk::open_read_only(&args.folder)
        .map_err(|error| Failure::Unavailable(format!("{error}; is the node stopped?")))?;
    let damaged = |error: &dyn std::fmt::Display| Failure::Damaged(format!("{folder}: {error}"));
    if let Some(segment) = &args.frames {
        let Some(name) = name_in(&args.folder, segment) else {
            return Err(Failure::NotFound(format!("there is no segment {segment} in {folder}")));
        };
        return frames(format, &disk, &name);
    }
    let checkpoints = checkpoint::inspect(&disk).map_err(|error| damaged(&error))?;
    let newest = checkpoints
        .iter()
        .filter(|summary| summary.content.is_some())
        .map(|summary| summary.index)
        .max()
        .unwrap_or(LogIndex(0));
    let log = log::inspect(&disk, newest).map_err(|error| damaged(&error))?;
    if checkpoints.is_empty() && log.segments.is_empty() && !args.folder.join(LOCK_NAME).exists() {
        return Err(Failure::NotFound(format!("{folder} holds no data of Bezant")));
    }
    match format {
        Format::Table => print_tables(&checkpoints, &log)?,
        Format::Json => print_json(&checkpoints, &log)?,
    }
    let damages = checkpoints.iter().filter_map(|summary| summary.damage.as_ref().map(ToString::to_string));
    match damages.chain(log.damage.iter().map(ToString::to_string)).next() {
        None => Ok(()),
        Some(damage) => Err(damaged(&damage)),
    }
}

/// The name of a file of the folder, which may be written as a path to it.
fn name_in(folder: &Path, segment: &str) -> Option<String> {
    let folder_path = folder.canonicalize().ok()?;
    let is_in = |path: &Path| path.canonicalize().is_ok_and(|path| path.parent() == Some(&*folder_path));
    let path = [folder.join(segment), PathBuf::from(segment)]
        .into_iter()
        .find(|path| path.is_file() && is_in(path))?;
    Some(path.file_name()?.to_string_lossy().into_owned())
}

fn print_tables(checkpoints: &[CheckpointSummary], log: &LogSummary) -> Result<(), Failure> {
    let row = |summary: &CheckpointSummary| {
        let (time, movements) = summary.content.as_ref().map_or_else(
            || ("-".to_owned(), "-".to_owned()),
            |content| (moment(content.time), content.history.movements.to_string()),
        );
        vec![
            summary.file.clone(),
            summary.size_bytes.to_string(),
            summary.index.to_string(),
            movements,
            time,
            checkpoint_state(summary).to_owned(),
        ]
    };
    let headings = [
        ("CHECKPOINT", Align::Left),
        ("BYTES", Align::Right),
        ("INDEX", Align::Right),
        ("MOVEMENTS", Align::Right),
        ("TIME", Align::Left),
        ("STATE", Align::Left),
    ];
    output::table(&headings, &checkpoints.iter().map(row).collect::<Vec<_>>(), "no checkpoints")?;
    output::line("")?;
    let row = |segment: &SegmentSummary| {
        vec![
            segment.file.clone(),
            segment.size_bytes.to_string(),
            segment.first_index.to_string(),
            segment.last_index.to_string(),
            segment.entries.to_string(),
            segment.payload_bytes.to_string(),
            segment.flushes.to_string(),
            segment.end_offset.to_string(),
            if segment.sealed { "sealed" } else { "open" }.to_owned(),
        ]
    };
    let headings = [
        ("SEGMENT", Align::Left),
        ("BYTES", Align::Right),
        ("FIRST", Align::Right),
        ("LAST", Align::Right),
        ("ENTRIES", Align::Right),
        ("PAYLOAD", Align::Right),
        ("FLUSHES", Align::Right),
        ("END", Align::Right),
        ("STATE", Align::Left),
    ];
    output::table(&headings, &log.segments.iter().map(row).collect::<Vec<_>>(), "no segments")?;
    if let Some(torn) = &log.torn {
        output::line("")?;
        output::line(&format!(
            "torn end: {} bytes of {} from offset {} ({}); the next start cuts them, and no client had an answer for them",
            torn.bytes, torn.file, torn.offset, torn.reason
        ))?;
    }
    Ok(())
}

const fn checkpoint_state(summary: &CheckpointSummary) -> &'static str {
    if summary.is_unfinished {
        "unfinished"
    } else if summary.damage.is_some() {
        "damaged"
    } else {
        "whole"
    }
}

/// All files, as one document.
#[derive(Serialize)]
struct FilesJson {
    checkpoints: Vec<CheckpointJson>,
    segments: Vec<SegmentJson>,
    torn: Option<TornJson>,
    damage: Vec<String>,
}

#[derive(Serialize)]
struct CheckpointJson {
    file: String,
    size_bytes: u64,
    index: u64,
    state: &'static str,
    time: Option<Text<u64>>,
    movements: Option<u64>,
    content_bytes: Option<u64>,
    damage: Option<String>,
}

#[derive(Serialize)]
struct SegmentJson {
    file: String,
    size_bytes: u64,
    first_index: u64,
    last_index: u64,
    entries: u64,
    payload_bytes: u64,
    flushes: u64,
    end_offset: u64,
    sealed: bool,
}

#[derive(Serialize)]
struct TornJson {
    file: String,
    offset: u64,
    bytes: u64,
    reason: &'static str,
}

fn print_json(checkpoints: &[CheckpointSummary], log: &LogSummary) -> Result<(), Failure> {
    let checkpoint = |summary: &CheckpointSummary| CheckpointJson {
        file: summary.file.clone(),
        size_bytes: summary.size_bytes,
        index: summary.index.0,
        state: checkpoint_state(summary),
        time: summary.content.as_ref().map(|content| Text(content.time.0)),
        movements: summary.content.as_ref().map(|content| content.history.movements),
        content_bytes: summary.content.as_ref().map(|content| content.content_bytes),
        damage: summary.damage.as_ref().map(ToString::to_string),
    };
    let segment = |segment: &SegmentSummary| SegmentJson {
        file: segment.file.clone(),
        size_bytes: segment.size_bytes,
        first_index: segment.first_index.0,
        last_index: segment.last_index.0,
        entries: segment.entries,
        payload_bytes: segment.payload_bytes,
        flushes: segment.flushes,
        end_offset: segment.end_offset,
        sealed: segment.sealed,
    };
    output::json(&FilesJson {
        checkpoints: checkpoints.iter().map(checkpoint).collect(),
        segments: log.segments.iter().map(segment).collect(),
        torn: log.torn.as_ref().map(|torn| TornJson {
            file: torn.file.clone(),
            offset: torn.offset,
            bytes: torn.bytes,
            reason: torn.reason,
        }),
        damage: log.damage.iter().map(ToString::to_string).collect(),
    })
}

/// One frame.
#[derive(Serialize)]
struct FrameJson {
    offset: u64,
    kind: String,
    index: u64,
    term: u64,
    payload_size: u32,
    flush: u64,
    durable_index: u64,
}

fn frames(format: Format, disk: &FileDisk, segment: &str) -> Result<(), Failure> {
    let mut frames: Vec<FrameSummary> = Vec::new();
    let result = log::inspect_frames(disk, segment, &mut |frame| frames.push(*frame));
    let kind = |frame: &FrameSummary| format!("{:?}", frame.kind).to_lowercase();
    if format == Format::Json {
        for frame in &frames {
            output::json(&FrameJson {
                offset: frame.offset,
                kind: kind(frame),
                index: frame.index.0,
                term: frame.term.0,
                payload_size: frame.payload_size,
                flush: frame.flush_number,
                durable_index: frame.durable_index.0,
            })?;
        }
    } else {
        let row = |frame: &FrameSummary| {
            vec![
                frame.offset.to_string(),
                kind(frame),
                frame.index.to_string(),
                frame.term.to_string(),
                frame.payload_size.to_string(),
                frame.flush_number.to_string(),
                frame.durable_index.to_string(),
            ]
        };
        let headings = [
            ("OFFSET", Align::Right),
            ("KIND", Align::Left),
            ("INDEX", Align::Right),
            ("TERM", Align::Right),
            ("BYTES", Align::Right),
            ("FLUSH", Align::Right),
            ("DURABLE", Align::Right),
        ];
        output::table(&headings, &frames.iter().map(row).collect::<Vec<_>>(), "no frames")?;
    }
    result.map_err(|error| Failure::Damaged(error.to_string()))
}
