use std::fmt;

use sqlx::{Connection, Database, Pool};

use crate::error::{Error, Result};
use crate::remote::tls::Credentials;

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

    /// The options with these certificates, and TLS that looks at who answers.
    fn with_credentials(options: Options<Self>, credentials: Credentials) -> Options<Self>;
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

    /// The same server, over TLS with these certificates if there are any.
    pub(crate) fn secured_by(self, credentials: Credentials) -> Result<Self> {
        if credentials.is_empty() {
            return Ok(self);
        }
        let refused = |reason: String| Error::Config {
            storage: self.location(),
            reason,
        };
        if !cfg!(feature = "tls") {
            return Err(refused("TLS needs the feature `tls`".into()));
        }
        credentials.check().map_err(refused)?;
        match self {
            Self::Options(options) => {
                let options = DB::with_credentials(*options, credentials);
                Ok(Self::Options(Box::new(options)))
            }
            Self::Pool(_) => Err(refused(
                "a pool of the application has its own certificates: leave out `tls_authorities` and `tls_certificate`"
                    .into(),
            )),
        }
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

/// The setters of a builder whose field `credentials` is [`Credentials`], inside its `impl`, each with its documentation.
macro_rules! tls_setters {
    ($(#[$authorities:meta])* authorities, $(#[$certificate:meta])* certificate $(,)?) => {
        $(#[$authorities])*
        pub fn tls_authorities(mut self, pem: impl Into<Vec<u8>>) -> Self {
            self.credentials.authorities = Some(pem.into());
            self
        }

        $(#[$certificate])*
        pub fn tls_certificate(mut self, cert: impl Into<Vec<u8>>, key: impl Into<Vec<u8>>) -> Self {
            self.credentials.client = Some($crate::remote::tls::ClientPem {
                cert: cert.into(),
                key: key.into(),
            });
            self
        }
    };
}
pub(crate) use tls_setters;
