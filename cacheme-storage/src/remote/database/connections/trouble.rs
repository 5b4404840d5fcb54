//! The meaning of a driver's errors.

/// The meaning of an error for the connection and for another attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// The connection broke, or the server is shutting it down.
    DeadConnection,
    /// The server chose this statement to give way to another.
    Conflict,
    /// No connection was to be had.
    Unreachable,
    /// The server takes no writes: it may have taken them before, and another one may take them now.
    ReadOnly,
    /// The server was at it for longer than it may be.
    TimedOut,
    /// The server said no.
    Refusal,
}

impl Trouble {
    pub(crate) fn of(error: &sqlx::Error) -> Self {
        match error {
            sqlx::Error::Io(_) | sqlx::Error::Protocol(_) | sqlx::Error::WorkerCrashed => {
                Self::DeadConnection
            }
            sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed | sqlx::Error::Tls(_) => Self::Unreachable,
            #[cfg(feature = "mysql")]
            sqlx::Error::Database(error)
                if let Some(error) = error.try_downcast_ref::<sqlx::mysql::MySqlDatabaseError>() =>
            {
                Self::by_number(error.number())
            }
            sqlx::Error::Database(error) => match error.code().as_deref() {
                // Serialization failure, deadlock.
                Some("40001" | "40P01") => Self::Conflict,
                Some("25006") => Self::ReadOnly,
                // Cancelled, which is what a time-out does; a lock was not to be had in time.
                Some("57014" | "55P03") => Self::TimedOut,
                // Shut down by an administrator, crash of another session, not started yet, idle for too long.
                Some("57P01" | "57P02" | "57P03" | "57P05") => Self::DeadConnection,
                Some(code) if code.starts_with("08") => Self::DeadConnection,
                // Too many connections.
                Some("53300") => Self::Unreachable,
                _ => Self::Refusal,
            },
            _ => Self::Refusal,
        }
    }

    /// The meaning of an error of MySQL or MariaDB by its number, since its codes are too coarse.
    /// <https://mariadb.com/docs/server/reference/error-codes>, the same in MySQL where both have it.
    #[cfg(feature = "mysql")]
    fn by_number(number: u16) -> Self {
        match number {
            // Deadlock, the row changed since the snapshot (MariaDB from version 11 on).
            1213 | 1020 => Self::Conflict,
            // Started read-only, set read-only, sessions that only read, InnoDB started read-only.
            1290 | 1792 | 1836 | 1874 => Self::ReadOnly,
            // Waited too long for a lock; took too long altogether: in MariaDB, in MySQL.
            1205 | 1969 | 3024 => Self::TimedOut,
            // Shutting down, trouble with the network, killed (MariaDB), idle for too long (MySQL).
            1053 | 1152 | 1154..=1161 | 1184 | 1927 | 4031 => Self::DeadConnection,
            // Too many connections, of all or of this user; this host is blocked.
            1040 | 1129 | 1203 | 1226 => Self::Unreachable,
            _ => Self::Refusal,
        }
    }
}

/// Says whether the connection is as good after the error as it was before.
pub(crate) fn leaves_connection(error: &sqlx::Error) -> bool {
    match error {
        // A session of MySQL keeps the rights that its user had when it began: denied to a user, to a command, to a
        // column, without a privilege.
        #[cfg(feature = "mysql")]
        sqlx::Error::Database(error)
            if let Some(error) = error.try_downcast_ref::<sqlx::mysql::MySqlDatabaseError>() =>
        {
            !matches!(error.number(), 1044 | 1142 | 1143 | 1227)
        }
        sqlx::Error::Database(_) => true,
        _ => false,
    }
}
