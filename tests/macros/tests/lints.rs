//! What the macros generate raises no lint in the code of those who use them: this compiles, and clippy passes it, under
//! everything that projects commonly deny.

#![deny(warnings)]
#![deny(
    future_incompatible,
    keyword_idents,
    let_underscore,
    nonstandard_style,
    rust_2018_idioms,
    unused
)]
#![deny(
    elided_lifetimes_in_paths,
    explicit_outlives_requirements,
    meta_variable_misuse,
    missing_copy_implementations,
    missing_debug_implementations,
    missing_docs,
    non_ascii_idents,
    redundant_imports,
    redundant_lifetimes,
    single_use_lifetimes,
    trivial_casts,
    trivial_numeric_casts,
    unit_bindings,
    unnameable_types,
    unreachable_pub,
    unsafe_code,
    unused_crate_dependencies,
    unused_import_braces,
    unused_lifetimes,
    unused_qualifications,
    unused_results,
    variant_size_differences
)]
#![deny(clippy::all, clippy::pedantic, clippy::nursery)]
#![deny(
    clippy::absolute_paths,
    clippy::allow_attributes,
    clippy::as_conversions,
    clippy::clone_on_ref_ptr,
    clippy::default_numeric_fallback,
    clippy::expect_used,
    clippy::if_then_some_else_none,
    clippy::impl_trait_in_params,
    clippy::indexing_slicing,
    clippy::let_underscore_must_use,
    clippy::let_underscore_untyped,
    clippy::min_ident_chars,
    clippy::missing_docs_in_private_items,
    clippy::missing_inline_in_public_items,
    clippy::panic,
    clippy::pattern_type_mismatch,
    clippy::question_mark_used,
    clippy::ref_patterns,
    clippy::same_name_method,
    clippy::semicolon_inside_block,
    clippy::shadow_reuse,
    clippy::shadow_same,
    clippy::shadow_unrelated,
    clippy::std_instead_of_core,
    clippy::std_instead_of_alloc,
    clippy::unreachable,
    clippy::unused_trait_names,
    clippy::unwrap_used,
    clippy::use_debug,
    clippy::wildcard_enum_match_arm
)]
#![expect(
    unused_crate_dependencies,
    reason = "each test of this package uses one of its dependencies"
)]
#![expect(
    clippy::question_mark_used,
    clippy::redundant_pub_crate,
    clippy::expect_used,
    reason = "this file itself, not what is generated"
)]

/// Nodes of all shapes.
mod nodes {
    use core::future::ready;

    use cacheme::{BoxError, KeyPart, LoadContext, Loaded, Node};

    /// A node with names.
    #[derive(Node, Clone, Debug, PartialEq, Eq, Hash)]
    #[node(
        key = "org:{org}:user:{user}",
        value = Option<String>,
        version = "v2",
        tier(storage = "local", ttl = "30s"),
        negative_ttl = "1s",
        ttl_jitter = 0.1,
        doorkeeper = 100,
        load = load_user,
        load_all = load_users
    )]
    pub(crate) struct UserNode {
        /// The organisation.
        pub(crate) org: u64,
        /// The user.
        pub(crate) user: u64,
    }

    /// Loads one.
    async fn load_user(node: &UserNode, cx: &mut LoadContext<UserNode>) -> Result<Option<String>, BoxError> {
        cx.do_not_store();
        Box::pin(ready(())).await;
        Ok(Some(node.user.to_string()))
    }

    /// Loads several.
    async fn load_users(
        nodes: &[UserNode],
        cx: &mut LoadContext<UserNode>,
    ) -> Result<Loaded<UserNode>, BoxError> {
        cx.do_not_store();
        Box::pin(ready(())).await;
        Ok(nodes.iter().map(|node| (node.clone(), None)).collect())
    }

    /// A node without names.
    #[derive(Node, Clone, Copy, Debug)]
    #[node(key = "count:{0}", value = u64)]
    pub(crate) struct CountNode(pub(crate) u64);

    /// A node that is one alone.
    #[derive(Node, Clone, Copy, Debug)]
    #[node(key = "alone", value = u64, serializer = none)]
    pub(crate) struct AloneNode;

    /// A node that names a type.
    #[derive(Node, Clone, Debug)]
    #[node(key = "named:{T}:{N}:{part}", value = String)]
    pub(crate) struct NamedNode<T, const N: usize>
    where
        T: KeyPart + Clone + Send + Sync + 'static,
    {
        /// What differs.
        pub(crate) part: T,
    }

    /// A part of a key.
    #[derive(KeyPart, Clone, Debug)]
    pub(crate) enum Filter {
        /// No filter.
        All,
        /// Those of one.
        Owner(u64, String),
        /// Those with a tag.
        Tag {
            /// Its name.
            name: String,
        },
    }

    /// A number.
    #[derive(KeyPart, Clone, Copy, Debug)]
    pub(crate) struct Id(pub(crate) u64);

    /// Two parts.
    #[derive(KeyPart, Clone, Copy, Debug)]
    pub(crate) struct Pair {
        /// One.
        pub(crate) one: Id,
        /// Another.
        pub(crate) two: Id,
    }

    /// A node with parts.
    #[derive(Node, Clone, Debug)]
    #[node(key = "parts:{filter}:{pair}", value = u64)]
    pub(crate) struct PartsNode {
        /// A part.
        pub(crate) filter: Filter,
        /// A part.
        pub(crate) pair: Pair,
    }
}

