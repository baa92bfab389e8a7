//! This program as its own child process: the nodes of the demo, and the server of the benchmark.

use std::process::Command;

use anyhow::{Context, Result};

/// Lines of a node's log that are printed when the node fails.
const LINES: usize = 8;

/// This program, without the `BEZANT_` variables of the environment: they are meant for the user's own nodes.
pub(crate) fn own_program() -> Result<Command> {
    let mut command = Command::new(std::env::current_exe().context("the path of this program is not known")?);
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("BEZANT_")) {
        command.env_remove(name);
    }
    Ok(command)
}

/// The last lines of a log, each on a new line and indented.
pub(crate) fn last_lines(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    let last = &lines[lines.len().saturating_sub(LINES)..];
    last.iter().flat_map(|line| ["\n  ", line]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_log_is_shown() {
        let log: Vec<String> = (0..20).map(|number| format!("line {number}")).collect();
        let shown = last_lines(&log.join("\n"));
        assert!(shown.starts_with("\n  line 12\n") && shown.ends_with("\n  line 19"), "{shown}");
        assert_eq!(last_lines(""), "");
    }
}
