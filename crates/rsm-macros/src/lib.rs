//! Implements `bezant_rsm::state_machine!`, whose documentation describes it: a declaration of commands,
//! queries and streams becomes a trait, the bytes of its calls, a machine and a handle.
//!
//! There are three steps, each in a module: `declaration` parses the text, `check` refuses types whose values
//! could differ between replicas, and `expand` generates the code. All errors are reported at once. Each
//! error points at the place in the declaration and names a correction.
//!
//! What always holds: equal signatures have equal fingerprints, with every compiler and however the text is
//! spaced. The bytes of a call never depend on the order in which calls are declared.

use proc_macro2::TokenStream;

mod check;
mod declaration;
mod expand;
mod fingerprint;
#[cfg(test)]
mod tests;

/// Input: the path of `bezant_rsm` in parentheses, then the declaration. Only `bezant_rsm::state_machine!`,
/// which passes the path, may call it.
#[proc_macro]
pub fn declare(input: proc_macro::TokenStream) -> proc_macro::TokenStream {
    code(input.into()).unwrap_or_else(syn::Error::into_compile_error).into()
}

fn code(input: TokenStream) -> syn::Result<TokenStream> {
    let declaration = syn::parse2(input)?;
    let checked = check::check(declaration)?;
    Ok(expand::expand(&checked))
}
