//! Runs the page of recipes as a reader does: every block of commands, in its order, against one node.
//!
//! A block ```` ```sh ```` is run by bash in one folder. The lines of a block ```` ```text ```` after it must
//! be found in its output, in their order; `…` matches any text within a line, and runs of white space count
//! as one space.
#![allow(clippy::unwrap_used, reason = "tests")]

#[allow(dead_code, reason = "only a part of it is needed here")]
#[path = "real_node/node.rs"]
mod node;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use node::Node;

/// Commands, and the lines that their output must contain.
struct Recipe<'page> {
    heading: &'page str,
    commands: String,
    expected: Vec<&'page str>,
}

/// The blocks of a page.
fn recipes(page: &str) -> Vec<Recipe<'_>> {
    let (mut heading, mut found, mut inside) = ("", Vec::<Recipe<'_>>::new(), None);
    for line in page.lines() {
        match (inside, line) {
            (None, "```sh") => {
                found.push(Recipe { heading, commands: String::new(), expected: Vec::new() });
                inside = Some("sh");
            }
            (None, "```text") => inside = Some("text"),
            (None, line) => heading = line.strip_prefix("## ").unwrap_or(heading),
            (Some(_), "```") => inside = None,
            (Some(kind), line) => {
                let recipe = found.last_mut().expect("what is printed follows what prints it");
                if kind == "sh" {
                    recipe.commands.push_str(line);
                    recipe.commands.push('\n');
                } else {
                    recipe.expected.push(line);
                }
            }
        }
    }
    assert_eq!(inside, None, "every block ends");
    found
}

/// True when `pattern` matches the whole `line`; `…` matches any text.
fn fits(pattern: &str, line: &str) -> bool {
    let once = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let (pattern, line) = (once(pattern), once(line));
    let pieces: Vec<&str> = pattern.split('…').map(str::trim).collect();
    let mut rest = line.as_str();
    for (index, piece) in pieces.iter().enumerate() {
        let Some(at) = rest.find(piece) else { return false };
        if index == 0 && at != 0 {
            return false;
        }
        rest = &rest[at + piece.len()..];
    }
    pattern.ends_with('…') || rest.is_empty()
}

fn run(commands: &str, folder: &Path, url: &str) -> (bool, String) {
    let programs = Path::new(env!("CARGO_BIN_EXE_bezant")).parent().unwrap();
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let path =
        std::env::join_paths(std::iter::once(PathBuf::from(programs)).chain(std::env::split_paths(&paths)));
    let mut child = Command::new("bash")
        .args(["-c", "exec 2>&1; set -euo pipefail; source /dev/stdin"])
        .current_dir(folder)
        .env("PATH", path.unwrap())
        .env("BEZANT_SERVER", url)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("bash is there");
    let address = url.strip_prefix("http://").unwrap();
    let commands = commands.replace("localhost:7070", address);
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), commands.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    (output.status.success(), String::from_utf8(output.stdout).unwrap())
}

#[test]
fn every_recipe_prints_what_its_page_shows() {
    let curl = Command::new("curl").arg("--version").stdout(Stdio::null()).status();
    assert!(
        curl.is_ok_and(|status| status.success()),
        "curl is missing, and the recipes need it: install it"
    );
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let node = Node::start(&data);
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/recipes.md");
    let page = std::fs::read_to_string(page).expect("the page is there");
    let recipes = recipes(&page);
    let headings = page.lines().filter(|line| line.starts_with("## ")).count();
    assert!(recipes.len() > 2 * headings, "each recipe is shown with the command and with curl");
    for Recipe { heading, commands, expected } in recipes {
        let (is_done, printed) = run(&commands, folder.path(), &node.url);
        assert!(is_done, "{heading}\n{commands}\nprinted\n{printed}");
        let mut lines = printed.lines();
        for pattern in expected {
            assert!(
                lines.any(|line| fits(pattern, line)),
                "{heading}\n{commands}\nmust print {pattern}\nprinted\n{printed}"
            );
        }
    }
}

#[test]
fn a_pattern_fits_from_end_to_end() {
    for (pattern, line) in
        [("a…c", "a b c"), ("…b…", "abc"), ("a  b", "a b"), ("balance …0.00", "balance    -0.00")]
    {
        assert!(fits(pattern, line), "{pattern} {line}");
    }
    for (pattern, line) in [("b…", "a b"), ("…b", "b c"), ("a…b", "b a"), ("1", "11")] {
        assert!(!fits(pattern, line), "{pattern} {line}");
    }
}
