//! Golden scripts: what is written to a log, what happens to its disk, and what the next opening finds or
//! refuses. Segments have 64 KiB: a block for the header, 14 for frames, one for the seal; or they grow to
//! that size.
//!
//! | command | what it does |
//! |---|---|
//! | `open checkpoint=0` | opens the log, reads all entries, and compares them with what was appended |
//! | `open first=16384` | the same, and the first segment of a log has that size |
//! | `append 100 9000 term=1` | stages entries with payloads of these sizes |
//! | `flush` · `mark` · `prepare` | makes them durable; records that they are acknowledged; makes the next file |
//! | `note 3` | entries up to 3 are committed |
//! | `truncate 3` · `release 2` | removes the entries after 3; removes the segments up to entry 2 |
//! | `plan_reset 9 term=2` · `cancel_reset` · `reset 9 term=2` | the log restarts after a checkpoint of another replica |
//! | `power_fails at=2` · `fails at=2` | during the second operation from now on the power fails, or this operation alone does |
//! | `capacity 70000` · `capacity` | the files together may have so many bytes, or any number |
//! | `cut_power seed=1` | the power was off: what was not synced survives in part; the process is gone |
//! | `kill` | the process is gone, and everything that it wrote is visible |
//! | `flip 1 8212 bit=0` · `zero 1 8192 512` | flips a bit of the segment that begins with entry 1; sets bytes to zero |
//! | `shorten 1 8192` · `remove 1` · `rename 1 2` · `copy 1 2` | changes the segment's file |
//! | `copy_block 1 12288 1 8192` | copies a block from one place to another |
//! | `version 1 9` | gives the segment another format version |
//! | `repair checkpoint=0 term=0` | repairs what the last opening refused |
//! | `files` · `frames 1` · `inspect checkpoint=0` | what the folder and a segment hold, and a report of both |
#![allow(clippy::unwrap_used, reason = "a test fails at the first error")]

mod common;

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::Write as _;
use std::sync::Arc;

use bezant_consensus::LogEntry;
use bezant_storage::disk::Disk;
use bezant_storage::log::{Log, LogError, LogOptions, inspect, inspect_frames, repair};
use bezant_storage::{FaultPlan, MemoryDisk};
use bezant_types::{LogIndex, Term};
use common::{BLOCK, OPTIONS, blank, entry};
use goldenscript::{Command, Context};

#[derive(Default)]
struct Runner {
    disk: MemoryDisk,
    log: Option<Log>,
    /// The last entry that was appended at each index.
    appended: BTreeMap<LogIndex, LogEntry>,
    refused: Option<LogError>,
}

/// The arguments of a command: positional ones, then keys.
struct Arguments {
    words: Vec<String>,
    keys: Vec<(String, String)>,
}

impl Arguments {
    fn new(command: &Command) -> Self {
        let mut arguments = command.consume_args();
        let words = std::iter::from_fn(|| arguments.next_pos().map(str::to_owned)).collect();
        let keys = std::iter::from_fn(|| arguments.next_key());
        let keys = keys.map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        Self { words, keys }
    }

    fn number(&self, at: usize) -> Result<u64, Box<dyn Error>> {
        Ok(self.words.get(at).ok_or("an argument is missing")?.parse()?)
    }

    fn offset(&self, at: usize) -> Result<usize, Box<dyn Error>> {
        Ok(usize::try_from(self.number(at)?)?)
    }

    fn index(&self) -> Result<LogIndex, Box<dyn Error>> {
        Ok(LogIndex(self.number(0)?))
    }

    fn key(&self, key: &str, otherwise: u64) -> Result<u64, Box<dyn Error>> {
        let found = self.keys.iter().find(|(known, _)| known == key);
        Ok(found.map_or(Ok(otherwise), |(_, value)| value.parse())?)
    }

    /// The segment that begins with the entry of that argument.
    fn file(&self, at: usize) -> Result<String, Box<dyn Error>> {
        Ok(format!("log-{:016x}.bzl", self.number(at)?))
    }
}

/// Entries as `1..3@1 4@2`: indexes, and their term.
fn ranges(entries: &[LogEntry]) -> String {
    let runs = entries.chunk_by(|one, next| one.term == next.term);
    let text = |run: &[LogEntry]| {
        let (first, last) = (run[0].index, run[run.len() - 1].index);
        let range = if first == last { first.to_string() } else { format!("{first}..{last}") };
        format!("{range}@{}", run[0].term)
    };
    let texts: Vec<String> = runs.map(text).collect();
    if texts.is_empty() { "none".to_owned() } else { texts.join(" ") }
}

impl Runner {
    fn contents(&self) -> Vec<(String, Vec<u8>)> {
        let names = self.disk.list().unwrap();
        names.into_iter().map(|name| (name.clone(), self.disk.content(&name).unwrap())).collect()
    }

