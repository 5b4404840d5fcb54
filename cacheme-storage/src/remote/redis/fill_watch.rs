//! Waking callers that wait for a key that another process fills.
//!
//! The script that gives up a lease, by a fill or otherwise, publishes on a channel that is named after the key. A waiting
//! process subscribes to the channels of its keys only. It has one connection for all of them, made when the first caller
//! waits and closed when none has waited for a while. A key without waiters costs the server a look into an empty table.
//!
//! **Limit:** a message may be lost, and a connection may take long to make, so each waiting caller also looks now and then.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use parking_lot::Mutex;
use redis::RedisResult;
use redis::aio::{PubSubSink, PubSubStream};
use tokio::sync::Notify;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::connection::Connection;
use super::timed_out;

/// Channels are named by this and the key.
pub(super) const CHANNEL: &str = "cacheme.filled:";

/// The longest time that the server may take to connect, or to confirm a subscription.
const LIMIT: Duration = Duration::from_secs(5);
/// The time that the connection is kept when nobody waits.
const IDLE: Duration = Duration::from_secs(30);

/// The waiting callers of this process, by key.
#[derive(Default)]
pub(super) struct FillWatch {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    waiting: HashMap<Arc<[u8]>, Vec<Arc<Notify>>>,
    /// To the task that has the connection, while there is one.
    orders: Option<UnboundedSender<Order>>,
}

enum Order {
    Subscribe(Arc<[u8]>),
    Unsubscribe(Arc<[u8]>),
}

impl FillWatch {
    /// Waits until one of the keys was filled, or its lease given up, after the server knew of us.
    pub(super) async fn changed(&self, connection: &Connection, keys: &[&[u8]]) {
        let place = self.place(connection, keys);
        place.notify.notified().await;
    }

    /// Lets go of the connection. Callers that wait are not woken any more.
    pub(super) fn disconnect(&self) {
        self.state.lock().orders = None;
    }

    fn place(&self, connection: &Connection, keys: &[&[u8]]) -> Place {
        let notify = Arc::new(Notify::new());
        let keys: Vec<Arc<[u8]>> = keys.iter().map(|&key| key.into()).collect();
        let mut state = self.state.lock();
        let is_served = state.orders.as_ref().is_some_and(|orders| !orders.is_closed());
        for key in &keys {
            let waiting = state.waiting.entry(Arc::clone(key)).or_default();
            waiting.push(Arc::clone(&notify));
            if is_served && waiting.len() == 1 {
                state.order(Order::Subscribe(Arc::clone(key)));
            }
        }
        if !is_served {
            let (orders, received) = unbounded_channel();
            state.orders = Some(orders);
            // Those who wait from before a connection broke are among them.
            let all: Vec<_> = state.waiting.keys().cloned().collect();
            all.into_iter().for_each(|key| state.order(Order::Subscribe(key)));
            let (connection, state) = (connection.clone(), Arc::clone(&self.state));
            tokio::spawn(async move {
                // Without the connection, whoever waits looks by itself; who comes next tries again.
                if let Err(error) = serve(&connection, &state, received).await {
                    tracing::debug!(%error, "nobody is woken early");
                }
            });
        }
        drop(state);
        Place {
            state: Arc::clone(&self.state),
            keys,
            notify,
        }
    }
}

impl State {
    fn order(&self, order: Order) {
        if let Some(orders) = &self.orders {
            // A task that has ended is replaced by whoever waits next.
            let _ = orders.send(order);
        }
    }

    fn wake(&self, key: &[u8]) {
        for waiting in self.waiting.get(key).into_iter().flatten() {
            waiting.notify_one();
        }
    }
}

/// A place among those who wait; given up when dropped.
struct Place {
    state: Arc<Mutex<State>>,
    keys: Vec<Arc<[u8]>>,
    notify: Arc<Notify>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.state.lock();
        for key in &self.keys {
            let Some(waiting) = state.waiting.get_mut(key) else {
                continue;
            };
            waiting.retain(|other| !Arc::ptr_eq(other, &self.notify));
            if waiting.is_empty() {
                state.waiting.remove(key);
                state.order(Order::Unsubscribe(Arc::clone(key)));
            }
        }
    }
}

/// Carries out orders and hands on messages, on a connection of its own, until nobody has waited for a while.
async fn serve(
    connection: &Connection,
    state: &Mutex<State>,
    mut orders: UnboundedReceiver<Order>,
) -> RedisResult<()> {
    let mut generation = connection.generation();
    let connecting = tokio::time::timeout(LIMIT, connection.pubsub());
    let (mut sink, messages): (PubSubSink, PubSubStream) = connecting.await.map_err(timed_out)??.split();
    let orders = stream::poll_fn(|cx| orders.poll_recv(cx)).map(Event::Order);
    // The orders end when the storage is closed.
    let orders = orders.chain(stream::iter([Event::Lost]));
    let messages = messages.map(Event::Message).chain(stream::iter([Event::Lost]));
    let replaced = stream::once(async move { generation.changed().await }).map(|_| Event::Lost);
    let mut events = pin!(stream::select(stream::select(orders, messages), replaced));
    loop {
        match tokio::time::timeout(IDLE, events.next()).await {
            Ok(Some(Event::Order(order))) => {
                let done = async {
                    match order {
                        Order::Subscribe(key) => sink.subscribe(channel(&key)).await,
                        Order::Unsubscribe(key) => sink.unsubscribe(channel(&key)).await,
                    }
                };
                tokio::time::timeout(LIMIT, done).await.map_err(timed_out)??;
            }
            Ok(Some(Event::Message(message))) => {
                let channel: Vec<u8> = message.get_channel()?;
                if let Some(key) = channel.strip_prefix(CHANNEL.as_bytes()) {
                    state.lock().wake(key);
                }
            }
            Ok(Some(Event::Lost) | None) => return Ok(()),
            Err(_) => {
                let mut state = state.lock();
                if state.waiting.is_empty() {
                    state.orders = None;
                    return Ok(());
                }
            }
        }
    }
}

enum Event {
    Order(Order),
    Message(redis::Msg),
    /// The connection broke, or is needed no more.
    Lost,
}

fn channel(key: &[u8]) -> Vec<u8> {
    [CHANNEL.as_bytes(), key].concat()
}
