//! The arguments of a memoized function that its key names, and the fields that they become.

use proc_macro2::{Span, TokenStream, TokenTree};
use quote::{ToTokens, format_ident, quote};
use syn::spanned::Spanned as _;
use syn::{FnArg, GenericArgument, Ident, LitStr, Pat, PathArguments, Signature, Type, parse_quote};

use crate::attr::plain;
use crate::expand::write_part;
use crate::mistakes::Mistakes;
use crate::nearest::{did_you_mean, nearest};
use crate::settings::Known;

/// What a key names: a path that begins at an argument.
pub(crate) struct KeyArg {
    /// The field of the node, and the argument of the functions beside the memoized one.
    pub(crate) name: Ident,
    /// The expression in the memoized function.
    pub(crate) expr: TokenStream,
    /// The type in the signature of the memoized function.
    pub(crate) ty: Type,
    /// What a template calls it, with its format.
    pub(crate) display: bool,
}

/// A part of a key.
pub(crate) enum KeyPiece {
    Literal(String),
    /// An argument by its number.
    Arg(usize),
    /// The name of a type: of `Self`, or of what a type parameter stands for.
    TypeName(Ident),
}

pub(crate) struct Key {
    pub(crate) pieces: Vec<KeyPiece>,
    pub(crate) args: Vec<KeyArg>,
    span: Span,
}

impl Key {
    /// The key of a memoized function; `None` if there are mistakes.
    pub(crate) fn parse(template: &LitStr, sig: &Signature, mistakes: &mut Mistakes) -> Option<Self> {
        let mut key = Self {
            pieces: Vec::new(),
            args: Vec::new(),
            span: template.span(),
        };
        let text = template.value();
        let mut rest = text.as_str();
        let mut complete = true;
        while let Some(open) = rest.find('{') {
            // Braces that do not match are told of by the template of the node.
            let Some(close) = rest[open..].find('}').map(|close| open + close) else {
                break;
            };
            if open > 0 {
                key.pieces.push(KeyPiece::Literal(rest[..open].into()));
            }
            match key.piece(&rest[open + 1..close], sig) {
                Ok(piece) => key.pieces.push(piece),
                Err(error) => {
                    mistakes.push(error);
                    complete = false;
                }
            }
            rest = &rest[close + 1..];
        }
        if !rest.is_empty() {
            key.pieces.push(KeyPiece::Literal(rest.into()));
        }
        complete.then_some(key)
    }

