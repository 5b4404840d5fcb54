//! A cluster: keys spread over servers by their slots.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use redis::{Client, Cmd, Pipeline, RedisError, RedisResult, ServerErrorKind, Value};
use tokio::sync::Mutex;

use super::connector::{Access, Connector, ask, connect};
use super::error::is_lost;
use super::facts::Facts;
use super::link::{Link, OneAtATime, Request};
use super::slots::{SLOTS, slot_of};

/// How often commands are sent again because the cluster is changing.
const ATTEMPTS: usize = 6;
/// How long to wait for a cluster that is electing, or moving a slot.
const PAUSE: Duration = Duration::from_millis(50);
/// How long one server may take to say where the slots are.
const MAP_LIMIT: Duration = Duration::from_secs(1);

/// The servers of a cluster, and which slots each has.
#[derive(Clone)]
pub(super) struct Cluster {
    shared: Arc<Shared>,
}

struct Shared {
    seeds: Vec<(String, u16)>,
    access: Access,
    facts: Arc<Facts>,
    map: ArcSwapOption<Map>,
    /// Held while the slots are asked for, by those who cannot go on without the answer.
    asking: Mutex<()>,
    refreshing: OneAtATime,
}

/// Where the slots are.
struct Map {
    masters: BTreeMap<(String, u16), Link>,
    /// By slot, the position in `links`.
    owners: Box<[Option<u16>]>,
    links: Vec<Link>,
}

/// The commands of one call that go to one server, with their places in the call.
struct Part {
    link: Link,
    places: Vec<usize>,
    request: Request,
    /// Each command follows an `ASKING`, whose answers are not wanted.
    asking: bool,
}

impl Cluster {
    pub(super) fn new(seeds: Vec<(String, u16)>, access: Access, facts: Arc<Facts>) -> Self {
        Self {
            shared: Arc::new(Shared {
                seeds,
                access,
                facts,
                map: ArcSwapOption::empty(),
                asking: Mutex::new(()),
                refreshing: OneAtATime::default(),
            }),
        }
    }

    pub(super) async fn connect(&self) -> RedisResult<()> {
        let map = self.shared.newer(None).await?;
        let mut pings: FuturesUnordered<_> = map.links.iter().map(Link::connect).collect();
        while let Some(answer) = pings.next().await {
            answer?;
        }
        Ok(())
    }

    pub(super) fn disconnect(&self) {
        if let Some(map) = self.shared.map.swap(None) {
            map.links.iter().for_each(Link::disconnect);
        }
    }

    /// The server that has `key` by what the cluster says now.
    pub(super) async fn of(&self, key: &[u8]) -> RedisResult<Link> {
        let old = self.shared.map.load_full();
        let map = self.shared.newer(old.as_ref()).await?;
        map.owner(key).cloned()
    }

    /// The servers that keep values.
    pub(super) async fn masters(&self) -> RedisResult<Vec<Link>> {
        Ok(self.shared.current().await?.links.clone())
    }

    /// Sends each command to the server of its key, one round trip for each server and all of them at once; answers in
    /// the order of the commands. Commands that meet a cluster in change are sent again.
    pub(super) async fn send(&self, commands: &[(&[u8], Cmd)]) -> RedisResult<Vec<Value>> {
        // Dropped when the caller gives up: then a server may be gone, and another in its place.
        let given_up = GivenUp(&self.shared);
        let answers = self.send_all(commands).await;
        std::mem::forget(given_up);
        answers
    }

    async fn send_all(&self, commands: &[(&[u8], Cmd)]) -> RedisResult<Vec<Value>> {
        let mut answers: Vec<Value> = vec![Value::Nil; commands.len()];
        let mut open: Vec<usize> = (0..commands.len()).collect();
        let mut redirected: Vec<(usize, (String, u16))> = Vec::new();
        let mut map = self.shared.current().await?;
        for attempt in 1.. {
            let mut parts = self.split(&map, commands, &open)?;
            parts.extend(self.redirected(&map, commands, &redirected)?);
            open.clear();
            redirected.clear();
            let (mut stale, mut pause, mut trouble) = (false, false, None);

            let mut under_way: FuturesUnordered<_> = parts.into_iter().map(Part::send).collect();
            while let Some((places, outcome)) = under_way.next().await {
                let part = match outcome {
                    Ok(part) => part,
                    Err(error) if is_lost(&error) => {
                        stale = true;
                        trouble = Some(error);
                        open.extend(places);
                        continue;
                    }
                    Err(error) => return Err(error),
                };
                for (place, answer) in places.into_iter().zip(part) {
                    match next_step(&answer) {
                        Step::Done => answers[place] = answer,
                        Step::Elsewhere => {
                            stale = true;
                            open.push(place);
                        }
                        Step::Ask(host, port) => redirected.push((place, (host, port))),
                        Step::Wait => {
                            (stale, pause) = (true, true);
                            open.push(place);
                        }
                    }
                }
            }
            drop(under_way);
            if open.is_empty() && redirected.is_empty() {
                break;
            }
            if attempt == ATTEMPTS {
                return Err(trouble.unwrap_or_else(changing));
            }
            if pause || trouble.is_some() {
                tokio::time::sleep(PAUSE).await;
            }
            if stale {
                map = self.shared.newer(Some(&map)).await?;
            }
        }
        Ok(answers)
    }

