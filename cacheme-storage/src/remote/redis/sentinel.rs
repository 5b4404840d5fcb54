//! Finding the master of a group that sentinels watch.

use std::collections::HashMap;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use parking_lot::Mutex;
use redis::aio::ConnectionLike as _;
use redis::{Client, ErrorKind, RedisConnectionInfo, RedisError, RedisResult, Value};

use super::connector::{Access, ask, connect};
use super::nodes::Address;

/// The longest time that one sentinel, or the server that it names, may take.
const LIMIT: Duration = Duration::from_secs(1);

/// The sentinels of a group, and how to reach what they watch.
pub(super) struct Sentinels {
    /// Those that were named by whoever made the storage.
    seeds: Vec<Sentinel>,
    /// Those besides that the sentinel which answered last knows of, itself included.
    learned: Mutex<Vec<Sentinel>>,
    master: String,
    /// The access to sentinels.
    own: Access,
    /// The access to the servers behind them.
    servers: Access,
}

#[derive(Clone)]
struct Sentinel {
    address: Address,
    client: Client,
}

/// The answer of a sentinel.
struct Reply {
    master: Client,
    /// The sentinels that it knows of; `None` where it does not say.
    others: Option<Vec<Address>>,
}

impl Sentinels {
    /// The sentinels are asked with a login of their own: that of `servers` is for the servers behind them.
    pub(super) fn new(
        seeds: &[Address],
        master: String,
        login: RedisConnectionInfo,
        servers: Access,
    ) -> RedisResult<Self> {
        let own = Access {
            login,
            tls: servers.tls.clone(),
        };
        let seeds = seeds.iter().map(|address| Sentinel::at(address, &own));
        Ok(Self {
            seeds: seeds.collect::<RedisResult<_>>()?,
            learned: Mutex::default(),
            master,
            own,
            servers,
        })
    }

    /// The master, by the first sentinel that names one which says so itself.
    ///
    /// All are asked at once, so a dead one costs nothing. A sentinel that was cut off names the old master; that one
    /// is a replica by now, or dead.
    pub(super) async fn master(&self) -> RedisResult<Client> {
        let mut all = self.seeds.clone();
        all.extend(self.learned.lock().iter().cloned());
        let mut answers: FuturesUnordered<_> = all
            .iter()
            .map(async |sentinel| {
                let reply = tokio::time::timeout(LIMIT * 2, self.reply_of(sentinel)).await;
                (sentinel, reply)
            })
            .collect();
        let mut trouble = RedisError::from((ErrorKind::MasterNameNotFoundBySentinel, "no sentinel answers"));
        let mut is_answer = false;
        while let Some((sentinel, answer)) = answers.next().await {
            match answer {
                Ok(Ok(Reply { master, others })) => {
                    if let Some(others) = others {
                        self.learn(sentinel, others);
                    }
                    return Ok(master);
                }
                // What one says that lives tells more than that another is dead.
                Ok(Err(error)) if !(is_answer && error.is_io_error()) => {
                    is_answer = !error.is_io_error();
                    trouble = error;
                }
                Ok(Err(_)) | Err(_) => {}
            }
        }
        Err(trouble)
    }

    /// Takes note of the sentinels that this one knows of, so that they are found when those that were named are gone.
    fn learn(&self, teller: &Sentinel, mut others: Vec<Address>) {
        others.push(teller.address.clone());
        others.retain(|address| self.seeds.iter().all(|seed| seed.address != *address));
        others.sort_unstable();
        others.dedup();
        let mut learned = self.learned.lock();
        if learned.iter().map(|sentinel| &sentinel.address).eq(&others) {
            return;
        }
        let known = others.iter().map(|address| Sentinel::at(address, &self.own));
        match known.collect() {
            Ok(known) => *learned = known,
            Err(error) => tracing::debug!(%error, "sentinels that cannot be reached"),
        }
    }

    async fn reply_of(&self, sentinel: &Sentinel) -> RedisResult<Reply> {
        let asked = self.ask(sentinel).await;
        let (host, port, others) = asked.map_err(|error| sentinel.refusal(error))?;
        let master = self.servers.server(&host, port)?;
        let role = ask(&mut connect(&master, LIMIT).await?, &redis::cmd("ROLE")).await?;
        let Value::Array(role) = role else {
            return Err((ErrorKind::UnexpectedReturnType, "ROLE answers no array").into());
        };
        let role: String = redis::from_redis_value(role.into_iter().next().unwrap_or(Value::Nil))?;
        if role != "master" {
            return Err((
                ErrorKind::MasterNameNotFoundBySentinel,
                "the server named by the sentinels is not the master yet",
                role,
            )
                .into());
        }
        Ok(Reply { master, others })
    }

    /// The master's address, and the sentinels that this one knows of.
    async fn ask(&self, sentinel: &Sentinel) -> RedisResult<(String, u16, Option<Vec<Address>>)> {
        let mut connection = connect(&sentinel.client, LIMIT).await?;
        let mut questions = redis::pipe();
        let [named, known] = ["GET-MASTER-ADDR-BY-NAME", "SENTINELS"];
        questions.cmd("SENTINEL").arg(named).arg(&self.master);
        questions.cmd("SENTINEL").arg(known).arg(&self.master);
        let mut answers = connection
            .req_packed_commands(&questions, 0, 2)
            .await?
            .into_iter();
        let (named, known) = (answers.next(), answers.next());
        let named = named.unwrap_or(Value::Nil).extract_error()?;
        let Some((host, port)) = redis::from_redis_value::<Option<(String, u16)>>(named)? else {
            return Err((
                ErrorKind::MasterNameNotFoundBySentinel,
                "the sentinels know no master of this name",
                self.master.clone(),
            )
                .into());
        };
        let known = known.unwrap_or(Value::Nil).extract_error();
        let others = known
            .map_err(drop)
            .and_then(|known| addresses(known).map_err(drop));
        Ok((host, port, others.ok()))
    }
}

impl Sentinel {
    fn at(address: &Address, access: &Access) -> RedisResult<Self> {
        let (host, port) = address;
        Ok(Self {
            address: address.clone(),
            client: access.server(host, *port)?,
        })
    }

    /// The error, with what to do if it is a login that the sentinel does not take.
    fn refusal(&self, error: RedisError) -> RedisError {
        let is_login = error.kind() == ErrorKind::AuthenticationFailed
            || matches!(error.code(), Some("NOAUTH" | "WRONGPASS" | "NOPERM"));
        if !is_login {
            return error;
        }
        let (host, port) = &self.address;
        (
            ErrorKind::AuthenticationFailed,
            "a sentinel does not take the login, which is apart from that of the servers; give `sentinel_password`, and \
             `sentinel_user` where it has users",
            format!("{host}:{port}: {error}"),
        )
            .into()
    }
}

/// The addresses of the sentinels in an answer to `SENTINEL SENTINELS`.
fn addresses(answer: Value) -> RedisResult<Vec<Address>> {
    let fields: Vec<HashMap<String, String>> = redis::from_redis_value(answer)?;
    let address = |fields: HashMap<String, String>| {
        let port = fields.get("port")?.parse().ok().filter(|port| *port > 0)?;
        let host = fields.get("ip").filter(|host| !host.is_empty())?;
        Some((host.clone(), port))
    };
    Ok(fields.into_iter().filter_map(address).collect())
}
