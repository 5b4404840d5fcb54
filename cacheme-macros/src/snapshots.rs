//! Expansions as they are read in review, in `snapshots/`. `UPDATE_EXPECT=1 cargo test -p cacheme-macros` writes them anew.

use expect_test::{ExpectFile, expect_file};
use proc_macro2::TokenStream;
use quote::quote;
use syn::parse_quote;

use crate::expand::derive_node;
use crate::key_part::derive_key_part;
use crate::memoize::memoize;

fn check(expansion: TokenStream, snapshot: ExpectFile) {
    let file = syn::parse2::<syn::File>(expansion).expect("an expansion is a list of items");
    let text = prettyplease::unparse(&file);
    assert!(
        text.lines().count() < 200,
        "an expansion that is too long to read:\n{text}"
    );
    snapshot.assert_eq(&text);
}

#[test]
fn node_with_everything() {
    let node = derive_node(&parse_quote! {
        #[node(
            key = "user:{user_id}:{org.id}:info",
            value = UserInfo,
            version = "v2",
            tier(storage = "local", ttl = "30s"),
            tier(storage = "my-redis", ttl = 2 * MINUTE),
            tier(storage = "archive"),
            load = load_user_info,
            load_all = load_user_infos,
            serializer = Compressed<Json>,
            load_timeout = "1ns",
            lease = "1500ms",
            negative_ttl = "5s",
            ttl_jitter = 0.1,
            doorkeeper = 10_000,
            weigh = UserInfo::size,
        )]
        struct UserInfoNode { user_id: i64, org: Org }
    });
    check(node, expect_file!["../snapshots/node_with_everything.rs"]);
}

#[test]
fn node_with_load_all_only() {
    let node = derive_node(&parse_quote! {
        #[node(value = u64, load_all = squares, serializer = none, lease = none, crate = my::cacheme)]
        struct SquareNode(u64, #[node(skip)] Trace);
    });
    check(node, expect_file!["../snapshots/node_with_load_all_only.rs"]);
}

#[test]
fn generic_node() {
    let node = derive_node(&parse_quote! {
        #[node(key = "row:{T}/{N}/{id}/{name:display}", value = Vec<T>, load = load_row::<T>)]
        pub(crate) struct RowNode<'a: 'static, T: Table, const N: usize> where T::Id: Clone {
            id: T::Id,
            name: &'a str,
            table: PhantomData<T>,
        }
    });
    check(node, expect_file!["../snapshots/generic_node.rs"]);
}

#[test]
fn node_with_mistakes() {
    let node = derive_node(&parse_quote! {
        #[node(key = "user:{id}", valeu = User, tier(storage = "local", ttl = "0s"), load = load_user)]
        struct UserNode { user_id: i64 }
    });
    check(node, expect_file!["../snapshots/node_with_mistakes.rs"]);
}

#[test]
fn key_part_struct() {
    let part = derive_key_part(&parse_quote! {
        struct Page<T> { number: u32, filter: T }
    });
    check(part, expect_file!["../snapshots/key_part_struct.rs"]);
}

#[test]
fn key_part_newtype() {
    let part = derive_key_part(&parse_quote! {
        struct UserId(i64);
    });
    check(part, expect_file!["../snapshots/key_part_newtype.rs"]);
}

#[test]
fn key_part_enum() {
    let part = derive_key_part(&parse_quote! {
        enum Filter { All, Owner(UserId, u32), Tag { name: String } }
    });
    check(part, expect_file!["../snapshots/key_part_enum.rs"]);
}

#[test]
fn memoized_function() {
    let function = memoize(
        quote!(node = UserInfoNode { user_id }),
        quote! {
            /// Kept.
            #[tracing::instrument]
            pub(crate) async fn get_user_info<T: Table>(db: &mut PgPool<T>, user_id: i64) -> Result<UserInfo, DbError>
            where
                T: Send,
            {
                db.query(user_id).await?.try_into()
            }
        },
    );
    check(function, expect_file!["../snapshots/memoized_function.rs"]);
}

#[test]
fn memoized_method() {
    let method = memoize(
        quote!(
            node = PageNode(self.site, number),
            cacheme = &self.cacheme,
            crate = my::cacheme
        ),
        quote! {
            async fn page(&self, number: u32, (_, mut depth): (u8, u8)) -> Page {
                depth += 1;
                self.render(number, depth).await
            }
        },
    );
    check(method, expect_file!["../snapshots/memoized_method.rs"]);
}

#[test]
fn function_with_a_key() {
    let function = memoize(
        quote!(
            key = "price:{sku}:{user.id: i64}",
            ttl = "30s",
            unless = |price| *price == 0,
            when = user.id > 0
        ),
        quote! {
            pub async fn price(db: &Db, sku: &str, user: &User) -> Result<u64, DbError> {
                db.price(sku, user).await
            }
        },
    );
    check(function, expect_file!["../snapshots/function_with_a_key.rs"]);
}

#[test]
fn method_with_a_key() {
    let method = memoize(
        quote!(
            key = "page:{Self}:{number}",
            tier(storage = "redis", ttl = "1h"),
            cacheme = &self.cacheme
        ),
        quote! {
            async fn page<T: Theme>(&self, number: u32) -> Page<T> {
                self.render(number).await
            }
        },
    );
    check(method, expect_file!["../snapshots/method_with_a_key.rs"]);
}
