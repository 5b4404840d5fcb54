//! What `#[derive(Node)]` turns into.

use proc_macro2::{Span, TokenStream};
use quote::{quote, quote_spanned};
use syn::spanned::Spanned as _;
use syn::{DeriveInput, ExprPath, Ident};

use crate::attr::{ModPath, NodeAttr, plain};
use crate::bounds::Bounds;
use crate::check::{Node, check};
use crate::mistakes::Mistakes;
use crate::settings::OrNone;
use crate::shape::{concrete, inside_option};
use crate::template::Piece;

pub(crate) fn derive_node(item: &DeriveInput) -> TokenStream {
    let mut mistakes = Mistakes::default();
    let attr = NodeAttr::parse(&item.attrs, &mut mistakes);
    let private = ModPath::private(attr.krate.as_ref(), Span::call_site());
    match check(item, &attr, &mut mistakes) {
        Some(node) => expand(&node, &private),
        None => {
            let errors = mistakes.to_compile_errors();
            let stubs = stubs(item, &attr, &private);
            quote!(#errors #stubs)
        }
    }
}

/// The impls of a node that another macro makes; `None` if there are mistakes.
pub(crate) fn node_impls(
    item: &DeriveInput,
    attr: &NodeAttr,
    mistakes: &mut Mistakes,
) -> Option<TokenStream> {
    let private = ModPath::private(attr.krate.as_ref(), Span::call_site());
    check(item, attr, mistakes).map(|node| expand(&node, &private))
}

fn expand(node: &Node<'_>, private: &TokenStream) -> TokenStream {
    let name = &node.item.ident;
    let value = node.value;
    let (impl_generics, type_generics, _) = node.item.generics.split_for_impl();
    let bounds = bounds(node, private);
    let policy = policy(node, private);
    let write_key = write_key(&node.key, private);
    let load = load(node, private).map(|methods| {
        quote! {
            #[automatically_derived]
            impl #impl_generics #private::Load for #name #type_generics #bounds {
                #methods
            }
        }
    });
    let registration = concrete(name, &node.item.generics).map(|node| {
        quote! {
            #private::inventory::submit! {
                #private::NodeRegistration::new::<#node>()
            }
        }
    });
    quote! {
        #[automatically_derived]
        impl #impl_generics #private::Node for #name #type_generics #bounds {
            type Value = #value;

            fn policy(&self) -> #private::Policy<#value> {
                <Self as #private::DerivedNode>::derived_policy()
            }

            #write_key
        }

        #[automatically_derived]
        impl #impl_generics #private::DerivedNode for #name #type_generics #bounds {
            fn derived_policy() -> #private::Policy<#value> {
                #policy
            }
        }

        #load
        #registration
    }
}

