//! A real node for tests: the built program on its own folder and a free port, killed when dropped.

use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

/// A running node.
pub(crate) struct Node {
    child: Child,
    /// The address at which it listens, as `http://127.0.0.1:PORT`.
    pub(crate) url: String,
    /// Its output at the start, up to the empty line.
    pub(crate) greeting: String,
}

/// The built program, without the environment variables that it reads.
pub(crate) fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bezant"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("BEZANT_")) {
        command.env_remove(name);
    }
    command
}

impl Node {
    /// Starts it and waits until it prints where it listens.
    pub(crate) fn start(folder: &Path) -> Self {
        Self::start_with(folder, &[])
    }

    /// The same with more arguments.
    pub(crate) fn start_with(folder: &Path, arguments: &[&str]) -> Self {
        let mut child = program()
            .args(["start", "--listen", "127.0.0.1:0", "--data-dir"])
            .arg(folder)
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let stdout = child.stdout.take().expect("stdout is piped");
        let mut lines = BufReader::new(stdout).lines().map(|line| line.expect("text"));
        let greeting: Vec<String> = lines.by_ref().take_while(|line| !line.is_empty()).collect();
        let greeting = greeting.join("\n");
        let url = greeting.split_once("http://").and_then(|(_, rest)| rest.lines().next());
        let url = format!("http://{}", url.expect("it prints where it listens"));
        // The pipe is read to its end: a full pipe would block the node.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, url, greeting }
    }

    /// The process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Kills it with SIGKILL.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("it was running");
        self.child.wait().expect("it ends");
    }

    /// Waits for its end.
    pub(crate) fn wait(mut self) -> i32 {
        self.child.wait().expect("it ends").code().unwrap_or(-1)
    }

    /// Runs a command against it.
    pub(crate) fn run(&self, arguments: &[&str]) -> Answer {
        Answer::new(program().args(["--server", &self.url]).args(arguments).output())
    }

    /// The output of a command, stdout and stderr in the order in which a terminal shows them.
    pub(crate) fn merged(&self, arguments: &[&str]) -> String {
        let mut file = tempfile::tempfile().expect("a file");
        let copy = || file.try_clone().expect("a copy");
        let mut command = program();
        command.args(["--server", &self.url]).args(arguments).stdout(copy()).stderr(copy());
        command.status().expect("the program runs");
        let mut text = String::new();
        file.seek(SeekFrom::Start(0)).expect("the beginning");
        file.read_to_string(&mut text).expect("text");
        text
    }

    /// Runs a command that must succeed; returns its stdout.
    pub(crate) fn done(&self, arguments: &[&str]) -> String {
        let answer = self.run(arguments);
        assert_eq!(answer.code, 0, "{arguments:?}: {}", answer.stderr);
        answer.stdout
    }

    /// Runs a command that must fail with `code` and one line on stderr; returns the line.
    pub(crate) fn fails(&self, code: i32, arguments: &[&str]) -> String {
        let answer = self.run(arguments);
        assert_eq!(answer.code, code, "{arguments:?}: {}{}", answer.stdout, answer.stderr);
        assert_eq!(answer.stderr.lines().count(), 1, "{arguments:?}: {}", answer.stderr);
        answer.stderr
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The result of a command.
pub(crate) struct Answer {
    /// Its exit code.
    pub(crate) code: i32,
    /// Its stdout.
    pub(crate) stdout: String,
    /// Its stderr.
    pub(crate) stderr: String,
}

impl Answer {
    /// The result of a command that ended.
    pub(crate) fn new(output: std::io::Result<Output>) -> Self {
        let output = output.expect("the program runs");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
        }
    }
}
