//! Files that are damaged: moved aside, with a new one in their place, where nothing but a cache is lost.

use std::time::{Duration, Instant};

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection, SqliteConnection};

use crate::error::{Error, Result};

use super::Inner;
use super::fault::Trouble;
use super::file::{DatabaseFile, Inode, Moved};

/// The treatment of a file that turns out to be damaged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnCorruption {
    /// The file is renamed to its name and `.corrupt`, with a warning in the log, and a new one is made. Only a file that holds
    /// nothing but the table of this storage is renamed; any other is left as it is and refused.
    #[default]
    Reset,
    /// Every file is left as it is, and refused.
    Refuse,
}

/// The longest time that a damaged file is refused without another look at it: somebody may have mended it in place.
const REFUSED_FOR: Duration = Duration::from_secs(10);

/// The longest time that a file is taken for one that may only be read.
const READ_ONLY_FOR: Duration = Duration::from_secs(1);

/// The mark of a file that was made for a cache and nothing else (`application_id`): "Cach".
const MADE_BY_US: i32 = 0x4361_6368;

/// The knowledge of the file.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// The one whose table was made sure of.
    pub(super) prepared: Option<Inode>,
    /// `true` if that one held nothing else then.
    pub(super) is_ours_alone: bool,
    /// `true` if changes may be missing from the file, so that its entries are none of ours to trust.
    pub(super) is_distrusted: bool,
    damage: Option<Damage>,
    /// The time at which it was last opened anew for being read-only.
    read_only: Option<Instant>,
}

/// Damage that was met and not seen to yet.
#[derive(Clone, Debug)]
struct Damage {
    file: Inode,
    cause: Cause,
    /// The reason why nothing was done about it, and since when.
    refused: Option<(Instant, String)>,
}

#[derive(Clone, Debug)]
enum Cause {
    /// The message of SQLite.
    Corrupt(String),
    /// Somebody removed the log that we had open, and with it the changes in it.
    LogLost,
    /// Others still have a log open that is not there any more. It gets well when the last of them lets go.
    LogMissing(String),
}

/// The contents of a file besides our table.
enum Contents {
    OursAlone,
    /// The name of one of them.
    More(String),
    Unreadable,
}

impl Inner {
    /// Draws the consequences of trouble; an error if there are none that trying again would be better for.
    pub(super) fn take_note(&self, trouble: Trouble) -> Result<()> {
        let mut known = self.known.lock();
        match trouble {
            Trouble::Moved(Moved::Database) | Trouble::NoTable(_) => {}
            Trouble::Moved(Moved::Log(file)) => known.note(file, Cause::LogLost),
            Trouble::Damaged {
                file: Some(file),
                error,
            } => known.note(file, Cause::Corrupt(error.to_string())),
            Trouble::LogMissing {
                file: Some(file),
                error,
            } => known.note(file, Cause::LogMissing(error.to_string())),
            // It may be so since before somebody made it writable again.
            Trouble::ReadOnly(_) if known.may_open_anew() => {}
            other => return Err(self.fault(other)),
        }
        drop(known);
        self.pool.discard();
        self.ready.reset();
        Ok(())
    }

    /// Sees to damage that was met, before the file is opened again.
    pub(super) async fn see_to_damage(&self) -> Result<()> {
        let (Some(file), Some(damage)) = (self.pool.file(), self.known.lock().damage.clone()) else {
            return Ok(());
        };
        match &damage.refused {
            // Another process moved it, or a human being did.
            _ if file.inode() != Some(damage.file) => {}
            Some((since, why)) if since.elapsed() < REFUSED_FOR => return Err(self.refusal(why.clone())),
            // What is still wrong with it shows when it is used.
            Some(_) => {}
            None => match (self.keeps(file, &damage).await, &damage.cause) {
                (None, cause) => self.replace(file, damage.file, cause).await?,
                (Some(_), Cause::LogLost) => {
                    tracing::warn!(
                        storage = self.location,
                        "the write-ahead log was removed while the database was in use: what was in it is lost, and \
                         the table is emptied"
                    );
                    self.known.lock().is_distrusted = true;
                }
                (Some(why), cause) => {
                    let why = format!("file `{}` {cause}; {why}", file.path().display());
                    let mut known = self.known.lock();
                    match (&mut known.damage, cause) {
                        (Some(damage), Cause::Corrupt(_)) => {
                            damage.refused = Some((Instant::now(), why.clone()))
                        }
                        _ => known.damage = None,
                    }
                    return Err(self.refusal(why));
                }
            },
        }
        self.known.lock().damage = None;
        Ok(())
    }

    /// The reason why the damaged file stays where it is; none if nothing is lost with it.
    async fn keeps(&self, file: &DatabaseFile, damage: &Damage) -> Option<String> {
        let table = &self.table.name;
        if self.on_corruption == OnCorruption::Refuse {
            return Some("`corrupt=refuse` says to leave it: repair it, or move it away".into());
        }
        if !file.may_be_made() {
            return Some(
                "`create=false` says to make no other: repair it, or put another in its place".into(),
            );
        }
        match self.contents(file).await {
            Contents::OursAlone => None,
            Contents::More(what) => Some(format!(
                "it holds more than the table `{table}` ({what}) and so is left as it is: repair it, or name another file"
            )),
            Contents::Unreadable if self.known.lock().was_ours_alone(damage.file) => None,
            Contents::Unreadable => Some(format!(
                "it may hold more than the table `{table}` and so is left as it is: move it away, or name another file"
            )),
        }
    }