    fn piece(&mut self, text: &str, sig: &Signature) -> syn::Result<KeyPiece> {
        let wrong = |message: String| Err(syn::Error::new(self.span, message));
        let (path, format) = match text.split_once(':') {
            None => (text.trim(), None),
            Some((path, format)) => (path.trim(), Some(format.trim())),
        };
        let is_type =
            |name: &Ident| name == "Self" || sig.generics.type_params().any(|param| param.ident == *name);
        let mut parts = path.split('.').map(ident);
        let Some(Ok(first)) = parts.next() else {
            return wrong(format!(
                "`{{{text}}}` must name an argument of `{}` {}",
                sig.ident,
                arguments(sig)
            ));
        };
        let inner = match parts.collect::<syn::Result<Vec<_>>>() {
            Ok(inner) => inner,
            Err(_) => {
                return wrong(format!(
                    "`{path}` in `{{{text}}}` is no path of fields that begins at an argument"
                ));
            }
        };
        if inner.is_empty() && format.is_none() && is_type(&first) {
            return Ok(KeyPiece::TypeName(with_span(first, self.span)));
        }
        let is_self = first == "self" && sig.receiver().is_some();
        let ty = sig.inputs.iter().find_map(|arg| {
            argument(arg)
                .filter(|(name, _)| **name == first)
                .map(|(_, ty)| ty)
        });
        if ty.is_none() && !is_self {
            let names: Vec<String> = sig
                .inputs
                .iter()
                .filter_map(|arg| argument(arg).map(|(name, _)| plain(name)))
                .collect();
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let hint = did_you_mean(nearest(&plain(&first), &names));
            return wrong(format!(
                "`{}` has no argument `{first}`{hint} {}",
                sig.ident,
                arguments(sig)
            ));
        }
        let (name, ty, display) = match (inner.last(), format, ty) {
            (None, None | Some("display"), Some(ty)) => (first.clone(), ty.clone(), format.is_some()),
            (None, Some(_), Some(_)) => {
                return wrong(format!(
                    "the type of `{first}` is known: write `{{{first}}}`, or `{{{first}:display}}` to write it by its `Display`"
                ));
            }
            (Some(_), Some(format), _) if format != "display" => {
                let Ok(ty) = syn::parse_str::<Type>(format) else {
                    return wrong(format!("`{format}` in `{{{text}}}` is no type"));
                };
                let fields = inner.iter().map(plain).collect::<Vec<_>>().join("_");
                let name = if is_self {
                    fields
                } else {
                    format!("{}_{fields}", plain(&first))
                };
                (format_ident!("{name}"), respanned(&ty, self.span), false)
            }
            _ => {
                let example = if is_self && inner.is_empty() {
                    "self.shop"
                } else {
                    path
                };
                return wrong(format!(
                    "a path needs the type of what it leads to: write `{{{example}: Type}}`"
                ));
            }
        };
        let first = if is_self {
            quote!(self)
        } else {
            with_span(first, Span::call_site()).into_token_stream()
        };
        let inner = inner.into_iter().map(|inner| with_span(inner, Span::call_site()));
        let known = self.args.iter().position(|known| known.name == name);
        let at = known.unwrap_or_else(|| {
            let expr = quote!(#first #(.#inner)*);
            self.args.push(KeyArg {
                name,
                expr,
                ty,
                display,
            });
            self.args.len() - 1
        });
        Ok(KeyPiece::Arg(at))
    }

    /// The template of the node: each argument by the name of its field.
    pub(crate) fn template(&self) -> LitStr {
        let piece = |piece: &KeyPiece| match piece {
            KeyPiece::Literal(text) => text.clone(),
            KeyPiece::Arg(at) if self.args[*at].display => {
                format!("{{{}:display}}", plain(&self.args[*at].name))
            }
            KeyPiece::Arg(at) => format!("{{{}}}", plain(&self.args[*at].name)),
            KeyPiece::TypeName(name) => format!("{{{name}}}"),
        };
        LitStr::new(&self.pieces.iter().map(piece).collect::<String>(), self.span)
    }

    /// Writes the key with a `KeyWriter` named `key`; `expr` gives the expression of an argument.
    pub(crate) fn write(
        &self,
        key: &Ident,
        private: &TokenStream,
        expr: impl Fn(&KeyArg) -> TokenStream,
    ) -> TokenStream {
        let write = |piece: &KeyPiece| match piece {
            KeyPiece::Literal(text) => quote!(#key.literal(#text);),
            KeyPiece::TypeName(name) => quote!(#key.text(::core::any::type_name::<#name>());),
            KeyPiece::Arg(at) => {
                let arg = &self.args[*at];
                let span = Span::mixed_site().located_at(arg.ty.span());
                write_part(expr(arg), arg.display, span, key, private)
            }
        };
        self.pieces.iter().map(write).collect()
    }

    /// Writes the template with a `KeyWriter` named `key`: fields by their names, types as the key has them.
    pub(crate) fn write_template(&self, key: &Ident) -> TokenStream {
        let write = |piece: &KeyPiece| match piece {
            KeyPiece::Literal(text) => quote!(#key.literal(#text);),
            KeyPiece::TypeName(name) => quote!(#key.text(::core::any::type_name::<#name>());),
            KeyPiece::Arg(at) => {
                let text = format!("{{{}}}", plain(&self.args[*at].name));
                quote!(#key.literal(#text);)
            }
        };
        self.pieces.iter().map(write).collect()
    }

    /// Whether the key has the name of a type in it.
    pub(crate) fn names_types(&self) -> bool {
        self.pieces
            .iter()
            .any(|piece| matches!(piece, KeyPiece::TypeName(_)))
    }
}

/// An argument that is a name, with its type.
pub(crate) fn argument(arg: &FnArg) -> Option<(&Ident, &Type)> {
    let FnArg::Typed(arg) = arg else { return None };
    match &*arg.pat {
        Pat::Ident(name) => Some((&name.ident, &arg.ty)),
        _ => None,
    }
}

/// ``(there are `a` and `b`)``
fn arguments(sig: &Signature) -> String {
    let names: Vec<String> = sig
        .inputs
        .iter()
        .filter_map(|arg| argument(arg).map(|(name, _)| plain(name)))
        .collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    if names.is_empty() {
        "(it has none with a name)".into()
    } else {
        format!("({})", Known(&names))
    }
}

/// A name, also one that needs `r#`. `self` and `Self` are what they are.
fn ident(name: &str) -> syn::Result<Ident> {
    match name {
        "self" | "Self" => Ok(Ident::new(name, Span::call_site())),
        _ => syn::parse_str(name).or_else(|_| syn::parse_str(&format!("r#{name}"))),
    }
}

fn with_span(mut name: Ident, span: Span) -> Ident {
    name.set_span(span);
    name
}

fn respanned(ty: &Type, span: Span) -> Type {
    fn walk(tokens: TokenStream, span: Span) -> TokenStream {
        let walk = |mut token: TokenTree| {
            if let TokenTree::Group(group) = &token {
                let mut inner = proc_macro2::Group::new(group.delimiter(), walk(group.stream(), span));
                inner.set_span(span);
                return TokenTree::Group(inner);
            }
            token.set_span(span);
            token
        };
        tokens.into_iter().map(walk).collect()
    }
    let tokens = walk(ty.to_token_stream(), span);
    syn::parse2(tokens).unwrap_or_else(|_| ty.clone())
}

/// What a borrowed argument becomes in a node: its type, and the value made of `expr`, which is a reference to the argument.
pub(crate) struct Owned {
    pub(crate) ty: Type,
    pub(crate) value: TokenStream,
}

/// The owned form of an argument, or an error at its type.
pub(crate) fn owned(ty: &Type, expr: TokenStream) -> syn::Result<Owned> {
    let clone = |ty: &Type| Owned {
        ty: ty.clone(),
        value: quote!(::core::clone::Clone::clone(#expr)),
    };
    match ty {
        Type::ImplTrait(_) => Err(syn::Error::new_spanned(
            ty,
            "a part of the key has a type with a name: write it instead of `impl Trait`, such as `&str`",
        )),
        _ if !borrows(ty) => Ok(clone(ty)),
        Type::Paren(inner) => owned(&inner.elem, expr),
        Type::Group(inner) => owned(&inner.elem, expr),
        Type::Reference(reference) => match &*reference.elem {
            Type::Slice(slice) => list(&slice.elem, quote!((*#expr))),
            inner @ Type::Reference(_) => owned(inner, quote!((*#expr))),
            inner if borrows(inner) => owned(inner, quote!((*#expr))),
            inner => {
                let ty = if is_named(inner, "str") {
                    parse_quote!(::std::string::String)
                } else {
                    parse_quote!(<#inner as ::std::borrow::ToOwned>::Owned)
                };
                let value = quote!(<#inner as ::std::borrow::ToOwned>::to_owned(*#expr));
                Ok(Owned { ty, value })
            }
        },
        Type::Tuple(tuple) => {
            let parts = tuple.elems.iter().enumerate().map(|(at, elem)| {
                let at = syn::Index::from(at);
                owned(elem, quote!((&(*#expr).#at)))
            });
            let parts: Vec<Owned> = parts.collect::<syn::Result<_>>()?;
            let (types, values) = (
                parts.iter().map(|part| &part.ty),
                parts.iter().map(|part| &part.value),
            );
            Ok(Owned {
                ty: parse_quote!((#(#types,)*)),
                value: quote!((#(#values,)*)),
            })
        }
        Type::Path(path) => {
            let last = path.path.segments.last().ok_or_else(|| unknown(ty))?;
            let inner = match &last.arguments {
                PathArguments::AngleBracketed(arguments) => {
                    arguments.args.iter().find_map(|argument| match argument {
                        GenericArgument::Type(ty) => Some(ty),
                        _ => None,
                    })
                }
                _ => None,
            };
            match (last.ident.to_string().as_str(), inner) {
                ("Cow", Some(inner)) if !borrows(inner) => {
                    let owned_type = if is_named(inner, "str") {
                        parse_quote!(::std::string::String)
                    } else {
                        parse_quote!(<#inner as ::std::borrow::ToOwned>::Owned)
                    };
                    Ok(Owned {
                        ty: owned_type,
                        value: quote!(::std::borrow::Cow::into_owned(::core::clone::Clone::clone(#expr))),
                    })
                }
                ("Vec", Some(inner)) => list(inner, expr),
                ("Option", Some(inner)) => {
                    let part = Ident::new("part", Span::mixed_site());
                    let inner = owned(inner, part.to_token_stream())?;
                    let (ty, value) = (&inner.ty, &inner.value);
                    Ok(Owned {
                        ty: parse_quote!(::core::option::Option<#ty>),
                        value: quote!(::core::option::Option::map(::core::option::Option::as_ref(#expr), |#part| #value)),
                    })
                }
                _ => Err(unknown(ty)),
            }
        }
        _ => Err(unknown(ty)),
    }
}

/// A list whose elements are made owned.
fn list(elem: &Type, expr: TokenStream) -> syn::Result<Owned> {
    let part = Ident::new("part", Span::mixed_site());
    let inner = owned(elem, part.to_token_stream())?;
    let (ty, value) = (&inner.ty, &inner.value);
    Ok(Owned {
        ty: parse_quote!(::std::vec::Vec<#ty>),
        value: quote!(#expr.iter().map(|#part| #value).collect::<::std::vec::Vec<_>>()),
    })
}

fn unknown(ty: &Type) -> syn::Error {
    syn::Error::new_spanned(
        ty,
        "a node owns its fields, and how this type becomes owned is not known: take a part of it, such as `{user.id: i64}`, or write a node struct and `#[memoize(node = …)]`",
    )
}

fn is_named(ty: &Type, name: &str) -> bool {
    matches!(ty, Type::Path(path) if path.path.is_ident(name))
}

/// Whether a reference or a lifetime other than `'static` stands in a type.
fn borrows(ty: &Type) -> bool {
    fn walk(tokens: TokenStream) -> bool {
        let mut tokens = tokens.into_iter().peekable();
        while let Some(token) = tokens.next() {
            let borrows = match token {
                TokenTree::Group(group) => walk(group.stream()),
                TokenTree::Punct(punct) if punct.as_char() == '&' => {
                    // `&'static` owns nothing either, but may be kept.
                    !is_static(&mut tokens)
                }
                TokenTree::Punct(punct) if punct.as_char() == '\'' => {
                    let name = tokens.next();
                    !matches!(name, Some(TokenTree::Ident(name)) if name == "static")
                }
                _ => false,
            };
            if borrows {
                return true;
            }
        }
        false
    }
    fn is_static(tokens: &mut std::iter::Peekable<proc_macro2::token_stream::IntoIter>) -> bool {
        if !matches!(tokens.peek(), Some(TokenTree::Punct(punct)) if punct.as_char() == '\'') {
            return false;
        }
        tokens.next();
        matches!(tokens.next(), Some(TokenTree::Ident(name)) if name == "static")
    }
    walk(ty.to_token_stream())
}

/// A type without the names of lifetimes, for a signature that has none.
pub(crate) fn elided(ty: &Type) -> Type {
    fn walk(tokens: TokenStream) -> TokenStream {
        let mut elided = TokenStream::new();
        let mut tokens = tokens.into_iter();
        while let Some(token) = tokens.next() {
            match token {
                TokenTree::Group(group) => {
                    let mut inner = proc_macro2::Group::new(group.delimiter(), walk(group.stream()));
                    inner.set_span(group.span());
                    elided.extend([TokenTree::Group(inner)]);
                }
                TokenTree::Punct(punct) if punct.as_char() == '\'' => {
                    elided.extend([TokenTree::Punct(punct)]);
                    if let Some(TokenTree::Ident(name)) = tokens.next() {
                        let name = if name == "static" {
                            name
                        } else {
                            Ident::new("_", name.span())
                        };
                        elided.extend([TokenTree::Ident(name)]);
                    }
                }
                token => elided.extend([token]),
            }
        }
        elided
    }
    syn::parse2(walk(ty.to_token_stream())).unwrap_or_else(|_| ty.clone())
}
