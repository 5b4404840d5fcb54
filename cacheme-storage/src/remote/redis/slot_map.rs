//! The map of a cluster's slots, as its servers report it.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use redis::{Pipeline, RedisError, RedisResult, Value};
use tokio::time::timeout;

use super::connection::{Connection, Request};
use super::nodes::{Address, Nodes, first_answer};
use super::slots::{SLOTS, slot_of};

/// The longest time that one server may take to say where the slots are.
const LIMIT: Duration = Duration::from_millis(500);

/// The servers of a cluster, and the slots of each.
pub(super) struct SlotMap {
    /// By slot, the position in `masters`.
    owners: Box<[Option<u16>]>,
    pub(super) masters: Vec<Connection>,
    pub(super) replicas: Vec<Connection>,
    pub(super) asked: Instant,
}

impl SlotMap {
    /// Asks one server after the other until one answers that is in touch with the rest. One that is cut off from them
    /// still knows where the slots were.
    pub(super) async fn ask(nodes: &Nodes) -> RedisResult<Self> {
        let asked = Instant::now();
        let cut_off = Mutex::new(None);
        let answer = first_answer(nodes.anybody()?, async |connection| {
            let answer = timeout(LIMIT, ranges(&connection)).await;
            let answer = answer.unwrap_or_else(|_| Err(unsettled()))?;
            if answer.ranges.is_empty() {
                return Err(uncovered());
            }
            if !answer.is_in_touch {
                *cut_off.lock() = Some(answer.ranges);
                return Err(unsettled());
            }
            Ok(answer.ranges)
        });
        let ranges = match answer.await {
            Ok(ranges) => ranges,
            Err(error) => cut_off.into_inner().ok_or(error)?,
        };
        Self::of(&ranges, nodes, asked)
    }

    fn of(ranges: &[Range], nodes: &Nodes, asked: Instant) -> RedisResult<Self> {
        let masters: BTreeSet<&Address> = ranges.iter().map(|range| &range.master).collect();
        let replicas: BTreeSet<&Address> = ranges.iter().flat_map(|range| &range.replicas).collect();
        nodes.keep(&masters.union(&replicas).copied().collect());
        let connections = |addresses: &BTreeSet<&Address>| -> RedisResult<Vec<Connection>> {
            addresses
                .iter()
                .map(|address| nodes.connection(address))
                .collect()
        };
        let mut owners = vec![None; SLOTS].into_boxed_slice();
        for range in ranges {
            let owner = masters.iter().position(|master| *master == &range.master);
            let owner = owner.and_then(|owner| u16::try_from(owner).ok());
            if let Some(slots) = owners.get_mut(usize::from(range.first)..=usize::from(range.last)) {
                slots.fill(owner);
            }
        }
        Ok(Self {
            owners,
            masters: connections(&masters)?,
            replicas: connections(&replicas)?,
            asked,
        })
    }

    /// The place in `masters` of the server that has this key.
    pub(super) fn place_of(&self, key: &[u8]) -> Option<usize> {
        self.owners[usize::from(slot_of(key))].map(usize::from)
    }

    /// The server that has this key.
    pub(super) fn owner(&self, key: &[u8]) -> RedisResult<&Connection> {
        let place = self.place_of(key).ok_or_else(uncovered)?;
        Ok(&self.masters[place])
    }
}

pub(super) fn uncovered() -> RedisError {
    (
        redis::ErrorKind::ClusterConnectionNotFound,
        "no server has the slot of a key",
    )
        .into()
}

pub(super) fn unsettled() -> RedisError {
    (
        redis::ErrorKind::ClusterConnectionNotFound,
        "the cluster is changing and does not settle",
    )
        .into()
}

/// Slots that follow each other and have one master.
struct Range {
    first: u16,
    last: u16,
    master: Address,
    replicas: Vec<Address>,
}

/// The answer of a server about the slots.
struct Answer {
    ranges: Vec<Range>,
    /// `true` if it is in touch with most of the others, by its own account.
    is_in_touch: bool,
}

/// Says whether this server is in touch with most of the others, by its own account.
pub(super) async fn is_in_touch(connection: &Connection) -> RedisResult<bool> {
    let answer = connection.send(&Request::One(cluster_info())).await?;
    Ok(says_ok(&answer))
}

fn cluster_info() -> redis::Cmd {
    let mut question = redis::cmd("CLUSTER");
    question.arg("INFO");
    question
}

/// A server that does not say, since we may not ask, is trusted.
fn says_ok(info: &Value) -> bool {
    let text: RedisResult<String> = redis::from_redis_value_ref(info).map_err(Into::into);
    text.map_or(true, |text| !text.contains("cluster_state:fail"))
}

async fn ranges(connection: &Connection) -> RedisResult<Answer> {
    let mut questions = Pipeline::with_capacity(2);
    questions.add_command(cluster_info());
    questions.cmd("CLUSTER").arg("SLOTS");
    let answer = connection.send(&Request::Many(questions)).await?;
    let Value::Array(answers) = answer else {
        return Err(unexpected("a pipeline is answered by no array"));
    };
    let [info, rows] = <[Value; 2]>::try_from(answers).map_err(|_| unexpected("an answer is missing"))?;
    let rows: Vec<Vec<Value>> = redis::from_redis_value(rows.extract_error()?)?;
    let ranges: RedisResult<Vec<Range>> = rows.iter().map(|row| range(row, connection.host())).collect();
    Ok(Answer {
        ranges: ranges?,
        is_in_touch: says_ok(&info),
    })
}

fn range(row: &[Value], host: Option<&str>) -> RedisResult<Range> {
    let [first, last, master, replicas @ ..] = row else {
        return Err(unexpected("CLUSTER SLOTS answers a short row"));
    };
    let address = |server: &Value| {
        let server: Vec<Value> = redis::from_redis_value_ref(server)?;
        let [name, port, ..] = server.as_slice() else {
            return Err(unexpected("CLUSTER SLOTS names no server"));
        };
        // A server that does not know its own address leaves it to us, who reached it.
        let name: Option<String> = redis::from_redis_value_ref(name)?;
        let name = name.filter(|name| !name.is_empty() && name != "?");
        let name = name.or_else(|| host.map(str::to_owned));
        let name = name.ok_or_else(|| unexpected("CLUSTER SLOTS names no host"))?;
        Ok((name, redis::from_redis_value_ref(port)?))
    };
    Ok(Range {
        first: redis::from_redis_value_ref(first)?,
        last: redis::from_redis_value_ref(last)?,
        master: address(master)?,
        replicas: replicas.iter().map(address).collect::<RedisResult<_>>()?,
    })
}

fn unexpected(what: &'static str) -> RedisError {
    (redis::ErrorKind::UnexpectedReturnType, what).into()
}
