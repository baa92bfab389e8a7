//! A trace as a self-contained page of HTML, with style, script and data.
//!
//! The data is JSON in a separate element. Every `<` in it is escaped, so no text of a run can end the
//! element or begin another one. The script inserts texts only as text, never as HTML. Times are in
//! microseconds.

use std::collections::BTreeMap;

use bezant_consensus::MessageKind;
use serde::Serialize;

use super::{Fate, LaneState, Loss, Trace, What};

/// The page without its data.
const TEMPLATE: &str = include_str!("page.html");

/// Lines of the text drawing that a page shows without JavaScript.
const TEXT_LINES_MAX: usize = 300;

/// A message: sent, arrived or lost, from, to, kind, text, fate (0 arrived, 1 under way, from 2 on a loss),
/// and whether it is a second copy.
#[derive(Serialize)]
struct MessageRow(u64, u64, u64, u64, usize, usize, u8, bool);

/// A mark: time, kind, nodes, text.
#[derive(Serialize)]
struct MarkRow(u64, &'static str, Vec<u64>, usize);

/// A change of state: time, node, letter, term; the term is 0 for a machine without a running process.
#[derive(Serialize)]
struct StateRow(u64, u64, char, u64);

/// Applied entries: time, node, first, last.
#[derive(Serialize)]
struct AppliedRow(u64, u64, u64, u64);

/// Everything that the script draws.
#[derive(Default, Serialize)]
struct Data<'trace> {
    seed: u64,
    from: u64,
    until: u64,
    left_out: u64,
    nodes: Vec<u64>,
    kinds: Vec<&'static str>,
    losses: Vec<&'static str>,
    /// Texts, which messages and marks name by index, because many are equal.
    texts: Vec<&'trace str>,
    messages: Vec<MessageRow>,
    marks: Vec<MarkRow>,
    states: Vec<StateRow>,
    applied: Vec<AppliedRow>,
}

impl Trace {
    /// The trace as a page of HTML.
    pub fn html(&self) -> String {
        let data = serde_json::to_string(&self.data()).expect("invariant: numbers and texts can be encoded");
        let title = format!("Bezant, a simulated run, seed {}", self.seed);
        let text = self.drawing().to_string();
        let text: Vec<String> = text.lines().take(TEXT_LINES_MAX).map(escape).collect();
        let data = data.replace('<', "\\u003c");
        fill(TEMPLATE, &[("title", &title), ("text", &text.join("\n")), ("data", &data)])
    }

    fn data(&self) -> Data<'_> {
        let mut data = Data {
            seed: self.seed,
            from: self.from / 1000,
            until: self.until / 1000,
            left_out: self.left_out,
            nodes: self.nodes.iter().map(|node| node.0).collect(),
            kinds: MessageKind::ALL.iter().map(|kind| kind.name()).collect(),
            losses: LOSSES.iter().map(|loss| loss.text()).collect(),
            ..Data::default()
        };
        let states = self.before.iter().map(|(node, state)| state_row(self.from, node.0, *state));
        data.states.extend(states);
        let mut texts = BTreeMap::new();
        for event in &self.events {
            let at = event.at / 1000;
            match &event.what {
                What::Message(sent) => {
                    let text = place(&mut texts, &mut data.texts, &sent.description.text);
                    let kind = MessageKind::ALL.iter().position(|kind| *kind == sent.description.kind);
                    let (end, fate) = fate_row(sent.fate);
                    let (from, to, kind) = (sent.from.0, sent.to.0, kind.unwrap_or_default());
                    data.messages.push(MessageRow(at, end, from, to, kind, text, fate, sent.is_double));
                }
                What::State(node, state) => data.states.push(state_row(event.at, node.0, *state)),
                What::Applied { node, first, last } => {
                    data.applied.push(AppliedRow(at, node.0, first.0, last.0));
                }
                What::Mark { kind, nodes, text } => {
                    let text = place(&mut texts, &mut data.texts, text);
                    let nodes = nodes.iter().map(|node| node.0).collect();
                    data.marks.push(MarkRow(at, kind.name(), nodes, text));
                }
            }
        }
        data
    }
}

/// Losses, in the order of their numbers on the page.
const LOSSES: [Loss; 4] = [Loss::Weather, Loss::Cut, Loss::Down, Loss::OtherDisk];

fn fate_row(fate: Fate) -> (u64, u8) {
    match fate {
        Fate::Arrived(at) => (at / 1000, 0),
        Fate::UnderWay(at) => (at / 1000, 1),
        Fate::Lost(at, loss) => {
            let number = LOSSES.iter().position(|known| *known == loss).unwrap_or_default();
            (at / 1000, u8::try_from(number + 2).unwrap_or(u8::MAX))
        }
    }
}

const fn state_row(at: u64, node: u64, state: LaneState) -> StateRow {
    let term = if let LaneState::Up(_, term) = state { term.0 } else { 0 };
    StateRow(at / 1000, node, state.letter(), term)
}

/// The index of a text; a new text is added at the end.
fn place<'trace>(
    known: &mut BTreeMap<&'trace str, usize>,
    texts: &mut Vec<&'trace str>,
    text: &'trace str,
) -> usize {
    *known.entry(text).or_insert_with(|| {
        texts.push(text);
        texts.len() - 1
    })
}

/// A text as HTML.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// Replaces each `{{name}}` by its value; values are not searched for names.
fn fill(template: &str, values: &[(&str, &str)]) -> String {
    let mut page = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{{") {
        page.push_str(before);
        let (name, after) = after.split_once("}}").expect("invariant: the template closes every name");
        let value = values.iter().find(|(known, _)| *known == name);
        page.push_str(value.expect("invariant: the template has known names only").1);
        rest = after;
    }
    page + rest
}

#[cfg(test)]
mod tests {
    use super::super::MarkKind;
    use super::*;

    #[test]
    fn each_value_is_inserted_once() {
        let page = fill("a {{one}} b {{two}} c", &[("one", "{{two}}"), ("two", "2")]);
        assert_eq!(page, "a {{two}} b 2 c");
    }

    #[test]
    fn text_is_escaped() {
        assert_eq!(escape("<b>&\"1\"</b>"), "&lt;b&gt;&amp;\"1\"&lt;/b&gt;");
    }

    #[test]
    fn the_page_jumps_to_the_kinds_of_marks() {
        for kind in ["crash", "start", "network", "disk", "checkpoint", "operator"] {
            assert!(TEMPLATE.contains(&format!("\"{kind}\"")), "{kind}");
        }
        assert_eq!(MarkKind::Broken.name(), "broken");
    }
}
