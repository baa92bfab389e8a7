//! A change that a command makes, and the failure that is reported when its outcome is not known or its
//! answer cannot be shown.
//!
//! The command draws the id of a change, not the server. So after every failure it can name the id, and print
//! a command that finds the outcome and makes the change at most once.

use std::sync::{Mutex, PoisonError};

use crate::exit::Failure;

/// A change in progress.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    /// The kind and id of the change, such as `transfer 77`.
    pub(crate) what: String,
    /// The ids of the change; empty if they are in a file.
    pub(crate) ids: Vec<u128>,
    /// Whether the command takes the id as `--id`.
    pub(crate) takes_id: bool,
    is_made: bool,
    /// The progress of an import; `None` for any other change.
    part: Option<Part>,
}

/// The progress of an import.
#[derive(Clone, Debug, Default)]
struct Part {
    /// Some rows of the import are made.
    has_rows: bool,
    /// Rows were sent, and their outcome is not known.
    is_open: bool,
    /// A text for the operator: what is done, what is not, and what to do.
    state: String,
}

impl Change {
    /// A change with an id that the command takes as `--id`.
    pub(crate) fn of(kind: &str, id: u128) -> Self {
        Self { what: format!("{kind} {id}"), ids: vec![id], takes_id: true, is_made: false, part: None }
    }

    /// A change that the same command can repeat without an `--id`.
    pub(crate) fn again(what: impl Into<String>, ids: Vec<u128>) -> Self {
        Self { what: what.into(), ids, takes_id: false, is_made: false, part: None }
    }
}

/// The change of a command, if it makes one.
#[derive(Debug, Default)]
pub(crate) struct Changes(Mutex<Option<Change>>);

impl Changes {
    /// Records the change that the command is about to send.
    pub(crate) fn begin(&self, change: Change) {
        *self.lock() = Some(change);
    }

    /// Records that rows of an import are about to be sent. `state` is the text for a failure until their
    /// outcome is known.
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

    /// Records that the change is made: a later failure concerns only its answer.
    pub(crate) fn is_made(&self) {
        if let Some(change) = &mut *self.lock() {
            change.is_made = true;
        }
    }

    /// Completes a failure of the command with the state of its change.
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

    /// The failure of a command that a signal stopped before its end.
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

/// This command, quoted for a shell, with more arguments at its end.
pub(crate) fn this_command(more: &[&str]) -> String {
    let words = arguments().into_iter().chain(more.iter().map(|word| (*word).to_owned()));
    format!("bezant {}", words.map(|word| quoted(&word)).collect::<Vec<_>>().join(" "))
}

/// The arguments of this command.
fn arguments() -> Vec<String> {
    std::env::args_os().skip(1).map(|argument| argument.to_string_lossy().into_owned()).collect()
}

/// A word, quoted for a shell if necessary.
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
    fn a_failure_after_a_change_reports_that_it_was_made() {
        let changes = Changes::default();
        assert!(matches!(changes.explain(Failure::Unavailable(String::new())), Failure::Unavailable(_)));
        assert!(matches!(changes.stopped(), Failure::Stopped));
        changes.begin(Change::of("transfer", 77));
        assert!(matches!(changes.explain(Failure::Usage(String::new())), Failure::Usage(_)));
        assert!(matches!(changes.stopped(), Failure::Unknown { ids, .. } if ids == [77]));
        changes.is_made();
        let failure = changes.explain(Failure::Unavailable("no answer".to_owned()));
        assert!(matches!(&failure, Failure::NotShown { ids, .. } if *ids == [77]), "{failure}");
    }

    #[test]
    fn an_import_is_made_in_parts() {
        let changes = Changes::default();
        let unreachable = || Failure::Unavailable("no server answers".to_owned());
        let codes = |changes: &Changes| (changes.explain(unreachable()).number(), changes.stopped().number());
        assert_eq!(codes(&changes), (3, 130), "it reads its file");
        changes.send_rows("1 sent".to_owned());
        assert_eq!(changes.stopped().number(), 6);
        let unknown =
            Failure::Unknown { reason: "no answer".into(), what: "?".into(), ids: vec![1], repeat: None };
        let failure = changes.explain(unknown.and("Row 1 was sent")).to_string();
        assert!(failure.contains("makes it at most once: bezant"), "{failure}");
        assert!(failure.ends_with(". Row 1 was sent"), "the state is there once: {failure}");
        changes.rows_are_known(false, "Nothing was sent".to_owned());
        assert_eq!(codes(&changes), (3, 130), "the server has not taken them");
        changes.send_rows("1 sent".to_owned());
        changes.rows_are_known(true, "Row 1 is done".to_owned());
        assert_eq!(codes(&changes), (8, 8));
        assert!(changes.stopped().to_string().ends_with("Row 1 is done"), "{}", changes.stopped());
        let failure = changes.explain(Failure::TimedOut("no answer".to_owned()));
        assert!(!failure.to_string().contains("nothing was changed"), "{failure}");
        let refused = changes.explain(Failure::Refused("2 of 3 rows".to_owned()));
        assert_eq!(refused.to_string(), "refused: 2 of 3 rows", "the import was complete");
    }
}