    /// The commands at `places`, by the server that has their slots.
    fn split(&self, map: &Map, commands: &[(&[u8], Cmd)], places: &[usize]) -> RedisResult<Vec<Part>> {
        if let [place] = places {
            let (key, command) = &commands[*place];
            return Ok(vec![Part {
                link: map.owner(key)?.clone(),
                places: vec![*place],
                request: Request::One(command.clone()),
                asking: false,
            }]);
        }
        let mut parts: Vec<Option<Part>> = map.links.iter().map(|_| None).collect();
        for &place in places {
            let (key, command) = &commands[place];
            let owner = map.owners[usize::from(slot_of(key))].ok_or_else(uncovered)?;
            let part = parts[usize::from(owner)].get_or_insert_with(|| Part {
                link: map.links[usize::from(owner)].clone(),
                places: Vec::new(),
                request: Request::Many(Pipeline::new()),
                asking: false,
            });
            part.places.push(place);
            if let Request::Many(pipeline) = &mut part.request {
                pipeline.add_command(command.clone());
            }
        }
        Ok(parts.into_iter().flatten().collect())
    }

    /// The commands whose slots are just moving, to where they are moving.
    fn redirected(
        &self,
        map: &Map,
        commands: &[(&[u8], Cmd)],
        redirected: &[(usize, (String, u16))],
    ) -> RedisResult<Vec<Part>> {
        redirected
            .iter()
            .map(|(place, address)| {
                let link = match map.masters.get(address) {
                    Some(link) => link.clone(),
                    None => self.shared.link(address)?,
                };
                let mut pipeline = Pipeline::with_capacity(2);
                pipeline.cmd("ASKING").add_command(commands[*place].1.clone());
                Ok(Part {
                    link,
                    places: vec![*place],
                    request: Request::Many(pipeline),
                    asking: true,
                })
            })
            .collect()
    }
}

impl Part {
    async fn send(self) -> (Vec<usize>, RedisResult<Vec<Value>>) {
        let answers = self
            .link
            .send(&self.request)
            .await
            .map(|answer| match (&self.request, answer) {
                (Request::One(_), answer) => vec![answer],
                (Request::Many(_), Value::Array(mut answers)) if self.asking => answers.split_off(1),
                (Request::Many(_), Value::Array(answers)) => answers,
                (Request::Many(_), answer) => vec![answer; self.places.len()],
            });
        (self.places, answers)
    }
}

/// What to do about an answer.
enum Step {
    Done,
    /// The slot has moved to another server.
    Elsewhere,
    /// The slot is moving, this key went before.
    Ask(String, u16),
    /// The cluster cannot say for a moment.
    Wait,
}

fn next_step(answer: &Value) -> Step {
    let Value::ServerError(error) = answer else {
        return Step::Done;
    };
    match error.kind() {
        Some(ServerErrorKind::Moved | ServerErrorKind::ReadOnly) => Step::Elsewhere,
        Some(ServerErrorKind::Ask) => match RedisError::from(error.clone()).redirect_node() {
            Some((address, _)) => match address.rsplit_once(':') {
                Some((host, port)) => port
                    .parse()
                    .map_or(Step::Wait, |port| Step::Ask(host.to_owned(), port)),
                None => Step::Wait,
            },
            None => Step::Wait,
        },
        Some(
            ServerErrorKind::ClusterDown
            | ServerErrorKind::TryAgain
            | ServerErrorKind::MasterDown
            | ServerErrorKind::BusyLoading,
        ) => Step::Wait,
        _ => Step::Done,
    }
}

impl Map {
    fn owner(&self, key: &[u8]) -> RedisResult<&Link> {
        let owner = self.owners[usize::from(slot_of(key))].ok_or_else(uncovered)?;
        Ok(&self.links[usize::from(owner)])
    }
}

fn uncovered() -> RedisError {
    (
        redis::ErrorKind::ClusterConnectionNotFound,
        "no server has the slot of a key",
    )
        .into()
}

fn changing() -> RedisError {
    (
        redis::ErrorKind::ClusterConnectionNotFound,
        "the cluster is changing and does not settle",
    )
        .into()
}

impl Shared {
    fn link(&self, (host, port): &(String, u16)) -> RedisResult<Link> {
        let client = self.access.server(host, *port)?;
        Ok(Link::new(Connector::Node(client), Arc::clone(&self.facts)))
    }

