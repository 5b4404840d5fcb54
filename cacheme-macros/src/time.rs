use std::time::Duration;

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens as _, quote};
use syn::parse::{Parse, ParseStream};
use syn::spanned::Spanned as _;
use syn::{Expr, ExprLit, Lit, UnOp};

use crate::mistakes::Mistakes;

/// A duration: text that is understood now, or an expression that the compiler checks.
pub(crate) enum Time {
    Text(Duration, Span),
    Expr(Box<Expr>),
}

impl Time {
    /// Refuses zero, where that can be seen; `fix` says what to write instead.
    pub(crate) fn refuse_zero(&self, mistakes: &mut Mistakes, fix: &str) {
        if let Self::Text(Duration::ZERO, span) = self {
            mistakes.at(*span, format!("a duration of zero caches nothing: {fix}"));
        }
    }

    pub(crate) fn to_expr(&self) -> TokenStream {
        match self {
            Self::Text(time, _)
                if time.subsec_nanos() % 1_000_000 == 0 && u64::try_from(time.as_millis()).is_ok() =>
            {
                let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
                quote!(::core::time::Duration::from_millis(#millis))
            }
            Self::Text(time, _) => {
                let (seconds, nanos) = (time.as_secs(), time.subsec_nanos());
                quote!(::core::time::Duration::new(#seconds, #nanos))
            }
            Self::Expr(expr) => quote!(#expr),
        }
    }
}

const NEGATIVE: &str = "a duration cannot be negative";

/// The number before a unit `M` in a duration. `humantime` takes it for months, and people mean minutes.
fn months(text: &str) -> Option<u64> {
    text.match_indices('M').find_map(|(at, _)| {
        let (before, after) = (text[..at].trim_end(), &text[at + 1..]);
        let is_unit = !after.starts_with(|next: char| next.is_alphabetic());
        let number = before.rsplit(|char: char| !char.is_ascii_digit()).next()?;
        number.parse().ok().filter(|_| is_unit)
    })
}

impl Parse for Time {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let expr: Expr = input.parse()?;
        let wrong = |why: &str| {
            let how = "write it like \"30s\", \"500ms\" or \"1h30m\", or as an expression of type `Duration`";
            syn::Error::new_spanned(&expr, format!("{why}; {how}"))
        };
        let lit = match &expr {
            Expr::Lit(ExprLit { lit, .. }) => lit,
            Expr::Unary(negated) if matches!((&negated.op, &*negated.expr), (UnOp::Neg(_), Expr::Lit(_))) => {
                return Err(wrong(NEGATIVE));
            }
            _ => return Ok(Self::Expr(Box::new(expr))),
        };
        let Lit::Str(text) = lit else {
            let shown = lit.to_token_stream().to_string();
            return Err(match humantime::parse_duration(&shown) {
                Ok(time) if !time.is_zero() => wrong("a duration stands in quotes"),
                _ => wrong("a duration needs its unit"),
            });
        };
        let text = text.value();
        if text.trim_start().starts_with('-') {
            return Err(wrong(NEGATIVE));
        }
        if let Some(number) = months(&text) {
            let (minutes, days) = (format!("{number}min"), format!("{}days", number * 30));
            return Err(syn::Error::new_spanned(
                &expr,
                format!("`M` is a month here, and `m` a minute: write \"{days}\" or \"{minutes}\""),
            ));
        }
        match humantime::parse_duration(&text) {
            Ok(time) => Ok(Self::Text(time, expr.span())),
            Err(why) => Err(wrong(&format!("not a duration: {why}"))),
        }
    }
}
