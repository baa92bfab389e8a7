//! Changes between two versions of a program: those that are compatible, and those that are refused.

use std::collections::BTreeMap;

use bezant_rsm::{Call, SavedState, Service, UnknownCall, state_machine};
use bezant_types::{LogIndex, Nanos};
use serde::{Deserialize, Serialize};

/// A version of a declaration with its state, in a module, so that versions exist side by side.
macro_rules! version {
    ($module:ident { $($call:tt)* } $state:item { $($body:tt)* }) => {
        mod $module {
            use super::*;
            state_machine! { pub(crate) trait Counter { $($call)* } }
            #[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
            $state
            impl Counter for State { $($body)* }
        }
    };
}

version! {
    first { cmd add(by: u32) -> u32; qry total() -> u32; sub sums -> u32; }
    pub(crate) struct State { pub(crate) total: u32 }
    {
        fn add(&mut self, context: &mut CounterContext<'_>, by: u32) -> u32 {
            self.total += by;
            context.sums(&self.total);
            self.total
        }
        fn total(&self) -> u32 { self.total }
    }
}

version! {
    // Another order of the calls, another name of an argument, an additional command.
    grown { qry total() -> u32; cmd reset(); cmd add(amount: u32) -> u32; sub sums -> u32; }
    pub(crate) struct State { pub(crate) total: u32, pub(crate) resets: u32 }
    {
        const STATE_VERSION: u32 = 2;

        fn migrate(saved: &SavedState<'_>) -> Option<Self> {
            let first::State { total } = saved.read()?;
            (saved.version() == 1).then_some(Self { total, resets: 0 })
        }
        fn add(&mut self, context: &mut CounterContext<'_>, amount: u32) -> u32 {
            self.total += amount;
            context.sums(&self.total);
            self.total
        }
        fn reset(&mut self, _: &mut CounterContext<'_>) {
            self.resets += 1;
            self.total = 0;
        }
        fn total(&self) -> u32 { self.total }
    }
}

version! {
    wider { cmd add(by: u64) -> u32; qry total() -> u64; sub sums -> u64; }
    pub(crate) struct State { pub(crate) total: u64 }
    {
        fn add(&mut self, context: &mut CounterContext<'_>, by: u64) -> u32 {
            self.total += by;
            context.sums(&self.total);
            0
        }
        fn total(&self) -> u64 { self.total }
    }
}

version! {
    renamed { #[id = "add(u32) -> u32"] cmd increase(by: Amount) -> Amount; qry total() -> u32; }
    pub(crate) struct State { pub(crate) total: u32 }
    {
        fn increase(&mut self, _: &mut CounterContext<'_>, by: Amount) -> Amount {
            self.total += by;
            self.total
        }
        fn total(&self) -> u32 { self.total }
    }
}

/// The same bytes under another name.
type Amount = u32;

fn call() -> Call {
    Call::new(LogIndex(1), Nanos(1))
}

fn old_command() -> bytes::Bytes {
    first::CounterCommand::Add { by: 7 }.encode().expect("numbers can be written")
}

#[test]
fn an_extended_declaration_reads_the_old_log() {
    let mut machine = grown::CounterMachine::<grown::State>::default();
    let mut call = call();
    machine.invoke(&mut call, &old_command()).unwrap();
    assert_eq!(machine.state().total, 7);
    let mut old_call = self::call();
    first::CounterMachine::<first::State>::default().invoke(&mut old_call, &old_command()).unwrap();
    assert_eq!(call, old_call, "the same stream, the same event");
}

#[test]
fn another_type_makes_another_call() {
    let mut machine = wider::CounterMachine::<wider::State>::default();
    assert_eq!(machine.invoke(&mut call(), &old_command()), Err(UnknownCall));
    assert_eq!(machine.query(&first::CounterQuery::Total {}.encode().unwrap()), Err(UnknownCall));
    assert_eq!(machine.state().total, 0);
    let mut call = call();
    machine.invoke(&mut call, &wider::CounterCommand::Add { by: 1 }.encode().unwrap()).unwrap();
    let mut old_call = self::call();
    first::CounterMachine::<first::State>::default().invoke(&mut old_call, &old_command()).unwrap();
    assert_ne!(call.into_events()[0].0, old_call.into_events()[0].0, "another stream");
}

#[test]
fn an_id_keeps_the_bytes_of_a_renamed_call() {
    let mut machine = renamed::CounterMachine::<renamed::State>::default();
    machine.invoke(&mut call(), &old_command()).unwrap();
    assert_eq!(machine.state().total, 7);
    assert_eq!(renamed::CounterCommand::SIGNATURES, [first::CounterCommand::SIGNATURES[0]]);
}

#[test]
fn an_older_program_refuses_the_new_command() {
    let mut machine = first::CounterMachine::<first::State>::default();
    let reset = grown::CounterCommand::Reset {}.encode().unwrap();
    assert_eq!(machine.invoke(&mut call(), &reset), Err(UnknownCall));
}

#[test]
fn a_state_of_an_earlier_version_is_migrated() {
    let old = first::CounterMachine::new(first::State { total: 9 }).checkpoint();
    let new = grown::CounterMachine::<grown::State>::restore(&old).unwrap();
    assert_eq!(new.state(), &grown::State { total: 9, resets: 0 });
    let back = first::CounterMachine::<first::State>::restore(&new.checkpoint()).unwrap_err();
    assert_eq!(back.section, "state of a later version");
}

#[test]
fn an_earlier_version_without_migration_is_refused() {
    mod second {
        use super::*;
        state_machine! { pub(super) trait Counter { cmd add(by: u32); } }
        #[derive(Debug, Serialize, Deserialize)]
        pub(super) struct State(BTreeMap<u32, u32>);
        impl Counter for State {
            const STATE_VERSION: u32 = 2;
            fn add(&mut self, _: &mut CounterContext<'_>, by: u32) {
                self.0.insert(by, by);
            }
        }
        pub(super) type Machine = CounterMachine<State>;
    }
    let old = first::CounterMachine::new(first::State { total: 0 }).checkpoint();
    assert_eq!(second::Machine::restore(&old).unwrap_err().section, "state of an earlier version");
}
