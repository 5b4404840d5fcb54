//! C4 where modules of one program have nodes with like keys. A program of its own: its default instance could not be used.

#![allow(clippy::unwrap_used, reason = "tests say what is wrong by panicking")]

use cacheme::{Cacheme, Error, Storage};

mod one_module {
    #[derive(cacheme::Node, Clone)]
    #[node(key = "surface-user:{id}", value = u64, tier(storage = "local", ttl = "1m"))]
    pub(super) struct UserNode {
        pub(super) id: u64,
    }
}

mod another_module {
    #[derive(cacheme::Node, Clone)]
    #[node(key = "surface-user:{name}", value = String, tier(storage = "elsewhere", ttl = "1m"))]
    pub(super) struct UserNode {
        pub(super) name: String,
    }
}

#[tokio::test]
async fn c4_nodes_of_two_modules_with_like_keys_work_in_instances_of_their_own() {
    let local = || Storage::open("local://lru?size=10").unwrap();
    let one = Cacheme::builder()
        .nodes::<(one_module::UserNode,)>()
        .build()
        .unwrap();
    one.register_storage("local", local()).await.unwrap();
    one.check().unwrap();
    let other = Cacheme::builder().build().unwrap();
    other.register_storage("elsewhere", local()).await.unwrap();
    other.check().unwrap();

    let (id, name) = (
        one_module::UserNode { id: 1 },
        another_module::UserNode { name: "1".into() },
    );
    one.set(&id, 1).await.unwrap();
    other.set(&name, "ann".into()).await.unwrap();
    assert_eq!(one.peek(&id).await.unwrap(), Some(1));
    assert_eq!(other.peek(&name).await.unwrap(), Some("ann".into()));
    other.check().unwrap();

    // In one instance only the first of them works, whether it was named or used.
    for (instance, refused) in [
        (&one, one.peek(&name).await.map(drop)),
        (&other, other.peek(&id).await.map(drop)),
    ] {
        assert!(matches!(refused, Err(Error::SameKey { .. })), "{refused:?}");
        instance.check().unwrap();
    }
    let both = Cacheme::builder()
        .nodes::<(one_module::UserNode, another_module::UserNode)>()
        .build()
        .unwrap();
    let Err(Error::Check(found)) = both.check() else {
        panic!("nothing is found")
    };
    assert!(
        found.iter().any(|error| matches!(error, Error::SameKey { .. })),
        "{found:?}"
    );
    assert_eq!(found.len(), 3, "and both storages: {found:?}");
}
