//! Errors of Redis and its driver, in the words of this crate.

use redis::{ErrorKind, RedisError, ServerError, ServerErrorKind, Value};

use crate::error::Error;
use crate::remote::tls::explained;

/// Says whether a server answers that it takes no writes at the moment, or none from us: full, a replica, cannot save,
/// too few replicas, a user who may only read. Reads may still work.
pub(super) fn refuses_writes(error: &ServerError) -> bool {
    matches!(
        error.code(),
        "OOM" | "READONLY" | "MISCONF" | "NOREPLICAS" | "NOPERM"
    )
}

/// Says whether the server answers as a replica does, or one that becomes a replica: it takes no writes, lost its master, or loads
/// the data of another.
pub(super) fn turns_away(answer: &Value) -> bool {
    let is_replica = |answer: &Value| match answer {
        Value::ServerError(error) => {
            matches!(error.code(), "READONLY" | "MASTERDOWN" | "LOADING")
                // Before version 7, a script reports the error of a command within in its message.
                || error.details().is_some_and(|details| details.contains("-READONLY"))
        }
        _ => false,
    };
    match answer {
        Value::Array(answers) => answers.iter().any(is_replica),
        answer => is_replica(answer),
    }
}

/// The key holds a list, a hash or the like: nothing of ours.
pub(super) fn is_foreign(error: &ServerError) -> bool {
    // A script reports the error of a command within in its message.
    error.code() == "WRONGTYPE"
        || error
            .details()
            .is_some_and(|details| details.contains("WRONGTYPE"))
}

/// The connection is of no use any more; another one may be.
pub(super) fn is_lost(error: &RedisError) -> bool {
    error.is_io_error() || error.is_unrecoverable_error()
}

pub(super) fn translate(location: &str, error: RedisError) -> Error {
    let storage = location.to_owned();
    match error.kind() {
        ErrorKind::InvalidClientConfig => Error::Config {
            storage,
            reason: error.to_string(),
        },
        ErrorKind::Io
        | ErrorKind::Parse
        | ErrorKind::ClusterConnectionNotFound
        | ErrorKind::EmptySentinelList
        | ErrorKind::MasterNameNotFoundBySentinel
        | ErrorKind::Server(
            ServerErrorKind::BusyLoading
            | ServerErrorKind::ClusterDown
            | ServerErrorKind::MasterDown
            | ServerErrorKind::TryAgain
            | ServerErrorKind::Moved
            | ServerErrorKind::Ask,
        ) => Error::Unreachable {
            storage,
            source: explained(error.into()),
        },
        _ => Error::Refused {
            storage,
            source: error.into(),
        },
    }
}
