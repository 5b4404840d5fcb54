//! The macros of Cacheme.

#![allow(missing_docs)]
use proc_macro::TokenStream;

mod attr;
mod bounds;
mod check;
mod expand;
mod key_part;
mod memoize;
mod mistakes;
mod nearest;
mod settings;
mod shape;
#[cfg(test)]
mod snapshots;
mod template;
mod time;

#[proc_macro_derive(Node, attributes(node))]
pub fn derive_node(item: TokenStream) -> TokenStream {
    let item = syn::parse_macro_input!(item as syn::DeriveInput);
    expand::derive_node(&item).into()
}

#[proc_macro_derive(KeyPart, attributes(node))]
pub fn derive_key_part(item: TokenStream) -> TokenStream {
    let item = syn::parse_macro_input!(item as syn::DeriveInput);
    key_part::derive_key_part(&item).into()
}

#[proc_macro_attribute]
pub fn memoize(attr: TokenStream, item: TokenStream) -> TokenStream {
    memoize::memoize(attr.into(), item.into()).into()
}
