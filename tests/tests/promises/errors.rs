//! L2: errors say each thing once, and the error of a loader is found by its type.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

use anyhow::Context as _;
use cacheme::{BoxError, Cacheme, Load, LoadContext, Loaded, Node};
use cacheme_storage::{Bincode, Chain, Codec, Json};
use tests::Trouble;

use crate::world::{Item, Source, World};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct NotFound(u64);

impl fmt::Display for NotFound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "there is no {}", self.0)
    }
}

impl StdError for NotFound {}

/// What another layer of an application makes of an error.
#[derive(Debug)]
struct Repository<E>(E);

impl<E> fmt::Display for Repository<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the repository failed")
    }
}

impl<E: StdError + 'static> StdError for Repository<E> {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(&self.0)
    }
}

/// Declares a node whose loader fails in one way.
macro_rules! failing {
    ($name:ident, $key:literal, $error:ty, $fail:expr) => {
        #[derive(Node, Clone, Debug)]
        #[node(key = $key, value = u64, load = Self::fail)]
        struct $name(u64);

        impl $name {
            async fn fail(node: &Self, cx: &mut LoadContext<Self>) -> Result<u64, $error> {
                let fail: fn(u64) -> $error = $fail;
                let _ = cx;
                Err(fail(node.0))
            }
        }
    };
}

failing!(Plain, "errors-plain:{0}", NotFound, NotFound);
failing!(Wrapped, "errors-wrapped:{0}", Repository<NotFound>, |id| {
    Repository(NotFound(id))
});
failing!(Boxed, "errors-boxed:{0}", BoxError, |id| NotFound(id).into());
failing!(
    Shared,
    "errors-shared:{0}",
    Arc<dyn StdError + Send + Sync>,
    |id| { Arc::new(NotFound(id)) }
);
failing!(
    SharedWithin,
    "errors-shared-within:{0}",
    Repository<Arc<dyn StdError + Send + Sync>>,
    |id| Repository(Arc::new(NotFound(id)))
);
failing!(Anyhow, "errors-anyhow:{0}", anyhow::Error, |id| {
    NotFound(id).into()
});
failing!(InContext, "errors-in-context:{0}", anyhow::Error, |id| {
    anyhow::Error::from(NotFound(id))
        .context("asking the table")
        .context("asking the database")
});
/// A node that reads another one.
#[derive(Node, Clone, Debug)]
#[node(key = "errors-reads-another:{0}", value = u64, load = read_another)]
struct ReadsAnother(u64);

async fn read_another(node: &ReadsAnother, cx: &mut LoadContext<ReadsAnother>) -> anyhow::Result<u64> {
    let cacheme = cx.cacheme().clone();
    cacheme.get(&Anyhow(node.0)).await.context("reading another node")
}

/// A node whose values are loaded together.
#[derive(Node, Clone, Debug)]
#[node(key = "errors-together:{0}", value = u64, load_all = load_together)]
struct Together(u64);

async fn load_together(
    nodes: &[Together],
    _: &mut LoadContext<Together>,
) -> anyhow::Result<Loaded<Together>> {
    Err(NotFound(nodes[0].0).into())
}

/// A node whose `Load` is written by hand.
#[derive(Node, Clone, Debug)]
#[node(key = "errors-by-hand:{0}", value = u64)]
struct ByHand(u64);

impl Load for ByHand {
    async fn load(&self, _: &mut LoadContext<Self>) -> Result<u64, BoxError> {
        Err(Box::new(NotFound(self.0)))
    }
}

/// How an error prints, and all that it comes from: nothing twice.
fn causes(error: &(dyn StdError + 'static)) -> Vec<String> {
    let causes: Vec<_> = anyhow::Chain::new(error).map(ToString::to_string).collect();
    for (error, cause) in causes.iter().zip(&causes[1..]) {
        assert!(!error.contains(cause), "{causes:#?}");
    }
    causes
}

async fn finds<N: Load<Value = u64>>(node: N, says: &[&str]) {
    let cacheme = Cacheme::builder().build().unwrap();
    let one = cacheme.get(&node).await.unwrap_err();
    let all = cacheme.get_all(std::slice::from_ref(&node)).await.unwrap_err();
    for error in [one, all] {
        assert_eq!(error.downcast_load(), Some(&NotFound(7)), "{error:?}");
        assert!(error.downcast_load::<fmt::Error>().is_none());
        let causes = causes(&error);
        assert_eq!(causes[1..], *says);
        let loading = format!("loading `{}` failed", cacheme.full_key(&node));
        let whole = [&[&*loading], says].concat().join(": ");
        assert_eq!(Chain(&error).to_string(), whole);
        assert_eq!(format!("{:#}", anyhow::Error::from(error)), whole);
    }
}

#[tokio::test]
async fn l2_the_error_of_a_loader_is_found_by_its_type_however_it_was_returned() {
    let says = "there is no 7";
    finds(Plain(7), &[says]).await;
    finds(Wrapped(7), &["the repository failed", says]).await;
    finds(Boxed(7), &[says]).await;
    finds(Shared(7), &[says]).await;
    finds(SharedWithin(7), &["the repository failed", says]).await;
    finds(Anyhow(7), &[says]).await;
    finds(InContext(7), &["asking the database", "asking the table", says]).await;
    finds(Together(7), &[says]).await;
    finds(ByHand(7), &[says]).await;
    let read = [
        "reading another node",
        "loading `cacheme:errors-anyhow:7:v1` failed",
        says,
    ];
    finds(ReadsAnother(7), &read).await;
}

#[tokio::test(start_paused = true)]
async fn l2_errors_of_storages_do_not_repeat_what_they_come_from() {
    let (world, source) = (World::new().await, Source::default());
    world.remote.set_trouble(Trouble::Refuses);
    let error = world
        .cacheme
        .invalidate(&Item::new(1, &source))
        .await
        .unwrap_err();
    let causes = causes_of_three(&error);
    assert_eq!(causes[0], "storage `remote` may still hold 1 old value(s)");
    assert!(causes[1].ends_with("refused"), "{causes:#?}");
    let told = error.source().and_then(|source| source.downcast_ref());
    assert!(
        matches!(told, Some(cacheme_storage::Error::Refused { .. })),
        "found by its type: {error:?}"
    );

    let registered = world
        .cacheme
        .register_storage("another", cacheme::Storage::remote(world.remote.clone()));
    let error = registered.await.unwrap_err();
    let unreached = causes_of_three(&error);
    assert!(
        unreached[0].ends_with("does without its server for now"),
        "{unreached:#?}"
    );
}

fn causes_of_three(error: &cacheme::Error) -> Vec<String> {
    let causes = causes(error);
    assert_eq!(causes.len(), 3, "{causes:#?}");
    causes
}

/// A type that bincode can write and not read.
#[derive(serde::Serialize, serde::Deserialize)]
#[serde(untagged)]
enum Untagged {
    Number(u8),
}

#[test]
fn l2_errors_of_serializers_do_not_repeat_what_they_come_from() {
    let untagged = Codec::new(Bincode, "n").check(&Untagged::Number(1)).unwrap_err();
    assert_eq!(causes(&untagged).len(), 2);
    let keyed = std::collections::HashMap::from([((1_u8, 2_u8), 3_u8)]);
    let refused = Codec::new(Json, "n").encode(&keyed, 0, None).unwrap_err();
    assert_eq!(causes(&refused).len(), 2);
    let foreign = Codec::<u8>::new(Json, "n").decode(b"foreign").unwrap_err();
    assert_eq!(causes(&foreign).len(), 1);
}