    fn open(&mut self, checkpoint: u64, segment_size_first: u64) -> String {
        self.log = None;
        let before = self.contents();
        let options = LogOptions { segment_size_first, ..OPTIONS };
        let opened = Log::open(Arc::new(self.disk.clone()), options, LogIndex(checkpoint));
        let (log, mut recovered) = match opened {
            Ok(opened) => opened,
            Err(error) => return self.refuse(error, checkpoint, &before),
        };
        let mut text = String::new();
        if let Some(cut) = &recovered.cut {
            writeln!(text, "cut {} at {}: {} bytes, {}", cut.file, cut.offset, cut.bytes, cut.reason)
                .unwrap();
        }
        let mut found = Vec::new();
        loop {
            match recovered.entries.next() {
                Ok(Some(entry)) => found.push(entry),
                Ok(None) => break,
                Err(error) => {
                    return text
                        + &format!("reads {}, then ", ranges(&found))
                        + &self.note(error, checkpoint);
                }
            }
        }
        for entry in &found {
            assert_eq!(self.appended.get(&entry.index), Some(entry), "an entry is read as it was appended");
        }
        let committed = recovered.committed.max(recovered.entries.committed());
        let (last, term) = (recovered.last_index, recovered.last_term);
        let of = ranges(&found);
        writeln!(text, "entries {of}, log ends with {last}@{term}, committed {committed}").unwrap();
        self.log = Some(log);
        text
    }

    fn refuse(&mut self, error: LogError, checkpoint: u64, before: &[(String, Vec<u8>)]) -> String {
        assert!(before == self.contents(), "an opening that is refused changes nothing");
        self.note(error, checkpoint)
    }

    fn note(&mut self, error: LogError, checkpoint: u64) -> String {
        let summary = inspect(&self.disk, LogIndex(checkpoint)).unwrap();
        assert!(summary.damage.contains(&error), "an inspection reports {error}");
        let text = error.to_string();
        // The advice is the same for every damage.
        let text = text.split("; nothing was changed").next().unwrap_or_default();
        let text = format!("refused: {text}\n");
        self.refused = Some(error);
        text
    }

    fn write(&mut self, name: &str, arguments: &Arguments) -> Result<String, Box<dyn Error>> {
        let term = Term(arguments.key("term", 1)?);
        let log = self.log.as_mut().ok_or("the log is not open")?;
        let done = match name {
            "append" => {
                let mut done = Ok(());
                for at in 0..arguments.words.len() {
                    let entry = LogEntry { term, ..entry(log.last_index().0 + 1, arguments.offset(at)?) };
                    done = log.append(&entry);
                    if done.is_ok() {
                        self.appended.insert(entry.index, entry);
                    }
                }
                done
            }
            "flush" => log.flush().map(|_| ()),
            "mark" => log.mark(),
            "prepare" => log.prepare(),
            "note" => {
                log.note_committed(arguments.index()?);
                Ok(())
            }
            "truncate" => log.truncate(arguments.index()?),
            "release" => log.release(arguments.index()?),
            "plan_reset" => log.plan_reset(arguments.index()?, term),
            "cancel_reset" => log.cancel_reset(),
            "reset" => log.reset(arguments.index()?, term),
            _ => return Err(format!("no command {name}").into()),
        };
        let (last, durable) = (log.last_index(), log.durable_index());
        Ok(match done {
            Ok(()) => format!("{name}: last {last}, durable {durable}\n"),
            Err(error) => format!("{name}: last {last}, durable {durable}, {error}\n"),
        })
    }

    fn change_file(&mut self, name: &str, arguments: &Arguments) -> Result<String, Box<dyn Error>> {
        let file = arguments.file(0)?;
        match name {
            "flip" => {
                let bit = u8::try_from(arguments.key("bit", 0)?)?;
                self.disk.flip_bit(&file, arguments.number(1)?, bit)?;
            }
            "zero" => blank(&self.disk, &file, arguments.offset(1)?, arguments.offset(2)?),
            "shorten" => {
                let content = self.disk.content(&file)?;
                self.disk.put(&file, &content[..arguments.offset(1)?]);
            }
            "remove" => self.disk.remove(&file)?,
            "rename" => self.disk.rename(&file, &arguments.file(1)?)?,
            "copy" => self.disk.put(&arguments.file(1)?, &self.disk.content(&file)?),
            "copy_block" => {
                let (from, to) = (arguments.offset(1)?, arguments.offset(3)?);
                let block = self.disk.content(&file)?[from..from + BLOCK].to_vec();
                let mut content = self.disk.content(&arguments.file(2)?)?;
                content[to..to + BLOCK].copy_from_slice(&block);
                self.disk.put(&arguments.file(2)?, &content);
            }
            "version" => {
                let mut content = self.disk.content(&file)?;
                content[8] = u8::try_from(arguments.number(1)?)?;
                let checksum = bezant_codec::checksum_seeded(0, &content[..BLOCK - 8]);
                content[BLOCK - 8..BLOCK].copy_from_slice(&checksum.to_le_bytes());
                self.disk.put(&file, &content);
            }
            _ => return Err(format!("no command {name}").into()),
        }
        Ok(String::new())
    }

