//! A change that a command makes: what is said of it when its outcome is not known, or its answer cannot be shown.
//!
//! The id of a change is drawn here and not by the server. So whatever breaks, the command can name it, and print the
//! command that tells what became of it and makes it at most once.

use std::sync::{Mutex, PoisonError};

use crate::exit::Failure;

/// A change under way.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    /// `transfer 77`.
    pub(crate) what: String,
    /// Its ids; empty where they are in a file.
    pub(crate) ids: Vec<u128>,
    /// Whether the command takes the id as `--id`.
    pub(crate) takes_id: bool,
    is_made: bool,
}

impl Change {
    /// Of something that has an id, which the command takes.
    pub(crate) fn of(kind: &str, id: u128) -> Self {
        Self { what: format!("{kind} {id}"), ids: vec![id], takes_id: true, is_made: false }
    }

    /// Of something that the same command finds again.
    pub(crate) fn again(what: impl Into<String>, ids: Vec<u128>) -> Self {
        Self { what: what.into(), ids, takes_id: false, is_made: false }
    }
}

/// The change of a command, if it makes one.
#[derive(Debug, Default)]
pub(crate) struct Changes(Mutex<Option<Change>>);

impl Changes {
    /// The change is about to be sent.
    pub(crate) fn begin(&self, change: Change) {
        *self.lock() = Some(change);
    }

    /// It is made: what fails from here on fails afterwards.
    pub(crate) fn is_made(&self) {
        if let Some(change) = &mut *self.lock() {
            change.is_made = true;
        }
    }

    /// What a failure of the command means for its change.
    pub(crate) fn explain(&self, failure: Failure) -> Failure {
        let Some(change) = self.lock().clone() else { return failure };
        match failure {
            failure if change.is_made || failure.is_of_output() => failure.after(change.what, change.ids),
            Failure::Unknown { reason, ids, .. } => {
                let ids = if change.ids.is_empty() { ids } else { change.ids.clone() };
                let repeat = Some(change.repeat(&arguments()));
                Failure::Unknown { reason, what: change.what, ids, repeat }
            }
            // The server's answer cannot be read.
            Failure::Other(error) if !change.ids.is_empty() => Failure::Unknown {
                reason: error.to_string(),
                repeat: Some(change.repeat(&arguments())),
                what: change.what,
                ids: change.ids,
            },
            failure => failure,
        }
    }

    /// What a signal means that came before the command was through.
    pub(crate) fn stopped(&self) -> Failure {
        if self.lock().is_none() {
            return Failure::Stopped;
        }
        let reason = "stopped by a signal".to_owned();
        self.explain(Failure::Unknown { reason, what: String::new(), ids: Vec::new(), repeat: None })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Change>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Change {
    /// The command that finds the outcome.
    fn repeat(&self, arguments: &[String]) -> String {
        let has_id = arguments.iter().any(|argument| argument == "--id" || argument.starts_with("--id="));
        let words = arguments.iter().map(|argument| quoted(argument)).collect::<Vec<_>>().join(" ");
        match &*self.ids {
            [id] if self.takes_id && !has_id => format!("bezant {words} --id {id}"),
            _ => format!("bezant {words}"),
        }
    }
}

/// The arguments of this command.
fn arguments() -> Vec<String> {
    std::env::args_os().skip(1).map(|argument| argument.to_string_lossy().into_owned()).collect()
}

/// A word as a shell reads it.
fn quoted(word: &str) -> String {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "-_./:,=@%+".contains(letter);
    if !word.is_empty() && word.chars().all(is_plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &[&str]) -> Vec<String> {
        line.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn the_command_to_repeat_names_the_id_once() {
        let change = Change::of("transfer", 77);
        let line = words(&["pay", "alice", "bob's", "10.50 EUR"]);
        assert_eq!(change.repeat(&line), r"bezant pay alice 'bob'\''s' '10.50 EUR' --id 77");
        assert_eq!(change.repeat(&words(&["pay", "a", "b", "1", "--id", "77"])), "bezant pay a b 1 --id 77");
        let bounds = Change::again("bounds of alice", vec![1]);
        assert_eq!(bounds.repeat(&words(&["account", "bounds", "alice"])), "bezant account bounds alice");
    }

    #[test]
    fn what_fails_after_a_change_says_that_it_was_made() {
        let changes = Changes::default();
        assert!(matches!(changes.explain(Failure::Unavailable(String::new())), Failure::Unavailable(_)));
        assert!(matches!(changes.stopped(), Failure::Stopped));
        changes.begin(Change::of("transfer", 77));
        assert!(matches!(changes.explain(Failure::Usage(String::new())), Failure::Usage(_)));
        assert!(matches!(changes.stopped(), Failure::Unknown { ids, .. } if ids == [77]));
        changes.is_made();
        let failure = changes.explain(Failure::Unavailable("silence".to_owned()));
        assert!(matches!(&failure, Failure::NotShown { ids, .. } if *ids == [77]), "{failure}");
    }
}
