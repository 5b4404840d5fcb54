//! A service in front of one remote storage, as applications have it.

use cacheme::{BoxError, Cacheme, LoadContext, Node, Storage, TierStats};

/// The square of a number, kept in the storage under test and nowhere else.
#[derive(Node, Clone, Debug)]
#[node(
    key = "service:square:{number}",
    value = u64,
    tier(storage = "remote", ttl = "10m"),
    load = square,
)]
pub(super) struct Square {
    pub(super) number: u64,
}

async fn square(node: &Square, _cx: &mut LoadContext<Square>) -> Result<u64, BoxError> {
    Ok(node.number * node.number)
}

pub(super) fn squares(numbers: std::ops::Range<u64>) -> Vec<Square> {
    numbers.map(|number| Square { number }).collect()
}

/// A service with the prefix, and what registering its storage said.
pub(super) async fn start(prefix: &str, storage: Storage) -> (Cacheme, Result<(), cacheme::Error>) {
    let cacheme = Cacheme::builder().prefix(prefix).build().unwrap();
    let registered = cacheme.register_storage("remote", storage).await;
    (cacheme, registered)
}

/// A service whose storage works.
pub(super) async fn working(prefix: &str, url: &str) -> Cacheme {
    let (cacheme, registered) = start(prefix, Storage::open(url).unwrap()).await;
    registered.expect(url);
    cacheme
}

/// What the storage has done for the service.
pub(super) fn tier(cacheme: &Cacheme) -> TierStats {
    let stats = cacheme.stats::<Square>();
    stats.tiers.into_iter().next().unwrap_or_default()
}

pub(super) fn loads(cacheme: &Cacheme) -> u64 {
    cacheme.stats::<Square>().loads
}

/// The right value comes, from the storage.
pub(super) async fn hits(cacheme: &Cacheme, number: u64) {
    let before = tier(cacheme);
    assert_eq!(cacheme.get(&Square { number }).await.unwrap(), number * number);
    let after = tier(cacheme);
    assert_eq!(
        after.hits,
        before.hits + 1,
        "{number} is not in the storage: {after:?}"
    );
}

/// The right value comes, loaded since the storage is in trouble, and the trouble is counted.
pub(super) async fn loads_in_trouble(cacheme: &Cacheme, number: u64) {
    let before = (loads(cacheme), tier(cacheme));
    assert_eq!(cacheme.get(&Square { number }).await.unwrap(), number * number);
    let after = (loads(cacheme), tier(cacheme));
    assert_eq!(after.0, before.0 + 1, "{number} was not loaded: {after:?}");
    assert!(
        after.1.troubles > before.1.troubles,
        "no trouble is counted: {after:?}"
    );
}

/// What a service does with a storage that takes no writes at the moment: `there` is in it.
pub(super) async fn goes_on_reading(cacheme: &Cacheme, there: u64, absent: u64) {
    hits(cacheme, there).await;
    loads_in_trouble(cacheme, absent).await;
    // Nor by the hundred.
    let before = loads(cacheme);
    let nodes = squares(there..there + 100);
    let expected: Vec<_> = nodes.iter().map(|node| node.number * node.number).collect();
    assert_eq!(cacheme.get_all(&nodes).await.unwrap(), expected);
    assert_eq!(loads(cacheme), before + 99, "one of them is there");
}

/// The storage serves again: what is loaded once is found then.
pub(super) async fn recovers(cacheme: &Cacheme, number: u64) {
    super::eventually("the storage serves again", async || {
        let before = tier(cacheme);
        assert_eq!(cacheme.get(&Square { number }).await.unwrap(), number * number);
        tier(cacheme).hits > before.hits
    })
    .await;
}
