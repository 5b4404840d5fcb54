//! Finding the master of a group that sentinels watch.

use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use redis::{Client, ErrorKind, RedisConnectionInfo, RedisError, RedisResult};

use super::connector::{Access, ask, connect};

/// How long one sentinel, or the server that it names, may take.
const LIMIT: Duration = Duration::from_secs(1);

/// The sentinels of a group, and how to reach what they watch.
pub(super) struct Sentinels {
    sentinels: Vec<Client>,
    master: String,
    access: Access,
}

impl Sentinels {
    /// The sentinels are asked without a login: `access` is for the servers behind them.
    pub(super) fn new(sentinels: &[(String, u16)], master: String, access: Access) -> RedisResult<Self> {
        let anonymous = Access {
            login: RedisConnectionInfo::default(),
            tls: access.tls.clone(),
        };
        let sentinels = sentinels
            .iter()
            .map(|(host, port)| anonymous.server(host, *port))
            .collect::<RedisResult<_>>()?;
        Ok(Self {
            sentinels,
            master,
            access,
        })
    }

    /// The master, by the first sentinel that names one which says so itself.
    ///
    /// All are asked at once, so a dead one costs nothing. A sentinel that was cut off names the old master; that one
    /// is a replica by now, or dead.
    pub(super) async fn master(&self) -> RedisResult<Client> {
        let mut answers: FuturesUnordered<_> = self
            .sentinels
            .iter()
            .map(|sentinel| tokio::time::timeout(LIMIT * 2, self.named_by(sentinel)))
            .collect();
        let mut trouble = RedisError::from((ErrorKind::MasterNameNotFoundBySentinel, "no sentinel answers"));
        while let Some(answer) = answers.next().await {
            match answer {
                Ok(Ok(master)) => return Ok(master),
                Ok(Err(error)) => trouble = error,
                Err(_) => {}
            }
        }
        Err(trouble)
    }

    async fn named_by(&self, sentinel: &Client) -> RedisResult<Client> {
        let mut connection = connect(sentinel, LIMIT).await?;
        let mut question = redis::cmd("SENTINEL");
        question.arg("GET-MASTER-ADDR-BY-NAME").arg(&self.master);
        let answer = ask(&mut connection, &question).await?;
        let Some((host, port)) = redis::from_redis_value::<Option<(String, u16)>>(answer)? else {
            return Err((
                ErrorKind::MasterNameNotFoundBySentinel,
                "the sentinels know no master of this name",
                self.master.clone(),
            )
                .into());
        };
        let master = self.access.server(&host, port)?;
        let role = ask(&mut connect(&master, LIMIT).await?, &redis::cmd("ROLE")).await?;
        let redis::Value::Array(role) = role else {
            return Err((ErrorKind::UnexpectedReturnType, "ROLE answers no array").into());
        };
        let role: String = redis::from_redis_value(role.into_iter().next().unwrap_or(redis::Value::Nil))?;
        if role != "master" {
            return Err((
                ErrorKind::MasterNameNotFoundBySentinel,
                "the server named by the sentinels is not the master yet",
                role,
            )
                .into());
        }
        Ok(master)
    }
}
