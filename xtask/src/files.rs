//! Checks files: how a module begins, how long it is, what the source of a core crate must not name, and that
//! no text refers to a path outside of the repository.

use std::fs;
use std::path::{Component, Path};

use anyhow::{Context, Result};

use crate::rules::{CORE, CORE_NEVER_NAMES, NO_FLOAT, NO_STD, SERVER_NEVER_NAMES, STORAGE_NEVER_NAMES};
use crate::{flags, sections, words};

/// Maximum number of lines of a source file.
const LINES_MAX: usize = 600;

/// Folders whose files are not written by hand.
const SKIPPED: &[&str] = &["target", "bezant-data", "corpus", "artifacts", "node_modules"];

/// The first parts of absolute paths that exist only on one machine.
const MACHINE_FOLDERS: &[&str] = &["home", "root", "Users", "work", "mnt"];

/// Checks every text file below `root`, and returns what breaks a rule.
pub(crate) fn check_tree(root: &Path) -> Result<Vec<String>> {
    let mut findings = Vec::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if path.is_dir() {
                if !SKIPPED.contains(&name.as_str()) && (!name.starts_with('.') || name == ".ci") {
                    folders.push(path);
                }
            } else if is_text(&path) {
                let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
                let place = path.strip_prefix(root).unwrap_or(&path);
                findings.extend(check_text(place, &text));
                if place.starts_with("crates") && place.extension().is_some_and(|extension| extension == "rs")
                {
                    let read = |file: &str| fs::read_to_string(root.join(file)).ok();
                    sections::check(&place.display(), &text, &read, &mut findings);
                }
            }
        }
    }
    findings.sort();
    Ok(findings)
}

fn is_text(path: &Path) -> bool {
    let extension = path.extension().unwrap_or_default().to_string_lossy();
    ["rs", "toml", "md", "proto", "sh", "sql", "html", "yml"].contains(&extension.as_ref())
        || path.ends_with(".ci/run")
        || is_golden_script(path)
}

/// True for a golden script: it has no extension, since its name is a sentence.
fn is_golden_script(path: &Path) -> bool {
    path.extension().is_none() && path.iter().any(|part| part == "scripts" || part == "golden")
}

/// Everything that breaks a rule in the file at `place`, a path from the root.
fn check_text(place: &Path, text: &str) -> Vec<String> {
    let mut findings = Vec::new();
    check_paths(place, text, &mut findings);
    words::check(place, text, &mut findings);
    if place.extension().is_some_and(|extension| extension == "rs") {
        check_source(place, text, &mut findings);
    }
    if place.file_name().is_some_and(|name| name == "clippy.toml") && place.components().count() > 1 {
        findings
            .push(format!("{}: a second clippy.toml replaces the root's: write it there", place.display()));
    }
    if place.ends_with("Cargo.toml") && text.contains("[package]") && !has_workspace_lints(text) {
        findings.push(format!("{}: lacks [lints] workspace = true", place.display()));
    }
    findings
}

fn has_workspace_lints(manifest: &str) -> bool {
    // A manifest that begins its own workspace cannot use the lints of this one.
    manifest.contains("[lints]\nworkspace = true") || manifest.contains("\n[workspace]")
}

fn check_source(place: &Path, text: &str, findings: &mut Vec<String>) {
    let shown = place.display();
    let lines = text.lines().count();
    if lines > LINES_MAX {
        findings.push(format!("{shown}: {lines} lines, {LINES_MAX} are allowed: split it into two modules"));
    }
    let Some(name) = crate_of(place) else { return };
    if !text.starts_with("//! ") {
        findings.push(format!("{shown}: does not begin with a module comment (//!)"));
    }
    if place.ends_with("src/lib.rs") {
        for (crates, attribute) in [(NO_STD, "#![no_std]"), (NO_FLOAT, "#![deny(clippy::float_arithmetic)]")]
        {
            if crates.contains(&name) && !text.contains(attribute) {
                findings.push(format!("{shown}: lacks {attribute}"));
            }
        }
    }
    let never: &[&str] = match name {
        "storage" => STORAGE_NEVER_NAMES,
        "server" => SERVER_NEVER_NAMES,
        _ if CORE.contains(&name) => CORE_NEVER_NAMES,
        _ => &[],
    };
    let is_tests = |part: &str| part == "tests" || part.ends_with("tests.rs");
    let is_test = place.iter().any(|part| part.to_str().is_some_and(is_tests));
    let code = if is_test { "" } else { text.split("#[cfg(test)]").next().unwrap_or_default() };
    flags::check(&shown, name, code, findings);
    for (number, line) in (1..).zip(code.lines()) {
        if line.trim_start().starts_with("//") {
            continue;
        }
        for forbidden in never.iter().filter(|forbidden| line.contains(**forbidden)) {
            findings.push(format!("{shown}:{number}: {name} never reaches {forbidden}"));
        }
    }
}

/// The crate of a module: `crates/NAME/src/...`.
fn crate_of(place: &Path) -> Option<&str> {
    let mut parts = place.iter().map(|part| part.to_str().unwrap_or_default());
    match (parts.next(), parts.next(), parts.next()) {
        (Some("crates"), Some(name), Some("src")) => Some(name),
        _ => None,
    }
}