/// Functions with a body on one line.
#[rustfmt::skip]
mod one_line {
    use core::future::ready;

    use cacheme::memoize;

    use super::nodes::{AloneNode, CountNode};

    /// A value.
    #[memoize(node = CountNode(id))]
    pub(crate) async fn value(id: u64) -> u64 { ready(id).await }

    /// A value or an error.
    #[memoize(node = CountNode(id))]
    pub(crate) async fn result(id: u64) -> Result<u64, String> { Ok(value(id + 1).await) }

    /// Another call.
    #[memoize(node = CountNode(id))]
    pub(crate) async fn call(id: u64) -> Result<u64, String> { result(id + 1).await }

    /// Nothing to wait for.
    #[memoize(node = AloneNode)]
    pub(crate) async fn alone() -> u64 { 1 }
}

/// Functions of other shapes.
mod functions {
    use core::fmt::{Debug, Display};
    use core::future::ready;

    use cacheme::{Cacheme, memoize};

    use super::nodes::{CountNode, Filter, Id, NamedNode, Pair, PartsNode};

    /// Borrows.
    #[memoize(node = CountNode(u64::from(*number)))]
    pub(crate) async fn borrows(text: &str, number: &u32) -> Result<u64, String> {
        if text.is_empty() {
            return Err(String::new());
        }
        let more = text.parse::<u64>().map_err(|error| error.to_string())?;
        Ok(super::one_line::value(more).await + u64::from(*number))
    }

    /// Takes what it needs.
    #[memoize(node = NamedNode::<_, 3> { part: name.clone() })]
    pub(crate) async fn owned(name: String, mut log: Vec<String>) -> String {
        log.push(name);
        ready(()).await;
        log.concat()
    }

    /// Of any type.
    #[memoize(node = NamedNode::<_, 4> { part: name.to_string() })]
    pub(crate) async fn generic<T>(name: impl Display + Send, with: &T) -> String
    where
        T: Debug + Sync + ?Sized,
    {
        ready(()).await;
        format!("{name} {with:?}")
    }

    /// Items within.
    #[memoize(node = PartsNode { filter, pair: Pair { one: Id(1), two: Id(2) } })]
    pub(crate) async fn items(filter: Filter) -> u64 {
        /// Within.
        const fn within() -> u64 {
            5
        }
        ready(within()).await
    }

    /// Has functions.
    pub(crate) struct Service {
        /// What it uses.
        pub(crate) cacheme: Cacheme,
    }

    impl Service {
        /// Reads.
        #[memoize(node = CountNode(id), cacheme = &self.cacheme)]
        pub(crate) async fn read(&self, id: u64) -> Result<u64, String> {
            ready(Ok(id)).await
        }
    }
}

#[tokio::test]
async fn l2_generated_code_raises_no_lint() -> Result<(), cacheme::Error> {
    use nodes::{AloneNode, UserNode};

    let cacheme = cacheme::Cacheme::builder().build()?;
    let local = cacheme::Storage::open("local://tlfu?size=100").expect("the URL is right");
    cacheme.register_storage("local", local).await?;
    let user = UserNode { org: 1, user: 2 };
    assert_eq!(cacheme.get(&user).await?.as_deref(), Some("2"));
    let with = cacheme.get_with(&AloneNode, || async { 7_u64 }).await;
    assert_eq!(with, 7);
    assert_eq!(one_line::value(1).await, 1);
    assert_eq!(one_line::result(10).await, Ok(11));
    assert_eq!(one_line::call(20).await, Ok(22));
    assert_eq!(one_line::alone().await, 1);
    assert_eq!(functions::borrows("1", &2).await, Ok(3));
    assert_eq!(functions::owned("a".to_owned(), Vec::new()).await, "a");
    assert_eq!(functions::generic("a", "b").await, "a \"b\"");
    let parts = [
        nodes::Filter::All,
        nodes::Filter::Owner(1, "a".to_owned()),
        nodes::Filter::Tag { name: "b".to_owned() },
    ];
    for filter in parts {
        assert_eq!(functions::items(filter).await, 5);
    }
    let service = functions::Service { cacheme };
    assert_eq!(service.read(4).await, Ok(4));
    Ok(())
}
