//! What `#[derive(KeyPart)]` turns into.

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens as _, quote, quote_spanned};
use syn::spanned::Spanned as _;
use syn::{Data, DataEnum, DeriveInput, Fields, Ident, Variant};

use crate::attr::{ModPath, plain};
use crate::bounds::Bounds;
use crate::mistakes::Mistakes;
use crate::settings::{parse_once, parse_settings};
use crate::shape::{KeyField, key_fields, refuse_unordered};

/// Another one than that of nodes, so that a node can be a field of another node's key.
const ATTRIBUTE: &str = "key_part";

pub(crate) fn derive_key_part(item: &DeriveInput) -> TokenStream {
    let mut mistakes = Mistakes::default();
    let mut krate = None;
    for attr in item.attrs.iter().filter(|attr| attr.path().is_ident(ATTRIBUTE)) {
        let parsed = attr.parse_args_with(|input: syn::parse::ParseStream<'_>| {
            parse_settings(input, &["crate"], &mut mistakes, |name, input, _| {
                parse_once(name, input, &mut krate)
            });
            Ok(())
        });
        mistakes.note(parsed);
    }
    let private = ModPath::private(krate.as_ref(), Span::call_site());
    let key = Ident::new("key", Span::mixed_site());
    let mut bounds = Bounds::new(item);
    let mut form = TokenStream::new();
    let body = match &item.data {
        Data::Struct(data) => {
            let fields = key_fields(&data.fields, ATTRIBUTE, &mut mistakes);
            require(&mut bounds, &fields, &private, &mut mistakes);
            form = struct_form(&fields, &private);
            struct_body(&fields, &key)
        }
        Data::Enum(data) => {
            form = enum_form(data, &private);
            enum_body(data, &key, &mut bounds, &private, &mut mistakes)
        }
        Data::Union(data) => {
            mistakes.at(
                data.union_token.span(),
                "a union cannot be a field of a key: nothing says which of its fields is set",
            );
            TokenStream::new()
        }
    };
    let name = &item.ident;
    let (impl_generics, type_generics, _) = item.generics.split_for_impl();
    let this = Ident::new("self", Span::mixed_site());
    let errors = mistakes.to_compile_errors();
    let (form, body) = if mistakes.is_empty() {
        (quote!(const FORM: #private::KeyForm = #form;), body)
    } else {
        Default::default()
    };
    quote! {
        #errors
        #[automatically_derived]
        impl #impl_generics #private::KeyPart for #name #type_generics #bounds {
            #form

            fn write_to(&#this, #key: &mut #private::KeyWriter) {
                #body
            }
        }
    }
}

fn require(bounds: &mut Bounds, fields: &[KeyField<'_>], private: &TokenStream, mistakes: &mut Mistakes) {
    let kept = || fields.iter().filter(|field| field.is_kept());
    refuse_unordered(kept(), ATTRIBUTE, mistakes);
    kept().for_each(|field| bounds.require(field.ty, quote!(#private::KeyPart)));
}

/// What [`struct_body`] writes.
fn struct_form(fields: &[KeyField<'_>], private: &TokenStream) -> TokenStream {
    let kept: Vec<_> = fields.iter().filter(|field| field.is_kept()).collect();
    match &kept[..] {
        [only] => {
            let ty = only.ty;
            quote! {{
                #[allow(unused_imports)]
                use #private::NoForm as _;
                <#private::FormOf<#ty>>::FORM
            }}
        }
        _ => quote!(#private::KeyForm::GROUP),
    }
}

/// What [`enum_body`] writes.
fn enum_form(data: &DataEnum, private: &TokenStream) -> TokenStream {
    let is_unit = |variant: &&Variant| matches!(variant.fields, Fields::Unit);
    let words = data.variants.iter().filter(is_unit).map(|variant| {
        let text = plain(&variant.ident);
        quote!(#private::Text::Word(#text))
    });
    let all_unit = data.variants.iter().all(|variant| is_unit(&variant));
    let group = (!all_unit).then(|| quote!(#private::Text::Group));
    let texts = words.chain(group);
    quote!(#private::KeyForm::one_of(&[#(#texts),*]))
}

/// A struct of one field is written as the field.
fn struct_body(fields: &[KeyField<'_>], key: &Ident) -> TokenStream {
    let parts = fields.iter().filter(|field| field.is_kept()).map(|field| {
        let span = Span::mixed_site().located_at(field.ty.span());
        let (this, member) = (Ident::new("self", span), &field.member);
        quote_spanned!(span=> &#this.#member)
    });
    let parts: Vec<_> = parts.collect();
    match &parts[..] {
        [only] => quote!(#key.part(#only);),
        parts => quote!(#key.tuple(&[#(#parts),*]);),
    }
}

/// A variant without fields is its name, one with fields a tuple that begins with it.
fn enum_body(
    data: &DataEnum,
    key: &Ident,
    bounds: &mut Bounds,
    private: &TokenStream,
    mistakes: &mut Mistakes,
) -> TokenStream {
    let this = Ident::new("self", Span::mixed_site());
    if data.variants.is_empty() {
        return quote!(match *#this {});
    }
    let arms = data.variants.iter().map(|variant| {
        let fields = key_fields(&variant.fields, ATTRIBUTE, mistakes);
        require(bounds, &fields, private, mistakes);
        arm(variant, &fields, key)
    });
    let arms: Vec<_> = arms.collect();
    quote!(match #this { #(#arms)* })
}

fn arm(variant: &Variant, fields: &[KeyField<'_>], key: &Ident) -> TokenStream {
    let (name, text) = (&variant.ident, plain(&variant.ident));
    if let Fields::Unit = variant.fields {
        return quote!(Self::#name => #key.text(#text),);
    }
    let kept = fields
        .iter()
        .filter(|field| field.is_kept())
        .enumerate()
        .map(|(at, field)| {
            let binding = Ident::new(
                &format!("part{at}"),
                Span::mixed_site().located_at(field.ty.span()),
            );
            (field.member.to_token_stream(), binding)
        });
    let (members, bindings): (Vec<_>, Vec<_>) = kept.unzip();
    quote!(Self::#name { #(#members: #bindings,)* .. } => #key.tuple(&[&#text, #(#bindings),*]),)
}
