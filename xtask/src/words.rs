//! The refused words. The glossary in ARCHITECTURE.md has the words to use instead. CHANGELOG.md and
//! docs/decisions are history, and are not checked.

use std::path::Path;

/// Words that are refused in code, comments and documents, in upper or lower case, and also as parts of
/// identifiers (`is_silent`). Each has the words to use instead.
const REFUSED: &[(&str, &str)] = &[
    ("behind", "after, before, lagging, or what implements it"),
    ("desk", "service"),
    ("door", "listener, handler"),
    ("doors", "listeners, handlers"),
    ("faith", "keeps, follows"),
    ("impatient", "timeout, deadline"),
    ("life", "incarnation"),
    ("nobody", "name the actor: no client, no peer"),
    ("patience", "timeout, deadline"),
    ("patient", "timeout, deadline"),
    ("reign", "term, leadership"),
    ("reigns", "terms, leaderships"),
    ("room", "space, crate, module"),
    ("rooms", "crates, modules"),
    ("seldom", "rarely, rate-limited"),
    ("silent", "stalled, idle, does not answer"),
    ("somebody", "name the actor"),
    ("voice", "vote"),
    ("voices", "votes"),
    ("whoever", "name the actor"),
];

/// Refused phrases, in lower case.
const REFUSED_PHRASES: &[(&str, &str)] = &[
    ("sign of life", "heartbeat"),
    ("signs of life", "heartbeats"),
    ("hand over", "transfer leadership"),
    ("hand-over", "leadership transfer"),
    ("hands over", "transfers leadership"),
    ("handed over", "transferred"),
    ("hand_over", "transfer_leadership"),
    ("of one's own", "its own, a separate"),
];

/// Names on the wire: a refused word in one of these is no finding.
const KEPT: &[&str] = &["node_behind", "NODE_BEHIND", "NodeBehind"];

/// Doc comments of fields that say nothing.
const EMPTY_DOCS: &[&str] =
    &["What.", "Whose.", "Which.", "Who.", "Where.", "Why.", "How.", "None.", "When."];

/// Adds a finding for each line of `text` with a refused word, and for each doc comment that says nothing.
pub(crate) fn check(place: &Path, text: &str, findings: &mut Vec<String>) {
    if is_history(place) || place.ends_with("xtask/src/words.rs") {
        return;
    }
    for (number, line) in (1..).zip(text.lines()) {
        let mut find = |what: String| findings.push(format!("{}:{number}: {what}", place.display()));
        if let Some((word, instead)) = refused_in(line) {
            find(format!("\"{word}\" is not a word of this project: {instead}"));
        }
        if line.trim_start().strip_prefix("///").is_some_and(|doc| EMPTY_DOCS.contains(&doc.trim())) {
            find("this doc says nothing: unit, sentinel, owner, range".to_owned());
        }
    }
}

fn is_history(place: &Path) -> bool {
    place.ends_with("CHANGELOG.md") || place.starts_with("docs/decisions")
}

/// The first refused word or phrase of a line, and what to write instead.
fn refused_in(line: &str) -> Option<(&'static str, &'static str)> {
    let line = KEPT.iter().fold(line.to_owned(), |line, kept| line.replace(kept, ""));
    let lower = line.to_lowercase();
    let phrase = REFUSED_PHRASES.iter().find(|(phrase, _)| lower.contains(phrase));
    let found = phrase.or_else(|| {
        let mut words = words(&line);
        words.find_map(|word| REFUSED.iter().find(|(refused, _)| *refused == word))
    });
    found.copied()
}

/// The words of a line in lower case. An identifier is split at underscores and before capitals.
fn words(line: &str) -> impl Iterator<Item = String> {
    line.split(|letter: char| !letter.is_alphabetic()).flat_map(|run| {
        let mut words = vec![String::new()];
        let mut was_lower = false;
        for letter in run.chars() {
            if letter.is_uppercase() && was_lower {
                words.push(String::new());
            }
            was_lower = letter.is_lowercase();
            if let Some(word) = words.last_mut() {
                word.extend(letter.to_lowercase());
            }
        }
        words
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(place: &str, text: &str) -> Vec<String> {
        let mut findings = Vec::new();
        check(Path::new(place), text, &mut findings);
        findings
    }

    #[test]
    fn old_words_are_found_in_prose_and_identifiers() {
        for line in [
            "/// Behind it.",
            "let is_silent = 1;",
            "struct FrontDoor;",
            "it gives a Sign of life",
            "PATIENCE",
        ] {
            assert_eq!(found("crates/raft/src/lib.rs", line).len(), 1, "{line}");
        }
    }

    #[test]
    fn longer_words_and_names_on_the_wire_stay() {
        for line in ["lifetimes", "foreign", "NodeBehind => \"node_behind\"", "a lifecycle", "indoors"] {
            assert_eq!(found("crates/raft/src/lib.rs", line), [""; 0], "{line}");
        }
    }

    #[test]
    fn history_keeps_its_words() {
        assert_eq!(found("CHANGELOG.md", "a door"), [""; 0]);
        assert_eq!(found("docs/decisions/0008-a-door.md", "a door"), [""; 0]);
    }

    #[test]
    fn a_doc_that_says_nothing_is_found() {
        assert_eq!(found("crates/raft/src/lib.rs", "    /// Whose.\n    /// The leader's term.").len(), 1);
    }
}
