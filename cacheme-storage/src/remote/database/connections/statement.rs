//! Statements, as they are sent.

#[cfg(feature = "postgres")]
use std::sync::Arc;

use futures_util::stream::BoxStream;
#[cfg(feature = "postgres")]
use sqlx::AssertSqlSafe;
use sqlx::query::Query;
use sqlx::{Database, Either, Executor, IntoArguments};

/// A statement of the driver's, with its arguments.
pub(crate) type Statement<DB> = Query<'static, DB, <DB as Database>::Arguments>;

/// A statement that is ready to be sent.
pub(crate) enum Encoded<DB: Database> {
    /// Prepared on its connection, with the arguments beside it.
    Prepared(Statement<DB>),
    /// With the arguments within it.
    #[cfg(feature = "postgres")]
    Text(String),
}

/// The protocol by which statements go over a connection.
#[derive(Clone, Debug)]
pub(crate) enum Protocol {
    /// As prepared statements.
    Prepared,
    /// As text in one message each, behind a pooler that gives every message to another session. This comes before each statement.
    #[cfg(feature = "postgres")]
    Text(Arc<str>),
}

/// A statement that can be sent by any [`Protocol`] of its database.
pub(crate) trait Encode<DB: Database> {
    /// The statement with its own copy of the values that it carries.
    fn encode(self, protocol: &Protocol) -> Encoded<DB>;
}

impl<DB: Database> Encode<DB> for Statement<DB> {
    fn encode(self, _: &Protocol) -> Encoded<DB> {
        Encoded::Prepared(self)
    }
}

impl<DB: Database> Encoded<DB>
where
    DB::Arguments: IntoArguments<DB>,
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
{
    /// Sends it; what the server answers comes one by one.
    pub(super) fn send(
        self,
        connection: &mut DB::Connection,
    ) -> BoxStream<'_, sqlx::Result<Either<DB::QueryResult, DB::Row>>> {
        match self {
            Self::Prepared(statement) => connection.fetch_many(statement),
            #[cfg(feature = "postgres")]
            Self::Text(sql) => connection.fetch_many(sqlx::raw_sql(AssertSqlSafe(sql))),
        }
    }
}
