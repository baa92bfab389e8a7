//! Messages that name a section of the documentation: the section exists under that name.

use std::fmt::Display;

use crate::flags::strings;

/// What comes before the title of a section in a message.
const BEFORE: &str = "see \"";

/// Adds a finding for each string literal of `code` that names a section which its file does not have, as in
/// `see "TITLE" in docs/FILE`. `read` returns the content of a file, by its path from the root.
pub(crate) fn check(
    shown: &dyn Display,
    code: &str,
    read: &dyn Fn(&str) -> Option<String>,
    findings: &mut Vec<String>,
) {
    for (line, text) in strings(code) {
        for (title, file) in sections(&unescaped(&text)) {
            let content = read(&file).unwrap_or_default();
            let is_title =
                |line: &str| line.starts_with('#') && line.trim_start_matches('#').trim_start() == title;
            if !content.lines().any(is_title) {
                findings.push(format!(
                    "{shown}:{line}: a message names the section {title:?}, and {file} has none"
                ));
            }
        }
    }
}

/// The text of a literal without escaped line ends and quotes.
fn unescaped(literal: &str) -> String {
    let mut parts = literal.split("\\\n");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| text + part.trim_start()).replace("\\\"", "\"")
}

/// The titles and files of the sections that a text names.
fn sections(text: &str) -> Vec<(String, String)> {
    let name = |rest: &str| {
        let (title, rest) = rest.split_once("\" in docs/")?;
        let file = &rest[..rest.find(".md")?];
        Some((title.to_owned(), format!("docs/{file}.md")))
    };
    text.match_indices(BEFORE).filter_map(|(at, _)| name(&text[at + BEFORE.len()..])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(code: &str) -> Vec<String> {
        let read = |file: &str| (file == "docs/a.md").then(|| "# One\n\n### The clock\ntext\n".to_owned());
        let mut findings = Vec::new();
        check(&"lib.rs", code, &read, &mut findings);
        findings
    }

    #[test]
    fn a_section_that_does_not_exist_is_found() {
        for code in [
            r#"let text = "one; see \"Two\" in docs/a.md";"#,
            r#"let text = "see \"One\" in docs/b.md";"#,
            "let text = \"see \\\"The \\\n     clocks\\\" in docs/a.md\";",
        ] {
            assert_eq!(found(code).len(), 1, "{code}");
        }
    }

    #[test]
    fn a_section_that_exists_is_not_found() {
        for code in [
            r#"let text = "one; see \"One\" in docs/a.md, two";"#,
            "let text = \"see \\\"The \\\n     clock\\\" in \\\n   docs/a.md\";",
            r#"let text = "see \"Two\"";"#,
        ] {
            assert_eq!(found(code), [""; 0], "{code}");
        }
    }
}
