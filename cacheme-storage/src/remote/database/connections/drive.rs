//! A statement under way.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures_util::TryStreamExt;
use parking_lot::Mutex;
use sqlx::{Database, Either, Executor, IntoArguments};

use crate::remote::database::finish::Finish;

use super::server_kind::ServerKind;
use super::server_pool::Taken;
use super::statement::Encoded;

/// The end of a statement: the connection, and the last answer of the server.
type Ended<DB> = (Taken<DB>, sqlx::Result<<DB as Database>::QueryResult>);

/// Rows on their way from a statement to its caller: one at a time.
enum Rows<R> {
    /// The caller takes them, and polls the statement again when it has.
    Wanted(Option<R>),
    /// The caller has left.
    Unwanted,
}

/// Tells the statement when its caller leaves.
struct Reader<R>(Arc<Mutex<Rows<R>>>);

impl<R> Drop for Reader<R> {
    fn drop(&mut self) {
        *self.0.lock() = Rows::Unwanted;
    }
}

/// Runs a statement and gives its rows to `on_row`. After an error of `on_row`, the connection is closed: an answer that cannot be
/// understood is not ours.
///
/// # Cancel safety
///
/// The driver does not learn that a caller has left. Its statements are futures, and one that is dropped in the middle may leave a
/// connection that takes a part of its answer for the answer to the next. The server goes on as well. So a task of its own
/// waits for the answer, `let_go` at most. The connection keeps its turn as long, and is as good as before afterwards.
pub(super) async fn drive<DB: ServerKind>(
    mut taken: Taken<DB>,
    statement: Encoded<DB>,
    let_go: Duration,
    mut on_row: impl FnMut(&DB::Row) -> sqlx::Result<()>,
) -> sqlx::Result<Ended<DB>>
where
    DB::Arguments: IntoArguments<DB>,
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
{
    let rows = Arc::new(Mutex::new(Rows::Wanted(None)));
    let sent = Arc::clone(&rows);
    let work = async move {
        let done = run_on(taken.connection(), statement, &sent).await;
        match *sent.lock() {
            Rows::Wanted(_) => Some((taken, done)),
            Rows::Unwanted => {
                taken.end(done.err().as_ref());
                None
            }
        }
    };
    let mut work = Finish::new(work, let_go);
    // Dropped first.
    let reader = Reader(rows);
    let ended = poll_fn(|cx| {
        loop {
            if let Poll::Ready(ended) = Pin::new(&mut work).poll(cx) {
                return Poll::Ready(Ok(ended));
            }
            let Rows::Wanted(Some(row)) = std::mem::replace(&mut *reader.0.lock(), Rows::Wanted(None)) else {
                return Poll::Pending;
            };
            if let Err(error) = on_row(&row) {
                return Poll::Ready(Err(error));
            }
        }
    });
    match ended.await {
        Ok(ended) => Ok(ended.expect("we have not left")),
        Err(error) => {
            work.abandon();
            Err(error)
        }
    }
}

/// Runs a statement; hands over its rows, each as soon as the one before it is taken.
async fn run_on<DB: Database>(
    connection: &mut DB::Connection,
    statement: Encoded<DB>,
    rows: &Mutex<Rows<DB::Row>>,
) -> sqlx::Result<DB::QueryResult>
where
    DB::Arguments: IntoArguments<DB>,
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
{
    let mut steps = statement.send(connection);
    let mut result = DB::QueryResult::default();
    while let Some(step) = steps.try_next().await? {
        match step {
            Either::Left(done) => result.extend([done]),
            Either::Right(row) => {
                if let Rows::Wanted(place) = &mut *rows.lock() {
                    *place = Some(row);
                }
                // A caller that takes it polls again.
                poll_fn(|_| match &*rows.lock() {
                    Rows::Wanted(Some(_)) => Poll::Pending,
                    Rows::Wanted(None) | Rows::Unwanted => Poll::Ready(()),
                })
                .await;
            }
        }
    }
    Ok(result)
}
