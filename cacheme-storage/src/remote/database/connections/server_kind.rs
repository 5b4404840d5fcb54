//! The differences between the database servers, PostgreSQL and MySQL.

use sqlx::{Connection, Database};

use crate::remote::tls::Credentials;

use super::Dial;
use super::server_pool::ServerConnection;
use super::statement::Protocol;

/// The driver's options for a connection.
pub(crate) type Options<DB> = <<DB as Database>::Connection as Connection>::Options;

/// A kind of database server.
pub(crate) trait ServerKind: Database {
    /// Makes connections of our own.
    type Dial: Dial<Connection = ServerConnection<Self>, Session = Self::Session>;
    /// Names a session to the server.
    type Session: Clone + Send + 'static;

    /// The protocol for connections of which nothing is known.
    fn safe_protocol() -> Protocol;

    /// The address in the options, without secrets.
    fn location(options: &Options<Self>) -> String;

    /// The options with these certificates, and TLS that looks at who answers.
    fn with_credentials(options: Options<Self>, credentials: Credentials) -> Options<Self>;
}
