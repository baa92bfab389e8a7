//! The benchmark's own server: a process of this program on a new folder. It ends with the benchmark.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::child::own_program;

/// How long the server may take to print its address: it first recovers its folder, which may be large.
const START_TIMEOUT: Duration = Duration::from_mins(5);
/// How long the server may take to stop before it is killed.
const STOP_TIMEOUT: Duration = Duration::from_secs(30);
/// Background work counts as complete when the size of the folder has not changed for so long.
const SETTLED_AFTER: Duration = Duration::from_secs(3);
/// The folder is measured after that time even if its size still changes.
const SETTLE_TIMEOUT: Duration = Duration::from_mins(1);

/// The process and its folder. Dropping the value kills the process and removes the folder.
#[derive(Debug)]
pub(super) struct OwnServer {
    folder: PathBuf,
    keep: bool,
    process: Process,
}

/// The running process and its addresses.
#[derive(Debug)]
struct Process {
    child: Child,
    url: String,
    /// Address of the listener for TigerBeetle's clients; `None` if there is none.
    frames: Option<String>,
    complaints: Complaints,
}

/// The end of the server's standard error: printed only when the server fails.
#[derive(Clone, Debug, Default)]
struct Complaints(Arc<Mutex<String>>);

impl Complaints {
    /// How many bytes are kept, at most.
    const SIZE_MAX: usize = 4096;

    fn push(&self, line: &str) {
        let mut text = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        text.push_str(line);
        text.push('\n');
        while text.len() > Self::SIZE_MAX {
            let first_line = text.find('\n').map_or(text.len(), |end| end + 1);
            text.drain(..first_line);
        }
    }

    fn text(&self) -> String {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).trim_end().to_owned()
    }
}

impl OwnServer {
    /// Creates a new folder inside `parent` and starts a server on it.
    pub(super) fn start(parent: &Path, keep: bool, has_frames: bool) -> Result<Self> {
        let folder = parent.join(format!("bezant-bench-{}", std::process::id()));
        fs::create_dir_all(parent).with_context(|| parent.display().to_string())?;
        fs::create_dir(&folder).with_context(|| folder.display().to_string())?;
        let started = spawn(&folder, has_frames);
        if started.is_err() {
            // The folder is empty or holds the files of a failed start; the error already names the cause.
            drop(fs::remove_dir_all(&folder));
        }
        Ok(Self { folder, keep, process: started? })
    }

    /// The server's URL.
    pub(super) fn url(&self) -> &str {
        &self.process.url
    }

    /// The server's address for TigerBeetle's clients, if it has one.
    pub(super) fn frames(&self) -> Option<&str> {
        self.process.frames.as_deref()
    }

    /// Kills the server, as a crash would.
    pub(super) fn kill(&mut self) -> Result<()> {
        self.process.child.kill().context("the server cannot be killed")?;
        self.process.child.wait().context("the server does not end")?;
        Ok(())
    }

    /// Starts the server on the same folder after [`kill`](Self::kill).
    pub(super) fn start_again(&mut self) -> Result<()> {
        self.process = spawn(&self.folder, self.process.frames.is_some())?;
        Ok(())
    }