    async fn current(&self) -> RedisResult<Arc<Map>> {
        match self.map.load_full() {
            Some(map) => Ok(map),
            None => self.newer(None).await,
        }
    }

    /// A map that is newer than the one that misled us.
    async fn newer(&self, than: Option<&Arc<Map>>) -> RedisResult<Arc<Map>> {
        let _asking = self.asking.lock().await;
        // Someone else may have asked while we waited.
        if let Some(map) = self.map.load_full()
            && than.is_none_or(|old| !Arc::ptr_eq(old, &map))
        {
            return Ok(map);
        }
        let old = self.map.load_full();
        let map = Arc::new(self.ask_everybody(old.as_deref()).await?);
        self.map.store(Some(Arc::clone(&map)));
        Ok(map)
    }

    /// Asks all servers that we know of at once, and takes the first answer that knows all about the slots.
    async fn ask_everybody(&self, old: Option<&Map>) -> RedisResult<Map> {
        let mut known: Vec<&(String, u16)> = old.map(|map| map.masters.keys().collect()).unwrap_or_default();
        known.extend(&self.seeds);
        known.sort_unstable();
        known.dedup();
        let mut answers: FuturesUnordered<_> = known
            .into_iter()
            .map(|(host, port)| async move {
                let client = self.access.server(host, *port)?;
                tokio::time::timeout(MAP_LIMIT, slots(&client, host))
                    .await
                    .unwrap_or_else(
                        |_| Err((redis::ErrorKind::ClusterConnectionNotFound, "no answer").into()),
                    )
            })
            .collect();
        let mut trouble = changing();
        while let Some(answer) = answers.next().await {
            match answer {
                Ok(ranges) if !ranges.is_empty() => return self.map(ranges, old),
                Ok(_) => trouble = uncovered(),
                Err(error) => trouble = error,
            }
        }
        Err(trouble)
    }

    fn map(&self, ranges: Vec<Range>, old: Option<&Map>) -> RedisResult<Map> {
        let mut masters: BTreeMap<(String, u16), Link> = BTreeMap::new();
        for range in &ranges {
            if !masters.contains_key(&range.master) {
                let kept = old.and_then(|old| old.masters.get(&range.master).cloned());
                let link = kept.map_or_else(|| self.link(&range.master), Ok)?;
                masters.insert(range.master.clone(), link);
            }
        }
        let mut owners = vec![None; SLOTS].into_boxed_slice();
        for range in &ranges {
            let owner = masters.keys().position(|master| *master == range.master);
            let owner = owner.and_then(|owner| u16::try_from(owner).ok());
            if let Some(slots) = owners.get_mut(usize::from(range.first)..=usize::from(range.last)) {
                slots.fill(owner);
            }
        }
        let links = masters.values().cloned().collect();
        Ok(Map {
            masters,
            owners,
            links,
        })
    }
}

/// Slots that follow each other and have one master.
struct Range {
    first: u16,
    last: u16,
    master: (String, u16),
}

/// What this server says about the slots.
async fn slots(client: &Client, host: &str) -> RedisResult<Vec<Range>> {
    let mut connection = connect(client, MAP_LIMIT).await?;
    let mut question = redis::cmd("CLUSTER");
    question.arg("SLOTS");
    let answer = ask(&mut connection, &question).await?;
    let rows: Vec<Vec<Value>> = redis::from_redis_value(answer)?;
    rows.iter()
        .map(|row| {
            let [first, last, master, ..] = row.as_slice() else {
                return Err((
                    redis::ErrorKind::UnexpectedReturnType,
                    "CLUSTER SLOTS answers a short row",
                )
                    .into());
            };
            let master: Vec<Value> = redis::from_redis_value_ref(master)?;
            let [name, port, ..] = master.as_slice() else {
                return Err((
                    redis::ErrorKind::UnexpectedReturnType,
                    "CLUSTER SLOTS names no master",
                )
                    .into());
            };
            // A server that does not know its own address leaves it to us, who reached it.
            let name: Option<String> = redis::from_redis_value_ref(name)?;
            let name = name.filter(|name| !name.is_empty() && name != "?");
            Ok(Range {
                first: redis::from_redis_value_ref(first)?,
                last: redis::from_redis_value_ref(last)?,
                master: (
                    name.unwrap_or_else(|| host.to_owned()),
                    redis::from_redis_value_ref(port)?,
                ),
            })
        })
        .collect()
}

/// Stands for a call without an answer; dropped when its caller gave up.
struct GivenUp<'a>(&'a Arc<Shared>);

impl Drop for GivenUp<'_> {
    fn drop(&mut self) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        let Some(turn) = self.0.refreshing.begin() else {
            return;
        };
        let shared = Arc::clone(self.0);
        runtime.spawn(async move {
            let _turn = turn;
            let old = shared.map.load_full();
            if let Err(error) = shared.newer(old.as_ref()).await {
                tracing::debug!(%error, "no news of the slots");
            }
        });
    }
}
