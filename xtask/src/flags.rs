//! Crates below `cli` name no flag and no command: their messages also reach programs that have no command
//! line. They name settings, and `cli` adds the flag of each.
//!
//! The doc comments of codes and statuses are messages too: answers and tables show them.

/// The crate that owns the flags.
const OWNER: &str = "cli";

/// Modules whose doc comments are shown in messages.
const SHOWN_DOCS: [&str; 2] = ["crates/api/src/error.rs", "crates/types/src/status.rs"];

/// Adds a finding for each string literal of `code`, a module of the crate `name`, that names a flag such as
/// `--join`, or a command of `bezant`.
pub(crate) fn check(shown: &dyn std::fmt::Display, name: &str, code: &str, findings: &mut Vec<String>) {
    if name == OWNER {
        return;
    }
    let docs = if SHOWN_DOCS.contains(&&*shown.to_string()) { docs(code) } else { Vec::new() };
    for (line, text) in strings(code).into_iter().chain(docs) {
        if let Some(word) = flag_in(&text).or_else(|| command_in(&text)) {
            findings.push(format!(
                "{shown}:{line}: a message below {OWNER} names {word}: name the setting, and let {OWNER} add its flag"
            ));
        }
    }
}

/// The first flag in a text: two dashes and a letter, at the beginning of a word.
fn flag_in(text: &str) -> Option<&str> {
    text.match_indices("--").find_map(|(at, _)| {
        let is_begin = !text[..at].ends_with(|before: char| before.is_alphanumeric() || before == '-');
        let rest = &text[at + 2..];
        let end = rest.find(|letter: char| !letter.is_ascii_lowercase() && letter != '-');
        let size = end.unwrap_or(rest.len());
        (is_begin && rest.starts_with(|letter: char| letter.is_ascii_lowercase()))
            .then(|| &text[at..at + 2 + size])
    })
}

fn command_in(text: &str) -> Option<&str> {
    text.contains("`bezant ").then_some("a command of bezant")
}

/// The doc comments of items in Rust code, and their lines.
fn docs(code: &str) -> Vec<(usize, String)> {
    let lines = (1..).zip(code.lines());
    lines.filter_map(|(line, text)| Some((line, text.trim_start().strip_prefix("///")?.to_owned()))).collect()
}

/// The string literals of Rust code, and the line on which each begins. Comments have none.
pub(crate) fn strings(code: &str) -> Vec<(usize, String)> {
    let letters: Vec<char> = code.chars().collect();
    let at = |index: usize| letters.get(index).copied().unwrap_or('\0');
    let mut found = Vec::new();
    let (mut index, mut line) = (0, 1);
    while index < letters.len() {
        let is_word = index > 0 && (at(index - 1).is_alphanumeric() || at(index - 1) == '_');
        let hashes = letters[index + 1..].iter().take_while(|letter| **letter == '#').count();
        let begin = line;
        if at(index) == '/' && at(index + 1) == '/' {
            while index < letters.len() && at(index) != '\n' {
                index += 1;
            }
            continue;
        }
        let end = match at(index) {
            '"' => end_of(&letters, index + 1, None),
            'r' if !is_word || at(index - 1) == 'b' => match at(index + 1 + hashes) {
                '"' => end_of(&letters, index + 2 + hashes, Some(hashes)),
                _ => index,
            },
            // A character may be a quote; a lifetime has no closing quote.
            '\'' if at(index + 1) == '\\' => index + 3,
            '\'' if at(index + 2) == '\'' => index + 2,
            _ => index,
        };
        let text: String = letters[index..=end.min(letters.len() - 1)].iter().collect();
        line += text.matches('\n').count();
        if text.contains('"') && end > index + 2 {
            found.push((begin, text));
        }
        index = end + 1;
    }
    found
}

/// The index of the quote that ends the string whose content begins at `start`; `hashes` of a raw string.
pub(crate) fn end_of(letters: &[char], start: usize, hashes: Option<usize>) -> usize {
    let mut index = start;
    while index < letters.len() {
        match (letters[index], hashes) {
            ('\\', None) => index += 1,
            ('"', None) => return index,
            ('"', Some(hashes)) if letters[index + 1..].iter().take(hashes).all(|letter| *letter == '#') => {
                return index;
            }
            _ => {}
        }
        index += 1;
    }
    index
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(name: &str, code: &str) -> Vec<String> {
        let mut findings = Vec::new();
        check(&"lib.rs", name, code, &mut findings);
        findings
    }

    #[test]
    fn a_message_with_a_flag_or_a_command_is_found() {
        for code in [
            "let text = \"start it with --join\";",
            "#[error(\"check --token-file\")]",
            "let text = \"a \\\n    line, then --node {node}\";",
            "let text = r#\"a \"quoted\" --engine\"#;",
            "let text = \"see `bezant cluster add`\";",
            "let quote = '\"'; let text = \"(--listen)\";",
        ] {
            assert_eq!(found("runtime", code).len(), 1, "{code}");
            assert_eq!(found("cli", code), [""; 0], "{code}");
        }
    }

    #[test]
    fn a_doc_comment_that_is_shown_is_a_message() {
        let code = "    /// See the setting.\n    /// See --allowed-hosts.\n    One,\n";
        for (place, count) in
            [("crates/api/src/error.rs", 1), ("crates/types/src/status.rs", 1), ("crates/api/src/lib.rs", 0)]
        {
            let mut findings = Vec::new();
            check(&place, "api", code, &mut findings);
            assert_eq!(findings.len(), count, "{findings:?}");
            assert!(findings.iter().all(|finding| finding.contains(":2: ")), "{findings:?}");
        }
    }

    #[test]
    fn comments_and_dashes_are_no_flags() {
        for code in [
            "// start it with --join\nlet one = 1;",
            "/// \"--join\" of a command\nfn one() {}",
            "let text = \"----\"; let other = \"a--b\"; let text = \"-- \";",
            "let quote = '\"'; // \"--join\"\nlet other = '\\\"';",
            "let less = one --two;",
        ] {
            assert_eq!(found("runtime", code), [""; 0], "{code}");
        }
    }

    #[test]
    fn the_line_of_a_finding_is_that_of_its_string() {
        let found = found("server", "fn one() {}\n\n// a \"comment\"\nlet text = \"--join\";\n");
        assert!(found[0].starts_with("lib.rs:4: "), "{found:?}");
    }
}
