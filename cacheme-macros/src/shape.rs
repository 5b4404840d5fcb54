//! What the derives need to know of a type: its fields and its generics.

use proc_macro2::{Span, TokenStream, TokenTree};
use quote::ToTokens;
use syn::ext::IdentExt as _;
use syn::spanned::Spanned as _;
use syn::{
    Attribute, Field, Fields, GenericArgument, GenericParam, Generics, Ident, Index, Member, PathArguments,
    PathSegment, Type,
};

use crate::mistakes::Mistakes;

/// A field that belongs in the key, unless it is skipped.
pub(crate) struct KeyField<'a> {
    pub(crate) member: Member,
    /// What a template calls it.
    pub(crate) name: String,
    pub(crate) ty: &'a Type,
    pub(crate) skip: Skip,
}

/// Whether a field is left out of the key.
#[derive(Clone, Copy)]
pub(crate) enum Skip {
    No,
    /// The user says so, here.
    Said(Span),
    /// It has one value only, so that it tells no nodes apart.
    Phantom,
}

impl KeyField<'_> {
    /// Whether it belongs in the key.
    pub(crate) fn is_kept(&self) -> bool {
        matches!(self.skip, Skip::No)
    }

    /// Where a mistake about the field belongs.
    pub(crate) fn span(&self) -> Span {
        match &self.member {
            Member::Named(name) => name.span(),
            Member::Unnamed(_) => self.ty.span(),
        }
    }
}

/// The fields of an item, where `#[attribute(skip)]` leaves one out of the key.
pub(crate) fn key_fields<'a>(
    fields: &'a Fields,
    attribute: &str,
    mistakes: &mut Mistakes,
) -> Vec<KeyField<'a>> {
    let field = |(at, field): (usize, &'a Field)| {
        let (member, name) = match &field.ident {
            Some(name) => (Member::Named(name.clone()), name.unraw().to_string()),
            None => (
                Member::Unnamed(Index {
                    index: at as u32,
                    span: field.ty.span(),
                }),
                at.to_string(),
            ),
        };
        let skip = match skipped(&field.attrs, attribute, mistakes) {
            Some(here) => Skip::Said(here),
            None if is_phantom(&field.ty) => Skip::Phantom,
            None => Skip::No,
        };
        KeyField {
            member,
            name,
            ty: &field.ty,
            skip,
        }
    };
    fields.iter().enumerate().map(field).collect()
}

/// Where the attribute says to skip the field.
fn skipped(attrs: &[Attribute], attribute: &str, mistakes: &mut Mistakes) -> Option<Span> {
    let mut here = None;
    for attr in attrs.iter().filter(|attr| attr.path().is_ident(attribute)) {
        let word = attr.parse_args_with(Ident::parse_any);
        match word {
            Ok(word) if word == "skip" => here = Some(word.span()),
            _ => {
                mistakes.on(
                    attr,
                    format!("the only thing to say here is `#[{attribute}(skip)]`: not part of the key"),
                );
                // Said wrongly it was still meant, so that the field is not missing from the key as well.
                here = here.or(Some(attr.span()));
            }
        }
    }
    here
}

fn is_phantom(ty: &Type) -> bool {
    matches!(ty, Type::Path(path) if path.path.segments.last().is_some_and(|last| last.ident == "PhantomData"))
}

/// Refuses fields whose types are never part of a key, at these types. A node can write a number by its `Display`.
pub(crate) fn refuse_unordered<'a>(
    fields: impl IntoIterator<Item = &'a KeyField<'a>>,
    attribute: &str,
    mistakes: &mut Mistakes,
) {
    for field in fields {
        let Some((ty, unordered)) = unordered(field.ty) else {
            continue;
        };
        let message = match unordered {
            Unordered::Float(name) => {
                let is_whole = std::ptr::eq(ty, inside_option(field.ty));
                let display = match attribute {
                    "node" if is_whole => format!(", or write `{{{}:display}}` in the key", field.name),
                    _ => String::new(),
                };
                format!(
                    "`{name}` cannot be in a key, since `NaN` differs from itself and `-0.0` equals `0.0`: \
                     keep an integer, such as cents{display}"
                )
            }
            Unordered::Hashed(name, sorted) => format!(
                "a `{name}` cannot be in a key, since it has no order and equal ones would have different keys: \
                 use a `{sorted}`"
            ),
        };
        mistakes.on(ty, message);
    }
}

