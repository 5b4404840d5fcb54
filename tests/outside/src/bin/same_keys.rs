//! A program that must not start: two of its nodes have one key.

use cacheme::{Error, Node, Storage};

#[derive(Node, Clone)]
#[node(key = "user:{id}", value = u64, tier(storage = "local"))]
struct UserNode {
    id: u64,
}

mod elsewhere {
    /// Another one of the same name, alike in all that it says of itself.
    #[derive(cacheme::Node, Clone)]
    #[node(key = "user:{name}", value = u64, tier(storage = "local"))]
    pub(crate) struct UserNode {
        pub(crate) name: u64,
    }
}

/// What it can write is among what the next one can.
#[derive(Node, Clone)]
#[node(key = "post:latest", value = u64, tier(storage = "local"))]
struct LatestPostNode;

#[derive(Node, Clone)]
#[node(key = "post:{slug}", value = u64, tier(storage = "local"))]
struct PostNode {
    slug: String,
}

/// Never the same as the one above: it has another version.
#[derive(Node, Clone)]
#[node(key = "post:{slug}", version = "v2", value = u64, tier(storage = "local"))]
struct NewPostNode {
    slug: String,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let local = || Storage::open("local://lru?size=10");
    let error = cacheme::register_storage("local", local()?).await.unwrap_err();
    println!("{error}");
    assert!(matches!(error, Error::SameKey { .. }));
    let Err(Error::Check(found)) = cacheme::check() else {
        panic!("`check` finds nothing")
    };
    assert!(found.iter().any(|error| matches!(error, Error::SameKey { .. })));
    let pairs: Vec<_> = found
        .iter()
        .filter_map(|error| match error {
            Error::SameKey { node, other, .. } => Some([node.as_str(), other.as_str()]),
            _ => None,
        })
        .collect();
    assert_eq!(pairs.len(), 2, "{pairs:?}");
    assert!(pairs.iter().any(|pair| pair.contains(&"PostNode") && pair.contains(&"LatestPostNode")));
    assert!(cacheme::peek(&LatestPostNode).await.is_err());
    assert!(cacheme::peek(&PostNode { slug: "a".into() }).await.is_err());
    let new = NewPostNode { slug: "a".into() };
    assert!(!matches!(cacheme::peek(&new).await, Err(Error::SameKey { .. })));
    assert!(cacheme::peek(&UserNode { id: 1 }).await.is_err());
    assert!(cacheme::peek(&elsewhere::UserNode { name: 1 }).await.is_err());
    // An instance of their own takes the first that is used.
    let other = cacheme::Cacheme::builder().build()?;
    other.register_storage("local", local()?).await?;
    other.peek(&LatestPostNode).await?;
    let clash = other.peek(&PostNode { slug: "a".into() }).await;
    assert!(matches!(clash, Err(Error::SameKey { .. })));
    Ok(())
}
