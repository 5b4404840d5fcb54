//! Times as long as they come.

use std::time::Duration;

use cacheme::{BoxError, KeyWriter, Load, LoadContext, Node, Policy};

use crate::world::{SECOND, Source, World, settle};

/// A node all of whose times are as its maker says.
#[derive(Clone, Debug)]
struct Lasting {
    id: u64,
    time: Duration,
    source: Source,
}

impl Node for Lasting {
    type Value = Option<u64>;

    fn policy(&self) -> Policy<Option<u64>> {
        Policy::new("Lasting", "lasting:{id}")
            .tier("local", Some(self.time))
            .tier("remote", Some(self.time))
            .load_timeout(self.time)
            .lease(Some(self.time))
            .negative_ttl(self.time)
            .ttl_jitter(0.5)
            .serializer(cacheme::Bincode)
    }

    fn write_key(&self, key: &mut KeyWriter) {
        key.literal("lasting:");
        key.part(&self.id);
    }
}

impl Load for Lasting {
    async fn load(&self, cx: &mut LoadContext<Self>) -> Result<Option<u64>, BoxError> {
        cx.ttl(self.time);
        Ok(Some(self.source.load(self.id).await?))
    }
}

#[tokio::test(start_paused = true)]
async fn l3_the_longest_times_are_times_as_well() {
    let halves = std::iter::successors(Some(Duration::MAX), |time| Some(*time / 2));
    // In milliseconds, the last of them is a multiple of 2^64.
    let times = halves
        .take_while(|time| *time > SECOND)
        .chain([Duration::from_secs(1 << 61)]);
    for time in times {
        let (world, source) = (World::new().await, Source::default());
        let neighbour = world.neighbour().await;
        let node = |id| Lasting {
            id,
            time,
            source: source.clone(),
        };
        let cacheme = &world.cacheme;
        assert_eq!(cacheme.get(&node(1)).await.unwrap(), Some(1_000), "{time:?}");
        let all = cacheme.get_all(&[node(1), node(2), node(3)]).await;
        assert_eq!(all.unwrap(), [Some(1_000), Some(2_000), Some(3_000)], "{time:?}");
        let with = cacheme.get_with(&node(4), || async { Some(4) }).await;
        assert_eq!(with, Some(4), "{time:?}");
        cacheme.set(&node(5), None).await.unwrap();
        cacheme.set_with_ttl(&node(6), Some(6), time).await.unwrap();
        assert_eq!(cacheme.refresh(&node(1)).await.unwrap(), Some(1_000), "{time:?}");
        // What waits does so for this process and for another.
        let gate = source.hold();
        let leader = tokio::spawn({
            let (cacheme, node) = (cacheme.clone(), node(7));
            async move { cacheme.get(&node).await }
        });
        gate.reached().await;
        let waiters = [cacheme, &neighbour.cacheme].map(|cacheme| {
            let (cacheme, node) = (cacheme.clone(), node(7));
            tokio::spawn(async move { cacheme.get(&node).await })
        });
        settle().await;
        gate.open();
        for waiter in waiters.into_iter().chain([leader]) {
            assert_eq!(waiter.await.unwrap().unwrap(), Some(7_000), "{time:?}");
        }
        // All of it is there, for others too, an hour later.
        world.advance(3_600 * SECOND.min(time / 10_000)).await;
        for (id, value) in [
            (1, Some(1_000)),
            (2, Some(2_000)),
            (4, Some(4)),
            (5, None),
            (6, Some(6)),
            (7, Some(7_000)),
        ] {
            let node = node(id);
            assert_eq!(cacheme.peek(&node).await.unwrap(), Some(value), "{time:?} {id}");
            assert_eq!(
                neighbour.cacheme.peek(&node).await.unwrap(),
                Some(value),
                "{time:?} {id}"
            );
        }
        cacheme.invalidate(&node(7)).await.unwrap();
        assert_eq!(cacheme.stats::<Lasting>().in_flight, 0);
    }
}
