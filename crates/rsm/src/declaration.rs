//! The macro `state_machine!`. It is implemented in `bezant-rsm-macros`. This module passes the path of this
//! crate to it, so that the generated code finds this crate also when another crate re-exports the macro.

/// Generates a replicated state machine from a declaration.
///
/// - **`cmd`** changes the state. It goes through the log and is executed once, at the same index on every
///   replica.
/// - **`qry`** reads the state of one replica, without a log entry, with the [`Freshness`](crate::Freshness)
///   of the handle.
/// - **`sub`** is a stream of events that commands emit. Every replica has it, in the order of the log; a
///   subscriber resumes after the number of the last event that it processed.
///
/// For a trait `Catalog` it generates:
///
/// | item | what it is |
/// |---|---|
/// | `Catalog` | the trait to implement for the state, with one method for each `cmd` and `qry` |
/// | `CatalogContext` | the context of a command: `time()`, `index()`, and one method for each `sub` |
/// | `CatalogCommand`, `CatalogQuery` | the calls as values: `encode`, `decode`, `Debug`, `Display` |
/// | `CatalogMachine<T>` | a [`Service`](crate::Service) that runs a `T` which implements the trait |
/// | `CatalogHandle<C>` | one method for each call, over any [`Caller`](crate::Caller); `at(freshness)` |
///
/// Arguments, answers and events are owned types and implement serde's `Serialize` and `Deserialize`.
/// Arguments also implement `Debug`. The state implements all three.
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
///     /// The stock of a shop.
///     pub trait Catalog {
///         /// Adds copies of an item; returns the new stock.
///         cmd restock(item: u32, by: u32) -> u32;
///         qry lookup(item: u32) -> Option<Item>;
///         /// The item, and its new stock.
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
/// // A member runs every command of the log like this. A program calls
/// // `CatalogHandle::restock(item, by).await`.
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
/// A call is a header of 8 bytes, followed by its arguments in the format of postcard. The header is the
/// version of the encoding, 1, and 56 bits of a fingerprint of the call's kind, name and types. A program
/// that has no call with this header refuses it with [`UnknownCall`](crate::UnknownCall). It also does so
/// when a byte is missing or left over, so that it never confuses two calls.
///
/// So calls may be added and reordered, and arguments may be renamed. A call with another name, other types
/// or another number of arguments is a different call. Keep the old call declared beside the new one as long
/// as a log may contain it. `#[id = "..."]` before a call replaces its name and types in the fingerprint:
///
/// - to rename a call or a type whose bytes do not change, give the old signature:
///   `#[id = "restock(u32, u32) -> u32"]`;
/// - when a type keeps its name and gets other fields, give a new id: `#[id = "restock/2"]`. The macro has
///   only the names of the types, not their fields.
///
/// # What does not compile
/// Types in a signature whose values or bytes could differ between replicas: floats in a `cmd` or `sub`, hash
/// maps, `usize`. The error points at the type and names a replacement.
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
