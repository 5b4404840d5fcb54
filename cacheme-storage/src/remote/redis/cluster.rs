//! A cluster: keys spread over servers by their slots.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use redis::{Cmd, Pipeline, RedisError, RedisResult, ServerErrorKind, Value};
use tokio::sync::Mutex;

use super::connection::{Connection, OneAtATime, Request};
use super::connector::Access;
use super::fault::is_lost;
use super::nodes::{Address, Nodes, first_answer};
use super::server_info::ServerInfo;
use super::slot_map::{SlotMap, is_in_touch, uncovered, unsettled};

/// The number of times that commands are sent again because the cluster is changing.
const ATTEMPTS: usize = 6;
/// The time to wait for a cluster that is electing, or moving a slot.
const PAUSE: Duration = Duration::from_millis(50);
/// The time for which the servers' word about the slots is believed to be the newest.
const NEWEST: Duration = Duration::from_millis(100);

/// The servers of a cluster, and which slots each has.
#[derive(Clone)]
pub(super) struct Cluster {
    shared: Arc<Shared>,
}

struct Shared {
    nodes: Nodes,
    map: ArcSwapOption<SlotMap>,
    /// Held while the slots are asked for, by those who cannot go on without the answer.
    asking: Mutex<()>,
    refreshing: OneAtATime,
    /// The server that carried our last message to the others.
    messenger: ArcSwapOption<Connection>,
}

/// A command of a call that has no answer yet.
struct Open {
    /// Its place in the call.
    place: usize,
    route: Route,
}

/// The destination of a command.
enum Route {
    /// To the server that has the slot of its key.
    BySlot,
    /// To the server that another named, which has the slot.
    Moved(Address),
    /// To the server that another named, where the slot is just moving.
    Ask(Address),
}

/// The commands of one call that go to one server, with their places in the call.
struct Part {
    connection: Connection,
    places: Vec<usize>,
    request: Request,
    /// Each command follows an `ASKING`, whose answers are not wanted.
    asking: bool,
}

impl Cluster {
    pub(super) fn new(seeds: Vec<Address>, access: Access, server_info: Arc<ServerInfo>) -> Self {
        Self {
            shared: Arc::new(Shared {
                nodes: Nodes::new(seeds, access, server_info),
                map: ArcSwapOption::empty(),
                asking: Mutex::new(()),
                refreshing: OneAtATime::default(),
                messenger: ArcSwapOption::empty(),
            }),
        }
    }

    pub(super) async fn connect(&self) -> RedisResult<()> {
        let map = self.shared.newer(None).await?;
        let mut pings: FuturesUnordered<_> = map.masters.iter().map(Connection::connect).collect();
        while let Some(answer) = pings.next().await {
            answer?;
        }
        Ok(())
    }

    pub(super) fn disconnect(&self) {
        self.shared.map.store(None);
        self.shared.nodes.disconnect();
    }

    /// The servers that keep values.
    pub(super) async fn masters(&self) -> RedisResult<Vec<Connection>> {
        Ok(self.shared.current().await?.masters.clone())
    }

    /// The number of the server that has this key, as far as we know now.
    pub(super) fn shard_of(&self, key: &[u8]) -> usize {
        let map = self.shared.map.load();
        let place = map.as_ref().and_then(|map| map.place_of(key));
        place.map_or(0, |place| place + 1)
    }

    /// Sends what every server passes on to all others, by one that answers.
    pub(super) async fn send_by_anybody(&self, request: &Request) -> RedisResult<Value> {
        let mut connections = self.shared.everybody().await?;
        if let Some(messenger) = self.shared.messenger.load_full() {
            connections.retain(|connection| !connection.is(&messenger));
            connections.insert(0, Connection::clone(&messenger));
        }
        first_answer(connections, async |connection| {
            let answer = connection.send(request).await?;
            self.shared.messenger.store(Some(Arc::new(connection)));
            Ok(answer)
        })
        .await
    }

    /// A server to listen on: one that answers, and is in touch with the others if any is.
    pub(super) async fn post(&self) -> RedisResult<Connection> {
        let cut_off = parking_lot::Mutex::new(None);
        let post = first_answer(self.shared.everybody().await?, async |connection| {
            if is_in_touch(&connection).await? {
                return Ok(connection);
            }
            *cut_off.lock() = Some(connection);
            Err(unsettled())
        });
        post.await.or_else(|error| cut_off.into_inner().ok_or(error))
    }

