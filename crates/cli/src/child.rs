//! This program as a child of itself: the nodes of the demo, and the server of the benchmark.

use std::process::Command;

use anyhow::{Context, Result};

/// Lines of a log that are told when its node fails.
const LINES: usize = 8;

/// This same program. It takes nothing from the environment: what stands there is meant for the user's own nodes.
pub(crate) fn own_program() -> Result<Command> {
    let mut command =
        Command::new(std::env::current_exe().context("this program does not know its own file")?);
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("BEZANT_")) {
        command.env_remove(name);
    }
    Ok(command)
}

/// The end of a log, each line with some room before it.
pub(crate) fn last_lines(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    let last = &lines[lines.len().saturating_sub(LINES)..];
    last.iter().flat_map(|line| ["\n  ", line]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_log_is_told() {
        let log: Vec<String> = (0..20).map(|number| format!("line {number}")).collect();
        let told = last_lines(&log.join("\n"));
        assert!(told.starts_with("\n  line 12\n") && told.ends_with("\n  line 19"), "{told}");
        assert_eq!(last_lines(""), "");
    }
}