/// Why a type is never part of a key.
enum Unordered {
    Float(&'static str),
    /// And the type that has an order.
    Hashed(&'static str, &'static str),
}

/// The type itself, or what a well-known container of a key holds.
fn unordered(ty: &Type) -> Option<(&Type, Unordered)> {
    let last = match ty {
        Type::Path(path) => path.path.segments.last()?,
        Type::Reference(reference) => return unordered(&reference.elem),
        Type::Array(array) => return unordered(&array.elem),
        Type::Slice(slice) => return unordered(&slice.elem),
        Type::Tuple(tuple) => return tuple.elems.iter().find_map(unordered),
        Type::Group(group) => return unordered(&group.elem),
        Type::Paren(paren) => return unordered(&paren.elem),
        _ => return None,
    };
    let why = match last.ident.to_string().as_str() {
        "f32" => Unordered::Float("f32"),
        "f64" => Unordered::Float("f64"),
        "HashMap" => Unordered::Hashed("HashMap", "BTreeMap"),
        "HashSet" => Unordered::Hashed("HashSet", "BTreeSet"),
        "Option" | "Vec" | "VecDeque" | "BTreeSet" | "BTreeMap" | "Box" | "Rc" | "Arc" | "Cow" => {
            return type_arguments(last).find_map(unordered);
        }
        _ => return None,
    };
    Some((ty, why))
}

fn type_arguments(segment: &PathSegment) -> impl Iterator<Item = &Type> {
    let arguments = match &segment.arguments {
        PathArguments::AngleBracketed(arguments) => Some(&arguments.args),
        _ => None,
    };
    arguments
        .into_iter()
        .flatten()
        .filter_map(|argument| match argument {
            GenericArgument::Type(ty) => Some(ty),
            _ => None,
        })
}

/// The `T` of an `Option<T>`, or the type itself.
pub(crate) fn inside_option(ty: &Type) -> &Type {
    let last = match ty {
        Type::Path(path) => path.path.segments.last(),
        _ => None,
    };
    last.filter(|last| last.ident == "Option")
        .and_then(|option| type_arguments(option).next())
        .unwrap_or(ty)
}

/// Whether any of these names stands in `tokens`.
pub(crate) fn mentions(tokens: impl ToTokens, names: &[Ident]) -> bool {
    fn walk(tokens: TokenStream, names: &[Ident]) -> bool {
        tokens.into_iter().any(|token| match token {
            TokenTree::Ident(ident) => names.contains(&ident),
            TokenTree::Group(group) => walk(group.stream(), names),
            TokenTree::Punct(_) | TokenTree::Literal(_) => false,
        })
    }
    !names.is_empty() && walk(tokens.into_token_stream(), names)
}

pub(crate) fn type_params(generics: &Generics) -> Vec<Ident> {
    generics.type_params().map(|param| param.ident.clone()).collect()
}

/// The type with its parameters filled in so that it can be named outside of an `impl`; `None` if it has parameters
/// other than lifetimes.
pub(crate) fn concrete(name: &Ident, generics: &Generics) -> Option<TokenStream> {
    let lifetimes = generics.params.iter().map(|param| match param {
        GenericParam::Lifetime(_) => Some(quote::quote!('static)),
        GenericParam::Type(_) | GenericParam::Const(_) => None,
    });
    let lifetimes: Vec<_> = lifetimes.collect::<Option<_>>()?;
    Some(if lifetimes.is_empty() {
        quote::quote!(#name)
    } else {
        quote::quote!(#name<#(#lifetimes),*>)
    })
}
