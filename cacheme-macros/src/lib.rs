//! The macros of [Cacheme](https://docs.rs/cacheme), which re-exports them: use that crate.
//!
//! | to change | open |
//! |---|---|
//! | a key of `#[node(…)]` | `attr.rs`: one line in `node_keys!`; then `check.rs` and `expand.rs` |
//! | key templates | `template.rs` |
//! | what is wrong with a node, and how that is said | `check.rs` |
//! | what a node turns into | `expand.rs`, `bounds.rs` |
//! | `#[derive(KeyPart)]`, `#[memoize]` | `key_part.rs`, `memoize.rs` |

use proc_macro::TokenStream;

mod arguments;
mod attr;
mod bounds;
mod check;
mod count;
mod expand;
mod invalidate;
mod key_part;
mod memoize;
mod mistakes;
mod nearest;
mod quoted;
mod settings;
mod shape;
mod share;
#[cfg(test)]
mod snapshots;
mod storage_name;
mod template;
mod time;

/// Makes a struct a node: a typed cache key, with the policy of its kind.
///
/// ```
/// use cacheme::{LoadContext, Node};
///
/// #[derive(Node, Clone, Debug)]
/// #[node(
///     key = "user:{user_id}:info",
///     value = String,
///     version = "v1",
///     tier(storage = "local", ttl = "30s"),
///     tier(storage = "my-redis", ttl = "10m"),
///     load = load_user_info,
/// )]
/// struct UserInfoNode {
///     user_id: i64,
/// }
///
/// async fn load_user_info(
///     node: &UserInfoNode,
///     _cx: &mut LoadContext<UserInfoNode>,
/// ) -> Result<String, std::io::Error> {
///     Ok(format!("user {}", node.user_id))
/// }
///
/// assert_eq!(UserInfoNode { user_id: 1 }.key(), "user:1:info");
/// ```
///
/// The struct may have named fields, numbered ones or none, type parameters and const ones. It must be `Clone`, and it owns its fields: a
/// lifetime must be `'static`.
///
/// # Keys of `#[node(…)]`
///
/// | key | |
/// |---|---|
/// | `value = Type` | what is cached; the one key that must be there. `Clone + Send + Sync + 'static`, and `Serialize + DeserializeOwned` unless `serializer = none` |
/// | `key = "user:{id}"` | the key's template, see below; without it the type's name and all fields, `:` between them |
/// | `version = "v2"` | last part of the full key, `v1` when nothing is said: another one makes all values load anew |
/// | `tier(storage = "…", ttl = …)` | where values are kept, nearest first, any number. Without a `ttl` they live for ever. `storage` is text or an expression of type `&'static str`, such as a constant |
/// | `load = path` | `async fn(&Node, &mut LoadContext<Node>) -> Result<Value, E>` with any error that turns into a `BoxError` |
/// | `load_all = path` | `async fn(&[Node], &mut LoadContext<Node>) -> Result<_, E>` with a `Vec` or map of nodes and values, or `Loaded`, in any order. Serves `load` too where that is not given |
/// | `serializer = Type` | how remote tiers write values, made by `Default`; `none` where no tier is remote |
/// | `load_timeout = …` | how long a load may take, 30 s when nothing is said |
/// | `lease = …` | how long the lease of a load lasts, 5 s when nothing is said; `none` does without. Let it be longer than loads take, where the storage cannot renew it |
/// | `negative_ttl = …` | how long a `None` lives at most, for values that are an `Option` (or another `MaybeAbsent`) |
/// | `ttl_jitter = 0.1` | by which share of itself a ttl may be shortened at random, so that what was stored together does not expire together |
/// | `doorkeeper = 10_000` | a value is stored when its key is loaded the second time within about so many keys; the first time it is only returned |
/// | `state = PgPool` | what the loader takes from the instance by `cx.state::<PgPool>()`, several types in parentheses: a load without it is refused, and `check` finds it |
/// | `weigh = path` | `fn(&Value) -> u32`: what a value weighs in local storages whose capacity is a weight; 1 when nothing is said |
/// | `crate = path` | where `cacheme` is, when it has another name |
///
/// Durations are text (`"500ms"`, `"1h30m"`) or expressions of type `Duration`.
///
/// # Key templates
///
/// | placeholder | writes |
/// |---|---|
/// | `{user_id}`, `{0}` | a field, whose type is a [`KeyPart`] |
/// | `{org.id}` | what is inside of a field |
/// | `{place:display}` | a field by its `Display`, which must tell all its values apart; an `Option` of such a type is `~` or the value |
/// | `{T}` | the name of the type that the parameter stands for, or the value of a const parameter |
///
/// Fields are escaped and so never hold the likes of `:`, `/`, `|` and `#`. One of these must stand between two
/// placeholders, so that different nodes have different keys. For the same reason every field must be in the key. One
/// that tells no nodes apart is marked:
///
/// ```
/// # use cacheme::Node;
/// #[derive(Node, Clone)]
/// #[node(key = "page:{site}/{number}", value = String)]
/// struct PageNode {
///     site: String,
///     number: u32,
///     #[node(skip)]
///     asked_by: String,
/// }
/// # let page = PageNode { site: "a/b".into(), number: 2, asked_by: "ann".into() };
/// # assert_eq!(page.key(), "page:a%2Fb/2");
/// # let _ = page.asked_by;
/// ```
///
/// Two nodes whose templates can give one key in one version are refused when a storage is registered: `post:{slug}` and
/// `post:latest`, where `slug` is text. Where it is a number they cannot meet. A type of yours that implements [`KeyPart`] by hand is
/// taken to write any text that a field may have.
///
/// A generic node has its parameters in its key, by placeholder or as the type of a field that is there:
///
/// ```
/// # use cacheme::{KeyPart, Node};
/// # use std::marker::PhantomData;
/// # trait Table: Clone + Send + Sync + 'static { type Id: KeyPart + Clone + Send + Sync + 'static; }
/// #[derive(Node, Clone)]
/// #[node(key = "count:{T}:{owner}", value = u64)]
/// struct CountNode<T: Table> {
///     owner: T::Id,
///     table: PhantomData<T>,
/// }
/// ```
#[proc_macro_derive(Node, attributes(node))]
pub fn derive_node(item: TokenStream) -> TokenStream {
    let item = syn::parse_macro_input!(item as syn::DeriveInput);
    expand::derive_node(&item).into()
}

