//! Generates the handle, which has one method for each call and is generic over the caller. The types of the
//! declaration are used in the scope of the type parameter, so the parameter has a name that no type is
//! likely to have.

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};

use super::{Parts, at, documentation, parameters};
use crate::check::Facts;
use crate::declaration::{Call, Kind};
use crate::fingerprint;

/// `CatalogHandle`.
pub(super) fn handle(parts: &Parts<'_>) -> TokenStream {
    let Parts { rsm, visibility, name, handle, allow, .. } = parts;
    let doc = format!("Calls a [`{name}`] through a caller. Cheap to clone when the caller is.");
    let methods = parts.calls.iter().map(|(call, facts)| method(parts, call, facts));
    quote! {
        #[doc = #doc]
        #allow
        #[derive(Clone, Debug)]
        #visibility struct #handle<__Caller> {
            caller: __Caller,
            freshness: #rsm::Freshness,
        }

        #allow
        impl<__Caller: #rsm::Caller> #handle<__Caller> {
            /// A handle over a caller. Its queries are linearizable.
            #visibility const fn new(caller: __Caller) -> Self {
                Self { caller, freshness: #rsm::Freshness::Linearizable }
            }

            /// The same handle with another freshness of its queries.
            #[must_use]
            #visibility fn at(&self, freshness: #rsm::Freshness) -> Self {
                Self { caller: ::core::clone::Clone::clone(&self.caller), freshness }
            }

            /// The caller that reaches the service.
            #visibility const fn caller(&self) -> &__Caller {
                &self.caller
            }

            #(#methods)*
        }
    }
}

fn method(parts: &Parts<'_>, call: &Call, facts: &Facts) -> TokenStream {
    let visibility = parts.visibility;
    let Call { name, answer, .. } = call;
    let rsm = parts.rsm_at(name.span());
    let (docs, parameters, variant) = (documentation(call), parameters(call), &facts.variant);
    let names = call.arguments.iter().map(|argument| &argument.name);
    let enumeration = parts.enumeration(call.kind);
    let value = quote!(#enumeration::#variant { #(#names),* });
    match call.kind {
        Kind::Command => quote_spanned! {at(name.span())=>
            #docs
            ///
            /// Goes through the log and is executed once.
            #visibility async fn #name(&self, #parameters) -> ::core::result::Result<#answer, __Caller::Error> {
                #rsm::export::invoke(&self.caller, #value.encode()).await
            }
        },
        Kind::Query => quote_spanned! {at(name.span())=>
            #docs
            ///
            /// Has the freshness of the handle and no log entry.
            #visibility async fn #name(&self, #parameters) -> ::core::result::Result<#answer, __Caller::Error> {
                #rsm::export::query(&self.caller, self.freshness, #value.encode()).await
            }
        },
        Kind::Stream => {
            let stream = fingerprint::stream(&facts.signature);
            quote_spanned! {at(name.span())=>
                #docs
                ///
                /// Subscribes to the events with a number greater than `after`; 0 for all events.
                #visibility fn #name(&self, after: u64) -> #rsm::Subscription<__Caller, #answer> {
                    #rsm::Subscription::new(::core::clone::Clone::clone(&self.caller), #stream, after)
                }
            }
        }
    }
}
