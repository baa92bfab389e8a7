//! Code of a declaration without a word of documentation compiles without a warning: that it compiles is the test. It
//! has a `main` of its own, for documentation is not asked for where the compiler makes tests.
#![deny(warnings, missing_docs, missing_debug_implementations, unused_qualifications, unused_lifetimes)]

/// Public, with everything in it.
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

/// Of one kind each.
pub mod single {
    bezant_rsm::state_machine! { pub trait Commands { cmd clear(); } }
    bezant_rsm::state_machine! { pub trait Queries { qry look(formatter: u32) -> u32; } }
    bezant_rsm::state_machine! { pub trait Streams { sub events -> (); } }
}

/// Names of the prelude mean something else here.
pub mod shadowed {
    #![allow(dead_code, reason = "they are there to be in the way")]
    struct Option;
    struct Result;
    struct Vec;
    struct String;
    struct Ok;
    struct Err;
    bezant_rsm::state_machine! { pub trait Shadowed { cmd clear(self_: u32, call: u32, bytes: u32, arguments: u32) -> u32; } }
}

/// Types of the user's with the short names that parameters usually have.
pub mod short {
    use serde::{Deserialize, Serialize};

    /// One.
    #[derive(Debug, Serialize, Deserialize)]
    pub struct C(u32);
    /// Another.
    #[derive(Debug, Serialize, Deserialize)]
    pub struct S(u32);
    bezant_rsm::state_machine! { pub trait T { cmd put(of: C) -> C; qry look(of: S) -> C; sub events -> C; } }
}

bezant_rsm::state_machine! { trait Private { cmd clear(); qry look() -> u32; sub events -> (); } }

fn main() {}