/// Makes a struct or an enum something that can be a field of a key.
///
/// A struct is written as its fields in parentheses, a struct of one field as that field. A variant of an enum is
/// written as its name, with its fields in parentheses where it has some.
///
/// ```
/// use cacheme::{KeyPart, Node};
///
/// #[derive(KeyPart, Clone)]
/// struct UserId(i64);
///
/// #[derive(KeyPart, Clone)]
/// enum Filter {
///     All,
///     Owner(UserId),
///     Between { from: u32, to: u32 },
/// }
///
/// #[derive(Node, Clone)]
/// #[node(key = "list:{0}", value = Vec<String>)]
/// struct ListNode(Filter);
///
/// assert_eq!(ListNode(Filter::All).key(), "list:All");
/// assert_eq!(ListNode(Filter::Owner(UserId(7))).key(), "list:(Owner,7)");
/// assert_eq!(ListNode(Filter::Between { from: 1, to: 2 }).key(), "list:(Between,1,2)");
/// ```
///
/// `#[key_part(skip)]` leaves a field out, and `#[key_part(crate = path)]` on the type says where `cacheme` is.
#[proc_macro_derive(KeyPart, attributes(key_part))]
pub fn derive_key_part(item: TokenStream) -> TokenStream {
    let item = syn::parse_macro_input!(item as syn::DeriveInput);
    key_part::derive_key_part(&item).into()
}

