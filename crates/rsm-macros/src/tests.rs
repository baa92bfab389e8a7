//! The errors of wrong declarations, and their places.

use proc_macro2::TokenStream;

use crate::code;

/// Compares the errors of the calls `body`, as `line:column message`, counted from 1:1 at the start of
/// `body`.
fn check(body: &str, expect: &[&str]) {
    check_whole(&format!("pub trait Catalog {{\n{body}\n}}"), 1, expect);
}

fn check_whole(declaration: &str, lines_before: usize, expect: &[&str]) {
    let input: TokenStream = format!("(::bezant_rsm)\n{declaration}").parse().unwrap();
    let found: Vec<String> = match code(input) {
        Ok(_) => Vec::new(),
        Err(errors) => errors
            .into_iter()
            .map(|error| {
                let start = error.span().start();
                format!("{}:{} {error}", start.line - 1 - lines_before, start.column + 1)
            })
            .collect(),
    };
    assert_eq!(found, expect);
}

#[test]
fn a_valid_declaration_has_no_errors() {
    check(
        "/// Docs.\n#[must_use]\ncmd a(x: u32, y: Vec<Item>,) -> [u8; 2];\nqry b() -> Option<Item>;\nsub c -> Item;\ncmd d();",
        &[],
    );
}

#[test]
fn all_errors_are_reported_at_once() {
    check(
        "cmd a(x: &str);\nfoo b();\ncmd c(self);\nqry d(x: f64) -> f64;\ncmd e(x: f64);",
        &[
            "2:1 begin a call with `cmd` (changes the state, through the log), `qry` (reads it) or `sub` (a stream of events)",
            "3:7 leave out `self`: a cmd gets `&mut self` and a context, a qry gets `&self`",
        ],
    );
    check(
        "cmd a(x: &str);\nqry d(x: f64) -> f64;\ncmd e(x: f64);",
        &[
            "1:10 write `String`: arguments and answers are owned values",
            "3:10 write an integer of the smallest unit, such as cents: the sum of floats depends on their order, so replicas may differ",
        ],
    );
}

#[test]
fn a_declaration_is_one_trait_without_generics() {
    let head = |declaration, expect| check_whole(declaration, 0, &[expect]);
    head(
        "pub struct A {}",
        "1:5 write `trait` and a name: the declaration of a state machine is a trait of calls",
    );
    head("trait A<T> { cmd a(); }", "1:8 leave out the generics: the log holds bytes of one type");
    head("trait A: Clone { cmd a(); }", "1:8 leave out the bounds: the macro sets those that a state needs");
    head("trait A { cmd a(); } trait B {}", "1:22 leave this out: one `state_machine!` declares one trait");
    head("trait A;", "1:8 write `{` and the calls");
    head("trait A {}", "1:7 declare a call, such as `cmd restock(item: u32, by: u32) -> u32;`");
    head("#[cfg(unix)] trait A { cmd a(); }", "1:1 write it at `state_machine!` itself");
}

#[test]
fn a_call_begins_with_its_kind() {
    const KINDS: &str = "begin a call with `cmd` (changes the state, through the log), `qry` (reads it) or `sub` (a stream of events)";
    check("command a();", &[&format!("1:1 {KINDS}")]);
    check("42;", &[&format!("1:1 {KINDS}")]);
    check("fn a();", &["1:1 write `cmd` for a call that changes the state, `qry` for one that reads it"]);
    check("def cmd a();", &["1:1 leave out `def`"]);
    check("pub cmd a();", &["1:1 leave out `pub`: calls are as visible as their trait"]);
    check(
        "async cmd a();",
        &[
            "1:1 leave out `async`: calls run on the state without waiting, and the handle's methods are always async",
        ],
    );
}

#[test]
fn a_call_ends_with_a_semicolon() {
    check("cmd a()\ncmd b();", &["2:1 write `;`"]);
    check(
        "cmd a() {}\ncmd b() -> u32 { 1 }",
        &[
            "1:9 write `;`: the body of a call is in the implementation of the trait",
            "2:16 write `;`: the body of a call is in the implementation of the trait",
        ],
    );
    check("cmd a() where u32: Copy;", &["1:9 leave out the bounds: a call has no generics"]);
    check("cmd a<T>(x: T);", &["1:6 leave out the generics: the bytes of a call are of one type"]);
    check("cmd a;", &["1:6 write the arguments in parentheses, `()` where there are none"]);
    check("cmd type();", &["1:5 write the call's name, which is not a keyword"]);
    check("sub a;", &["1:6 write `-> Type`: a stream has no arguments, and its events have a type"]);
    check(
        "sub a(x: u32) -> u32;",
        &["1:6 write `-> Type`: a stream has no arguments, and its events have a type"],
    );
}

