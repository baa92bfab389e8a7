//! Tasks of the repository: `cargo run -p xtask -- tidy` and `dist`.
//!
//! `tidy` checks rules that no compiler checks: which crate may depend on which, which outside crates the
//! deterministic crates must not use, which files must not use each other in a circle, how a file begins, how
//! long it is, and which words are refused. The rules are data in `rules`. The checks are functions from text
//! to findings, so every rule has a test with a violation. `tidy` never changes a file. `dist` makes the files
//! that are delivered.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command for the terminal")]

mod dist;
mod edges;
mod files;
mod flags;
mod graph;
mod modules;
mod paths;
mod rules;
mod sections;
mod words;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};

const USAGE: &str = "usage: cargo run -p xtask -- tidy|dist";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments == ["tidy"] {
        return tidy();
    }
    if arguments == ["dist"] {
        return match dist::make(&root()) {
            Ok(made) => {
                println!("{made}");
                ExitCode::SUCCESS
            }
            Err(error) => {
                eprintln!("dist: {error:#}");
                ExitCode::FAILURE
            }
        };
    }
    eprintln!("{USAGE}");
    ExitCode::from(2)
}

/// Prints every finding. The exit code is 0 when there is none.
fn tidy() -> ExitCode {
    match findings(&root()) {
        Ok(findings) if findings.is_empty() => {
            println!("tidy: nothing found");
            ExitCode::SUCCESS
        }
        Ok(findings) => {
            for finding in &findings {
                eprintln!("tidy: {finding}");
            }
            eprintln!("tidy: {} found", findings.len());
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("tidy: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Everything in the repository that breaks a rule, one sentence each.
fn findings(root: &Path) -> Result<Vec<String>> {
    let graph = graph::Graph::of_workspace(root).context("the dependency graph")?;
    let mut findings = edges::check(&graph);
    findings.extend(files::check_tree(root).context("the files")?);
    findings.extend(modules::check_tree(root).context("the modules")?);
    Ok(findings)
}

/// The folder of the workspace.
fn root() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap_or(manifest).to_path_buf()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_repository_is_tidy() {
        let findings = findings(&root()).unwrap();
        assert!(findings.is_empty(), "{}", findings.join("\n"));
    }
}
