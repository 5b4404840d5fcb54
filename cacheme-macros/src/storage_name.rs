use proc_macro2::TokenStream;
use quote::{ToTokens, quote};
use syn::parse::{Parse, ParseStream};
use syn::{Expr, ExprLit, Lit, LitStr};

use crate::settings::is_constant;

/// The name of a storage: text that is looked at now, or an expression that the compiler checks.
pub(crate) enum StorageName {
    Text(LitStr),
    Expr(Box<Expr>),
}

impl StorageName {
    /// The name as the user wrote it, by which two are compared.
    pub(crate) fn shown(&self) -> String {
        match self {
            Self::Text(text) => text.value(),
            Self::Expr(expr) => expr.to_token_stream().to_string(),
        }
    }

    pub(crate) fn is_same(&self, other: &Self) -> bool {
        matches!(self, Self::Text(_)) == matches!(other, Self::Text(_)) && self.shown() == other.shown()
    }

    pub(crate) fn to_expr(&self) -> TokenStream {
        match self {
            Self::Text(text) => quote!(#text),
            Self::Expr(expr) => quote!(::core::convert::identity::<&'static str>(#expr)),
        }
    }
}

impl ToTokens for StorageName {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        match self {
            Self::Text(text) => text.to_tokens(tokens),
            Self::Expr(expr) => expr.to_tokens(tokens),
        }
    }
}

impl Parse for StorageName {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let expr: Expr = input.parse()?;
        match expr {
            Expr::Lit(ExprLit {
                lit: Lit::Str(text), ..
            }) => Ok(Self::Text(text)),
            // `local` and `my-redis` are names without their quotes.
            Expr::Lit(_) | Expr::Binary(_) => Err(unquoted(&expr)),
            Expr::Path(_) if !is_constant(&expr) => Err(unquoted(&expr)),
            expr => Ok(Self::Expr(Box::new(expr))),
        }
    }
}

fn unquoted(expr: &Expr) -> syn::Error {
    let shown = expr.to_token_stream().to_string().replace(' ', "");
    let message = format!("expected text in quotes, or a constant: write `\"{shown}\"`");
    syn::Error::new_spanned(expr, message)
}
