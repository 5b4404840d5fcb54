//! Key templates: `"user:{user_id}:info"`.

use proc_macro2::Span;
use syn::{Generics, Ident, Index, LitStr, Member, Type};

use crate::attr::plain;
use crate::mistakes::Mistakes;
use crate::nearest::{did_you_mean, nearest};
use crate::settings::Known;
use crate::shape::{KeyField, Skip, mentions};

/// A part of a key.
pub(crate) enum Piece<'a> {
    Literal(String),
    Field(Placeholder<'a>),
    /// The name of the type that a type parameter stands for.
    TypeName(Ident),
    /// The value of a const parameter.
    Const(Ident),
}

pub(crate) struct Placeholder<'a> {
    /// `org.id`: the field, then what is inside of it.
    pub(crate) path: Vec<Member>,
    /// As the user wrote it.
    pub(crate) text: String,
    /// The type of the first field of the path.
    pub(crate) ty: &'a Type,
    /// Written by its `Display`.
    pub(crate) display: bool,
}

/// The key of a node that does not say one: the type's name, its parameters, its fields.
pub(crate) fn default_template<'a>(
    name: &Ident,
    generics: &Generics,
    fields: &[KeyField<'a>],
) -> Vec<Piece<'a>> {
    let types = generics
        .type_params()
        .map(|param| Piece::TypeName(param.ident.clone()));
    let consts = generics
        .const_params()
        .map(|param| Piece::Const(param.ident.clone()));
    let fields = fields.iter().filter(|field| field.is_kept()).map(|field| {
        let path = vec![field.member.clone()];
        Piece::Field(Placeholder {
            path,
            text: field.name.clone(),
            ty: field.ty,
            display: false,
        })
    });
    let mut pieces = vec![Piece::Literal(plain(name))];
    for piece in types.chain(consts).chain(fields) {
        match pieces.last_mut() {
            Some(Piece::Literal(text)) => text.push(':'),
            _ => pieces.push(Piece::Literal(":".into())),
        }
        pieces.push(piece);
    }
    pieces
}

/// What stands in the template, checked against the node that it belongs to. `None` if any of it is wrong.
pub(crate) fn parse_template<'a>(
    template: &LitStr,
    name: &Ident,
    generics: &Generics,
    fields: &[KeyField<'a>],
    mistakes: &mut Mistakes,
) -> Option<Vec<Piece<'a>>> {
    let span = template.span();
    let text = template.value();
    if text.is_empty() {
        mistakes.at(
            span,
            "an empty key: write one, or leave `key` out for the type's name and all fields",
        );
        return None;
    }
    let mut found = Mistakes::default();
    let mut pieces = Vec::new();
    for part in split(&text, span, &mut found) {
        match part {
            Part::Literal(text) => pieces.push(Piece::Literal(text.into())),
            Part::Placeholder(text) => {
                pieces.extend(found.note(placeholder(text, span, name, generics, fields)));
            }
        }
    }
    check_separators(&pieces, span, &mut found);
    check_none_skipped(&pieces, fields, &mut found);
    if found.is_empty() {
        check_all_used(&pieces, generics, fields, &mut found);
    }
    let pieces = found.is_empty().then_some(pieces);
    mistakes.extend(found);
    pieces
}

enum Part<'a> {
    Literal(&'a str),
    Placeholder(&'a str),
}

/// Takes a template apart at its braces.
fn split<'a>(text: &'a str, span: Span, mistakes: &mut Mistakes) -> Vec<Part<'a>> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find(['{', '}']) {
        if rest[at..].starts_with("{{") || rest[at..].starts_with("}}") {
            mistakes.at(span, doubled(&rest[at..]));
            return parts;
        }
        if rest[at..].starts_with('}') {
            mistakes.at(span, format!("`}}` without `{{`, after `{}`", &rest[..at]));
            return parts;
        }
        let Some(end) = rest[at..].find('}').map(|end| at + end) else {
            mistakes.at(
                span,
                format!("`{}` is never closed: write `{{field}}`", &rest[at..]),
            );
            return parts;
        };
        let inside = &rest[at + 1..end];
        if let Some((before, _)) = inside.split_once('{') {
            mistakes.at(
                span,
                format!("braces do not nest: write `}}` before the second `{{` of `{{{inside}}}`, such as `{{{}}}:{{…}}`", before.trim_end_matches([':', '.'])),
            );
            return parts;
        }
        if at > 0 {
            parts.push(Part::Literal(&rest[..at]));
        }
        parts.push(Part::Placeholder(inside));
        rest = &rest[end + 1..];
    }
    if !rest.is_empty() {
        parts.push(Part::Literal(rest));
    }
    parts
}

