//! Types that postcard writes but cannot read, or reads as another value. A call with such a value is not
//! sent, and a state with such a value makes no checkpoint.

use std::panic::catch_unwind;

use bezant_rsm::{Service, state_machine};
use serde::{Deserialize, Serialize};

/// A skipped field leaves a gap that the next field fills.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Order {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    note: Option<u8>,
    lines: Vec<u8>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Pair(#[serde(skip_serializing_if = "is_zero")] u8, Vec<u8>);

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde requires it")]
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

/// Can be nested to any depth.
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
    trait Formats {
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

impl Formats for State {
    fn order(&mut self, _: &mut FormatsContext<'_>, order: Order) {
        self.order = Some(order);
    }
    fn pair(&mut self, _: &mut FormatsContext<'_>, pair: Pair) {
        self.pair = Some(pair);
    }
    fn either(&mut self, _: &mut FormatsContext<'_>, either: Either) {
        self.either = Some(either);
    }
    fn flat(&mut self, _: &mut FormatsContext<'_>, flat: Flat) {
        self.flat = Some(flat);
    }
    fn nested(&mut self, _: &mut FormatsContext<'_>, _: Nested) {}
    fn plain(&mut self, _: &mut FormatsContext<'_>, _: Vec<Plain>, _: (u8, char, bool), (): ()) {}
}

/// Without its skipped field it is decoded as another value.
fn gapped() -> Order {
    Order { note: None, lines: vec![0] }
}

fn nested(levels: usize) -> Nested {
    (0..levels).fold(Nested::End, |inner, _| Nested::In(Box::new(inner)))
}

/// Drops a deep value level by level, because the generated drop would overflow the stack.
fn drop_by_level(mut nested: Nested) {
    while let Nested::In(inner) = nested {
        nested = *inner;
    }
}

#[test]
fn postcard_misreads_a_value_with_a_skipped_field() {
    let bytes = postcard::to_allocvec(&gapped()).unwrap();
    let misread: Order = postcard::from_bytes(&bytes).unwrap_or_default();
    assert_ne!(misread, gapped());
}

#[test]
fn a_call_that_would_be_misread_is_not_encoded() {
    assert!(FormatsCommand::Order { order: gapped() }.encode().is_none());
    let whole = Order { note: Some(1), ..gapped() };
    assert!(FormatsCommand::Order { order: whole }.encode().is_some(), "no field is skipped");
    for lines in [vec![0], vec![1, 0], vec![2, 3], vec![1, 1, 7]] {
        assert!(FormatsCommand::Pair { pair: Pair(0, lines.clone()) }.encode().is_none(), "{lines:?}");
        assert!(FormatsCommand::Pair { pair: Pair(5, lines) }.encode().is_some());
    }
    assert!(FormatsCommand::Either { either: Either::Number(1) }.encode().is_none());
    assert!(FormatsCommand::Flat { flat: Flat::default() }.encode().is_none());
}

#[test]
fn supported_types_survive_encoding_and_decoding() {
    let plain = vec![
        Plain::Unit,
        Plain::Both(7, Some(-9)),
        Plain::Both(7, None),
        Plain::Named { bytes: vec![0; 100], word: Some("word".to_owned()) },
        Plain::Named { bytes: Vec::new(), word: None },
    ];
    let command = FormatsCommand::Plain { plain, one: (1, 'ß', true), none: () };
    let bytes = command.encode().expect("the types are supported");
    assert_eq!(FormatsCommand::decode(&bytes).unwrap().to_string(), command.to_string());
}

#[test]
fn deep_values_are_refused_before_the_stack_overflows() {
    assert!(FormatsCommand::Nested { nested: nested(250) }.encode().is_some());
    for levels in [300, 100_000] {
        let command = FormatsCommand::Nested { nested: nested(levels) };
        assert!(command.encode().is_none(), "{levels}");
        let FormatsCommand::Nested { nested } = command else { unreachable!("the command is Nested") };
        drop_by_level(nested);
    }
}

#[test]
fn a_state_that_would_be_misread_makes_no_checkpoint() {
    let sound = State { order: Some(Order { note: Some(1), lines: Vec::new() }), ..State::default() };
    let bytes = FormatsMachine::new(sound).checkpoint();
    assert!(FormatsMachine::<State>::restore(&bytes).is_ok());
    let unsound = [
        State { order: Some(gapped()), tail: vec![1, 2], ..State::default() },
        State { pair: Some(Pair(0, vec![0])), ..State::default() },
        State { either: Some(Either::Word("word".to_owned())), ..State::default() },
        State { flat: Some(Flat::default()), ..State::default() },
    ];
    for state in unsound {
        let name = format!("{state:?}");
        let panic = catch_unwind(|| FormatsMachine::new(state).checkpoint()).expect_err(&name);
        let message = panic.downcast_ref::<String>().expect("the panic has a message");
        assert!(message.contains("cannot be kept in a checkpoint"), "{message}");
    }
}
