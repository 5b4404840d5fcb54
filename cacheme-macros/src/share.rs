use proc_macro2::TokenStream;
use quote::quote;
use syn::parse::{Parse, ParseStream};
use syn::{Expr, ExprLit, Lit};

/// A share of something, from 0 up to but not including 1: a number that is looked at now, or an expression that the
/// compiler checks.
pub(crate) struct Share(Expr);

impl Share {
    pub(crate) fn to_expr(&self) -> TokenStream {
        let expr = &self.0;
        quote!(#expr)
    }
}

impl Parse for Share {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let expr: Expr = input.parse()?;
        let Expr::Lit(ExprLit { lit, .. }) = &expr else {
            return Ok(Self(expr));
        };
        let share = match lit {
            Lit::Float(float) => float.base10_parse::<f64>().ok(),
            _ => None,
        };
        match share {
            Some(share) if (0.0..1.0).contains(&share) => Ok(Self(expr)),
            _ => Err(syn::Error::new(
                lit.span(),
                "a share of the ttl is a number from 0.0 up to but not including 1.0: write for example `0.1`",
            )),
        }
    }
}
