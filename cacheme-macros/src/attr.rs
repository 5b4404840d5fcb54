//! The `#[node(…)]` attribute of a type.

use proc_macro2::Span;
use quote::ToTokens as _;
use syn::ext::IdentExt as _;
use syn::parse::{Parse, ParseStream};
use syn::punctuated::Punctuated;
use syn::{Attribute, Expr, ExprPath, Ident, Path, Token, Type, parenthesized, token};

use crate::count::Count;
use crate::mistakes::Mistakes;
use crate::nearest::nearest;
use crate::quoted::refuse_quoted;
use crate::settings::{OrNone, Text, parse_once, parse_settings};
use crate::share::Share;
use crate::storage_name::StorageName;
use crate::time::Time;

/// Lists the keys of `#[node(…)]` that can be set once. A new key is a line here and its use in `expand.rs`.
macro_rules! node_keys {
    ($($field:ident: $type:ty = $key:literal,)*) => {
        #[derive(Default)]
        pub(crate) struct NodeAttr {
            $(pub(crate) $field: Option<$type>,)*
            pub(crate) tiers: Vec<TierAttr>,
            /// The ttl in a local storage that is made where nobody has registered one.
            pub(crate) default_local: Option<Time>,
            /// Keys that are there, also those whose value could not be understood.
            pub(crate) named: Vec<&'static str>,
        }

        const KEYS: &[&str] = &[$($key,)* "tier"];

        impl NodeAttr {
            /// Parses the value of one key.
            pub(crate) fn set(
                &mut self,
                name: &Ident,
                input: ParseStream<'_>,
                mistakes: &mut Mistakes,
            ) -> syn::Result<()> {
                if name == "tier" {
                    self.tiers.extend(parse_tier(name, input, mistakes)?);
                    return Ok(());
                }
                refuse_quoted(name, input)?;
                match name.to_string().as_str() {
                    $($key => parse_once(name, input, &mut self.$field),)*
                    other => unreachable!("`{other}` is not in the list of keys"),
                }
            }
        }
    };
}

node_keys! {
    key: Text = "key",
    value: Type = "value",
    version: Text = "version",
    load: ExprPath = "load",
    load_all: ExprPath = "load_all",
    serializer: OrNone<Type> = "serializer",
    load_timeout: Time = "load_timeout",
    lease: OrNone<Time> = "lease",
    negative_ttl: Time = "negative_ttl",
    ttl_jitter: Share = "ttl_jitter",
    doorkeeper: Count = "doorkeeper",
    weigh: ExprPath = "weigh",
    state: StateTypes = "state",
    krate: ModPath = "crate",
}

/// `tier(storage = "…", ttl = …)`
pub(crate) struct TierAttr {
    pub(crate) storage: StorageName,
    pub(crate) ttl: Option<Time>,
}

impl NodeAttr {
    /// All `#[node(…)]` attributes of a type, as if they were one.
    pub(crate) fn parse(attrs: &[Attribute], mistakes: &mut Mistakes) -> Self {
        let mut node = Self::default();
        for attr in attrs.iter().filter(|attr| attr.path().is_ident("node")) {
            if let syn::Meta::List(_) = &attr.meta {
                let parsed = attr.parse_args_with(|input: ParseStream<'_>| {
                    let named = parse_settings(input, KEYS, mistakes, |name, input, mistakes| {
                        node.set(name, input, mistakes)
                    });
                    Ok(named)
                });
                node.named.extend(mistakes.note(parsed).unwrap_or_default());
            } else {
                mistakes.on(attr, "write `#[node(key = \"…\", value = …, …)]`");
            }
        }
        node
    }

    /// Whether a key is there, right or wrong.
    pub(crate) fn names(&self, key: &str) -> bool {
        self.named.contains(&key)
    }

    /// Whether the user gave a loader, right or wrong.
    pub(crate) fn names_loader(&self) -> bool {
        self.names("load") || self.names("load_all")
    }
}