    fn plan(
        &self,
        arguments: &Arguments,
        change: impl FnOnce(&mut FaultPlan, u64),
    ) -> Result<(), Box<dyn Error>> {
        let mut plan = self.disk.faults();
        change(&mut plan, self.disk.counts().total() + arguments.key("at", 1)?);
        self.disk.set_faults(plan);
        Ok(())
    }

    fn show_frames(&self, file: &str) -> String {
        let mut text = String::new();
        let result = inspect_frames(&self.disk, file, &mut |frame| {
            let (kind, index, size) = (frame.kind, frame.index, frame.payload_size);
            let content = match kind {
                bezant_storage::log::FrameKind::Padding => format!("committed {}", frame.term),
                bezant_storage::log::FrameKind::Mark => format!("of entry {index}"),
                _ => format!("{index}@{}, {size} bytes", frame.term),
            };
            let (offset, flush, durable) = (frame.offset, frame.flush_number, frame.durable_index);
            writeln!(text, "{offset}: {kind:?} {content}, flush {flush}, durable {durable}").unwrap();
        });
        if let Err(error) = result {
            writeln!(text, "{error}").unwrap();
        }
        text
    }

    fn show_summary(&self, checkpoint: LogIndex) -> Result<String, Box<dyn Error>> {
        let before = self.contents();
        let summary = inspect(&self.disk, checkpoint)?;
        assert!(before == self.contents(), "an inspection changes nothing");
        let mut text = String::new();
        for segment in &summary.segments {
            let (file, first, last) = (&segment.file, segment.first_index, segment.last_index);
            let seal = if segment.sealed { ", sealed" } else { "" };
            let (number, end) = (segment.sequence, segment.end_offset);
            writeln!(text, "segment {number}, {file}: entries {first}..{last}, ends at {end}{seal}")?;
        }
        if let Some(torn) = &summary.torn {
            writeln!(text, "torn: {} at {}, {}", torn.file, torn.offset, torn.reason)?;
        }
        if summary.is_rewriting {
            writeln!(text, "a change of the log is recorded and not complete")?;
        }
        for damage in &summary.damage {
            let damage = damage.to_string();
            writeln!(text, "damage: {}", damage.split("; nothing was changed").next().unwrap_or_default())?;
        }
        Ok(text)
    }
}

impl goldenscript::Runner for Runner {
    type Command = Command;

    fn run(&mut self, command: &Command, _: &Context) -> Result<String, Box<dyn Error>> {
        let arguments = &Arguments::new(command);
        match &*command.name {
            "open" => {
                let first_size = arguments.key("first", OPTIONS.segment_size)?;
                return Ok(self.open(arguments.key("checkpoint", 0)?, first_size));
            }
            "power_fails" => self.plan(arguments, |plan, at| plan.crash_at = Some(at))?,
            "fails" => self.plan(arguments, |plan, at| plan.fail_at = Some(at))?,
            "capacity" => {
                let bytes = arguments.number(0).ok();
                self.plan(arguments, |plan, _| plan.capacity_bytes = bytes)?;
            }
            "cut_power" => {
                self.log = None;
                self.disk = self.disk.crash(arguments.key("seed", 0)?);
            }
            "kill" => {
                self.log = None;
                self.disk = self.disk.restart();
            }
            "repair" => {
                let damage = self.refused.take().ok_or("nothing was refused")?;
                let checkpoint = (LogIndex(arguments.key("checkpoint", 0)?), Term(arguments.key("term", 0)?));
                return Ok(match repair(&self.disk, checkpoint, &damage) {
                    Ok(kept) => format!("keeps entries up to {kept}\n"),
                    Err(error) => format!("{error}\n"),
                });
            }
            "files" => {
                let mut text = String::new();
                for (name, content) in self.contents() {
                    writeln!(text, "{name}: {} bytes", content.len())?;
                }
                return Ok(text);
            }
            "frames" => return Ok(self.show_frames(&arguments.file(0)?)),
            "inspect" => return self.show_summary(LogIndex(arguments.key("checkpoint", 0)?)),
            name @ ("append" | "flush" | "mark" | "prepare" | "note" | "truncate" | "release"
            | "plan_reset" | "cancel_reset" | "reset") => return self.write(name, arguments),
            name => return self.change_file(name, arguments),
        }
        Ok(String::new())
    }
}

#[test]
fn golden_scripts_match() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/scripts");
    let mut failed = Vec::new();
    let scripts = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut scripts: Vec<_> = scripts.collect();
    scripts.sort();
    for script in scripts {
        let name = script.file_name().map(|name| name.to_string_lossy().into_owned());
        // goldenscript panics on a difference: catch it, so that the other scripts run as well.
        let run = std::panic::catch_unwind(|| goldenscript::run(&mut Runner::default(), &script));
        match run {
            Ok(Ok(())) => {}
            Ok(Err(error)) => failed.push(format!("{name:?}: {error}")),
            Err(_) => failed.push(format!("{name:?}: see above")),
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}
