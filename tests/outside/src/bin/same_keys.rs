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
    assert!(cacheme::peek(&UserNode { id: 1 }).await.is_err());
    assert!(cacheme::peek(&elsewhere::UserNode { name: 1 }).await.is_err());
    // The same two in an instance of their own.
    let other = cacheme::Cacheme::builder().build()?;
    assert!(matches!(other.register_storage("local", local()?).await, Err(Error::SameKey { .. })));
    Ok(())
}