/// `None` if there is a mistake in the parentheses.
fn parse_tier(
    name: &Ident,
    input: ParseStream<'_>,
    mistakes: &mut Mistakes,
) -> syn::Result<Option<TierAttr>> {
    let example = "`tier(storage = \"local\", ttl = \"30s\")`";
    if !input.peek(token::Paren) {
        return Err(syn::Error::new(name.span(), format!("write {example}")));
    }
    let content;
    parenthesized!(content in input);
    if let Some(mistake) = unnamed(&content) {
        content.parse::<proc_macro2::TokenStream>()?;
        return Err(mistake);
    }
    let mut found = Mistakes::default();
    let (mut storage, mut ttl) = (None, None);
    parse_settings(&content, &["storage", "ttl"], &mut found, |name, input, _| {
        if name == "storage" {
            parse_once(name, input, &mut storage)
        } else {
            parse_once(name, input, &mut ttl)
        }
    });
    if storage.is_none() && found.is_empty() {
        found.at(name.span(), format!("a tier names its storage: write {example}"));
    }
    let complete = found.is_empty();
    mistakes.extend(found);
    Ok(storage
        .filter(|_| complete)
        .map(|storage| TierAttr { storage, ttl }))
}

/// `PgPool`, or several types in parentheses.
pub(crate) struct StateTypes(pub(crate) Vec<Type>);

impl Parse for StateTypes {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        if input.peek(syn::LitStr) {
            return Err(input.error("write the type without quotes: `state = PgPool`"));
        }
        let ty: Type = input.parse()?;
        let types = match ty {
            Type::Tuple(tuple) if !tuple.elems.is_empty() => tuple.elems.into_iter().collect(),
            Type::Paren(inner) => vec![*inner.elem],
            Type::Reference(reference) => {
                return Err(syn::Error::new_spanned(
                    &reference,
                    "write the type without `&`: the instance owns its state, and `cx.state` gives a reference to it",
                ));
            }
            ty => vec![ty],
        };
        Ok(Self(types))
    }
}

/// What is wrong with a tier whose settings stand there without their names.
fn unnamed(content: ParseStream<'_>) -> Option<syn::Error> {
    let settings = Punctuated::<Expr, Token![,]>::parse_terminated(&content.fork()).ok()?;
    let is_named = |setting: &Expr| match setting {
        Expr::Assign(_) => true,
        // A name whose value is missing.
        Expr::Path(path) => path
            .path
            .get_ident()
            .is_some_and(|name| nearest(&name.to_string(), &["storage", "ttl"]).is_some()),
        _ => false,
    };
    if settings.iter().all(is_named) || settings.len() > 2 {
        return None;
    }
    let named = settings.iter().zip(["storage", "ttl"]).map(|(setting, name)| {
        let shown = setting.to_token_stream();
        if is_named(setting) {
            shown.to_string()
        } else {
            format!("{name} = {shown}")
        }
    });
    let named: Vec<_> = named.collect();
    let message = format!("a tier names its settings: write `tier({})`", named.join(", "));
    Some(syn::Error::new_spanned(&settings, message))
}

/// A path as in `use`: `crate`, `::cacheme`, `my::cacheme`.
pub(crate) struct ModPath(pub(crate) Path);

impl Parse for ModPath {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        if input.peek(syn::LitStr) {
            return Err(input.error("write the path without quotes: `crate = my::cacheme`"));
        }
        input.call(Path::parse_mod_style).map(Self)
    }
}

impl ModPath {
    /// Where the runtime's half of the macros is, for mistakes that belong to `span`.
    pub(crate) fn private(path: Option<&Self>, span: Span) -> proc_macro2::TokenStream {
        match path {
            Some(Self(path)) => quote::quote!(#path::__private),
            None => quote::quote_spanned!(span=> ::cacheme::__private),
        }
    }
}

/// The name of a type or field as people call it, without `r#`.
pub(crate) fn plain(name: &Ident) -> String {
    name.unraw().to_string()
}
