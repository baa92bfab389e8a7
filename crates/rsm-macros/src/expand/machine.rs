//! Generates the trait, the context of its commands, and the machine that runs an implementation of the
//! trait.

use proc_macro2::{Ident, TokenStream};
use quote::{quote, quote_spanned};

use super::{Parts, at, bound, docs, documentation, numbered, parameters};
use crate::declaration::{Call, Kind};
use crate::fingerprint;

/// `CatalogContext`.
pub(super) fn context(parts: &Parts<'_>) -> TokenStream {
    let Parts { rsm, visibility, name, context, allow, .. } = parts;
    let doc = format!("Log index and time of a command of [`{name}`], and methods that emit events.");
    let emits = parts.calls(Kind::Stream).map(|(call, facts)| {
        let (docs, name, event) = (documentation(call), &call.name, &call.answer);
        let stream = fingerprint::stream(&facts.signature);
        let rsm = parts.rsm_at(call.name.span());
        quote_spanned! {at(call.name.span())=>
            #docs
            ///
            /// Emits an event to the subscribers, after all events that were emitted before.
            #visibility fn #name(&mut self, event: &#event) {
                self.call.emit(#stream, #rsm::export::encode(event));
            }
        }
    });
    quote! {
        #[doc = #doc]
        #allow
        #[derive(Debug)]
        #visibility struct #context<'call> {
            call: &'call mut #rsm::Call,
        }

        #allow
        impl<'call> #context<'call> {
            /// The context of a command, for the machine and for tests.
            #visibility const fn new(call: &'call mut #rsm::Call) -> Self {
                Self { call }
            }

            /// Index of the log entry that contains the command; all commands of one entry have the same.
            #visibility const fn index(&self) -> #rsm::export::LogIndex {
                self.call.index()
            }

            /// Cluster time, ns since the epoch: the same on every replica, and never earlier than the time
            /// of the previous command.
            #visibility const fn time(&self) -> #rsm::export::Nanos {
                self.call.time()
            }

            #(#emits)*
        }
    }
}

/// `Catalog`.
pub(super) fn declared_trait(parts: &Parts<'_>) -> TokenStream {
    let Parts { rsm, attributes, visibility, name, context, .. } = parts;
    let doc = docs(attributes).next().is_none().then(|| {
        let text =
            format!("The state of the replicated state machine `{name}`, with a method for each call.");
        quote!(#[doc = #text])
    });
    let methods = parts.calls.iter().map(|(call, _)| method(call, context));
    quote! {
        #doc
        #(#attributes)*
        #[allow(clippy::too_many_arguments, clippy::needless_pass_by_value, reason = "the declaration determines the arguments")]
        #visibility trait #name:
            #rsm::export::Serialize + #rsm::export::DeserializeOwned + ::core::fmt::Debug + ::core::marker::Send + 'static
        {
            /// The version of the state's type, which is part of every checkpoint. Raise it when an older
            /// checkpoint would be read wrongly, and read the older state in `migrate`.
            const STATE_VERSION: u32 = 1;

            /// Converts a state that an earlier version of the program saved; `None` when it cannot be
            /// converted.
            fn migrate(saved: &#rsm::SavedState<'_>) -> ::core::option::Option<Self> {
                let _ = saved;
                ::core::option::Option::None
            }

            #(#methods)*
        }
    }
}

fn method(call: &Call, context: &Ident) -> TokenStream {
    let Call { name, attributes, answer, .. } = call;
    let doc = docs(attributes).next().is_none().then(|| documentation(call));
    let parameters = parameters(call);
    match call.kind {
        Kind::Command => quote_spanned! {at(name.span())=>
            #doc
            #(#attributes)*
            fn #name(&mut self, context: &mut #context<'_>, #parameters) -> #answer;
        },
        Kind::Query => quote_spanned! {at(name.span())=>
            #doc
            #(#attributes)*
            fn #name(&self, #parameters) -> #answer;
        },
        Kind::Stream => TokenStream::new(),
    }
}

/// `CatalogMachine`.
pub(super) fn machine(parts: &Parts<'_>) -> TokenStream {
    let Parts { rsm, visibility, name, context, command, query, machine, allow, .. } = parts;
    let doc = format!("An implementation of [`{name}`] as a service of bytes.");
    let commands = parts.calls(Kind::Command).map(|(call, facts)| {
        let (pattern, numbers, method) = (bound(call, facts), numbered(call), &call.name);
        let rsm = parts.rsm_at(call.name.span());
        quote_spanned! {at(call.name.span())=>
            #command::#pattern => #rsm::export::encode(
                &#name::#method(&mut self.state, &mut #context::new(call), #(#numbers),*)
            ),
        }
    });
    let queries = parts.calls(Kind::Query).map(|(call, facts)| {
        let (pattern, numbers, method) = (bound(call, facts), numbered(call), &call.name);
        let rsm = parts.rsm_at(call.name.span());
        quote_spanned! {at(call.name.span())=>
            #query::#pattern => #rsm::export::encode(&#name::#method(&self.state, #(#numbers),*)),
        }
    });
    quote! {
        #[doc = #doc]
        #allow
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        #visibility struct #machine<__State> {
            state: __State,
        }

        #allow
        impl<__State: #name> #machine<__State> {
            /// A machine with the state before the first command.
            #visibility const fn new(state: __State) -> Self {
                Self { state }
            }

            /// The current state.
            #visibility const fn state(&self) -> &__State {
                &self.state
            }
        }

        #allow
        impl<__State: #name> #rsm::Service for #machine<__State> {
            fn invoke(
                &mut self,
                call: &mut #rsm::Call,
                command: &[u8],
            ) -> ::core::result::Result<#rsm::export::Bytes, #rsm::UnknownCall> {
                ::core::result::Result::Ok(match #command::decode(command)? { #(#commands)* })
            }

            fn query(&self, query: &[u8]) -> ::core::result::Result<#rsm::export::Bytes, #rsm::UnknownCall> {
                ::core::result::Result::Ok(match #query::decode(query)? { #(#queries)* })
            }

            fn checkpoint(&self) -> #rsm::export::Vec<u8> {
                static READ: ::core::sync::atomic::AtomicUsize = ::core::sync::atomic::AtomicUsize::new(0);
                #rsm::export::checkpoint(__State::STATE_VERSION, &self.state, &READ)
            }

            fn restore(checkpoint: &[u8]) -> ::core::result::Result<Self, #rsm::RestoreError> {
                #rsm::export::restore(__State::STATE_VERSION, checkpoint, __State::migrate).map(Self::new)
            }
        }
    }
}
