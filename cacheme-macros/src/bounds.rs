//! Where clauses of generated impls.

use proc_macro2::TokenStream;
use quote::{ToTokens, quote};
use syn::{DeriveInput, Ident, WhereClause, parse_quote};

use crate::shape::{mentions, type_params};

/// The where clause of an item, grown by what its fields and its value must be.
pub(crate) struct Bounds {
    params: Vec<Ident>,
    clause: WhereClause,
}

impl Bounds {
    pub(crate) fn new(item: &DeriveInput) -> Self {
        let empty = || WhereClause {
            where_token: Default::default(),
            predicates: Default::default(),
        };
        let clause = item.generics.where_clause.clone().unwrap_or_else(empty);
        Self {
            params: type_params(&item.generics),
            clause,
        }
    }

    /// What every node is.
    pub(crate) fn of_node(item: &DeriveInput) -> Self {
        let mut bounds = Self::new(item);
        for param in item.generics.lifetimes() {
            let lifetime = &param.lifetime;
            bounds.clause.predicates.push(parse_quote!(#lifetime: 'static));
        }
        if !bounds.params.is_empty() {
            let node = quote!(::core::clone::Clone + ::core::marker::Send + ::core::marker::Sync + 'static);
            bounds.clause.predicates.push(parse_quote!(Self: #node));
        }
        bounds
    }

    /// Adds `ty: bound` where that depends on a type parameter; where not, the compiler says it better at the use.
    pub(crate) fn require(&mut self, ty: impl ToTokens, bound: TokenStream) {
        if mentions(&ty, &self.params) {
            self.clause.predicates.push(parse_quote!(#ty: #bound));
        }
    }
}

impl ToTokens for Bounds {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        self.clause.to_tokens(tokens);
    }
}
