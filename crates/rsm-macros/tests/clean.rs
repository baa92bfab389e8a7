//! The code of an undocumented declaration compiles without a warning: the test is that this file compiles.
//! It has its own `main`, because the compiler does not require documentation in test harnesses.
#![deny(warnings, missing_docs, missing_debug_implementations, unused_qualifications, unused_lifetimes)]

/// A public trait with all kinds of calls.
pub mod catalog {
    bezant_rsm::state_machine! {
        pub trait Catalog {
            cmd restock(item: u32, by: Vec<u8>) -> u32;
            cmd r#type(r#in: u32);
            qry lookup(item: u32) -> Option<String>;
            sub changes -> u32;
        }
    }
}

/// Traits with one kind of call each.
pub mod single {
    bezant_rsm::state_machine! { pub trait Commands { cmd clear(); } }
    bezant_rsm::state_machine! { pub trait Queries { qry look(formatter: u32) -> u32; } }
    bezant_rsm::state_machine! { pub trait Streams { sub events -> (); } }
}

/// Names of the prelude have other meanings here.
pub mod shadowed {
    #![allow(dead_code, reason = "they only shadow names of the prelude")]
    struct Option;
    struct Result;
    struct Vec;
    struct String;
    struct Ok;
    struct Err;
    bezant_rsm::state_machine! { pub trait Shadowed { cmd clear(self_: u32, call: u32, bytes: u32, arguments: u32) -> u32; } }
}

/// Types with the short names that type parameters usually have.
pub mod short {
    use serde::{Deserialize, Serialize};

    /// A type named like a type parameter.
    #[derive(Debug, Serialize, Deserialize)]
    pub struct C(u32);
    /// Another type named like a type parameter.
    #[derive(Debug, Serialize, Deserialize)]
    pub struct S(u32);
    bezant_rsm::state_machine! { pub trait T { cmd put(of: C) -> C; qry look(of: S) -> C; sub events -> C; } }
}

bezant_rsm::state_machine! { trait Private { cmd clear(); qry look() -> u32; sub events -> (); } }

fn main() {}