/// Caches what an `async fn` returns.
///
/// ```
/// use cacheme::memoize;
///
/// # struct Db;
/// # impl Db { async fn price(&self, _: &str) -> Result<u64, std::io::Error> { Ok(5) } }
/// #[memoize(key = "price:{sku}", ttl = "30s")]
/// async fn price(db: &Db, sku: &str) -> Result<u64, std::io::Error> {
///     db.price(sku).await
/// }
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let db = Db;
/// assert_eq!(price(&db, "tea").await?, 5); // runs the body
/// assert_eq!(price(&db, "tea").await?, 5); // a hit
/// price_invalidate("tea").await?;
/// price_refresh(&db, "tea").await?;
/// assert_eq!(cacheme::peek(&PriceNode { sku: "tea".into() }).await?, Some(5));
/// # Ok(()) }
/// ```
///
/// Callers of one key that come while the body runs wait for it: it runs once. The value lives in the storage named `local`, which is made with 10 000
/// entries if nobody has registered it, or in the tiers that are named. Trouble of storages never shows up in the function: the body runs.
///
/// Name, visibility, attributes, documentation and generics stay. What is not in the key, such as `db`, may be anything, also a reference. The
/// key is evaluated by each call, before the body; the body runs on a miss only. A hit makes no node: it writes the key from the arguments, and
/// allocates nothing.
///
/// # Errors of the function
///
/// The function returns the value or a `Result` of it, with any error type. Errors are not cached.
///
/// | error type | callers that waited for a failed body |
/// |---|---|
/// | `Clone + Send + Sync + 'static` | get a clone |
/// | `anyhow::Error`, `eyre::Report`, `Box<dyn Error + Send + Sync>` | get an error with the same text and sources, as does the caller whose body failed; `cacheme::find_error` finds a type in it |
/// | any other | run the body themselves, one at a time; each that has waited for the `load_timeout` runs it at once |
///
/// # Keys of `#[memoize(…)]`
///
/// | key | |
/// |---|---|
/// | `key = "price:{sku}"` | the key's template: arguments by name (`{sku}`, `{sku:display}`), what is inside of them with its type (`{user.id: i64}`, `{self.shop: u32}`), the names of types (`{Self}`, `{T}`) |
/// | `ttl = "30s"` | how long values live in the storage `local` |
/// | `tier(storage = "…", ttl = …)` | instead of `ttl`: where values are kept, nearest first |
/// | `value`, `version`, `serializer`, `load_timeout`, `lease`, `negative_ttl`, `ttl_jitter`, `doorkeeper`, `weigh` | as in [`#[node(…)]`](derive@Node). `value` is taken from the return type: of a `Result` the first type |
/// | `name = PriceKey` | the name of the node, `PriceNode` when nothing is said |
/// | `unless = \|value\| …` | a value for which this is true is returned and not stored |
/// | `when = expression` | if false, the body runs as if there were no cache |
/// | `cacheme = expression` | a `&Cacheme`, for another instance than the process-wide one; sees the arguments too |
/// | `node = expression` | instead of `key`, `ttl` and policies: a node of yours, made of the arguments |
/// | `crate = path` | where `cacheme` is, when it has another name |
///
/// Inside of the body, `cacheme::loading()` shortens the ttl of this value, or keeps it from being stored.
///
/// # What is beside the function
///
/// A free function `price` has `struct PriceNode` with the key's arguments as owned fields (`&str` becomes `String`), for `invalidate`, `peek`, `set` and
/// `stats`; `price_invalidate` with the arguments of the key, and those that `cacheme` names; and `price_refresh` with all arguments of the function,
/// which gives the value or a `cacheme::Error`. All have the visibility of the function.
///
/// A method, and a function whose value or key is generic, has `price_node` instead, with the arguments of the key. It gives a `MemoNode` of the
/// value, which every function of Cacheme takes. A function of an `impl` without `self` is a method if it names `Self`; if not, use `node`.
///
/// ```
/// # use cacheme::{Cacheme, MemoNode, memoize};
/// struct Shop {
///     cacheme: Cacheme,
/// }
///
/// impl Shop {
///     #[memoize(key = "square:{number}", ttl = "1m", cacheme = &self.cacheme)]
///     async fn square(&self, number: u64) -> u64 {
///         number * number
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let shop = Shop { cacheme: Cacheme::builder().build()? };
/// assert_eq!(shop.square(3).await, 9);
/// let node: MemoNode<u64> = Shop::square_node(3);
/// shop.cacheme.invalidate(&node).await?;
/// # Ok(()) }
/// ```
///
/// In the implementation of a trait there is room for neither: there `node` names a node of yours.
///
/// ```
/// # use cacheme::{Node, memoize};
/// #[derive(Node, Clone)]
/// #[node(key = "greeting:{name}:{lang}", value = String, tier(storage = "local", ttl = "30s"))]
/// struct GreetingNode {
///     name: String,
///     lang: &'static str,
/// }
///
/// #[memoize(node = GreetingNode { name: name.clone(), lang: "en" })]
/// async fn greet(db: &str, name: String) -> Result<String, std::fmt::Error> {
///     Ok(format!("{db} greets {name}"))
/// }
/// ```
///
/// # Cancel safety
///
/// A call that is dropped drops the body if it was running it; another call that waited for it then runs its own.
#[proc_macro_attribute]
pub fn memoize(attr: TokenStream, item: TokenStream) -> TokenStream {
    memoize::memoize(attr.into(), item.into()).into()
}

