//! Types that postcard writes and does not read, or reads as another value: such a call is not sent, such a state not kept.

use std::panic::catch_unwind;

use bezant_rsm::{Service, state_machine};
use serde::{Deserialize, Serialize};

/// With a gap into which the next field slides.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Order {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    note: Option<u8>,
    lines: Vec<u8>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Pair(#[serde(skip_serializing_if = "is_zero")] u8, Vec<u8>);

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
const fn is_zero(value: &u8) -> bool {
    *value == 0
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum Either {
    Number(u32),
    Word(String),
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Flat {
    #[serde(flatten)]
    order: Order,
}

/// As deep as one likes.
#[derive(Debug, Serialize, Deserialize)]
enum Nested {
    End,
    In(Box<Self>),
}

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
enum Plain {
    #[default]
    Unit,
    Both(u8, Option<i64>),
    Named {
        bytes: Vec<u8>,
        word: Option<String>,
    },
}

state_machine! {
    trait Desk {
        cmd order(order: Order);
        cmd pair(pair: Pair);
        cmd either(either: Either);
        cmd flat(flat: Flat);
        cmd nested(nested: Nested);
        cmd plain(plain: Vec<Plain>, one: (u8, char, bool), none: ());
    }
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct State {
    order: Option<Order>,
    pair: Option<Pair>,
    either: Option<Either>,
    flat: Option<Flat>,
    tail: Vec<u8>,
}

impl Desk for State {
    fn order(&mut self, _: &mut DeskContext<'_>, order: Order) {
        self.order = Some(order);
    }
    fn pair(&mut self, _: &mut DeskContext<'_>, pair: Pair) {
        self.pair = Some(pair);
    }
    fn either(&mut self, _: &mut DeskContext<'_>, either: Either) {
        self.either = Some(either);
    }
    fn flat(&mut self, _: &mut DeskContext<'_>, flat: Flat) {
        self.flat = Some(flat);
    }
    fn nested(&mut self, _: &mut DeskContext<'_>, _: Nested) {}
    fn plain(&mut self, _: &mut DeskContext<'_>, _: Vec<Plain>, _: (u8, char, bool), (): ()) {}
}

/// What is left out comes back as something else.
fn sliding() -> Order {
    Order { note: None, lines: vec![0] }
}

fn nested(levels: usize) -> Nested {
    (0..levels).fold(Nested::End, |inner, _| Nested::In(Box::new(inner)))
}

/// Dropping the deep ones as it is would need as deep a stack.
fn drop_slowly(mut nested: Nested) {
    while let Nested::In(inner) = nested {
        nested = *inner;
    }
}

#[test]
fn what_would_slide_into_a_gap_is_known() {
    let bytes = postcard::to_allocvec(&sliding()).unwrap();
    let misread: Order = postcard::from_bytes(&bytes).unwrap_or_default();
    assert_ne!(misread, sliding());
}

#[test]
fn a_call_that_would_not_come_back_as_it_is_has_no_bytes() {
    assert!(DeskCommand::Order { order: sliding() }.encode().is_none());
    let whole = Order { note: Some(1), ..sliding() };
    assert!(DeskCommand::Order { order: whole }.encode().is_some(), "nothing is left out");
    for lines in [vec![0], vec![1, 0], vec![2, 3], vec![1, 1, 7]] {
        assert!(DeskCommand::Pair { pair: Pair(0, lines.clone()) }.encode().is_none(), "{lines:?}");
        assert!(DeskCommand::Pair { pair: Pair(5, lines) }.encode().is_some());
    }
    assert!(DeskCommand::Either { either: Either::Number(1) }.encode().is_none());
    assert!(DeskCommand::Flat { flat: Flat::default() }.encode().is_none());
}

#[test]
fn all_that_the_format_carries_comes_back() {
    let plain = vec![
        Plain::Unit,
        Plain::Both(7, Some(-9)),
        Plain::Both(7, None),
        Plain::Named { bytes: vec![0; 100], word: Some("word".to_owned()) },
        Plain::Named { bytes: Vec::new(), word: None },
    ];
    let command = DeskCommand::Plain { plain, one: (1, 'ß', true), none: () };
    let bytes = command.encode().expect("it comes back");
    assert_eq!(DeskCommand::decode(&bytes).unwrap().to_string(), command.to_string());
}

#[test]
fn depth_has_an_end_before_the_stack_has_one() {
    assert!(DeskCommand::Nested { nested: nested(250) }.encode().is_some());
    for levels in [300, 100_000] {
        let command = DeskCommand::Nested { nested: nested(levels) };
        assert!(command.encode().is_none(), "{levels}");
        let DeskCommand::Nested { nested } = command else { unreachable!("it was made just now") };
        drop_slowly(nested);
    }
}

#[test]
fn a_state_that_would_not_come_back_makes_no_checkpoint() {
    let sound = State { order: Some(Order { note: Some(1), lines: Vec::new() }), ..State::default() };
    let bytes = DeskMachine::new(sound).checkpoint();
    assert!(DeskMachine::<State>::restore(&bytes).is_ok());
    let unsound = [
        State { order: Some(sliding()), tail: vec![1, 2], ..State::default() },
        State { pair: Some(Pair(0, vec![0])), ..State::default() },
        State { either: Some(Either::Word("word".to_owned())), ..State::default() },
        State { flat: Some(Flat::default()), ..State::default() },
    ];
    for state in unsound {
        let told = format!("{state:?}");
        let panic = catch_unwind(|| DeskMachine::new(state).checkpoint()).expect_err(&told);
        let word = panic.downcast_ref::<String>().expect("a text");
        assert!(word.contains("cannot be kept in a checkpoint"), "{word}");
    }
}
