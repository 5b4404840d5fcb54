use std::sync::Arc;

use parking_lot::Mutex;

use crate::error::{Error, Result};

/// The errors of a change that goes on in the background, for its caller.
pub(crate) type Report = Arc<Mutex<Unreached>>;

/// The errors of one change, each storage named once.
#[derive(Default)]
pub(crate) struct Unreached(Vec<Error>);

impl From<Error> for Unreached {
    fn from(error: Error) -> Self {
        match error {
            Error::Several(errors) => Self(errors),
            error => Self(vec![error]),
        }
    }
}

impl Unreached {
    /// Takes note of an error about the same keys as those before: a storage that fails again is named already.
    pub(crate) fn note(&mut self, error: Error) {
        if self.of_storage(&error).is_none() {
            self.0.push(error);
        }
    }

    /// Takes note of the errors of other keys.
    pub(crate) fn add(&mut self, others: Self) {
        for error in others.0 {
            match (self.of_storage(&error), &error) {
                (Some(known), Error::NotInvalidated { keys, .. }) => *known += keys,
                _ => self.0.push(error),
            }
        }
    }

    /// How many keys the storage of `error` may hold as far as is known, if that is one of those that failed.
    fn of_storage(&mut self, error: &Error) -> Option<&mut usize> {
        let Error::NotInvalidated { name: of, .. } = error else {
            return None;
        };
        self.0.iter_mut().find_map(|known| match known {
            Error::NotInvalidated { name, keys, .. } if name == of => Some(keys),
            _ => None,
        })
    }

    pub(crate) fn into_result(mut self) -> Result<()> {
        match self.0.len() {
            0 => Ok(()),
            1 => Err(self.0.remove(0)),
            _ => Err(Error::Several(self.0)),
        }
    }
}
