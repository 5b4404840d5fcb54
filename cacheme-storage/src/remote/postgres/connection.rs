//! Makes connections, and asks what is to be known on a new one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgRow};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Executor as _, PgConnection, Postgres as Driver, Row};

use crate::remote::database::{Dial, Made, Protocol, ServerConnection, Terms, Trouble};

/// The setting that tells our session from those of a pooler. Every session takes any setting whose name has a dot.
const MARK: &str = "cacheme.session";

/// The first statement on a new connection: it asks for the mark and for the names of server and session.
const HELLO: &str = "SELECT current_setting('cacheme.session', true), pg_postmaster_start_time()::text, \
     pg_backend_pid()::text, (SELECT backend_start::text FROM pg_stat_activity WHERE pid = pg_backend_pid())";

/// Makes connections to PostgreSQL.
pub(crate) struct PgDial {
    options: PgConnectOptions,
    /// The server takes no settings when a connection begins, as a pooler does not.
    takes_no_settings: AtomicBool,
    /// It was logged that there is a pooler.
    logged: AtomicBool,
}

/// Names a session to its server.
#[derive(Clone, Debug)]
pub(crate) struct PgSession {
    server: Box<str>,
    pid: i32,
    started: String,
}

/// The words of a new session about itself.
struct Hello {
    mark: Option<String>,
    server: Option<String>,
    pid: Option<String>,
    started: Option<String>,
}

impl PgDial {
    pub(super) fn new(options: PgConnectOptions) -> Self {
        Self {
            // A pooler would refuse it, and no number of ours has a fraction.
            options: options.extra_float_digits(None),
            takes_no_settings: AtomicBool::new(false),
            logged: AtomicBool::new(false),
        }
    }

    /// The options by which connections are made.
    pub(super) fn options(&self) -> &PgConnectOptions {
        &self.options
    }

    /// A connection whose session has the mark and the limit, or has refused to.
    async fn open(&self, mark: &str, limit: Option<Duration>) -> sqlx::Result<PgConnection> {
        if !self.takes_no_settings.load(Ordering::Relaxed) {
            let marked = self.options.clone().options([(MARK, mark)]);
            let bounded = match limit {
                // What the application has said holds.
                Some(limit) if !has_limit(&self.options) => {
                    marked.options([("statement_timeout", &*millis(limit))])
                }
                _ => marked,
            };
            match bounded.connect().await {
                Err(error) if is_refused_setting(&error) => {
                    self.takes_no_settings.store(true, Ordering::Relaxed);
                }
                connected => return connected,
            }
        }
        self.options.connect().await
    }
}

impl Dial for PgDial {
    type Connection = ServerConnection<Driver>;
    type Session = PgSession;

    async fn connect(&self, terms: Terms<PgSession>) -> sqlx::Result<Made<ServerConnection<Driver>>> {
        let mark = format!("{:016x}", crate::random::random());
        let mut driver = self.open(&mark, terms.limit).await?;
        let hello = hello(&mut driver).await?;
        if hello.mark.as_deref() != Some(&*mark) {
            if !self.logged.swap(true, Ordering::Relaxed) {
                let (host, port) = (self.options.get_host(), self.options.get_port());
                tracing::info!("{host}:{port} is a pooler: statements are sent as text, not prepared");
            }
            let connection = ServerConnection {
                driver,
                protocol: behind_pooler(terms.limit),
                session: None,
            };
            return Ok(Made {
                connection,
                identity: None,
            });
        }
        let identity = hello.server.map(String::into_boxed_str);
        let pid = hello.pid.and_then(|pid| pid.parse().ok());
        let session = match (&identity, pid, hello.started) {
            (Some(server), Some(pid), Some(started)) => Some(PgSession {
                server: server.clone(),
                pid,
                started,
            }),
            _ => None,
        };
        let lost = terms.lost.into_iter();
        let lost = lost.filter(|lost| Some(&lost.server) == identity.as_ref());
        end_sessions(&mut driver, lost).await?;
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

    fn session(connection: &ServerConnection<Driver>) -> Option<PgSession> {
        connection.session.clone()
    }
}

/// Finds the protocol for the connections of a pool that is made with these options, by one of them.
pub(super) async fn protocol_of(options: PgConnectOptions) -> sqlx::Result<Protocol> {
    let dial = PgDial::new(options);
    let terms = Terms {
        limit: None,
        lost: Vec::new(),
    };
    let connection = dial.connect(terms).await?.connection;
    let protocol = connection.protocol.clone();
    connection.close().await?;
    Ok(protocol)
}

/// Tells the server of a connection from others.
pub(super) async fn identity<'c>(
    driver: impl sqlx::Executor<'c, Database = Driver>,
) -> sqlx::Result<Option<String>> {
    Ok(hello(driver).await?.server)
}

/// Asks a new session who it is. A server that does not know what we ask for is taken for a pooler.
async fn hello<'c>(driver: impl sqlx::Executor<'c, Database = Driver>) -> sqlx::Result<Hello> {
    let answer = match driver.fetch_one(HELLO).await {
        Ok(answer) => answer,
        Err(error) if Trouble::of(&error) == Trouble::Refusal => {
            tracing::debug!(%error, "the server does not say who it is");
            return Ok(Hello {
                mark: None,
                server: None,
                pid: None,
                started: None,
            });
        }
        Err(error) => return Err(error),
    };
    let text = |at: usize| <PgRow as Row>::try_get::<Option<String>, _>(&answer, at);
    Ok(Hello {
        mark: text(0)?,
        server: text(1)?,
        pid: text(2)?,
        started: text(3)?,
    })
}

/// Ends sessions that do not answer any more: the server may not know yet that nobody listens to them.
async fn end_sessions(driver: &mut PgConnection, lost: impl Iterator<Item = PgSession>) -> sqlx::Result<()> {
    let lost: Vec<_> = lost
        // It is the server's own text.
        .map(|lost| format!("({}, '{}')", lost.pid, lost.started.replace('\'', "''")))
        .collect();
    if lost.is_empty() {
        return Ok(());
    }
    let sql = format!(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE (pid, backend_start::text) IN ({})",
        lost.join(", ")
    );
    match driver.execute(AssertSqlSafe(sql)).await {
        Err(error) if Trouble::of(&error) == Trouble::Refusal => {
            tracing::debug!(%error, "the server does not end sessions");
            Ok(())
        }
        done => done.map(drop),
    }
}

/// Statements as text. A session that others use as well keeps no settings of ours: they come along.
pub(super) fn behind_pooler(limit: Option<Duration>) -> Protocol {
    let limit = limit.map(|limit| format!("SET LOCAL statement_timeout = {}; ", millis(limit)));
    let settings = format!(
        "SET LOCAL bytea_output = hex; {}",
        limit.as_deref().unwrap_or_default()
    );
    Protocol::Text(Arc::from(settings))
}

fn millis(limit: Duration) -> String {
    // The longest that the server takes.
    limit.as_millis().clamp(1, 2_147_483_647).to_string()
}

fn has_limit(options: &PgConnectOptions) -> bool {
    options
        .get_options()
        .is_some_and(|options| options.contains("statement_timeout"))
}

/// Says whether a new connection was refused for a setting: a violation of the protocol, or a feature that is not supported.
fn is_refused_setting(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    matches!(code.as_deref(), Some("08P01" | "0A000"))
}
