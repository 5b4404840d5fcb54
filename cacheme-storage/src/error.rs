use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

/// Any error, boxed, as drivers and serializers report them.
pub type BoxError = Box<dyn std::error::Error + Send + Sync + 'static>;

/// The result of a storage operation.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The errors that a storage reports. A miss is never an error.
///
/// An error does not repeat what it comes from: [`source`](std::error::Error::source) gives that, and [`Chain`] prints all of it.
///
/// `storage` is always the storage's [location](crate::RemoteStorage::location): where it is, without secrets.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The URL given to [`Storage::open`](crate::Storage::open) cannot be understood, names an unknown scheme or option, or
    /// gives an option a value that it cannot have.
    #[error("storage url `{url}`: {reason}")]
    Url {
        /// The URL, without user name, password and query.
        url: String,
        /// The mistake, and what to write instead.
        reason: String,
    },

    /// The storage was built with settings it cannot work with, or finds on its server something it cannot use.
    #[error("storage {storage}: {reason}")]
    Config {
        /// The address of the storage.
        storage: String,
        /// The mistake, and what to do.
        reason: String,
    },

    /// The server does not answer: refused, reset, host unknown, pool exhausted.
    #[error("storage {storage} cannot be reached")]
    Unreachable {
        /// The address of the storage.
        storage: String,
        /// The error of the driver.
        source: BoxError,
    },

    /// The operation took longer than the storage's timeout.
    #[error("storage {storage} did not answer within {after:?}")]
    Timeout {
        /// The address of the storage.
        storage: String,
        /// The bound that was reached.
        after: Duration,
    },

    /// The server answered and refused: wrong password, no permission, disk or memory full, read-only.
    #[error("storage {storage} refused")]
    Refused {
        /// The address of the storage.
        storage: String,
        /// The message of the server.
        source: BoxError,
    },

    /// The value is larger than the storage can take.
    #[error("storage {storage} takes values up to {limit} bytes, this one has {size}")]
    TooLarge {
        /// The address of the storage.
        storage: String,
        /// Size of the value in bytes, envelope included.
        size: usize,
        /// The limit in bytes.
        limit: usize,
    },
}

impl Error {
    /// The storage that had the trouble, for errors that come from one.
    #[must_use]
    pub fn storage(&self) -> &str {
        match self {
            Self::Url { url, .. } => url,
            Self::Config { storage, .. }
            | Self::Unreachable { storage, .. }
            | Self::Timeout { storage, .. }
            | Self::Refused { storage, .. }
            | Self::TooLarge { storage, .. } => storage,
        }
    }
}

/// Prints an error with all that it comes from, in one line: `what: why: why`.
///
/// A cause is left out where the error before it says the same already, as some drivers' errors do.
///
/// ```
/// use cacheme_storage::{Chain, Error};
///
/// let error = Error::Refused {
///     storage: "redis://localhost:6379/0".into(),
///     source: "out of memory".into(),
/// };
/// assert_eq!(error.to_string(), "storage redis://localhost:6379/0 refused");
/// assert_eq!(Chain(&error).to_string(), "storage redis://localhost:6379/0 refused: out of memory");
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Chain<'e>(pub &'e (dyn StdError + 'static));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut said = self.0.to_string();
        f.write_str(&said)?;
        let mut next = self.0.source();
        while let Some(cause) = next {
            let text = cause.to_string();
            if !said.contains(&text) {
                write!(f, ": {text}")?;
                said = text;
            }
            next = cause.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Step {
        text: &'static str,
        source: Option<Box<Step>>,
    }

    fn steps(texts: &[&'static str]) -> Option<Box<Step>> {
        let (&text, rest) = texts.split_first()?;
        let source = steps(rest);
        Some(Box::new(Step { text, source }))
    }

    #[test]
    fn a_chain_says_each_cause_once() {
        let said = |texts: &[&'static str]| Chain(&*steps(texts).unwrap()).to_string();
        assert_eq!(said(&["a"]), "a");
        assert_eq!(said(&["a", "b", "c"]), "a: b: c");
        assert_eq!(said(&["a: b", "b", "c"]), "a: b: c");
        assert_eq!(said(&["a: b: c", "b: c", "c", "d"]), "a: b: c: d");
        assert_eq!(said(&["a", "", "b"]), "a: b");
    }
}