/// What is wrong with `{{` or `}}`, at which the text begins.
fn doubled(text: &str) -> String {
    let field = text.strip_prefix("{{").and_then(|text| text.split_once("}}"));
    match field {
        Some((field, _)) if !field.is_empty() && !field.contains(['{', '}']) => {
            format!("a placeholder has one brace on each side: write `{{{field}}}`")
        }
        _ => "a key cannot contain braces; use another character, such as `(` or `[`".to_owned(),
    }
}

fn placeholder<'a>(
    text: &str,
    span: Span,
    name: &Ident,
    generics: &Generics,
    fields: &[KeyField<'a>],
) -> syn::Result<Piece<'a>> {
    let wrong = |message: String| Err(syn::Error::new(span, message));
    let (path, display) = match text.split_once(':') {
        None => (text, false),
        Some((path, "display")) => (path, true),
        Some((path, format)) => {
            return wrong(format!(
                "unknown format `:{format}` in `{{{text}}}`: write `{{{path}}}`, or `{{{path}:display}}` to write it by its `Display`"
            ));
        }
    };
    let (first, inner) = path
        .split_once('.')
        .map_or((path, None), |(first, inner)| (first, Some(inner)));
    let Some(field) = fields.iter().find(|field| field.name == first) else {
        let plain = inner.is_none() && !display;
        if let Some(param) = generics.type_params().find(|param| plain && param.ident == first) {
            return Ok(Piece::TypeName(param.ident.clone()));
        }
        if let Some(param) = generics
            .const_params()
            .find(|param| plain && param.ident == first)
        {
            return Ok(Piece::Const(param.ident.clone()));
        }
        let names: Vec<_> = fields.iter().map(|field| field.name.as_str()).collect();
        if text.is_empty() && !names.is_empty() {
            return wrong(format!(
                "`{{}}` must name a field of `{name}` ({})",
                Known(&names)
            ));
        }
        let hint = did_you_mean(nearest(first, &names));
        return wrong(match names[..] {
            [] => format!("`{{{text}}}` names a field, but `{name}` has none"),
            _ => format!("`{name}` has no field `{first}`{hint} ({})", Known(&names)),
        });
    };
    let mut members = vec![field.member.clone()];
    for inner in inner.into_iter().flat_map(|inner| inner.split('.')) {
        match inner_member(inner, span) {
            Some(member) => members.push(member),
            None => return wrong(format!("`{inner}` in `{{{text}}}` cannot be the name of a field")),
        }
    }
    Ok(Piece::Field(Placeholder {
        path: members,
        text: path.to_owned(),
        ty: field.ty,
        display,
    }))
}

/// A field of a field, whose type is not known here.
fn inner_member(name: &str, span: Span) -> Option<Member> {
    if let Ok(index) = name.parse() {
        return Some(Member::Unnamed(Index { index, span }));
    }
    let mut name: Ident = syn::parse_str(name)
        .or_else(|_| syn::parse_str(&format!("r#{name}")))
        .ok()?;
    name.set_span(span);
    Some(Member::Named(name))
}

/// Fields are written with letters, digits and some punctuation only. What stands between two of them must hold a
/// character that they cannot, or `("ab", "c")` and `("a", "bc")` could be one key.
fn check_separators(pieces: &[Piece<'_>], span: Span, mistakes: &mut Mistakes) {
    let separates = |text: &str| text.bytes().any(|byte| byte.is_ascii() && !is_field_byte(byte));
    let (mut before, mut between) = (None, "");
    for piece in pieces {
        if let Piece::Literal(text) = piece {
            between = text;
            continue;
        }
        let after = piece.to_placeholder();
        if let Some(before) = before.replace(after.clone())
            && !separates(between)
        {
            mistakes.at(
                span,
                format!(
                    "different values of {before} and {after} could give the same key, for nothing between them stands out \
                     from a field's text: write `{before}:{after}` (or `/`, `|`, `#`)"
                ),
            );
        }
        between = "";
    }
}

/// The ASCII bytes of escaped fields, as `cacheme::KeyWriter` writes them.
fn is_field_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"_.@%~(),-".contains(&byte)
}

/// A field that is said to tell no nodes apart, and does.
fn check_none_skipped(pieces: &[Piece<'_>], fields: &[KeyField<'_>], mistakes: &mut Mistakes) {
    for field in fields {
        let Skip::Said(here) = field.skip else { continue };
        let uses = pieces.iter().find_map(|piece| match piece {
            Piece::Field(placeholder) if placeholder.path[0] == field.member => Some(&placeholder.text),
            _ => None,
        });
        if let Some(text) = uses {
            let name = &field.name;
            mistakes.at(
                here,
                format!(
                    "field `{name}` is in the key and cannot be skipped: remove `#[node(skip)]`, or take `{{{text}}}` out of the key"
                ),
            );
        }
    }
}

