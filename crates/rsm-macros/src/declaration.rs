//! Parses a declaration. A syntax error is reported at the token where the grammar is violated. Parsing then
//! continues after the next semicolon, so that all errors are reported at once.

use proc_macro2::{Delimiter, Span, TokenStream, TokenTree};
use syn::ext::IdentExt;
use syn::parse::{Parse, ParseStream};
use syn::spanned::Spanned;
use syn::{
    Attribute, Error, Expr, ExprLit, Ident, Lit, LitStr, Meta, Token, Type, Visibility, braced,
    parenthesized, token,
};

/// The whole declaration.
pub(crate) struct Declaration {
    /// Path of `bezant_rsm` in generated code.
    pub(crate) crate_path: TokenStream,
    /// Attributes of the trait, in order.
    pub(crate) attributes: Vec<Attribute>,
    pub(crate) visibility: Visibility,
    pub(crate) name: Ident,
    pub(crate) calls: Vec<Call>,
}

/// Kind of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// It goes through the log.
    Command,
    /// It reads the state of one replica.
    Query,
    /// Commands emit its events to subscribers.
    Stream,
}

impl Kind {
    /// The keyword of the declaration.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Command => "cmd",
            Self::Query => "qry",
            Self::Stream => "sub",
        }
    }
}

/// One line of the declaration.
pub(crate) struct Call {
    pub(crate) kind: Kind,
    /// Attributes without `id`.
    pub(crate) attributes: Vec<Attribute>,
    /// Replaces name and types in the fingerprint.
    pub(crate) id: Option<LitStr>,
    pub(crate) name: Ident,
    /// Empty for a stream.
    pub(crate) arguments: Vec<Argument>,
    /// Type of the answer, or of a stream's events; `()` where the declaration has none.
    pub(crate) answer: Type,
}

/// A name and its type.
pub(crate) struct Argument {
    pub(crate) name: Ident,
    pub(crate) kind: Type,
}

impl Parse for Declaration {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let path;
        parenthesized!(path in input);
        let crate_path = path.parse()?;
        let attributes = input.call(Attribute::parse_outer)?;
        let visibility = input.parse()?;
        if !input.peek(Token![trait]) {
            return Err(input
                .error("write `trait` and a name: the declaration of a state machine is a trait of calls"));
        }
        input.parse::<Token![trait]>()?;
        let name = input.parse()?;
        if input.peek(Token![<]) {
            return Err(input.error("leave out the generics: the log holds bytes of one type"));
        }
        if input.peek(Token![:]) {
            return Err(input.error("leave out the bounds: the macro sets those that a state needs"));
        }
        if !input.peek(token::Brace) {
            return Err(input.error("write `{` and the calls"));
        }
        let body;
        braced!(body in input);
        let calls = parse_calls(&body)?;
        if !input.is_empty() {
            return Err(input.error("leave this out: one `state_machine!` declares one trait"));
        }
        Ok(Self { crate_path, attributes, visibility, name, calls })
    }
}

fn parse_calls(input: ParseStream<'_>) -> syn::Result<Vec<Call>> {
    let mut calls = Vec::new();
    let mut errors = Errors::default();
    while !input.is_empty() {
        match input.parse() {
            Ok(call) => calls.push(call),
            Err(error) => {
                errors.add(error);
                skip_call(input)?;
            }
        }
    }
    errors.finish()?;
    Ok(calls)
}

/// Skips everything up to and including the next semicolon, or the next group in braces, which is a body.
fn skip_call(input: ParseStream<'_>) -> syn::Result<()> {
    while !input.is_empty() {
        match input.parse()? {
            TokenTree::Punct(mark) if mark.as_char() == ';' => break,
            TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => break,
            _ => {}
        }
    }
    Ok(())
}

impl Parse for Call {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let mut attributes = input.call(Attribute::parse_outer)?;
        let id = take_id(&mut attributes)?;
        let kind = parse_kind(input)?;
        let name = input.call(parse_name)?;
        if input.peek(Token![<]) {
            return Err(input.error("leave out the generics: the bytes of a call are of one type"));
        }
        let arguments = if kind == Kind::Stream { Vec::new() } else { parse_arguments(input)? };
        let answer = parse_answer(input, kind)?;
        parse_end(input)?;
        Ok(Self { kind, attributes, id, name, arguments, answer })
    }
}

