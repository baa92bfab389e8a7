//! Generates the enums of commands and queries, whose encoded values are in the log and on the wire.

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::ext::IdentExt;

use super::{Parts, at, bound, documentation, numbered};
use crate::check::Facts;
use crate::declaration::{Call, Kind};
use crate::fingerprint;

/// `CatalogCommand` or `CatalogQuery`.
pub(super) fn enumeration(parts: &Parts<'_>, kind: Kind) -> TokenStream {
    let Parts { rsm, visibility, name, allow, .. } = parts;
    let enumeration = parts.enumeration(kind);
    let doc = match kind {
        Kind::Command => format!("A command of [`{name}`], as it is in the log."),
        Kind::Query | Kind::Stream => format!("A query of [`{name}`], as it is sent to a replica."),
    };
    let variants = parts.calls(kind).map(|(call, facts)| variant(call, facts));
    let encodings = parts.calls(kind).map(|(call, facts)| encode(parts, call, facts));
    let decodings = parts.calls(kind).map(|(call, facts)| decode(parts, call, facts));
    let displays = parts.calls(kind).map(|(call, facts)| display(call, facts));
    let signatures = parts.calls(kind).map(|(_, facts)| &facts.signature);
    quote! {
        #[doc = #doc]
        #allow
        #[derive(Debug)]
        #visibility enum #enumeration { #(#variants),* }

        #allow
        impl #enumeration {
            /// The texts that the fingerprints of the calls are made of, in the order of the declaration.
            #visibility const SIGNATURES: &'static [&'static str] = &[#(#signatures),*];

            /// The bytes of the call; `None` when they would not be decoded as the same call.
            #visibility fn encode(&self) -> ::core::option::Option<#rsm::export::Bytes> {
                match *self { #(#encodings)* }
            }

            /// Decodes the bytes of [`encode`](Self::encode).
            ///
            /// # Errors
            /// When the bytes are not a call of this declaration: they are of another version or service, or
            /// damaged.
            #visibility fn decode(bytes: &[u8]) -> ::core::result::Result<Self, #rsm::UnknownCall> {
                let (header, arguments) = #rsm::export::split(bytes)?;
                match header {
                    #(#decodings)*
                    _ => ::core::result::Result::Err(#rsm::UnknownCall),
                }
            }
        }

        #allow
        impl ::core::fmt::Display for #enumeration {
            fn fmt(&self, formatter: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
                match *self { #(#displays)* }
            }
        }
    }
}

fn variant(call: &Call, facts: &Facts) -> TokenStream {
    let variant = &facts.variant;
    let docs = documentation(call);
    let fields = call.arguments.iter().map(|argument| {
        let (name, kind) = (&argument.name, &argument.kind);
        let doc = format!("The argument `{name}`.");
        quote!(#[doc = #doc] #name: #kind)
    });
    quote!(#docs #variant { #(#fields),* })
}

/// A call as a pattern that borrows its arguments.
fn borrowed(call: &Call, facts: &Facts) -> TokenStream {
    let variant = &facts.variant;
    let names = call.arguments.iter().map(|argument| &argument.name);
    let numbers = numbered(call);
    quote!(Self::#variant { #(#names: ref #numbers),* })
}

fn encode(parts: &Parts<'_>, call: &Call, facts: &Facts) -> TokenStream {
    let rsm = parts.rsm_at(call.name.span());
    let (pattern, numbers) = (borrowed(call, facts), numbered(call));
    let kinds = call.arguments.iter().map(|argument| &argument.kind);
    let header = fingerprint::header(&facts.signature);
    quote_spanned! {at(call.name.span())=>
        #pattern => #rsm::export::encode_call::<(#(#kinds,)*), _>(#header, &(#(#numbers,)*)),
    }
}

fn decode(parts: &Parts<'_>, call: &Call, facts: &Facts) -> TokenStream {
    let rsm = parts.rsm_at(call.name.span());
    let (value, numbers) = (bound(call, facts), numbered(call));
    let kinds = call.arguments.iter().map(|argument| &argument.kind);
    let header = fingerprint::header(&facts.signature);
    quote_spanned! {at(call.name.span())=>
        #header => {
            let (#(#numbers,)*): (#(#kinds,)*) = #rsm::export::decode(arguments)?;
            ::core::result::Result::Ok(Self::#value)
        }
    }
}

fn display(call: &Call, facts: &Facts) -> TokenStream {
    let (pattern, numbers) = (borrowed(call, facts), numbered(call));
    let names: Vec<String> =
        call.arguments.iter().map(|argument| format!("{}: {{:?}}", argument.name.unraw())).collect();
    let format = format!("{}({})", call.name.unraw(), names.join(", "));
    quote_spanned! {at(call.name.span())=>
        #pattern => formatter.write_fmt(::core::format_args!(#format, #(#numbers),*)),
    }
}
