//! Memoized functions of all shapes.

#![deny(warnings)]

use std::fmt::{Debug, Display};
use std::sync::Arc;

use cacheme::{Cacheme, Node, memoize};

#[derive(Node, Clone)]
#[node(key = "name:{0}", value = String)]
struct NameNode(String);

#[derive(Node, Clone)]
#[node(key = "count:{0}", value = u64)]
struct CountNode(u64);

#[derive(Node, Clone)]
#[node(key = "maybe:{0}", value = Option<u64>)]
struct MaybeNode(u64);

#[derive(Node, Clone)]
#[node(key = "tried:{0}", value = Result<u64, String>)]
struct TriedNode(u64);

#[derive(Clone, Debug)]
struct DbError;

impl From<std::num::ParseIntError> for DbError {
    fn from(_: std::num::ParseIntError) -> Self {
        Self
    }
}

/// Docs, attributes and visibility stay.
#[memoize(node = CountNode(id))]
#[must_use]
pub(crate) async fn plain(id: u64) -> u64 {
    id
}

#[memoize(node = CountNode(id))]
async fn fallible(db: &str, id: u64) -> Result<u64, DbError> {
    if id == 0 {
        return Err(DbError);
    }
    let parsed: u64 = db.parse()?;
    Ok(parsed + id)
}

#[memoize(node = NameNode(name.clone()))]
async fn moved(name: String, log: &mut Vec<String>) -> Result<String, Arc<std::io::Error>> {
    log.push(name.clone());
    Ok(name)
}

#[memoize(node = CountNode(a + u64::from(b)))]
async fn patterns((a, b): (u64, u32), mut c: u64, _: &u8, [d, ..]: [u8; 3]) -> u64 {
    c += a + u64::from(b) + u64::from(d);
    c
}

#[memoize(node = NameNode(name.to_string()))]
async fn bounds<'a, T, const N: usize>(
    name: impl Display + Send,
    with: &'a T,
    _: [u8; N],
) -> Result<String, DbError>
where
    T: Debug + ?Sized + Sync,
{
    Ok(format!("{name} {with:?}"))
}

#[memoize(node = MaybeNode(id))]
async fn optional(id: u64) -> Option<u64> {
    let even = (id % 2 == 0).then_some(id)?;
    Some(even)
}

#[memoize(node = MaybeNode(id))]
async fn optional_or_error(id: u64) -> Result<Option<u64>, DbError> {
    Ok(Some(id))
}

#[memoize(node = TriedNode(id))]
async fn caches_results(id: u64) -> Result<u64, String> {
    Err(id.to_string())
}

type Shared = Arc<dyn Debug + Send + Sync>;

#[derive(Node, Clone)]
#[node(key = "shared:{0}", value = Shared, serializer = none)]
struct SharedNode(u64);

/// The body is checked against the declared type, as without the attribute.
#[memoize(node = SharedNode(id))]
async fn coerced(id: u64) -> Result<Shared, DbError> {
    if id == 1 {
        return Ok(Arc::new("one"));
    }
    let _: u64 = "1".parse()?;
    Ok(Arc::new(id))
}

#[memoize(node = CountNode(id))]
async fn diverges(id: u64) -> u64 {
    panic!("no {id}")
}

struct Service {
    cacheme: Cacheme,
    id: u64,
}

impl Service {
    #[memoize(node = CountNode(self.id), cacheme = &self.cacheme)]
    async fn by_ref(&self) -> u64 {
        self.id
    }

    #[memoize(node = CountNode(self.id))]
    async fn by_mut(&mut self, more: &u64) -> Result<u64, DbError> {
        self.id += more;
        Ok(self.id)
    }

    #[memoize(node = CountNode(self.id))]
    async fn by_value(self) -> u64 {
        self.id
    }

    #[memoize(node = CountNode(self.id))]
    async fn by_arc(self: Arc<Self>) -> u64 {
        self.id
    }

    #[memoize(node = CountNode(Self::START))]
    async fn associated() -> u64 {
        Self::START
    }

    const START: u64 = 1;
}

trait Source {
    async fn get(&self, id: u64) -> Result<u64, DbError>;

    async fn provided(&self, id: u64) -> u64;
}

impl Source for Service {
    #[memoize(node = CountNode(id))]
    async fn get(&self, id: u64) -> Result<u64, DbError> {
        Ok(self.id + id)
    }

    #[memoize(node = CountNode(id + self.id))]
    async fn provided(&self, id: u64) -> u64 {
        id
    }
}

/// Names that generated code might capture.
#[memoize(node = CountNode(node))]
async fn captures(node: u64, load: u64, cacheme: u64, key: u64) -> u64 {
    node + load + cacheme + key
}

mod no_prelude {
    #![no_implicit_prelude]

    #[::cacheme::memoize(node = super::CountNode(id))]
    pub(super) async fn hygienic(id: u64) -> u64 {
        id
    }

    #[derive(::cacheme::Node, ::std::clone::Clone)]
    #[node(value = u64, tier(storage = "local", ttl = "1s"), load = load)]
    pub(super) struct HygienicNode(pub(super) u64);

    async fn load(
        node: &HygienicNode,
        _: &mut ::cacheme::LoadContext<HygienicNode>,
    ) -> ::std::result::Result<u64, ::cacheme::BoxError> {
        ::std::result::Result::Ok(node.0)
    }
}

macro_rules! in_macro {
    ($name:ident, $field:ident, $node:expr, $function:ident) => {
        #[derive(Node, Clone)]
        #[node(value = u64)]
        struct $name {
            $field: u64,
        }

        #[memoize(node = $node)]
        async fn $function(key: u64) -> u64 {
            key
        }
    };
}
in_macro!(MacroNode, key, CountNode(3), from_macro);

fn sends(future: impl Future + Send) {
    drop(future);
}

#[memoize(key = "place:{x:display}:{name}", ttl = "30s")]
async fn place(x: Option<f32>, name: &str) -> String {
    format!("{x:?} {name}")
}

fn main() {
    sends(place(None, "here"));
    let place = |x| PlaceNode { x, name: "a".into() }.key();
    assert_eq!([place(None), place(Some(0.5))], ["place:~:a", "place:0.5:a"]);
    sends(plain(1));
    sends(fallible("1", 1));
    sends(moved(String::new(), &mut Vec::new()));
    sends(patterns((1, 2), 3, &4, [5, 6, 7]));
    sends(bounds("a", &[1, 2][..], [1]));
    sends(optional(1));
    sends(optional_or_error(1));
    sends(caches_results(1));
    // Not `sends`: rustc does not see yet that a future with such a value in it is `Send` (rust-lang/rust#110338).
    drop(coerced(1));
    sends(diverges(1));
    sends(captures(1, 2, 3, 4));
    sends(no_prelude::hygienic(1));
    sends(from_macro(1));
    assert_eq!(no_prelude::HygienicNode(1).key(), "HygienicNode:1");
    assert_eq!(MacroNode { key: 1 }.key(), "MacroNode:1");
    let service = |id| Service {
        cacheme: Cacheme::builder().build().expect("the default prefix is a good one"),
        id,
    };
    sends(service(1).by_ref());
    sends(service(1).by_mut(&1));
    sends(service(1).by_value());
    sends(Arc::new(service(1)).by_arc());
    sends(Service::associated());
    sends(service(1).get(1));
    sends(service(1).provided(1));
}
