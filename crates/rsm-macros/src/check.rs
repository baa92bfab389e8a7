//! Refuses a declaration with types whose values differ between machines, types that are not owned, or
//! ambiguous names.

use std::collections::BTreeMap;

use proc_macro2::{Ident, Span, TokenStream, TokenTree};
use quote::ToTokens;
use syn::ext::IdentExt;
use syn::{Error, Type};

use crate::declaration::{Call, Declaration, Errors, Kind};
use crate::fingerprint;

/// The size of the largest tuple that serde supports.
const ARGUMENTS_MAX: usize = 16;

/// Methods that the trait, the context or the handle has for every declaration.
const TAKEN_NAMES: &[&str] = &["at", "caller", "clone", "index", "migrate", "new", "time"];

/// A valid declaration, and the facts about each of its calls.
pub(crate) struct Checked {
    pub(crate) declaration: Declaration,
    /// One element for each call, in the order of the declaration.
    pub(crate) facts: Vec<Facts>,
}

/// Facts about a call that are derived from its declaration.
pub(crate) struct Facts {
    /// The text that is hashed for the fingerprint.
    pub(crate) signature: String,
    /// The call's name as a variant of an enum.
    pub(crate) variant: Ident,
}

/// Checks a declaration. The error combines all errors that were found.
pub(crate) fn check(declaration: Declaration) -> syn::Result<Checked> {
    let mut errors = Errors::default();
    if declaration.calls.is_empty() {
        errors.report(
            declaration.name.span(),
            "declare a call, such as `cmd restock(item: u32, by: u32) -> u32;`",
        );
    }
    check_no_cfg(&declaration.attributes, "write it at `state_machine!` itself", &mut errors);
    let mut facts = Vec::new();
    for call in &declaration.calls {
        check_call(call, &mut errors);
        match signature(call) {
            Ok(signature) => facts.push(Facts { signature, variant: variant(&call.name) }),
            Err(error) => errors.add(error),
        }
    }
    check_names(&declaration.calls, &mut errors);
    errors.finish()?;
    check_fingerprints(&declaration.calls, &facts)?;
    Ok(Checked { declaration, facts })
}

fn check_no_cfg(attributes: &[syn::Attribute], advice: &str, errors: &mut Errors) {
    for attribute in attributes {
        if attribute.path().is_ident("cfg") || attribute.path().is_ident("cfg_attr") {
            errors.add(Error::new_spanned(attribute, advice));
        }
    }
}

fn check_call(call: &Call, errors: &mut Errors) {
    let advice = "leave this out: every replica has the same calls, however it was built";
    check_no_cfg(&call.attributes, advice, errors);
    if let Some(argument) = call.arguments.get(ARGUMENTS_MAX) {
        errors.report(
            argument.name.span(),
            format_args!("put some of the arguments in a struct: {ARGUMENTS_MAX} is the maximum"),
        );
    }
    let mut names = BTreeMap::new();
    for argument in &call.arguments {
        if argument.name == "context" {
            errors.report(
                argument.name.span(),
                "choose another name: `context` is the parameter that has the time and the log index of a cmd",
            );
        }
        if let Some(first) = names.insert(argument.name.unraw().to_string(), argument.name.span()) {
            errors.report(argument.name.span(), "choose another name: another argument has this name");
            errors.report(first, "the other one is here");
        }
        check_type(&argument.kind, call.kind, errors);
    }
    check_type(&call.answer, call.kind, errors);
}

/// Checks all tokens of a type, nested ones included.
fn check_type(kind: &Type, of: Kind, errors: &mut Errors) {
    check_tokens(kind.to_token_stream(), of, errors);
}

fn check_tokens(tokens: TokenStream, of: Kind, errors: &mut Errors) {
    let mut tokens = tokens.into_iter().peekable();
    while let Some(token) = tokens.next() {
        let next = tokens.peek().map(ToString::to_string).unwrap_or_default();
        let advice = match &token {
            TokenTree::Group(group) => {
                check_tokens(group.stream(), of, errors);
                None
            }
            TokenTree::Ident(word) => word_advice(&word.to_string(), of),
            TokenTree::Punct(mark) => mark_advice(mark.as_char(), &next),
            TokenTree::Literal(_) => None,
        };
        if let Some(advice) = advice {
            errors.report(token.span(), advice);
        }
    }
}

