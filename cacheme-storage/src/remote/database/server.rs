//! The database server that a builder leads to.

use std::fmt;

use sqlx::Pool;

use crate::error::{Error, Result};
use crate::remote::tls::Credentials;
use crate::url::StorageUrl;

use super::TableOptions;
use super::connections::{Connections, Foreign, Options, ServerKind, ServerPool};

/// The server that a builder leads to: by the driver's options, or by a pool that the application has.
pub(crate) enum Server<DB: ServerKind> {
    Options(Box<Options<DB>>),
    Pool(Pool<DB>),
}

impl<DB: ServerKind> Server<DB> {
    /// Returns the result of `ask` for the options.
    pub(crate) fn ask<R>(&self, ask: impl FnOnce(&Options<DB>) -> R) -> R {
        match self {
            Self::Options(options) => ask(options),
            Self::Pool(pool) => ask(&pool.connect_options()),
        }
    }

    pub(crate) fn location(&self) -> String {
        self.ask(DB::location)
    }

    /// Returns the server, reached over TLS with these certificates if there are any.
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

/// The one host that the URL names, with its port; `None` if it names none.
pub(crate) fn host_and_port(url: &StorageUrl) -> Result<Option<(String, Option<u16>)>> {
    let hosts = url.hosts();
    if hosts.is_empty() {
        return Ok(None);
    }
    // An IPv6 address stands in brackets: `[::1]:5432`.
    let end_of_address = hosts.find(']').map_or(0, |at| at + 1);
    let (host, port) = match hosts[end_of_address..].rfind(':') {
        Some(colon) => {
            let (host, port) = hosts.split_at(end_of_address + colon);
            let port = port[1..].parse();
            (
                host,
                Some(port.map_err(|_| url.error("has a port that is no number from 0 to 65535"))?),
            )
        }
        None => (hosts, None),
    };
    if host.is_empty() || host.contains(',') {
        return Err(url.error("must name one host"));
    }
    Ok(Some((host.trim_matches(['[', ']']).to_owned(), port)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_names_and_addresses() {
        let parse = |hosts: &str| host_and_port(&StorageUrl::parse(&format!("x://{hosts}/")).unwrap());
        assert_eq!(parse("").unwrap(), None);
        assert_eq!(parse("db").unwrap(), Some(("db".into(), None)));
        assert_eq!(parse("db:54").unwrap(), Some(("db".into(), Some(54))));
        assert_eq!(parse("[::1]:54").unwrap(), Some(("::1".into(), Some(54))));
        assert_eq!(parse("[::1]").unwrap(), Some(("::1".into(), None)));
        for bad in ["db:x", "db:99999", ":54", "a,b"] {
            parse(bad).unwrap_err();
        }
    }
}
