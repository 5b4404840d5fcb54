//! Errors as statuses.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

/// The error of a handler.
#[derive(Debug)]
pub(crate) enum Error {
    /// There is no such thing.
    NotFound,
    /// A cached value could not be had.
    Cache(cacheme::Error),
    /// A query failed.
    Source(sqlx::Error),
}

impl From<cacheme::Error> for Error {
    fn from(error: cacheme::Error) -> Self {
        Self::Cache(error)
    }
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        Self::Source(error)
    }
}

impl Error {
    fn status(&self) -> StatusCode {
        // The loader's own error, through the cache.
        let source = match self {
            Self::NotFound => return StatusCode::NOT_FOUND,
            Self::Cache(cacheme::Error::LoadTimedOut { .. }) => return StatusCode::GATEWAY_TIMEOUT,
            Self::Cache(error) => error.downcast_load(),
            Self::Source(error) => Some(error),
        };
        match source {
            Some(sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed) => StatusCode::SERVICE_UNAVAILABLE,
            Some(sqlx::Error::Database(error)) if error.is_unique_violation() => StatusCode::CONFLICT,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let status = self.status();
        if status.is_server_error() {
            tracing::error!(error = ?self, "a request failed");
        }
        status.into_response()
    }
}
