use std::fmt;

use sqlx::{Connection, Database, Pool};

use super::connections::{Connections, Dial};
use super::foreign::Foreign;
use super::{Protocol, ServerConnection, ServerPool, TableOptions};

/// The driver's options for a connection.
pub(crate) type Options<DB> = <<DB as Database>::Connection as Connection>::Options;

/// The server that a builder leads to: by the driver's options, or by a pool that the application has.
pub(crate) enum Server<DB: ServerKind> {
    Options(Box<Options<DB>>),
    Pool(Pool<DB>),
}

/// A kind of database server.
pub(crate) trait ServerKind: Database {
    /// How connections of our own are made.
    type Dial: Dial<Connection = ServerConnection<Self>, Session = Self::Session>;
    /// Names a session to the server.
    type Session: Clone + Send + 'static;

    /// How statements go over connections of which nothing is known.
    fn safe_protocol() -> Protocol;

    /// Where the options lead, without secrets.
    fn location(options: &Options<Self>) -> String;
}

impl<DB: ServerKind> Server<DB> {
    /// What `ask` makes of the options.
    pub(crate) fn ask<R>(&self, ask: impl FnOnce(&Options<DB>) -> R) -> R {
        match self {
            Self::Options(options) => ask(options),
            Self::Pool(pool) => ask(&pool.connect_options()),
        }
    }

    pub(crate) fn location(&self) -> String {
        self.ask(DB::location)
    }

    /// The connections, made as `dial` says. Nothing is reached yet.
    pub(crate) fn open(
        self,
        settings: &TableOptions,
        dial: impl FnOnce(Options<DB>) -> DB::Dial,
    ) -> ServerPool<DB> {
        match self {
            Self::Pool(pool) => ServerPool::Foreign(Foreign::new(pool)),
            Self::Options(options) => {
                let (most, patience) = (settings.connections, settings.acquire_timeout);
                ServerPool::Own(Connections::new(dial(*options), most, patience))
            }
        }
    }
}

impl<DB: ServerKind> Clone for Server<DB> {
    fn clone(&self) -> Self {
        match self {
            Self::Options(options) => Self::Options(options.clone()),
            Self::Pool(pool) => Self::Pool(pool.clone()),
        }
    }
}

impl<DB: ServerKind> fmt::Debug for Server<DB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The driver's options would print the password.
        let kind = match self {
            Self::Options(_) => "Options",
            Self::Pool(_) => "Pool",
        };
        f.debug_tuple(kind).field(&self.location()).finish()
    }
}
