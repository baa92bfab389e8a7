//! What stands behind `bezant_rsm::state_machine!`, where it is described: a declaration of commands, queries and
//! streams becomes a trait, the bytes of its calls, a machine and a handle.
//!
//! Three steps, a module each: `declaration` reads what is written, `check` refuses what could not be the same on
//! every replica, `expand` writes the code. Everything that is wrong is told at once, at the place where it is
//! written, in words that say what to write instead.
//!
//! Always holds: equal signatures have equal fingerprints, whichever compiler runs and however the text is spaced.
//! Never: the code that comes out depends on the order in which calls are declared.

use proc_macro2::TokenStream;

mod check;
mod declaration;
mod expand;
mod fingerprint;
#[cfg(test)]
mod tests;

/// The path of `bezant_rsm` in parentheses, then the declaration. Called by `bezant_rsm::state_machine!`, which knows
/// the path, and by nobody else.
#[proc_macro]
pub fn declare(input: proc_macro::TokenStream) -> proc_macro::TokenStream {
    code(input.into()).unwrap_or_else(syn::Error::into_compile_error).into()
}

fn code(input: TokenStream) -> syn::Result<TokenStream> {
    let declaration = syn::parse2(input)?;
    let checked = check::check(declaration)?;
    Ok(expand::expand(&checked))
}