/// Invalidates nodes when an `async fn` that writes has returned.
///
/// ```
/// use cacheme::{Node, invalidate};
///
/// #[derive(Node, Clone)]
/// #[node(key = "user:{0}", value = String, tier(storage = "local", ttl = "1m"))]
/// struct UserNode(u64);
///
/// #[derive(Node, Clone)]
/// #[node(key = "users", value = Vec<u64>, tier(storage = "local", ttl = "1m"))]
/// struct UsersNode;
///
/// # struct Db;
/// /// The new user's number is known when the row is there.
/// #[invalidate(UsersNode, after(|id: &u64| UserNode(*id)))]
/// async fn add_user(db: &Db, name: &str) -> Result<u64, std::io::Error> {
///     Ok(7) // INSERT …
/// }
///
/// #[invalidate(UserNode(id))]
/// async fn rename_user(db: &Db, id: u64, name: &str) -> Result<(), std::io::Error> {
///     Ok(()) // UPDATE …
/// }
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # cacheme::register_storage("local", cacheme::Storage::open("local://tlfu?size=100")?).await?;
/// # assert_eq!(add_user(&Db, "ann").await?, 7);
/// # rename_user(&Db, 7, "anne").await?;
/// # Ok(()) }
/// ```
///
/// The nodes are made of the arguments, before the body. They are invalidated after `Ok`, or after any return where the function returns no `Result`:
/// when the caller has the result, no later read in this process sees what was there before. They are invalidated in the background when the
/// future is dropped after the body began, or when the body panics, since the write may have happened. What cannot be reached is tried again
/// in the background and logged; the function's result stays what it is.
///
/// | | |
/// |---|---|
/// | `UserNode(id), …` | expressions of nodes, also of several kinds |
/// | `after(\|value: &T\| UserNode(value.id))` | a node made of what the function returned, of a `Result` the value; not known if the future is dropped |
/// | `on_error = true` | invalidates after `Err` too |
/// | `cacheme = expression` | a `&Cacheme`, for another instance than the process-wide one; sees the arguments too |
/// | `crate = path` | where `cacheme` is, when it has another name |
#[proc_macro_attribute]
pub fn invalidate(attr: TokenStream, item: TokenStream) -> TokenStream {
    invalidate::invalidate(attr.into(), item.into()).into()
}