fn bounds(node: &Node<'_>, private: &TokenStream) -> Bounds {
    let mut bounds = Bounds::of_node(node.item);
    for piece in &node.key {
        match piece {
            // The type of what is inside a field has no name here; the user's own where clause says what it is.
            Piece::Field(field) if field.path.len() > 1 => {}
            Piece::Field(field) if field.display => {
                bounds.require(inside_option(field.ty), quote!(::core::fmt::Display));
            }
            Piece::Field(field) => bounds.require(field.ty, quote!(#private::KeyPart)),
            Piece::Literal(_) | Piece::TypeName(_) | Piece::Const(_) => {}
        }
    }
    let kept = quote!(::core::clone::Clone + ::core::marker::Send + ::core::marker::Sync + 'static);
    bounds.require(node.value, kept);
    if !matches!(&node.attr.serializer, Some(OrNone::None)) {
        bounds.require(
            node.value,
            quote!(#private::Serialize + #private::DeserializeOwned),
        );
    }
    bounds
}

fn policy(node: &Node<'_>, private: &TokenStream) -> TokenStream {
    let attr = node.attr;
    let generics = &node.item.generics;
    let shown = |pieces: &[Piece<'_>]| pieces.iter().map(Piece::to_placeholder).collect::<String>();
    let start = if generics.type_params().next().is_none() && generics.const_params().next().is_none() {
        let (name, key) = (plain(&node.item.ident), shown(&node.key));
        quote!(#private::Policy::new(#name, #key))
    } else {
        // Each set of parameters is a kind of its own, with its own name and template.
        let key = Ident::new("key", Span::mixed_site());
        let mut writes = TokenStream::new();
        let mut text = String::new();
        for piece in &node.key {
            match piece {
                Piece::Literal(_) | Piece::Field(_) => text += &piece.to_placeholder(),
                Piece::TypeName(_) | Piece::Const(_) => {
                    let (before, param) = (std::mem::take(&mut text), write_piece(piece, &key, private));
                    writes.extend(quote!(#key.literal(#before); #param));
                }
            }
        }
        if !text.is_empty() {
            writes.extend(quote!(#key.literal(#text);));
        }
        quote! {
            let mut #key = #private::KeyWriter::new();
            #writes
            #private::Policy::new(::core::any::type_name::<Self>(), ::std::string::String::from(#key.as_str()))
        }
    };
    let forms = node.key.iter().filter_map(|piece| key_form(piece, private));
    let forms: Vec<_> = forms.collect();
    let (import, forms) = if forms.is_empty() {
        Default::default()
    } else {
        let import = quote!(#[allow(unused_imports)] use #private::{EscapedForm as _, NoForm as _};);
        (import, quote!(.key_forms([#(#forms),*])))
    };
    let settings = settings(attr, node.value.span(), private);
    quote!(#import #start #forms #settings)
}

/// The calls that set the policy of a node, behind the one that begins it. `value` is where the type of the value is.
pub(crate) fn settings(attr: &NodeAttr, value: Span, private: &TokenStream) -> TokenStream {
    let version = attr.version.as_ref().map(|version| {
        let version = &version.0;
        quote!(.version(#version))
    });
    let tiers = attr.tiers.iter().map(|tier| {
        let storage = tier.storage.to_expr();
        let ttl = match &tier.ttl {
            Some(ttl) => {
                let ttl = ttl.to_expr();
                quote!(::core::option::Option::Some(#ttl))
            }
            None => quote!(::core::option::Option::None),
        };
        quote!(.tier(#storage, #ttl))
    });
    let serializer = match &attr.serializer {
        Some(OrNone::None) => None,
        Some(OrNone::Some(serializer)) => Some(quote!(#serializer)),
        None => Some(quote!(#private::DefaultSerializer)),
    };
    let serializer = serializer.map(|serializer| {
        // A value that cannot be serialized is told of where it is named.
        let method = Ident::new("serializer", Span::mixed_site().located_at(value));
        quote!(.#method(<#serializer as ::core::default::Default>::default()))
    });
    let load_timeout = attr.load_timeout.as_ref().map(|timeout| {
        let timeout = timeout.to_expr();
        quote!(.load_timeout(#timeout))
    });
    let lease = attr.lease.as_ref().map(|lease| match lease {
        OrNone::None => quote!(.lease(::core::option::Option::None)),
        OrNone::Some(time) => {
            let time = time.to_expr();
            quote!(.lease(::core::option::Option::Some(#time)))
        }
    });
    let negative_ttl = attr.negative_ttl.as_ref().map(|ttl| {
        // A value that cannot be absent is told of where it is named.
        let method = Ident::new("negative_ttl", Span::mixed_site().located_at(value));
        let ttl = ttl.to_expr();
        quote!(.#method(#ttl))
    });
    let ttl_jitter = attr.ttl_jitter.as_ref().map(|share| {
        let share = share.to_expr();
        quote!(.ttl_jitter(#share))
    });
    let doorkeeper = attr.doorkeeper.as_ref().map(|keys| {
        let keys = keys.to_expr();
        quote!(.doorkeeper(#keys))
    });
    let state = attr.state.iter().flat_map(|types| &types.0);
    let state = state.map(|ty| quote!(.state::<#ty>()));
    let weigh = attr.weigh.as_ref().map(|weigh| quote!(.weigh(#weigh)));
    let default_local = attr.default_local.as_ref().map(|ttl| {
        let ttl = ttl.to_expr();
        quote!(.default_local(#ttl))
    });
    quote!(#version #default_local #(#tiers)* #serializer #load_timeout #lease #negative_ttl #ttl_jitter #doorkeeper #(#state)* #weigh)
}

/// What the type of a field says of its text.
fn key_form(piece: &Piece<'_>, private: &TokenStream) -> Option<TokenStream> {
    let Piece::Field(field) = piece else { return None };
    let (path, node) = (&field.path, Ident::new("node", Span::mixed_site()));
    let form_of = if field.display {
        "display_form_of"
    } else {
        "form_of"
    };
    let form_of = Ident::new(form_of, Span::call_site());
    Some(quote!(#private::#form_of(|#node: &Self| &#node #(.#path)*).form()))
}

fn write_key(pieces: &[Piece<'_>], private: &TokenStream) -> TokenStream {
    let this = Ident::new("self", Span::mixed_site());
    let key = Ident::new("key", Span::mixed_site());
    let writes = pieces.iter().map(|piece| write_piece(piece, &key, private));
    quote! {
        fn write_key(&#this, #key: &mut #private::KeyWriter) {
            #(#writes)*
        }
    }
}

fn write_piece(piece: &Piece<'_>, key: &Ident, private: &TokenStream) -> TokenStream {
    match piece {
        Piece::Literal(text) => quote!(#key.literal(#text);),
        Piece::TypeName(param) => quote!(#key.text(::core::any::type_name::<#param>());),
        Piece::Const(param) => quote!(#key.part(&#param);),
        Piece::Field(field) => {
            // A field that cannot be in a key is told of at its type.
            let span = Span::mixed_site().located_at(field.ty.span());
            let this = Ident::new("self", span);
            let path = &field.path;
            write_part(
                quote_spanned!(span=> #this #(.#path)*),
                field.display,
                span,
                key,
                private,
            )
        }
    }
}

/// Writes a part of a key, which is told of at `span` if it cannot be one.
pub(crate) fn write_part(
    part: TokenStream,
    display: bool,
    span: Span,
    key: &Ident,
    private: &TokenStream,
) -> TokenStream {
    if !display {
        return quote_spanned!(span=> #key.part(&#part););
    }
    let private = located(private, span);
    quote_spanned! {span=>
        {
            #[allow(unused_imports)]
            use #private::Displayed as _;
            #private::ByDisplay(&#part).write(#key);
        }
    }
}

/// The methods of `Load`; `None` for a node without a loader. Whatever does not fit is told of at the user's path.
fn load(node: &Node<'_>, private: &TokenStream) -> Option<TokenStream> {
    let value = node.value;
    let load_all = node.attr.load_all.as_ref().map(|path| {
        let private = located(private, at(path));
        let boxed = boxed(path, &private);
        quote_spanned! {at(path)=>
            async fn load_all(
                nodes: &[Self],
                cx: &mut #private::LoadContext<Self>,
            ) -> ::core::result::Result<#private::Loaded<Self>, #private::BoxError> {
                #private::LoadersOf::<Self>::load_all(#path, nodes, cx).await.map(#private::IntoLoaded::<Self>::into_loaded).map_err(#boxed)
            }
        }
    });
    let (path, body) = match (&node.attr.load, &node.attr.load_all) {
        (Some(path), _) => {
            let private = located(private, at(path));
            let boxed = boxed(path, &private);
            let call = quote_spanned!(at(path)=> #private::LoadersOf::<Self>::load(#path, self, cx).await.map_err(#boxed));
            (path, call)
        }
        (None, Some(path)) => {
            let call = quote_spanned! {at(path)=>
                <Self as #private::Load>::load_all(::core::slice::from_ref(self), cx).await?.into_value(self)
            };
            (path, call)
        }
        (None, None) => return None,
    };
    Some(quote_spanned! {at(path)=>
        async fn load(
            &self,
            cx: &mut #private::LoadContext<Self>,
        ) -> ::core::result::Result<#value, #private::BoxError> {
            #body
        }

        #load_all
    })
}

/// Boxes what a loader returned as its error.
fn boxed(path: &ExprPath, private: &TokenStream) -> TokenStream {
    quote_spanned! {at(path)=>
        |error| {
            use #private::BoxByInto as _;
            #private::LoaderError(error).boxed()
        }
    }
}

/// The place of the user's path, without seeing what is in scope there.
fn at(path: &ExprPath) -> Span {
    Span::mixed_site().located_at(path.span())
}

/// The tokens, told of at another place.
fn located(tokens: &TokenStream, place: Span) -> TokenStream {
    let tokens = tokens.clone().into_iter().map(|mut token| {
        token.set_span(token.span().located_at(place));
        token
    });
    tokens.collect()
}

/// Impls that keep one mistake from becoming an error at every use of the node.
fn stubs(item: &DeriveInput, attr: &NodeAttr, private: &TokenStream) -> TokenStream {
    let name = &item.ident;
    let (impl_generics, type_generics, _) = item.generics.split_for_impl();
    let unit = syn::parse_quote!(());
    let value = attr.value.as_ref().unwrap_or(&unit);
    let mut bounds = Bounds::of_node(item);
    bounds.require(
        value,
        quote!(::core::clone::Clone + ::core::marker::Send + ::core::marker::Sync + 'static),
    );
    let load = attr.names_loader().then(|| {
        quote! {
            #[automatically_derived]
            impl #impl_generics #private::Load for #name #type_generics #bounds {
                async fn load(
                    &self,
                    _: &mut #private::LoadContext<Self>,
                ) -> ::core::result::Result<#value, #private::BoxError> {
                    ::core::unreachable!()
                }
            }
        }
    });
    quote! {
        #[automatically_derived]
        impl #impl_generics #private::Node for #name #type_generics #bounds {
            type Value = #value;

            fn policy(&self) -> #private::Policy<#value> {
                ::core::unreachable!()
            }

            fn write_key(&self, _: &mut #private::KeyWriter) {}
        }
        #load
    }
}
