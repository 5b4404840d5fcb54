//! The `name = value, name(…)` lists inside attributes, parsed so that one bad value does not hide the next.

use std::fmt::Display;

use quote::ToTokens as _;
use syn::ext::IdentExt as _;
use syn::parse::discouraged::Speculative as _;
use syn::parse::{Parse, ParseStream};
use syn::{Expr, Ident, Token, token};

use crate::mistakes::Mistakes;
use crate::nearest::{did_you_mean, nearest};

/// Parses a whole list. `set` takes the value of a known name; an error of its own is noted and the list goes on
/// behind the value. Gives the names that were meant: a misspelt one is not missing as well.
pub(crate) fn parse_settings(
    input: ParseStream<'_>,
    known: &[&'static str],
    mistakes: &mut Mistakes,
    mut set: impl FnMut(&Ident, ParseStream<'_>, &mut Mistakes) -> syn::Result<()>,
) -> Vec<&'static str> {
    let mut meant = Vec::new();
    while !input.is_empty() {
        let parsed = Ident::parse_any(input).and_then(|name| {
            let text = name.to_string();
            let nearest = nearest(&text, known);
            meant.extend(nearest);
            if nearest.is_some_and(|near| near == text) {
                set(&name, input, mistakes)
            } else {
                Err(unknown(&name, nearest, known))
            }
        });
        if mistakes.note(parsed).is_none() {
            skip_value(input);
        }
        if !input.is_empty()
            && mistakes.note(input.parse::<Token![,]>()).is_none()
            && !input.peek(Ident::peek_any)
        {
            skip_value(input);
        }
    }
    meant
}

fn unknown(name: &Ident, nearest: Option<&str>, known: &[&str]) -> syn::Error {
    let message = if (name == "ttl" || name == "storage") && known.contains(&"tier") {
        format!("`{name}` goes inside of a tier: write `tier(storage = \"local\", ttl = \"30s\")`")
    } else {
        let hint = did_you_mean(nearest);
        format!("unknown key `{name}`{hint} ({})", Known(known))
    };
    syn::Error::new(name.span(), message)
}

/// Parses `= value` for a name that may be set once.
pub(crate) fn parse_once<T: Parse>(
    name: &Ident,
    input: ParseStream<'_>,
    place: &mut Option<T>,
) -> syn::Result<()> {
    if !input.peek(Token![=]) {
        return Err(syn::Error::new(
            name.span(),
            format!("`{name}` needs a value: write `{name} = …`"),
        ));
    }
    input.parse::<Token![=]>()?;
    if input.is_empty() || input.peek(Token![,]) {
        return Err(syn::Error::new(
            name.span(),
            format!("`{name}` needs a value: write it behind the `=`"),
        ));
    }
    let value = input.parse()?;
    if place.is_some() {
        return Err(syn::Error::new(
            name.span(),
            format!("`{name}` is set twice; keep one of them"),
        ));
    }
    *place = Some(value);
    Ok(())
}

/// Moves on to the comma that ends a value which could not be parsed: the next one with `name =`, `name(` or nothing
/// behind it. Commas inside of `<…>` have neither.
fn skip_value(input: ParseStream<'_>) {
    while !input.is_empty() {
        if input.peek(Token![,]) {
            let ahead = input.fork();
            let next = ahead.parse::<Token![,]>().and_then(|_| Ident::parse_any(&ahead));
            if next.is_err() || ahead.peek(Token![=]) || ahead.peek(token::Paren) {
                return;
            }
        }
        let skipped: syn::Result<proc_macro2::TokenTree> = input.parse();
        debug_assert!(skipped.is_ok(), "any token is a token tree");
    }
}

/// `none`, or a value.
pub(crate) enum OrNone<T> {
    None,
    Some(T),
}

impl<T: Parse> Parse for OrNone<T> {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let ahead = input.fork();
        if ahead.parse::<Ident>().is_ok_and(|word| word == "none")
            && (ahead.is_empty() || ahead.peek(Token![,]))
        {
            input.advance_to(&ahead);
            return Ok(Self::None);
        }
        let ahead = input.fork();
        if let Ok(text) = ahead.parse::<syn::LitStr>()
            && text.value() == "none"
        {
            return Err(syn::Error::new(text.span(), "write `none` without quotes"));
        }
        input.parse().map(Self::Some)
    }
}

/// Text in quotes, where people also write bare words and numbers.
pub(crate) struct Text(pub(crate) syn::LitStr);

impl Parse for Text {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        if input.peek(syn::LitStr) {
            return input.parse().map(Self);
        }
        if let Ok(expr) = input.fork().parse::<Expr>()
            && is_constant(&expr)
        {
            return Err(syn::Error::new_spanned(
                expr,
                "write the text itself: this attribute is read before constants have a value and macros such as `concat!` are expanded",
            ));
        }
        let found: proc_macro2::TokenTree = input.parse()?;
        let shown = found.to_token_stream();
        Err(syn::Error::new(
            found.span(),
            format!("expected text in quotes: write `\"{shown}\"`"),
        ))
    }
}

/// Whether an expression looks like a constant or a macro, and not like text without its quotes.
pub(crate) fn is_constant(expr: &Expr) -> bool {
    match expr {
        Expr::Path(path) => match path.path.get_ident() {
            Some(name) => name.to_string().starts_with(|first: char| first.is_uppercase()),
            None => true,
        },
        Expr::Macro(_) | Expr::Reference(_) => true,
        _ => false,
    }
}

/// What there is to choose from: `` there are `a`, `b` and `c` ``
pub(crate) struct Known<'a>(pub(crate) &'a [&'a str]);

impl Display for Known<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.len() == 1 {
            "there is "
        } else {
            "there are "
        })?;
        for (at, name) in self.0.iter().enumerate() {
            let before = match at {
                0 => "",
                _ if at + 1 == self.0.len() => " and ",
                _ => ", ",
            };
            write!(f, "{before}`{name}`")?;
        }
        Ok(())
    }
}
