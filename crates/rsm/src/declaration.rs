//! The macro `state_machine!`. Its words stand in `bezant-rsm-macros`; this is the door, which knows by what path the
//! code that comes out reaches this crate, whoever re-exports it.

/// Makes a replicated state machine of a declaration.
///
/// - **`cmd`** changes the state. It goes through the log and is done once, at the same place on every replica.
/// - **`qry`** reads the state of one replica, without a log entry, as fresh as the handle asks for
///   ([`Freshness`](crate::Freshness)).
/// - **`sub`** is a stream of events that commands tell. Every replica has it, in the order of the log; a subscriber
///   resumes behind the last number that it has seen.
///
/// For a trait `Catalog` it writes:
///
/// | item | what it is |
/// |---|---|
/// | `Catalog` | the trait to implement for the state: one method a `cmd` and `qry` |
/// | `CatalogContext` | what a command knows of its surroundings (`time()`, `index()`), and one method a `sub` |
/// | `CatalogCommand`, `CatalogQuery` | the calls as values: `encode`, `decode`, `Debug`, and `Display` for people |
/// | `CatalogMachine<T>` | whoever implements the trait, as a [`Service`](crate::Service) |
/// | `CatalogHandle<C>` | one method a call, over any [`Caller`](crate::Caller); `at(freshness)` |
///
/// Arguments, answers and events are owned and implement serde's `Serialize` and `Deserialize`; arguments also `Debug`, and the
/// state all three.
///
/// # Example
/// ```
/// use std::collections::BTreeMap;
///
/// use bezant_rsm::{Call, Service, state_machine};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Debug, Serialize, Deserialize)]
/// pub struct Item { pub stock: u32 }
///
/// state_machine! {
///     /// What a shop has.
///     pub trait Catalog {
///         /// Adds copies of an item; what is there then.
///         cmd restock(item: u32, by: u32) -> u32;
///         qry lookup(item: u32) -> Option<Item>;
///         /// The item, and what is there of it.
///         sub changes -> (u32, u32);
///     }
/// }
///
/// #[derive(Debug, Default, Serialize, Deserialize)]
/// struct Shop(BTreeMap<u32, u32>);
///
/// impl Catalog for Shop {
///     fn restock(&mut self, context: &mut CatalogContext<'_>, item: u32, by: u32) -> u32 {
///         let stock = self.0.entry(item).or_default();
///         *stock = stock.saturating_add(by);
///         context.changes(&(item, *stock));
///         *stock
///     }
///
///     fn lookup(&self, item: u32) -> Option<Item> {
///         self.0.get(&item).map(|stock| Item { stock: *stock })
///     }
/// }
///
/// // A member does this with every command of the log; a program calls `CatalogHandle::restock(item, by).await`.
/// let mut machine = CatalogMachine::new(Shop::default());
/// let command = CatalogCommand::Restock { item: 3, by: 2 };
/// assert_eq!(command.to_string(), "restock(item: 3, by: 2)");
/// let mut call = Call::new(bezant_types::LogIndex(1), bezant_types::Nanos(0));
/// machine.invoke(&mut call, &command.encode().unwrap())?;
/// assert_eq!(machine.state().lookup(3).unwrap().stock, 2);
/// assert_eq!(call.into_events().len(), 1);
/// # Ok::<(), bezant_rsm::UnknownCall>(())
/// ```
///
/// # The bytes
/// A call is 8 bytes of header and its arguments in the format of postcard, one after the other. The header is the version
/// of the encoding, 1, and 56 bits of a fingerprint of the call's kind, name and types. A program that knows no
/// call with this header refuses it with [`UnknownCall`](crate::UnknownCall), and so it does when a byte is missing or left
/// over: it never takes one call for another.
///
/// So calls may be added and put in another order, and arguments may be renamed. Another name, type or number of arguments makes
/// another call; as long as a log may hold the old one, keep it declared beside it. `#[id = "..."]` before a call stands in
/// the fingerprint in place of its name and types:
///
/// - to rename a call or a type whose bytes stay: the signature as it was, `#[id = "restock(u32, u32) -> u32"]`;
/// - when a type keeps its name and gets other fields: a new one, `#[id = "restock/2"]`. The macro sees the names of types,
///   not what is in them.
///
/// # What does not compile
/// Everything that could differ from replica to replica, as far as a signature shows it: floats in a `cmd` or `sub`, hash maps, `usize`.
/// The error stands at the word and says what to write instead.
///
/// ```compile_fail
/// bezant_rsm::state_machine! {
///     trait Till {
///         cmd pay(amount: f64);
///     }
/// }
/// ```
#[macro_export]
macro_rules! state_machine {
    ($($declaration:tt)*) => {
        $crate::export::declare! { ($crate) $($declaration)* }
    };
}
