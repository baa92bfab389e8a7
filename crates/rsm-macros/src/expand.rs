//! Writes the code of a checked declaration: the trait, and beside it what its name begins with: `Context`,
//! `Command`, `Query`, `Machine`, `Handle`.
//!
//! Every piece is placed at the user's words that it comes from, so that a type which lacks something is shown where it
//! is declared. Arguments are bound by numbered names wherever code of ours runs, so that no name of the user's can
//! mean anything else in it.

use proc_macro2::{Ident, Span, TokenStream, TokenTree};
use quote::{format_ident, quote, quote_spanned};
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::{Attribute, Visibility};

use crate::check::{Checked, Facts};
use crate::declaration::{Call, Kind};

mod calls;
mod handle;
mod machine;

/// The code.
pub(crate) fn expand(checked: &Checked) -> TokenStream {
    let parts = Parts::new(checked);
    let pieces = [
        travels(&parts),
        machine::context(&parts),
        machine::declared_trait(&parts),
        calls::enumeration(&parts, Kind::Command),
        calls::enumeration(&parts, Kind::Query),
        machine::machine(&parts),
        handle::handle(&parts),
    ];
    pieces.into_iter().collect()
}

/// Code that compiles when all arguments, answers and events can travel; shows the type that cannot. It comes first, so that
/// what follows from it is told behind it.
fn travels(parts: &Parts<'_>) -> TokenStream {
    let arguments =
        parts.calls.iter().flat_map(|(call, _)| call.arguments.iter().map(|argument| &argument.kind));
    let kinds = arguments.chain(parts.calls.iter().map(|(call, _)| &call.answer));
    let checks = kinds.map(|kind| {
        let rsm = parts.rsm_at(kind.span());
        quote_spanned!(at(kind.span())=> #rsm::export::travels::<#kind>();)
    });
    let quiet = &parts.quiet;
    quote!(#quiet const _: () = { #(#checks)* };)
}

/// What all pieces speak of.
struct Parts<'declaration> {
    /// The path of `bezant_rsm`.
    rsm: &'declaration TokenStream,
    attributes: &'declaration [Attribute],
    visibility: &'declaration Visibility,
    name: &'declaration Ident,
    context: Ident,
    command: Ident,
    query: Ident,
    machine: Ident,
    handle: Ident,
    calls: Vec<(&'declaration Call, &'declaration Facts)>,
    /// Generated code is judged by its own tests.
    quiet: TokenStream,
}

impl<'declaration> Parts<'declaration> {
    fn new(checked: &'declaration Checked) -> Self {
        let declaration = &checked.declaration;
        let name = &declaration.name;
        let named = |suffix: &str| Ident::new(&format!("{}{suffix}", name.unraw()), name.span());
        Self {
            rsm: &declaration.crate_path,
            attributes: &declaration.attributes,
            visibility: &declaration.visibility,
            name,
            context: named("Context"),
            command: named("Command"),
            query: named("Query"),
            machine: named("Machine"),
            handle: named("Handle"),
            calls: declaration.calls.iter().zip(&checked.facts).collect(),
            quiet: quote! {
                #[allow(
                    dead_code, unreachable_code, unreachable_pub, unused_variables, deprecated, clippy::all, clippy::pedantic,
                    reason = "written by state_machine!"
                )]
            },
        }
    }

    fn calls(&self, kind: Kind) -> impl Iterator<Item = (&'declaration Call, &'declaration Facts)> {
        self.calls.iter().copied().filter(move |(call, _)| call.kind == kind)
    }

    /// The path of `bezant_rsm`, shown at a place of the user's: else an error of the compiler would be shown at the
    /// whole declaration.
    fn rsm_at(&self, span: Span) -> TokenStream {
        let moved = |token: TokenTree| {
            let mut token = token;
            token.set_span(at(span));
            token
        };
        self.rsm.clone().into_iter().map(moved).collect()
    }

    /// The enum of the calls of a kind.
    fn enumeration(&self, kind: Kind) -> &Ident {
        if kind == Kind::Command { &self.command } else { &self.query }
    }
}

/// The macro's own names, shown at a place of the user's.
fn at(span: Span) -> Span {
    Span::call_site().located_at(span)
}

/// One name an argument, whatever the user calls it.
fn numbered(call: &Call) -> Vec<Ident> {
    (0..call.arguments.len())
        .map(|number| format_ident!("argument_{number}", span = at(call.name.span())))
        .collect()
}

/// A call as a pattern, or as a value: `Restock { item: argument_0, by: argument_1 }`.
fn bound(call: &Call, facts: &Facts) -> TokenStream {
    let variant = &facts.variant;
    let names = call.arguments.iter().map(|argument| &argument.name);
    let numbers = numbered(call);
    quote!(#variant { #(#names: #numbers),* })
}

/// The user's words about a call, or that there is such a call.
fn documentation(call: &Call) -> TokenStream {
    let docs: Vec<&Attribute> = docs(&call.attributes).collect();
    if docs.is_empty() {
        let word = match call.kind {
            Kind::Command => "command",
            Kind::Query => "query",
            Kind::Stream => "stream",
        };
        let text = format!("The {word} `{}`.", call.name);
        return quote!(#[doc = #text]);
    }
    quote!(#(#docs)*)
}

fn docs(attributes: &[Attribute]) -> impl Iterator<Item = &Attribute> {
    attributes.iter().filter(|attribute| attribute.path().is_ident("doc"))
}

/// `a: A, b: B`.
fn parameters(call: &Call) -> TokenStream {
    let names = call.arguments.iter().map(|argument| &argument.name);
    let kinds = call.arguments.iter().map(|argument| &argument.kind);
    quote!(#(#names: #kinds),*)
}
