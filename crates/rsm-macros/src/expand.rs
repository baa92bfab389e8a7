//! Generates the code of a checked declaration: the trait, and the types that have its name and a suffix:
//! `Context`, `Command`, `Query`, `Machine`, `Handle`.
//!
//! Every piece has the span of the text that it comes from, so that the compiler shows an unsuitable type
//! where it is declared. Generated code binds arguments to numbered names, so that a name in the declaration
//! never shadows a name of the generated code.

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

/// The generated code.
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

/// Code that compiles only when all arguments, answers and events can be sent. The compiler's error shows the
/// type that cannot. This code comes first, so that the compiler reports this error before its consequences.
fn travels(parts: &Parts<'_>) -> TokenStream {
    let arguments =
        parts.calls.iter().flat_map(|(call, _)| call.arguments.iter().map(|argument| &argument.kind));
    let kinds = arguments.chain(parts.calls.iter().map(|(call, _)| &call.answer));
    let checks = kinds.map(|kind| {
        let rsm = parts.rsm_at(kind.span());
        quote_spanned!(at(kind.span())=> #rsm::export::travels::<#kind>();)
    });
    let allow = &parts.allow;
    quote!(#allow const _: () = { #(#checks)* };)
}

/// Names and tokens that all pieces of the generated code use.
struct Parts<'declaration> {
    /// Path of the crate `bezant_rsm`.
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
    /// Attribute that turns lints off in generated code. The tests of this crate check that code.
    allow: TokenStream,
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
            allow: quote! {
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

    /// The path of `bezant_rsm` with a span of the declaration. Without it the compiler would show an error
    /// at the whole declaration.
    fn rsm_at(&self, span: Span) -> TokenStream {
        let moved = |token: TokenTree| {
            let mut token = token;
            token.set_span(at(span));
            token
        };
        self.rsm.clone().into_iter().map(moved).collect()
    }

    /// Name of the enum of the calls of that kind.
    fn enumeration(&self, kind: Kind) -> &Ident {
        if kind == Kind::Command { &self.command } else { &self.query }
    }
}

/// A span that is shown at `span` and resolves names at the call of the macro.
fn at(span: Span) -> Span {
    Span::call_site().located_at(span)
}

/// One numbered name for each argument, independent of its name in the declaration.
fn numbered(call: &Call) -> Vec<Ident> {
    (0..call.arguments.len())
        .map(|number| format_ident!("argument_{number}", span = at(call.name.span())))
        .collect()
}

/// A call as a pattern or a value: `Restock { item: argument_0, by: argument_1 }`.
fn bound(call: &Call, facts: &Facts) -> TokenStream {
    let variant = &facts.variant;
    let names = call.arguments.iter().map(|argument| &argument.name);
    let numbers = numbered(call);
    quote!(#variant { #(#names: #numbers),* })
}

/// The documentation of a call in the declaration, or a default one.
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

/// The parameters of a call: `a: A, b: B`.
fn parameters(call: &Call) -> TokenStream {
    let names = call.arguments.iter().map(|argument| &argument.name);
    let kinds = call.arguments.iter().map(|argument| &argument.kind);
    quote!(#(#names: #kinds),*)
}