/// A field or parameter that is not in the key makes different nodes share an entry.
fn check_all_used(
    pieces: &[Piece<'_>],
    generics: &Generics,
    fields: &[KeyField<'_>],
    mistakes: &mut Mistakes,
) {
    let uses_field = |field: &&KeyField<'_>| {
        pieces
            .iter()
            .any(|piece| matches!(piece, Piece::Field(placeholder) if placeholder.path[0] == field.member))
    };
    for field in fields
        .iter()
        .filter(|field| field.is_kept() && !uses_field(field))
    {
        let name = &field.name;
        mistakes.at(
            field.span(),
            format!(
                "field `{name}` is not in the key, so nodes that differ in it would share an entry: \
                 add `{{{name}}}` to the key, or mark the field `#[node(skip)]`"
            ),
        );
    }
    let uses_param = |name: &Ident| {
        pieces.iter().any(|piece| match piece {
            Piece::TypeName(used) | Piece::Const(used) => used == name,
            Piece::Field(placeholder) => mentions(placeholder.ty, std::slice::from_ref(name)),
            Piece::Literal(_) => false,
        })
    };
    let types = generics.type_params().map(|param| &param.ident);
    let consts = generics.const_params().map(|param| &param.ident);
    for name in types.chain(consts).filter(|name| !uses_param(name)) {
        let message = format!(
            "parameter `{name}` is not in the key, so nodes that differ in it would share an entry: add `{{{name}}}` to the key"
        );
        mistakes.at(name.span(), message);
    }
}

impl Piece<'_> {
    /// As a template shows it.
    pub(crate) fn to_placeholder(&self) -> String {
        match self {
            Self::Literal(text) => text.clone(),
            Self::Field(placeholder) => format!("{{{}}}", placeholder.text),
            Self::TypeName(name) | Self::Const(name) => format!("{{{}}}", name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(template: &str) -> Result<String, String> {
        let item: syn::DeriveInput = syn::parse_quote! {
            struct Node<T, const N: usize> { a: u64, r#type: String, org: Org<T, N> }
        };
        let syn::Data::Struct(data) = &item.data else {
            unreachable!()
        };
        let mut mistakes = Mistakes::default();
        let fields = crate::shape::key_fields(&data.fields, "node", &mut mistakes);
        let template = LitStr::new(template, Span::call_site());
        let pieces = parse_template(&template, &item.ident, &item.generics, &fields, &mut mistakes);
        pieces
            .map(|pieces| pieces.iter().map(Piece::to_placeholder).collect())
            .ok_or_else(|| mistakes.to_compile_errors().to_string())
    }

    #[test]
    fn good_templates_are_kept() {
        for good in [
            "{a}:{type}:{org.id}",
            "x/{a}#{type} {org.0.name}",
            "{T}:{N}:{a}:{type}:{org.id}",
            "{a}a:b{type}|{org.id}é",
        ] {
            assert_eq!(check(good).as_deref(), Ok(good));
        }
        assert_eq!(
            check("{a:display}:{type}:{org}").as_deref(),
            Ok("{a}:{type}:{org}")
        );
    }

    #[test]
    fn c4_what_stands_between_two_fields_must_stand_out() {
        for bad in [
            "{a}{type}:{org}",
            "{a}_{type}:{org}",
            "{a},{type}:{org}",
            "{a}é{type}:{org}",
            "{a}%3A{type}:{org}",
        ] {
            let error = check(bad).expect_err(bad);
            assert!(error.contains("write `{a}:{type}`"), "{error}");
        }
    }

    #[test]
    fn every_mistake_is_reported() {
        let error = check("{b}:{a:x}:{}").expect_err("three mistakes");
        for told in ["no field `b`", "unknown format `:x`", "`{}` must name"] {
            assert!(error.contains(told), "{told} in {error}");
        }
    }

    #[test]
    fn braces_must_match() {
        for (bad, told) in [
            ("{a", "never closed"),
            ("a}", "without"),
            ("{{a}}", "write `{a}`"),
            ("{{}}", "cannot contain braces"),
            ("{a:{type}}", "write `}` before the second `{` of `{a:{type}`"),
            ("", "empty key"),
        ] {
            let error = check(bad).expect_err(bad);
            assert!(error.contains(told), "{error}");
        }
    }
}