    /// Peak memory of the server, in bytes; `None` where the system does not report it.
    pub(super) fn memory_peak_bytes(&self) -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.child.id())).ok()?;
        peak_in(&status)
    }

    /// Disk space of its folder, in bytes, after background work has finished.
    pub(super) fn disk_bytes_settled(&self) -> u64 {
        let start = Instant::now();
        let mut size = disk_bytes(&self.folder);
        let mut since = Instant::now();
        while since.elapsed() < SETTLED_AFTER && start.elapsed() < SETTLE_TIMEOUT {
            std::thread::sleep(Duration::from_millis(100));
            let now = disk_bytes(&self.folder);
            if now != size {
                size = now;
                since = Instant::now();
            }
        }
        size
    }

    /// Asks the server to stop and waits for its end; an error when it fails or does not stop in time.
    pub(super) fn stop(mut self) -> Result<()> {
        let pid = i32::try_from(self.process.child.id()).ok().and_then(Pid::from_raw);
        kill_process(pid.context("the server has no process id")?, Signal::TERM)
            .context("the server cannot be asked to stop")?;
        let start = Instant::now();
        while start.elapsed() < STOP_TIMEOUT {
            if let Some(status) = self.process.child.try_wait().context("the server does not end")? {
                let complaints = self.process.complaints.text();
                anyhow::ensure!(
                    status.success(),
                    "the server failed when it stopped: {status}\n{complaints}"
                );
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        bail!("the server did not stop within {STOP_TIMEOUT:?}")
    }
}

impl Drop for OwnServer {
    fn drop(&mut self) {
        // Both fail when the process has ended or the folder is removed already, which is fine.
        drop(self.process.child.kill());
        drop(self.process.child.wait());
        if !self.keep {
            drop(fs::remove_dir_all(&self.folder));
        }
    }
}

/// Starts this program as a server on `folder` and reads its addresses from its output.
fn spawn(folder: &Path, has_frames: bool) -> Result<Process> {
    let mut command = own_program()?;
    command.arg("start").arg("--data-dir").arg(folder).args(["--listen", "127.0.0.1:0"]);
    if has_frames {
        command.args(["--tigerbeetle-listen", "127.0.0.1:0"]);
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().context("no process")?;
    let (sender, addresses) = mpsc::channel();
    for_each_line(child.stdout.take().context("the server has no output")?, move |line| {
        if let Some(address) = address_in(line) {
            // The first address is for gRPC, the second for TigerBeetle's protocol; later ones are not
            // received.
            drop(sender.send(address));
        }
    });
    let complaints = Complaints::default();
    let kept = complaints.clone();
    for_each_line(child.stderr.take().context("the server has no output")?, move |line| kept.push(line));
    let address = || addresses.recv_timeout(START_TIMEOUT).ok();
    if let Some(http) = address()
        && let frames = has_frames.then(address)
        && frames != Some(None)
    {
        let (url, frames) = (format!("http://{http}"), frames.flatten());
        return Ok(Process { child, url, frames, complaints });
    }
    drop(child.kill());
    let status = child.wait().context("the server does not end")?;
    bail!("it ended before it listened: {status}\n{}", complaints.text())
}

/// Reads the output to its end on a thread, so that the server never blocks on a full pipe.
fn for_each_line(output: impl Read + Send + 'static, mut take: impl FnMut(&str) + Send + 'static) {
    std::thread::spawn(move || {
        BufReader::new(output).lines().map_while(Result::ok).for_each(|line| take(&line));
    });
}

/// The address in a line such as `listening on http://127.0.0.1:7070`.
fn address_in(line: &str) -> Option<String> {
    let start = line.find("127.0.0.1:")?;
    let address: String = line[start..]
        .chars()
        .take_while(|letter| letter.is_ascii_digit() || ".:".contains(*letter))
        .collect();
    let (_, port) = address.trim_end_matches(['.', ':']).split_once(':')?;
    port.parse::<u16>().ok().filter(|port| *port != 0).map(|port| format!("127.0.0.1:{port}"))
}

/// The value of `VmHWM` in a process's status, in bytes.
fn peak_in(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

/// Disk space of a folder: the blocks of all its files. A file that is removed meanwhile counts as 0.
fn disk_bytes(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let sizes = entries.map(|entry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => disk_bytes(&entry.path()),
        Ok(metadata) => metadata.blocks() * 512,
        Err(_) => 0,
    });
    sizes.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_found_in_the_servers_output() {
        let line = "Bezant 0.1.0 listens on http://127.0.0.1:41873 (gRPC and REST)";
        assert_eq!(address_in(line).as_deref(), Some("127.0.0.1:41873"));
        assert_eq!(address_in("listens on 127.0.0.1:41873.").as_deref(), Some("127.0.0.1:41873"));
        assert_eq!(address_in("--listen 127.0.0.1:0"), None);
        assert_eq!(address_in("data under ./bezant-data"), None);
    }

    #[test]
    fn complaints_keep_their_end() {
        let complaints = Complaints::default();
        (0..1000).for_each(|number| complaints.push(&format!("line {number}")));
        let text = complaints.text();
        assert!(
            text.len() <= Complaints::SIZE_MAX && text.starts_with("line ") && text.ends_with("line 999")
        );
    }

    #[test]
    fn peak_memory_is_read_in_bytes() {
        assert_eq!(peak_in("Name:\tbezant\nVmHWM:\t    2048 kB\nVmRSS:\t 10 kB\n"), Some(2_097_152));
        assert_eq!(peak_in("Name:\tbezant\n"), None);
    }

    #[test]
    fn a_folder_counts_all_its_blocks() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("inner")).unwrap();
        fs::write(folder.path().join("inner/file"), vec![1; 10_000]).unwrap();
        fs::File::open(folder.path().join("inner/file")).unwrap().sync_all().unwrap();
        assert!(disk_bytes(folder.path()) >= 10_000);
    }
}
