use std::fmt;

use sqlx::{Connection, Database, Executor, IntoArguments, Pool};

use super::{ServerPool, TableOptions};

/// The driver's options for a connection.
pub(crate) type Options<DB> = <<DB as Database>::Connection as Connection>::Options;

/// The server that a builder leads to: by the driver's options, or by a pool that the application has.
pub(crate) enum Server<DB: Located> {
    Options(Box<Options<DB>>),
    Pool(Pool<DB>),
}

/// A kind of server whose options tell where they lead.
pub(crate) trait Located: Database {
    /// Without secrets.
    fn location(options: &Options<Self>) -> String;
}

impl<DB: Located> Server<DB> {
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

    /// The connections, made with these options after `tune` has changed them. Nothing is reached yet.
    pub(crate) fn open(
        self,
        settings: &TableOptions,
        tune: impl FnOnce(Options<DB>) -> Options<DB>,
    ) -> ServerPool<DB>
    where
        DB::Arguments: IntoArguments<DB>,
        for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
    {
        match self {
            Self::Pool(pool) => ServerPool::foreign(pool),
            Self::Options(options) => {
                ServerPool::open(tune(*options), settings.connections, settings.acquire_timeout)
            }
        }
    }
}

impl<DB: Located> Clone for Server<DB> {
    fn clone(&self) -> Self {
        match self {
            Self::Options(options) => Self::Options(options.clone()),
            Self::Pool(pool) => Self::Pool(pool.clone()),
        }
    }
}

impl<DB: Located> fmt::Debug for Server<DB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The driver's options would print the password.
        let kind = match self {
            Self::Options(_) => "Options",
            Self::Pool(_) => "Pool",
        };
        f.debug_tuple(kind).field(&self.location()).finish()
    }
}
