//! Makes connections, and asks what is to be known on a new one.

use std::time::{Duration, Instant};

use futures_util::TryStreamExt as _;
use sqlx::mysql::{MySqlConnectOptions, MySqlRow};
use sqlx::{
    AssertSqlSafe, ConnectOptions as _, Either, Executor as _, MySql as Driver, MySqlConnection, Row,
};

use crate::remote::database::{Dial, Made, Protocol, ServerConnection, Terms, Trouble};

/// The first statement on a new connection: it asks for the names of server and session. MySQL has a name for each server; MariaDB, which reads no
/// comment with such a number, is known by where it is.
const HELLO: &str = "SELECT CONCAT_WS('|', @@hostname, @@port, @@server_id, @@datadir, @@pid_file \
     /*!50700 , @@server_uuid */), CAST(CONNECTION_ID() AS CHAR)";

/// The time for which the server has been running.
const UPTIME: &str = "SHOW GLOBAL STATUS LIKE 'Uptime'";

/// Makes connections to MySQL and MariaDB.
pub(crate) struct MySqlDial {
    options: MySqlConnectOptions,
}

/// Names a session to its server.
#[derive(Clone, Debug)]
pub(crate) struct MySqlSession {
    server: Box<str>,
    id: u64,
    since: Instant,
}

impl MySqlDial {
    pub(super) fn new(options: MySqlConnectOptions) -> Self {
        Self { options }
    }
}

impl Dial for MySqlDial {
    type Connection = ServerConnection<Driver>;
    type Session = MySqlSession;

    async fn connect(&self, terms: Terms<MySqlSession>) -> sqlx::Result<Made<ServerConnection<Driver>>> {
        let mut driver = self.options.connect().await?;
        if let Some(limit) = terms.limit {
            set_limit(&mut driver, limit).await?;
        }
        let (identity, id) = hello(&mut driver).await?;
        let session = match (&identity, id) {
            (Some(server), Some(id)) => Some(MySqlSession {
                server: server.clone(),
                id,
                since: Instant::now(),
            }),
            _ => None,
        };
        let lost = terms.lost.into_iter();
        let lost: Vec<_> = lost
            .filter(|lost| Some(&lost.server) == identity.as_ref())
            .collect();
        if !lost.is_empty() {
            end_sessions(&mut driver, lost).await?;
        }
        let connection = ServerConnection {
            driver,
            protocol: Protocol::Prepared,
            session,
        };
        Ok(Made { connection, identity })
    }

    async fn ping(connection: &mut ServerConnection<Driver>) -> sqlx::Result<()> {
        connection.ping().await
    }

    async fn close(connection: ServerConnection<Driver>) -> sqlx::Result<()> {
        connection.close().await
    }

    fn session(connection: &ServerConnection<Driver>) -> Option<MySqlSession> {
        connection.session.clone()
    }
}

/// The identity of the server, and the number of the session.
async fn hello(driver: &mut MySqlConnection) -> sqlx::Result<(Option<Box<str>>, Option<u64>)> {
    let Some(row) = tolerated(one(driver, HELLO.into()).await)? else {
        return Ok((None, None));
    };
    let id = text(&row, 1)?.and_then(|id| id.parse().ok());
    Ok((text(&row, 0)?.map(String::into_boxed_str), id))
}

/// Bounds the statements of a session. What is locked is waited for in whole seconds. Only MariaDB has a limit for every
/// statement; that of MySQL is for those that read.
async fn set_limit(driver: &mut MySqlConnection, limit: Duration) -> sqlx::Result<()> {
    let seconds = limit.as_secs_f64().ceil().clamp(1.0, 86_400.0);
    let sql = format!(
        "SET SESSION lock_wait_timeout = {seconds}, innodb_lock_wait_timeout = {seconds} \
         /*M!100101 , max_statement_time = {:.3} */ /*!50708 , max_execution_time = {} */",
        limit.as_secs_f64().max(0.001),
        limit.as_millis().clamp(1, u128::from(u32::MAX)),
    );
    tolerated(one(driver, sql).await).map(drop)
}

/// Ends sessions that do not answer any more: the server may not know yet that nobody listens to them.
async fn end_sessions(driver: &mut MySqlConnection, lost: Vec<MySqlSession>) -> sqlx::Result<()> {
    let uptime = tolerated(one(driver, UPTIME.into()).await)?;
    let uptime = uptime.map(|row| text(&row, 1)).transpose()?.flatten();
    let uptime = Duration::from_secs(uptime.and_then(|text| text.parse().ok()).unwrap_or(0));
    for session in lost {
        // A server that was started anew counts its sessions anew.
        if uptime > session.since.elapsed() + Duration::from_secs(1) {
            tolerated(one(driver, format!("KILL {}", session.id)).await)?;
        }
    }
    Ok(())
}

/// Runs a statement; the first row, if there is one.
async fn one(driver: &mut MySqlConnection, sql: String) -> sqlx::Result<Option<MySqlRow>> {
    let mut steps = driver.fetch_many(sqlx::raw_sql(AssertSqlSafe(sql)));
    let mut first = None;
    // To the end, so that the next statement finds none of its answer.
    while let Some(step) = steps.try_next().await? {
        if let Either::Right(row) = step {
            first.get_or_insert(row);
        }
    }
    Ok(first)
}

/// The answer to what a new connection can do without: a server that refuses it is used all the same.
fn tolerated<T>(done: sqlx::Result<Option<T>>) -> sqlx::Result<Option<T>> {
    match done {
        Err(error) if Trouble::of(&error) == Trouble::Refusal => {
            tracing::debug!(%error, "the server refuses to answer a new connection");
            Ok(None)
        }
        done => done,
    }
}

/// Text or bytes, as server and version like.
fn text(row: &MySqlRow, at: usize) -> sqlx::Result<Option<String>> {
    let bytes: Option<Vec<u8>> = row.try_get_unchecked(at)?;
    Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
}