/// Finds paths outside of the repository: in a folder of one machine, or with more `../` than there are
/// folders.
fn check_paths(place: &Path, text: &str, findings: &mut Vec<String>) {
    let depth = place.components().filter(|part| matches!(part, Component::Normal(_))).count() - 1;
    for (number, line) in (1..).zip(text.lines()) {
        let leaves_upwards = line.contains(&"../".repeat(depth + 1));
        let is_on_one_machine = MACHINE_FOLDERS.iter().any(|folder| names_folder(line, folder));
        if leaves_upwards || is_on_one_machine {
            findings.push(format!("{}:{number}: names a path outside of the repository", place.display()));
        }
    }
}

/// True when `line` contains the absolute path `/folder/`, and not as a part of a longer path or an address.
fn names_folder(line: &str, folder: &str) -> bool {
    let path = format!("/{folder}/");
    line.match_indices(&path).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !before.is_some_and(|letter| letter.is_alphanumeric() || "_-.$}~*".contains(letter))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(place: &str, text: &str) -> Vec<String> {
        check_text(Path::new(place), text)
    }

    #[test]
    fn a_good_module_has_no_finding() {
        let text =
            "//! What it is.\n// never std::fs\nfn one() {}\n#[cfg(test)]\nmod tests { use std::fs; }\n";
        assert_eq!(found("crates/types/src/id.rs", text), [""; 0]);
    }

    #[test]
    fn golden_scripts_are_texts() {
        for text in ["crates/raft/src/tests/scripts/one_leads", "crates/replica/tests/golden/one_leads"] {
            assert!(is_text(Path::new(text)), "{text}");
        }
        assert!(!is_text(Path::new("crates/raft/one_leads")) && !is_text(Path::new("docs/scripts/a.png")));
    }

    #[test]
    fn a_module_without_prose_is_found() {
        let found = found("crates/cli/src/pay.rs", "use std::fs;\n");
        assert_eq!(found, ["crates/cli/src/pay.rs: does not begin with a module comment (//!)"]);
    }

    #[test]
    fn a_long_file_is_found_in_tests_too() {
        let text = "fn one() {}\n".repeat(LINES_MAX + 1);
        assert_eq!(found("crates/ledger/tests/golden.rs", &text).len(), 1);
    }

    #[test]
    fn a_clock_in_a_core_crate_is_found() {
        let text = "//! A crate.\nuse std::time::Instant;\n";
        assert_eq!(
            found("crates/replica/src/timer.rs", text),
            ["crates/replica/src/timer.rs:2: replica never reaches std::time"]
        );
        assert_eq!(found("crates/runtime/src/timer.rs", text), [""; 0]);
    }

    #[test]
    fn a_file_in_storage_is_found() {
        let text = "//! A crate.\nlet file = std::fs::File::open(name);\n";
        assert_eq!(found("crates/storage/src/log/mod.rs", text).len(), 1);
    }

    #[test]
    fn a_task_local_in_the_server_is_found() {
        let text = "//! A module.\ntokio::task_local! { static CURRENT: u64; }\n";
        assert_eq!(
            found("crates/server/src/service.rs", text),
            ["crates/server/src/service.rs:2: server never reaches task_local!"]
        );
        assert_eq!(found("crates/runtime/src/group/handle.rs", text), [""; 0]);
    }

    #[test]
    fn modules_of_tests_may_name_what_they_like() {
        let text = "//! Tests.\nstd::thread::spawn(read);\n";
        assert_eq!(found("crates/storage/src/history/tests/readers.rs", text), [""; 0]);
        assert_eq!(found("crates/storage/src/history/readers.rs", text).len(), 1);
    }

    #[test]
    fn a_core_crate_with_std_or_floats_is_found() {
        assert_eq!(
            found("crates/rsm/src/lib.rs", "//! A crate.\n"),
            [
                "crates/rsm/src/lib.rs: lacks #![no_std]",
                "crates/rsm/src/lib.rs: lacks #![deny(clippy::float_arithmetic)]",
            ]
        );
    }

    #[test]
    fn paths_out_of_the_repository_are_found() {
        let up = "../".repeat(3);
        assert_eq!(found("docs/formats/log.md", &format!("see [this]({up}notes.md)\n")).len(), 1);
        assert_eq!(found("docs/formats/log.md", "see [this](../../README.md)\n"), [""; 0]);
        let home = ["", "home", "me", "notes"].join("/");
        assert_eq!(found("README.md", &format!("cp {home} .\n")).len(), 1);
        let below = ["$DIR", "work", "one"].join("/");
        assert_eq!(found("README.md", &format!("https://example.org/home/page and {below}\n")), [""; 0]);
    }

    #[test]
    fn manifests_take_the_lints_of_the_workspace() {
        assert_eq!(found("crates/new/Cargo.toml", "[package]\nname = \"new\"\n").len(), 1);
        assert_eq!(found("crates/new/Cargo.toml", "[package]\n[lints]\nworkspace = true\n"), [""; 0]);
        assert_eq!(found("crates/types/clippy.toml", "").len(), 1);
    }
}
