//! L4: loaders have the application's state.

use std::sync::Arc;

use cacheme::{BoxError, Cacheme, Error, LoadContext, Node, Storage};

struct Db(&'static str);

struct Clock(u64);

#[derive(Node, Clone, Debug)]
#[node(
    key = "stateful:{0}",
    value = String,
    state = (Db, Arc<Clock>),
    tier(storage = "local", ttl = "1h"),
    load = load
)]
struct StatefulNode(u64);

async fn load(node: &StatefulNode, cx: &mut LoadContext<StatefulNode>) -> Result<String, BoxError> {
    let (db, clock) = (cx.state::<Db>(), cx.state::<Arc<Clock>>());
    // What is borrowed from the context is in nobody's way.
    cx.do_not_store();
    tokio::task::yield_now().await;
    Ok(format!("{} {} {}", db.0, clock.0, node.0))
}

#[derive(Node, Clone, Debug)]
#[node(key = "unnamed-state:{0}", value = String, load = load_unnamed)]
struct UnnamedNode(u64);

async fn load_unnamed(_: &UnnamedNode, cx: &mut LoadContext<UnnamedNode>) -> Result<String, BoxError> {
    assert!(cx.try_state::<Clock>().is_none());
    Ok(cx.state::<Db>().0.to_owned())
}

async fn instance(db: Option<&'static str>) -> Cacheme {
    let builder = Cacheme::builder()
        .state(Arc::new(Clock(1)))
        .state(Arc::new(Clock(7)));
    let builder = match db {
        Some(db) => builder.state(Db(db)),
        None => builder,
    };
    let cacheme = builder.build().unwrap();
    let local = Storage::open("local://tlfu?size=10").unwrap();
    cacheme.register_storage("local", local).await.unwrap();
    cacheme
}

#[tokio::test]
async fn l4_loaders_have_the_state_of_the_instance_that_loads() {
    for name in ["one", "two"] {
        let cacheme = instance(Some(name)).await;
        assert_eq!(
            cacheme.get(&StatefulNode(1)).await.unwrap(),
            format!("{name} 7 1")
        );
        let all = cacheme.get_all(&[2, 3].map(StatefulNode)).await.unwrap();
        assert_eq!(all, [format!("{name} 7 2"), format!("{name} 7 3")]);
        assert_eq!(
            cacheme.refresh(&StatefulNode(1)).await.unwrap(),
            format!("{name} 7 1")
        );
        assert_eq!(cacheme.get(&UnnamedNode(1)).await.unwrap(), name);
    }
}

#[tokio::test]
async fn l4_a_load_without_the_state_that_its_node_names_is_refused() {
    let cacheme = instance(None).await;
    let is_missing = |error: &Error| matches!(error, Error::StateMissing { node, state } if node == "StatefulNode" && state.ends_with("Db"));
    let error = cacheme.get(&StatefulNode(1)).await.unwrap_err();
    assert!(is_missing(&error), "{error}");
    let error = cacheme.get_all(&[1, 2].map(StatefulNode)).await.unwrap_err();
    assert!(is_missing(&error), "{error}");
    let Error::Check(found) = cacheme.check().unwrap_err() else {
        panic!("check finds a list")
    };
    assert_eq!(found.iter().filter(|error| is_missing(error)).count(), 1);
    // What needs no load works.
    cacheme.set(&StatefulNode(1), "set".into()).await.unwrap();
    assert_eq!(cacheme.get(&StatefulNode(1)).await.unwrap(), "set");
}

#[tokio::test]
async fn l4_state_that_no_node_names_is_missed_by_the_load() {
    let error = instance(None).await.get(&UnnamedNode(1)).await.unwrap_err();
    let Error::LoadPanicked { message, .. } = error else {
        panic!("{error}")
    };
    assert!(
        message.contains("UnnamedNode") && message.contains("Db"),
        "{message}"
    );
}
