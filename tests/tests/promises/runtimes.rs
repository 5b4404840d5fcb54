//! Runtimes that are dropped with loads under way.

use std::time::Duration;

use tokio::runtime::{Builder, Runtime};

use crate::world::{Item, RemoteItem, Source, World, settle, timed};

/// Longer than any pause between two looks, shorter than any lease.
const SHORTLY: Duration = Duration::from_millis(200);

fn paused() -> Runtime {
    let mut builder = Builder::new_current_thread();
    builder.enable_all().start_paused(true).build().unwrap()
}

/// A process whose runtime is dropped while `call` loads nodes 1 and 2, or 1 alone.
fn dropped_while_loading(call: &'static str) -> (World, Source) {
    let gone = paused();
    gone.block_on(async {
        let (world, source) = (World::new().await, Source::default());
        let gate = source.hold();
        if call == "get_all" {
            source.hold();
        }
        let (cacheme, from) = (world.cacheme.clone(), source.clone());
        tokio::spawn(async move {
            let node = |id| Item::new(id, &from);
            match call {
                "get" => drop(cacheme.get(&node(1)).await),
                "get_all" => drop(cacheme.get_all(&[node(1), node(2)]).await),
                "refresh" => drop(cacheme.refresh(&node(1)).await),
                _ => drop(cacheme.get_with(&node(1), || from.load(1)).await),
            }
        });
        gate.reached().await;
        settle().await;
        (world, source)
    })
}

#[test]
fn l3_c2_a_runtime_that_is_dropped_while_it_loads_holds_nobody_up() {
    for call in ["get", "get_all", "refresh", "get_with"] {
        // The process goes on with another runtime.
        let (world, source) = dropped_while_loading(call);
        let nodes = [1, 2].map(|id| Item::new(id, &source));
        let (values, took) = paused().block_on(timed(world.cacheme.get_all(&nodes)));
        assert_eq!(values.unwrap(), [1_000, 2_000], "{call}");
        assert!(took < SHORTLY, "{call}: {took:?}");

        // It goes on with another kind of node, and another process waits for the first.
        let (world, source) = dropped_while_loading(call);
        paused().block_on(async {
            world.cacheme.get(&RemoteItem::new(7, &source)).await.unwrap();
            let neighbour = world.neighbour().await;
            let nodes = [1, 2].map(|id| Item::new(id, &source));
            let (values, took) = timed(neighbour.cacheme.get_all(&nodes)).await;
            assert_eq!(values.unwrap(), [1_000, 2_000], "{call}");
            assert!(took < SHORTLY, "{call}: {took:?}");
        });
    }
}

#[test]
fn l3_c2_a_runtime_that_waits_for_one_that_is_dropped_goes_on() {
    let (living, gone) = (paused(), paused());
    let (world, source) = gone.block_on(async { (World::new().await, Source::default()) });
    let gate = source.hold();
    gone.block_on(async {
        let (cacheme, node) = (world.cacheme.clone(), Item::new(1, &source));
        tokio::spawn(async move { cacheme.get(&node).await });
        gate.reached().await;
        settle().await;
    });
    let (cacheme, node) = (world.cacheme.clone(), Item::new(1, &source));
    let waiter = living.spawn(async move { timed(cacheme.get(&node)).await });
    living.block_on(settle());
    drop(gone);
    let (value, took) = living.block_on(waiter).unwrap();
    assert_eq!(value.unwrap(), 1_000);
    assert!(took < SHORTLY, "{took:?}");
}