    /// Says whether this server does not hear the others, while another does.
    pub(super) async fn is_cut_off(&self, post: &Connection) -> bool {
        if is_in_touch(post).await.unwrap_or(true) {
            return false;
        }
        match self.post().await {
            Ok(other) => !other.is(post) && is_in_touch(&other).await.unwrap_or(false),
            Err(_) => false,
        }
    }

    /// Sends each command to the server of its key, one round trip for each server and all of them at once; answers in
    /// the order of the commands. Commands that meet a cluster in change are sent again.
    ///
    /// Where a server cannot be reached, the call fails, once those of the others have their answers. It is tried again only if the
    /// others say by then that another server has its keys.
    pub(super) async fn send(&self, commands: &[(&[u8], Cmd)]) -> RedisResult<Vec<Value>> {
        // Dropped when the caller gives up: then a server may be gone, and another in its place.
        let given_up = GivenUp(&self.shared);
        let answers = self.send_all(commands).await;
        std::mem::forget(given_up);
        answers
    }

    async fn send_all(&self, commands: &[(&[u8], Cmd)]) -> RedisResult<Vec<Value>> {
        let mut answers: Vec<Value> = vec![Value::Nil; commands.len()];
        let by_slot = |place| Open {
            place,
            route: Route::BySlot,
        };
        let mut open: Vec<Open> = (0..commands.len()).map(by_slot).collect();
        let mut map = self.shared.current().await?;
        for attempt in 1.. {
            let parts = self.parts(&map, commands, std::mem::take(&mut open))?;
            let (mut stale, mut pause) = (false, attempt > 2);
            let mut lost = Vec::new();
            let mut under_way: FuturesUnordered<_> = parts.into_iter().map(Part::send).collect();
            while let Some((connection, places, outcome)) = under_way.next().await {
                let part = match outcome {
                    Ok(part) => part,
                    Err(error) if is_lost(&error) => {
                        lost.push((connection, places, error));
                        continue;
                    }
                    Err(error) => return Err(error),
                };
                for (place, answer) in places.into_iter().zip(part) {
                    match next_step(&answer) {
                        Step::Done => answers[place] = answer,
                        Step::Send(route) => {
                            if matches!(route, Route::Moved(_)) {
                                self.shared.refresh();
                            }
                            open.push(Open { place, route });
                        }
                        Step::Wait => {
                            (stale, pause) = (true, true);
                            open.push(by_slot(place));
                        }
                    }
                }
            }
            drop(under_way);
            if open.is_empty() && lost.is_empty() {
                break;
            }
            if attempt == ATTEMPTS {
                return Err(lost.pop().map_or_else(unsettled, |(.., error)| error));
            }
            if pause {
                tokio::time::sleep(PAUSE).await;
            }
            if stale || !lost.is_empty() {
                map = self.shared.newer(Some(&map)).await?;
            }
            for (connection, places, error) in lost {
                for place in places {
                    if map.owner(commands[place].0)?.is(&connection) {
                        return Err(error);
                    }
                    open.push(by_slot(place));
                }
            }
        }
        Ok(answers)
    }

    /// The open commands, by the server that each is for.
    fn parts(&self, map: &SlotMap, commands: &[(&[u8], Cmd)], open: Vec<Open>) -> RedisResult<Vec<Part>> {
        // The call that there is most of goes without lists.
        if let [
            Open {
                place,
                route: Route::BySlot,
            },
        ] = open[..]
        {
            let (key, command) = &commands[place];
            return Ok(vec![Part {
                connection: map.owner(key)?.clone(),
                places: vec![place],
                request: Request::One(command.clone()),
                asking: false,
            }]);
        }
        let mut by_owner: Vec<Option<Part>> = map.masters.iter().map(|_| None).collect();
        let mut named = Vec::new();
        for Open { place, route } in open {
            let (key, command) = &commands[place];
            match route {
                Route::BySlot => {
                    let owner = map.place_of(key).ok_or_else(uncovered)?;
                    let connection = &map.masters[owner];
                    let part = by_owner[owner].get_or_insert_with(|| Part::of(connection.clone(), false));
                    part.add(place, command);
                }
                Route::Moved(address) => {
                    let mut part = Part::of(self.shared.nodes.connection(&address)?, false);
                    part.add(place, command);
                    named.push(part);
                }
                Route::Ask(address) => {
                    let mut part = Part::of(self.shared.nodes.connection(&address)?, true);
                    part.add(place, command);
                    named.push(part);
                }
            }
        }
        Ok(by_owner.into_iter().flatten().chain(named).collect())
    }
}

