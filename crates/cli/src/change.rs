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
    /// Of an import, which is made part by part.
    part: Option<Part>,
}

/// How far an import has come.
#[derive(Clone, Debug, Default)]
struct Part {
    /// Rows of it are made.
    has_rows: bool,
    /// Rows were sent, and their outcome is not known.
    is_open: bool,
    /// What is done, what is not, and what to do.
    state: String,
}

impl Change {
    /// Of something that has an id, which the command takes.
    pub(crate) fn of(kind: &str, id: u128) -> Self {
        Self { what: format!("{kind} {id}"), ids: vec![id], takes_id: true, is_made: false, part: None }
    }

    /// Of something that the same command finds again.
    pub(crate) fn again(what: impl Into<String>, ids: Vec<u128>) -> Self {
        Self { what: what.into(), ids, takes_id: false, is_made: false, part: None }
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

    /// Rows of an import are about to be sent. `state` says what is known then.
    pub(crate) fn send_rows(&self, state: String) {
        self.with_part(|part| {
            part.is_open = true;
            part.state = state;
        });
    }

    /// The outcome of all rows that were sent is known; `are_made` = some of them are made.
    pub(crate) fn rows_are_known(&self, are_made: bool, state: String) {
        self.with_part(|part| {
            part.is_open = false;
            part.has_rows |= are_made;
            part.state = state;
        });
    }

    fn with_part(&self, update: impl FnOnce(&mut Part)) {
        let mut change = self.lock();
        let change = change.get_or_insert_with(|| Change::again("the import", Vec::new()));
        update(change.part.get_or_insert_default());
    }

    /// It is made: what fails from here on fails afterwards.
    pub(crate) fn is_made(&self) {
        if let Some(change) = &mut *self.lock() {
            change.is_made = true;
        }
    }

    /// What a failure of the command means for its change.
    pub(crate) fn explain(&self, failure: Failure) -> Failure {
        let Some(mut change) = self.lock().clone() else { return failure };
        let Some(part) = change.part.take() else { return Self::explain_whole(change, failure) };
        let (failure, state) = match failure {
            Failure::Halted { source, state } => (*source, Some(state)),
            failure => (failure, None),
        };
        let failure = match failure {
            Failure::Unavailable(reason) | Failure::TimedOut(reason) if part.has_rows => {
                Failure::PartlyMade { what: "the import", reason, repeat: change.repeat(&arguments()) }
            }
            failure => Self::explain_whole(change, failure),
        };
        let is_cut_short = matches!(failure, Failure::PartlyMade { .. } | Failure::Unknown { .. });
        match state.or_else(|| is_cut_short.then_some(part.state)) {
            Some(state) => failure.and(&state),
            None => failure,
        }
    }

    fn explain_whole(change: Change, failure: Failure) -> Failure {
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
        let reason = "stopped by a signal".to_owned();
        let Some(change) = self.lock().clone() else { return Failure::Stopped };
        match change.part {
            Some(Part { is_open: false, has_rows: false, .. }) => return Failure::Stopped,
            Some(Part { is_open: false, .. }) => return self.explain(Failure::Unavailable(reason)),
            _ => {}
        }
        self.explain(Failure::Unknown { reason, what: String::new(), ids: Vec::new(), repeat: None })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Change>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Change {
    /// The command that finds the outcome.
    fn repeat(&self, arguments: &[String]) -> String {
        let mut options = arguments.iter().take_while(|argument| *argument != "--");
        let has_id = options.any(|argument| argument == "--id" || argument.starts_with("--id="));
        let mut words: Vec<String> = arguments.iter().map(|argument| quoted(argument)).collect();
        if let [id] = &*self.ids
            && self.takes_id
            && !has_id
        {
            // After `--` there are no options.
            let end = words.iter().position(|word| word == "--").unwrap_or(words.len());
            words.splice(end..end, ["--id".to_owned(), id.to_string()]);
        }
        format!("bezant {}", words.join(" "))
    }
}

/// This command as a shell reads it, with more arguments at its end.
pub(crate) fn this_command(more: &[&str]) -> String {
    let words = arguments().into_iter().chain(more.iter().map(|word| (*word).to_owned()));
    format!("bezant {}", words.map(|word| quoted(&word)).collect::<Vec<_>>().join(" "))
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
        let line = words(&["pay", "--", "a", "b", "1"]);
        assert_eq!(change.repeat(&line), "bezant pay --id 77 -- a b 1", "after -- there are no options");
        let line = words(&["pay", "--", "--id", "b", "1"]);
        assert_eq!(change.repeat(&line), "bezant pay --id 77 -- --id b 1");
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

    #[test]
    fn an_import_is_made_part_by_part() {
        let changes = Changes::default();
        let unreachable = || Failure::Unavailable("no server answers".to_owned());
        let codes = |changes: &Changes| (changes.explain(unreachable()).number(), changes.stopped().number());
        assert_eq!(codes(&changes), (3, 130), "it reads its file");
        changes.send_rows("1 sent".to_owned());
        assert_eq!(changes.stopped().number(), 6);
        let unknown =
            Failure::Unknown { reason: "silence".into(), what: "?".into(), ids: vec![1], repeat: None };
        let failure = changes.explain(unknown.and("Row 1 was sent")).to_string();
        assert!(failure.contains("makes it at most once: bezant"), "{failure}");
        assert!(failure.ends_with(". Row 1 was sent"), "said once: {failure}");
        changes.rows_are_known(false, "Nothing was sent".to_owned());
        assert_eq!(codes(&changes), (3, 130), "the server has not taken them");
        changes.send_rows("1 sent".to_owned());
        changes.rows_are_known(true, "Row 1 is done".to_owned());
        assert_eq!(codes(&changes), (8, 8));
        assert!(changes.stopped().to_string().ends_with("Row 1 is done"), "{}", changes.stopped());
        let failure = changes.explain(Failure::TimedOut("no answer".to_owned()));
        assert!(!failure.to_string().contains("nothing was changed"), "{failure}");
        let refused = changes.explain(Failure::Refused("2 of 3 rows".to_owned()));
        assert_eq!(refused.to_string(), "refused: 2 of 3 rows", "the import came to its end");
    }
}