    /// Looks at the contents of the file, as far as it can be read.
    async fn contents(&self, file: &DatabaseFile) -> Contents {
        // Without the settings that we have otherwise, each of which would read the file.
        let plain = SqliteConnectOptions::new()
            .filename(file.path())
            .busy_timeout(self.busy_timeout);
        let unreadable = match self.look_into(&plain).await {
            (_, Ok(others)) if others.is_empty() => return Contents::OursAlone,
            (_, Ok(others)) => return Contents::More(others.join(", ")),
            (_, Err(error)) => error,
        };
        tracing::debug!(storage = self.location, error = %unreadable, "what the damaged file holds cannot be read");
        // The file by itself, without its log. Its mark stands before the list of tables, and may have outlived it.
        match self.look_into(&plain.immutable(true)).await {
            (_, Ok(others)) if !others.is_empty() => Contents::More(others.join(", ")),
            (Ok(MADE_BY_US), _) => Contents::OursAlone,
            _ => Contents::Unreadable,
        }
    }

    /// The mark of the file, and what is in it besides our table.
    async fn look_into(
        &self,
        options: &SqliteConnectOptions,
    ) -> (sqlx::Result<i32>, sqlx::Result<Vec<String>>) {
        let mut connection = match options.connect().await {
            Ok(connection) => connection,
            Err(error) => return (Ok(0), Err(error)),
        };
        let found = (mark(&mut connection).await, self.others(&mut connection).await);
        if let Err(error) = connection.close().await {
            tracing::debug!(storage = self.location, %error, "closing a damaged file failed");
        }
        found
    }

    /// Looks for what the database holds besides our table.
    pub(super) async fn others(&self, connection: &mut SqliteConnection) -> sqlx::Result<Vec<String>> {
        let name = self.table.name.name();
        sqlx::query_scalar(
            "SELECT name FROM sqlite_master WHERE name NOT LIKE 'sqlite\\_%' ESCAPE '\\' \
             AND name NOT IN (?1, ?1 || '_expiry') ORDER BY name LIMIT 5",
        )
        .bind(name)
        .fetch_all(connection)
        .await
    }

    /// Marks a file of which nobody else has a part, and takes the mark away from others.
    pub(super) async fn mark(
        &self,
        connection: &mut SqliteConnection,
        is_ours_alone: bool,
    ) -> sqlx::Result<()> {
        let to = match (mark(connection).await?, is_ours_alone) {
            (0, true) => MADE_BY_US,
            (MADE_BY_US, false) => 0,
            _ => return Ok(()),
        };
        // In the file itself, and not in its log alone, which may be what is lost one day.
        let sql = format!("PRAGMA application_id = {to}; PRAGMA wal_checkpoint(PASSIVE)");
        sqlx::raw_sql(sqlx::AssertSqlSafe(sql))
            .execute(connection)
            .await?;
        Ok(())
    }

    async fn replace(&self, file: &DatabaseFile, inode: Inode, cause: &Cause) -> Result<()> {
        let moved = file.move_aside(inode).await;
        let moved = moved.map_err(|error| Error::Refused {
            storage: self.location.clone(),
            source: format!(
                "file `{}` {cause} and cannot be moved aside: {error}",
                file.path().display()
            )
            .into(),
        })?;
        // Else another process was faster, and has logged it.
        if let Some(moved) = moved {
            tracing::warn!(
                storage = self.location,
                file = %file.path().display(),
                moved_to = %moved.display(),
                %cause,
                "the file is damaged: it is moved aside and a new one begun"
            );
        }
        Ok(())
    }

    fn refusal(&self, why: String) -> Error {
        Error::Refused {
            storage: self.location.clone(),
            source: why.into(),
        }
    }
}

impl Known {
    fn note(&mut self, file: Inode, cause: Cause) {
        // What was decided about it holds.
        if self.damage.as_ref().is_none_or(|damage| damage.file != file) {
            self.damage = Some(Damage {
                file,
                cause,
                refused: None,
            });
        }
    }

    fn was_ours_alone(&self, file: Inode) -> bool {
        self.is_ours_alone && self.prepared == Some(file)
    }

    fn may_open_anew(&mut self) -> bool {
        let may = self
            .read_only
            .is_none_or(|since| since.elapsed() >= READ_ONLY_FOR);
        if may {
            self.read_only = Some(Instant::now());
        }
        may
    }
}

async fn mark(connection: &mut SqliteConnection) -> sqlx::Result<i32> {
    sqlx::query_scalar("PRAGMA application_id")
        .fetch_one(connection)
        .await
}

impl std::fmt::Display for Cause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Corrupt(error) => f.write_str(error),
            Self::LogLost => f.write_str("lost its write-ahead log"),
            Self::LogMissing(error) => write!(f, "lacks the write-ahead log that others have open ({error})"),
        }
    }
}