impl Part {
    fn of(connection: Connection, asking: bool) -> Self {
        Self {
            connection,
            places: Vec::new(),
            request: Request::Many(Pipeline::new()),
            asking,
        }
    }

    fn add(&mut self, place: usize, command: &Cmd) {
        self.places.push(place);
        if let Request::Many(pipeline) = &mut self.request {
            if self.asking {
                pipeline.cmd("ASKING");
            }
            pipeline.add_command(command.clone());
        }
    }

    async fn send(self) -> (Connection, Vec<usize>, RedisResult<Vec<Value>>) {
        let answers = self
            .connection
            .send(&self.request)
            .await
            .map(|answer| match (&self.request, answer) {
                (Request::One(_), answer) => vec![answer],
                (Request::Many(_), Value::Array(mut answers)) if self.asking => answers.split_off(1),
                (Request::Many(_), Value::Array(answers)) => answers,
                (Request::Many(_), answer) => vec![answer; self.places.len()],
            });
        (self.connection, self.places, answers)
    }
}

/// The next step after an answer.
enum Step {
    Done,
    Send(Route),
    /// The cluster cannot say for a moment.
    Wait,
}

fn next_step(answer: &Value) -> Step {
    let Value::ServerError(error) = answer else {
        return Step::Done;
    };
    let named = || {
        let error = RedisError::from(error.clone());
        let (address, _) = error.redirect_node()?;
        let (host, port) = address.rsplit_once(':')?;
        // A server that does not know its own host names none.
        (!host.is_empty()).then_some((host.to_owned(), port.parse().ok()?))
    };
    match error.kind() {
        Some(ServerErrorKind::Moved) => {
            named().map_or(Step::Wait, |address| Step::Send(Route::Moved(address)))
        }
        Some(ServerErrorKind::Ask) => named().map_or(Step::Wait, |address| Step::Send(Route::Ask(address))),
        Some(
            ServerErrorKind::ReadOnly
            | ServerErrorKind::ClusterDown
            | ServerErrorKind::TryAgain
            | ServerErrorKind::MasterDown
            | ServerErrorKind::BusyLoading,
        ) => Step::Wait,
        _ => Step::Done,
    }
}

impl Shared {
    async fn current(&self) -> RedisResult<Arc<SlotMap>> {
        match self.map.load_full() {
            Some(map) => Ok(map),
            None => self.newer(None).await,
        }
    }

    /// All servers, masters first, and those first that answered lately.
    async fn everybody(&self) -> RedisResult<Vec<Connection>> {
        let map = self.current().await?;
        let (mut connections, mut replicas) = (map.masters.clone(), map.replicas.clone());
        self.nodes.spread(&mut connections);
        self.nodes.spread(&mut replicas);
        connections.append(&mut replicas);
        Ok(connections)
    }

    /// A map that is newer than the one that misled us, or as new as can be had.
    async fn newer(&self, than: Option<&Arc<SlotMap>>) -> RedisResult<Arc<SlotMap>> {
        let _asking = self.asking.lock().await;
        // Someone else may have asked while we waited.
        if let Some(map) = self.map.load_full()
            && (than.is_none_or(|old| !Arc::ptr_eq(old, &map)) || map.asked.elapsed() < NEWEST)
        {
            return Ok(map);
        }
        let map = Arc::new(SlotMap::ask(&self.nodes).await?);
        self.map.store(Some(Arc::clone(&map)));
        Ok(map)
    }

    /// Asks for the slots without anybody waiting for it.
    fn refresh(self: &Arc<Self>) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        let Some(turn) = self.refreshing.begin() else {
            return;
        };
        let shared = Arc::clone(self);
        runtime.spawn(async move {
            let _turn = turn;
            let old = shared.map.load_full();
            if let Err(error) = shared.newer(old.as_ref()).await {
                tracing::debug!(%error, "no news of the slots");
            }
        });
    }
}

/// Stands for a call without an answer; dropped when its caller gave up.
struct GivenUp<'a>(&'a Arc<Shared>);

impl Drop for GivenUp<'_> {
    fn drop(&mut self) {
        self.0.refresh();
    }
}
