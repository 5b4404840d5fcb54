use std::time::Duration;

use proc_macro2::{Span, TokenStream};
use quote::quote;
use syn::parse::{Parse, ParseStream};
use syn::spanned::Spanned as _;
use syn::{Expr, ExprLit, Lit};

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

impl Parse for Time {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let expr: Expr = input.parse()?;
        let Expr::Lit(ExprLit { lit, .. }) = &expr else {
            return Ok(Self::Expr(Box::new(expr)));
        };
        let wrong = |why: &str| {
            syn::Error::new(
                lit.span(),
                format!(
                    "{why}; write it like \"30s\", \"500ms\" or \"1h30m\", or as an expression of type `Duration`"
                ),
            )
        };
        let Lit::Str(text) = lit else {
            return Err(wrong("a duration needs its unit"));
        };
        match humantime::parse_duration(&text.value()) {
            Ok(time) => Ok(Self::Text(time, expr.span())),
            Err(why) => Err(wrong(&format!("not a duration: {why}"))),
        }
    }
}
