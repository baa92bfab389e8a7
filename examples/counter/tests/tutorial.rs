//! The guide contains this program, and the program does what the guide promises: one of three processes is
//! killed, and nothing is lost.

use std::fs;
use std::io::{BufRead, BufReader, Lines, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// The timeout of each step.
const TIMEOUT: Duration = Duration::from_mins(1);

#[test]
fn the_program_is_the_one_of_the_guide() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let guide = fs::read_to_string(root.join("../../docs/guides/embed.md")).expect("the guide");
    let program = fs::read_to_string(root.join("src/main.rs")).expect("the program");
    let pieces = guide.split("```rust\n").skip(1).map(|rest| rest.split("```").next().unwrap_or(rest));
    let pieces: Vec<&str> = pieces.collect();
    assert_eq!(pieces.join("\n"), program, "the pieces of the guide, one after the other, are the program");
}

#[test]
fn the_guide_adds_what_the_program_needs() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |path: &str| fs::read_to_string(root.join(path)).expect("it is there");
    let (guide, manifest) = (read("../../docs/guides/embed.md"), read("Cargo.toml"));
    let mut added: Vec<&str> = guide
        .lines()
        .filter_map(|line| line.trim_start().strip_prefix("cargo add ")?.split_whitespace().next())
        .collect();
    let (_, needed) = manifest.split_once("[dependencies]\n").expect("there are some");
    let needed = needed.lines().take_while(|line| !line.is_empty());
    let mut needed: Vec<&str> = needed.map(|line| line.split(['.', ' ']).next().unwrap_or(line)).collect();
    added.sort_unstable();
    needed.sort_unstable();
    assert_eq!(added, needed);
    let repository = read("../../Cargo.toml");
    let repository = repository.lines().find_map(|line| line.strip_prefix("repository = "));
    let repository = repository.expect("it is set").trim_matches('"');
    assert!(guide.contains(&format!("cargo add bezant-member --git {repository}\n")), "{repository}");
    assert!(root.join("../../crates/member/Cargo.toml").exists(), "the path in the guide exists");
}

/// A process of the program.
struct Process {
    child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

impl Process {
    fn start(folder: &Path, own: &str, others: &[String]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_counter"))
            .arg(folder)
            .arg(own)
            .args(others)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let input = child.stdin.take().expect("it is piped");
        let output = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        let mut process = Self { child, input, output };
        let ready = process.answer().expect("it is ready");
        assert!(ready.starts_with("ready at "), "{ready}");
        process
    }

    fn answer(&mut self) -> Option<String> {
        self.output.next()?.ok()
    }

    /// Writes a line, and returns the answer; `None` when the process is dead.
    fn ask(&mut self, line: &str) -> Option<String> {
        writeln!(self.input, "{line}").ok()?;
        self.answer()
    }

    fn value(&mut self) -> u64 {
        self.ask("value").expect("it runs").parse().expect("a number")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The three processes of the guide.
struct Three {
    folder: PathBuf,
    addresses: Vec<String>,
    processes: Vec<Arc<Mutex<Process>>>,
}

impl Three {
    fn start(folder: &Path) -> Self {
        let listeners: Vec<_> = (0..3).map(|_| TcpListener::bind("127.0.0.1:0").expect("a port")).collect();
        let address = |listener: &TcpListener| listener.local_addr().expect("bound").to_string();
        let addresses: Vec<String> = listeners.iter().map(address).collect();
        drop(listeners);
        let mut three = Self { folder: folder.to_owned(), addresses, processes: Vec::new() };
        for at in 0..3 {
            let process = three.begin(at);
            three.processes.push(Arc::new(Mutex::new(process)));
        }
        three.wait(0, |status| status.matches("Voter").count() == 3);
        three
    }

    /// Starts a process, in the same way each time.
    fn begin(&self, at: usize) -> Process {
        let others = self.addresses[..at].to_vec();
        Process::start(&self.folder.join(at.to_string()), &self.addresses[at], &others)
    }

    fn ask(&self, at: usize, line: &str) -> Option<String> {
        self.processes[at].lock().expect("no panic").ask(line)
    }

    fn wait(&self, at: usize, holds: impl Fn(&str) -> bool) {
        let begun = Instant::now();
        loop {
            let status = self.ask(at, "status").expect("it runs");
            if holds(&status) {
                return;
            }
            assert!(begun.elapsed() < TIMEOUT, "{status}");
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn leader(&self) -> usize {
        self.wait(0, |status| status.contains("leads"));
        let status = self.ask(0, "status").expect("it runs");
        let leads = status.split("; ").find(|node| node.contains("leads")).expect("it was there just now");
        self.addresses.iter().position(|address| leads.starts_with(address.as_str())).expect("one of them")
    }
}

#[test]
fn a_killed_process_loses_nothing_that_was_answered() {
    let folder = tempfile::tempdir().expect("a folder");
    let three = Three::start(folder.path());
    let (answered, asked) = (AtomicU64::new(0), AtomicU64::new(0));
    let is_over = AtomicBool::new(false);
    let leader = three.leader();
    let id = three.processes[leader].lock().expect("no panic").child.id();
    thread::scope(|scope| {
        for at in 0..3 {
            let (three, answered, asked, is_over) = (&three, &answered, &asked, &is_over);
            scope.spawn(move || {
                while !is_over.load(Ordering::Relaxed) {
                    asked.fetch_add(1, Ordering::Relaxed);
                    match three.ask(at, "add 1") {
                        Some(answer) => {
                            answer.parse::<u64>().expect("a number");
                            answered.fetch_add(1, Ordering::Relaxed);
                        }
                        // The process is dead.
                        None => return,
                    }
                }
            });
        }
        let wait_for = |count: u64| {
            let (begun, from) = (Instant::now(), answered.load(Ordering::Relaxed));
            while answered.load(Ordering::Relaxed) < from + count {
                assert!(begun.elapsed() < TIMEOUT, "the others do not continue");
                thread::sleep(Duration::from_millis(5));
            }
        };
        wait_for(100);
        let killed = Command::new("kill").args(["-9", &id.to_string()]).status().expect("it runs");
        assert!(killed.success());
        wait_for(100);
        is_over.store(true, Ordering::Relaxed);
    });
    let (answered, asked) = (answered.into_inner(), asked.into_inner());
    let back = three.begin(leader);
    *three.processes[leader].lock().expect("no panic") = back;
    let values: Vec<u64> = (0..3).map(|at| three.processes[at].lock().expect("no panic").value()).collect();
    assert!(values.iter().all(|value| *value == values[0]), "{values:?}");
    // A command that the dead process did not answer may have been done.
    assert!((answered..=asked).contains(&values[0]), "{answered} answered, {asked} asked, {values:?}");
    assert!(asked - answered <= 1, "only the dead process left a command unanswered");
}
