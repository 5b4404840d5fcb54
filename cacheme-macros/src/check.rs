//! From the tokens of an item to a node that makes sense, or all reasons why it does not.

use syn::spanned::Spanned as _;
use syn::{Data, DeriveInput, LifetimeParam, Type, WherePredicate};

use crate::attr::NodeAttr;
use crate::mistakes::Mistakes;
use crate::settings::OrNone;
use crate::shape::{KeyField, key_fields, refuse_unordered};
use crate::template::{Piece, default_template, parse_template};

/// A node without mistakes.
pub(crate) struct Node<'a> {
    pub(crate) item: &'a DeriveInput,
    pub(crate) attr: &'a NodeAttr,
    pub(crate) value: &'a Type,
    pub(crate) key: Vec<Piece<'a>>,
}

pub(crate) fn check<'a>(
    item: &'a DeriveInput,
    attr: &'a NodeAttr,
    mistakes: &mut Mistakes,
) -> Option<Node<'a>> {
    let fields = fields(item, mistakes);
    if !attr.names("value") {
        let attribute = item.attrs.iter().find(|attr| attr.path().is_ident("node"));
        let span = attribute.map_or(item.ident.span(), |attr| attr.path().span());
        let example = if attribute.is_some() {
            "`value = Type`"
        } else {
            "`#[node(value = Type, …)]`"
        };
        mistakes.at(span, format!("a node says what it caches: add {example}"));
    }
    check_version(attr, mistakes);
    check_tiers(attr, mistakes);
    check_times(attr, mistakes);
    check_lifetimes(item, mistakes);
    let fields = fields?;
    let key = match &attr.key {
        Some(key) => parse_template(&key.0, &item.ident, &item.generics, &fields, mistakes)?,
        None => default_template(&item.ident, &item.generics, &fields),
    };
    let as_key_part = |field: &&KeyField<'_>| {
        key.iter().any(|piece| {
            matches!(piece, Piece::Field(used) if !used.display && used.path[..] == [field.member.clone()])
        })
    };
    refuse_unordered(fields.iter().filter(as_key_part), "node", mistakes);
    let value = attr.value.as_ref()?;
    mistakes.is_empty().then_some(Node {
        item,
        attr,
        value,
        key,
    })
}

fn fields<'a>(item: &'a DeriveInput, mistakes: &mut Mistakes) -> Option<Vec<KeyField<'a>>> {
    let (kind, keyword) = match &item.data {
        Data::Struct(data) => return Some(key_fields(&data.fields, "node", mistakes)),
        Data::Enum(data) => ("an enum", data.enum_token.span()),
        Data::Union(data) => ("a union", data.union_token.span()),
    };
    let name = &item.ident;
    mistakes.at(
        keyword,
        format!(
            "{kind} cannot be a node: write a struct with a `{name}` in it (which derives `KeyPart`), or a struct for each kind of value"
        ),
    );
    None
}

/// A node goes into flights and storages, which outlive what it could borrow.
fn check_lifetimes(item: &DeriveInput, mistakes: &mut Mistakes) {
    let predicates = item
        .generics
        .where_clause
        .iter()
        .flat_map(|clause| &clause.predicates);
    let predicates: Vec<_> = predicates.collect();
    let is_static = |param: &LifetimeParam| {
        let bounds = predicates.iter().filter_map(|predicate| match predicate {
            WherePredicate::Lifetime(bound) if bound.lifetime == param.lifetime => Some(&bound.bounds),
            _ => None,
        });
        bounds
            .chain([&param.bounds])
            .flatten()
            .any(|bound| bound.ident == "static")
    };
    for param in item.generics.lifetimes().filter(|param| !is_static(param)) {
        let lifetime = &param.lifetime;
        mistakes.on(
            lifetime,
            format!("a node owns its fields, since it outlives the call that makes it: write `String` in place of `&{lifetime} str` and the like, or `&'static str`"),
        );
    }
}

fn check_version(attr: &NodeAttr, mistakes: &mut Mistakes) {
    let Some(version) = &attr.version else { return };
    let text = version.0.value();
    let wrong = |char: &char| !(char.is_ascii_alphanumeric() || matches!(char, '_' | '.' | '-'));
    let why = if text.is_empty() {
        "an empty version".to_owned()
    } else if let Some(char) = text.chars().find(wrong) {
        format!("a version cannot contain {char:?}")
    } else {
        return;
    };
    mistakes.on(
        &version.0,
        format!("{why}: use letters, digits, `_`, `.` and `-`, such as `version = \"v2\"`"),
    );
}

fn check_tiers(attr: &NodeAttr, mistakes: &mut Mistakes) {
    for (at, tier) in attr.tiers.iter().enumerate() {
        let storage = tier.storage.shown();
        if storage.is_empty() {
            mistakes.on(
                &tier.storage,
                "an empty name: write the one that the storage is registered under",
            );
        } else if attr.tiers[..at]
            .iter()
            .any(|earlier| earlier.storage.is_same(&tier.storage))
        {
            let message =
                format!("storage `{storage}` is already a tier of this node: remove one of the two tiers");
            mistakes.on(&tier.storage, message);
        }
        if let Some(ttl) = &tier.ttl {
            ttl.refuse_zero(mistakes, "write how long values live, remove the tier, or leave `ttl` out for values that live for ever");
        }
    }
}

fn check_times(attr: &NodeAttr, mistakes: &mut Mistakes) {
    if let Some(timeout) = &attr.load_timeout {
        timeout.refuse_zero(
            mistakes,
            "write how long a load may take, or leave `load_timeout` out",
        );
    }
    if let Some(ttl) = &attr.negative_ttl {
        ttl.refuse_zero(
            mistakes,
            "write how long an absent value is remembered, or leave `negative_ttl` out",
        );
    }
    if let Some(OrNone::Some(lease)) = &attr.lease {
        lease.refuse_zero(mistakes, "write `lease = none` to do without leases");
    }
}
