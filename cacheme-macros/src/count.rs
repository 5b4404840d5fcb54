use proc_macro2::TokenStream;
use quote::quote;
use syn::parse::{Parse, ParseStream};
use syn::{Expr, ExprLit, Lit};

/// A number of things, at least one: a number that is looked at now, or an expression that the compiler checks.
pub(crate) struct Count(Expr);

impl Count {
    pub(crate) fn to_expr(&self) -> TokenStream {
        let expr = &self.0;
        quote!(#expr)
    }
}

impl Parse for Count {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let expr: Expr = input.parse()?;
        let Expr::Lit(ExprLit { lit, .. }) = &expr else {
            return Ok(Self(expr));
        };
        let count = match lit {
            Lit::Int(int) => int.base10_parse::<usize>().ok(),
            _ => None,
        };
        match count {
            Some(1..) => Ok(Self(expr)),
            _ => Err(syn::Error::new(
                lit.span(),
                "a doorkeeper remembers a number of keys: write for example `10_000`, or leave `doorkeeper` out",
            )),
        }
    }
}