#[test]
fn an_argument_is_a_name_and_a_type() {
    const SELF: &str = "leave out `self`: a cmd gets `&mut self` and a context, a qry gets `&self`";
    const PATTERN: &str = "write a name and a type, as in `item: u32`: an argument is not a pattern";
    check("cmd a(&mut self);\nqry b(&self, x: u32);", &[&format!("1:7 {SELF}"), &format!("2:7 {SELF}")]);
    check("cmd a((x, y): (u32, u32));", &[&format!("1:7 {PATTERN}")]);
    check("cmd a(_: u32);", &[&format!("1:7 {PATTERN}")]);
    check("cmd a(u32);", &[&format!("1:7 {PATTERN}")]);
    check("cmd a(std::string::String);", &[&format!("1:7 {PATTERN}")]);
    check("cmd a(mut x: u32);", &["1:7 leave out `mut`: write it in the implementation"]);
    check(
        "cmd a(#[serde(skip)] x: u32);",
        &["1:7 leave out the attribute: an argument is a name and a type"],
    );
    check("cmd a(x: u32 y: u32);", &["1:14 write `,` or `)`"]);
    check(
        "cmd a(x: u32, x: u32);",
        &["1:15 choose another name: another argument has this name", "1:7 the other one is here"],
    );
    check(
        "cmd a(context: u32);",
        &["1:7 choose another name: `context` is the parameter that has the time and the log index of a cmd"],
    );
    let many: Vec<String> = (0..17).map(|number| format!("x{number}: u8")).collect();
    let call = format!("cmd a(\n{});", many.join(",\n"));
    check(&call, &["18:1 put some of the arguments in a struct: 16 is the maximum"]);
}

#[test]
fn types_of_calls_are_owned_and_equal_on_every_replica() {
    const OWNED: &str = "arguments and answers are owned values";
    check("cmd a(x: Option<&str>);", &[&format!("1:17 write `String`: {OWNED}")]);
    check("cmd a(x: &[u8]);", &[&format!("1:10 write `Vec<...>`: {OWNED}")]);
    check("qry a() -> &Item;", &[&format!("1:12 leave out the reference: {OWNED}")]);
    check("cmd a(x: Cow<'static, str>);", &[&format!("1:14 leave out the lifetime: {OWNED}")]);
    check("cmd a(x: *const u8);", &["1:10 leave out the pointer: it is not valid on another replica"]);
    let map = "write `BTreeMap`: a hash map has another order on every replica";
    check("cmd a(x: Vec<HashMap<u32, u32>>);", &[&format!("1:14 {map}")]);
    check("qry a() -> std::collections::HashMap<u32, u32>;", &[&format!("1:30 {map}")]);
    check(
        "sub a -> HashSet<u32>;",
        &["1:10 write `BTreeSet`: a hash set has another order on every replica"],
    );
    check("qry a() -> usize;", &["1:12 write `u64` or `u32`: `usize` is not the same on every machine"]);
    check("cmd a(x: isize);", &["1:10 write `i64` or `i32`: `isize` is not the same on every machine"]);
    check(
        "cmd a() -> (u32, [f32; 2]);",
        &[
            "1:19 write an integer of the smallest unit, such as cents: the sum of floats depends on their order, so replicas may differ",
        ],
    );
    check("cmd a(x: Box<dyn Any>);", &["1:14 write a type whose bytes have one format, such as an enum"]);
    check("cmd a(x: impl Into<u32>);", &["1:10 write a type whose bytes have one format, such as an enum"]);
    check("cmd a(x: fn());", &["1:10 write a type whose bytes have one format, such as an enum"]);
    check("cmd a(x: Vec<_>);", &["1:14 write the type"]);
    check(
        "qry a() -> Self;",
        &[
            "1:12 write the type itself: the bytes of a call do not depend on the type that implements the trait",
        ],
    );
    check("qry a() -> !;", &["1:12 write a plain type"]);
    check("qry a(x: f32) -> f64;", &[]);
}

#[test]
fn names_of_calls_are_unambiguous() {
    check(
        "cmd a();\nqry a();",
        &[
            "2:5 choose another name: it is the name of `a`, apart from underscores",
            "1:5 the other one is here",
        ],
    );
    check(
        "cmd sell_all();\nsub sell__all -> u32;",
        &[
            "2:5 choose another name: it is the name of `sell_all`, apart from underscores",
            "1:5 the other one is here",
        ],
    );
    check("cmd at();", &["1:5 choose another name: `at` is a method of every handle, context or machine"]);
    check("cmd self_();", &["1:5 choose another name: an enum cannot have a variant of this name"]);
    check("cmd __();", &["1:5 choose another name: an enum cannot have a variant of this name"]);
    check("cmd r#type(r#in: u32);\nqry _1();", &[]);
}

#[test]
fn an_id_belongs_to_one_call() {
    let twice = "give this call another `#[id = \"...\"]`: its bytes would have the header of another call";
    check(
        "#[id = \"x\"] cmd a();\n#[id = \"x\"] cmd b();",
        &[&format!("2:8 {twice}"), "1:8 the other call is here"],
    );
    check(
        "#[id = \"b (u32)->()\"] cmd a();\ncmd b(x: u32);",
        &[&format!("2:5 {twice}"), "1:8 the other call is here"],
    );
    check("#[id = \"x\"] cmd a();\n#[id = \"x\"] qry b();\n#[id = \"x\"] sub c -> u32;", &[]);
    check("#[id = 7] cmd a();", &["1:8 write the id in quotation marks"]);
    check("#[id(7)] cmd a();", &["1:1 write `#[id = \"...\"]`"]);
    check("#[id = \"\"] cmd a();", &["1:8 write a name for the call, such as `restock/2`"]);
    check("#[id = \"(\"] cmd a();", &["1:8 write an id of words, numbers and balanced brackets"]);
    check("#[id = \"x\"] #[id = \"y\"] cmd a();", &["1:20 leave out one of the ids"]);
    check(
        "#[cfg(unix)] cmd a();",
        &["1:1 leave this out: every replica has the same calls, however it was built"],
    );
}