fn word_advice(word: &str, of: Kind) -> Option<&'static str> {
    Some(match word {
        "HashMap" => "write `BTreeMap`: a hash map has another order on every replica",
        "HashSet" => "write `BTreeSet`: a hash set has another order on every replica",
        "f32" | "f64" if of != Kind::Query => {
            "write an integer of the smallest unit, such as cents: the sum of floats depends on their order, so replicas may differ"
        }
        "usize" => "write `u64` or `u32`: `usize` is not the same on every machine",
        "isize" => "write `i64` or `i32`: `isize` is not the same on every machine",
        "dyn" | "impl" | "fn" => "write a type whose bytes have one format, such as an enum",
        "Self" => {
            "write the type itself: the bytes of a call do not depend on the type that implements the trait"
        }
        "_" => "write the type",
        _ => return None,
    })
}

fn mark_advice(mark: char, next: &str) -> Option<&'static str> {
    Some(match (mark, next) {
        ('&', "str") => "write `String`: arguments and answers are owned values",
        ('&', next) if next.starts_with('[') => "write `Vec<...>`: arguments and answers are owned values",
        ('&', _) => "leave out the reference: arguments and answers are owned values",
        ('\'', _) => "leave out the lifetime: arguments and answers are owned values",
        ('*', "const" | "mut") => "leave out the pointer: it is not valid on another replica",
        ('!', _) => "write a plain type",
        _ => return None,
    })
}

fn check_names(calls: &[Call], errors: &mut Errors) {
    let mut names: BTreeMap<String, &Ident> = BTreeMap::new();
    for call in calls {
        let name = call.name.unraw().to_string();
        if TAKEN_NAMES.contains(&name.as_str()) {
            errors.report(
                call.name.span(),
                format_args!("choose another name: `{name}` is a method of every handle, context or machine"),
            );
        }
        let variant = variant(&call.name).to_string();
        if variant == "Self" || variant == "_" {
            errors
                .report(call.name.span(), "choose another name: an enum cannot have a variant of this name");
        }
        if let Some(first) = names.insert(variant, &call.name) {
            errors.report(
                call.name.span(),
                format_args!("choose another name: it is the name of `{first}`, apart from underscores"),
            );
            errors.report(first.span(), "the other one is here");
        }
    }
}

/// The text of a call. The fingerprint is its hash.
fn signature(call: &Call) -> syn::Result<String> {
    let kind = call.kind.word();
    if let Some(id) = &call.id {
        let tokens: TokenStream = id
            .value()
            .parse()
            .map_err(|_| Error::new(id.span(), "write an id of words, numbers and balanced brackets"))?;
        if tokens.is_empty() {
            return Err(Error::new(id.span(), "write a name for the call, such as `restock/2`"));
        }
        return Ok(format!("{kind} {}", fingerprint::text(tokens)));
    }
    let name = &call.name;
    let types = call.arguments.iter().map(|argument| &argument.kind);
    let answer = &call.answer;
    Ok(format!("{kind} {}", fingerprint::text(quote::quote!(#name(#(#types),*) -> #answer))))
}

fn check_fingerprints(calls: &[Call], facts: &[Facts]) -> syn::Result<()> {
    let mut errors = Errors::default();
    let mut headers: BTreeMap<u64, Span> = BTreeMap::new();
    let mut streams: BTreeMap<u32, Span> = BTreeMap::new();
    for (call, facts) in calls.iter().zip(facts) {
        let span = call.id.as_ref().map_or_else(|| call.name.span(), syn::LitStr::span);
        let first = match call.kind {
            Kind::Command | Kind::Query => headers.insert(fingerprint::header(&facts.signature), span),
            Kind::Stream => streams.insert(fingerprint::stream(&facts.signature), span),
        };
        if let Some(first) = first {
            errors.report(
                span,
                "give this call another `#[id = \"...\"]`: its bytes would have the header of another call",
            );
            errors.report(first, "the other call is here");
        }
    }
    errors.finish()
}

/// `restock_all` as `RestockAll`.
fn variant(name: &Ident) -> Ident {
    let mut text = String::new();
    for word in name.unraw().to_string().split('_') {
        let mut letters = word.chars();
        text.extend(letters.next().into_iter().flat_map(char::to_uppercase));
        text.push_str(letters.as_str());
    }
    if text.is_empty() || text.starts_with(|letter: char| letter.is_numeric()) {
        text.insert(0, '_');
    }
    Ident::new(&text, name.span())
}