fn parse_kind(input: ParseStream<'_>) -> syn::Result<Kind> {
    const KINDS: &str = "begin a call with `cmd` (changes the state, through the log), `qry` (reads it) or `sub` (a stream of events)";
    if input.peek(Token![pub]) {
        return Err(input.error("leave out `pub`: calls are as visible as their trait"));
    }
    let word = Ident::parse_any(input).map_err(|error| Error::new(error.span(), KINDS))?;
    let advice = match word.to_string().as_str() {
        "cmd" => return Ok(Kind::Command),
        "qry" => return Ok(Kind::Query),
        "sub" => return Ok(Kind::Stream),
        "fn" => "write `cmd` for a call that changes the state, `qry` for one that reads it",
        "async" => {
            "leave out `async`: calls run on the state without waiting, and the handle's methods are always async"
        }
        "def" => "leave out `def`",
        _ => KINDS,
    };
    Err(Error::new(word.span(), advice))
}

fn parse_name(input: ParseStream<'_>) -> syn::Result<Ident> {
    input
        .parse()
        .map_err(|error: Error| Error::new(error.span(), "write the call's name, which is not a keyword"))
}

fn parse_arguments(input: ParseStream<'_>) -> syn::Result<Vec<Argument>> {
    if !input.peek(token::Paren) {
        return Err(input.error("write the arguments in parentheses, `()` where there are none"));
    }
    let list;
    parenthesized!(list in input);
    let mut arguments = Vec::new();
    while !list.is_empty() {
        arguments.push(list.parse()?);
        if !list.is_empty() && !list.peek(Token![,]) {
            return Err(list.error("write `,` or `)`"));
        }
        list.parse::<Option<Token![,]>>()?;
    }
    Ok(arguments)
}

impl Parse for Argument {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let receiver = input.fork();
        receiver.parse::<Option<Token![&]>>()?;
        receiver.parse::<Option<Token![mut]>>()?;
        if receiver.peek(Token![self]) {
            return Err(
                input.error("leave out `self`: a cmd gets `&mut self` and a context, a qry gets `&self`")
            );
        }
        if input.peek(Token![mut]) {
            return Err(input.error("leave out `mut`: write it in the implementation"));
        }
        if input.peek(Token![#]) {
            return Err(input.error("leave out the attribute: an argument is a name and a type"));
        }
        let advice = "write a name and a type, as in `item: u32`: an argument is not a pattern";
        if !input.peek(Ident) || !input.peek2(Token![:]) || input.peek2(Token![::]) {
            return Err(input.error(advice));
        }
        let name = input.parse()?;
        input.parse::<Token![:]>()?;
        Ok(Self { name, kind: input.parse()? })
    }
}

fn parse_answer(input: ParseStream<'_>, kind: Kind) -> syn::Result<Type> {
    if kind == Kind::Stream && !input.peek(Token![->]) {
        return Err(input.error("write `-> Type`: a stream has no arguments, and its events have a type"));
    }
    match input.parse::<Option<Token![->]>>()? {
        Some(_) => input.parse(),
        None => Ok(syn::parse_quote!(())),
    }
}

fn parse_end(input: ParseStream<'_>) -> syn::Result<()> {
    if input.peek(token::Brace) {
        return Err(input.error("write `;`: the body of a call is in the implementation of the trait"));
    }
    if input.peek(Token![where]) {
        return Err(input.error("leave out the bounds: a call has no generics"));
    }
    if !input.peek(Token![;]) {
        return Err(input.error("write `;`"));
    }
    input.parse::<Token![;]>().map(|_| ())
}

/// Removes `#[id = "..."]` from the attributes and returns its text.
fn take_id(attributes: &mut Vec<Attribute>) -> syn::Result<Option<LitStr>> {
    let mut ids = Vec::new();
    for attribute in attributes.extract_if(.., |attribute| attribute.path().is_ident("id")) {
        let Meta::NameValue(pair) = &attribute.meta else {
            return Err(Error::new(attribute.span(), "write `#[id = \"...\"]`"));
        };
        let Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) = &pair.value else {
            return Err(Error::new(pair.value.span(), "write the id in quotation marks"));
        };
        ids.push(text.clone());
    }
    match ids.get(1) {
        Some(second) => Err(Error::new(second.span(), "leave out one of the ids")),
        None => Ok(ids.pop()),
    }
}

/// Combines several errors to one.
#[derive(Default)]
pub(crate) struct Errors(Option<Error>);

impl Errors {
    pub(crate) fn add(&mut self, error: Error) {
        match &mut self.0 {
            Some(errors) => errors.combine(error),
            errors @ None => *errors = Some(error),
        }
    }

    pub(crate) fn report(&mut self, span: Span, message: impl core::fmt::Display) {
        self.add(Error::new(span, message));
    }

    /// `Ok` when no error was added.
    pub(crate) fn finish(self) -> syn::Result<()> {
        self.0.map_or(Ok(()), Err)
    }
}
