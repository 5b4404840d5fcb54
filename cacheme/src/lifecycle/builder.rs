//! Building an instance.

use crate::error::{Error, Result};
use crate::instance::Cacheme;

/// Builds a [`Cacheme`].
#[derive(Clone, Debug)]
pub struct CachemeBuilder {
    prefix: String,
}

impl CachemeBuilder {
    /// Sets the first part of every full key, by default `cacheme`.
    #[must_use]
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// Builds the instance.
    ///
    /// # Errors
    ///
    /// [`Error::Prefix`] for a prefix that is empty or has other characters than `A-Z a-z 0-9 _ . - @`.
    pub fn build(self) -> Result<Cacheme> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-@".contains(&byte);
        if self.prefix.is_empty() || !self.prefix.bytes().all(plain) {
            let reason = "must be letters, digits and `_ . - @`, at least one".into();
            return Err(Error::Prefix {
                prefix: self.prefix,
                reason,
            });
        }
        Ok(Cacheme::new(self.prefix))
    }
}

impl Cacheme {
    /// A builder for an instance beside the process-wide one.
    ///
    /// ```
    /// let cacheme = cacheme::Cacheme::builder().prefix("shop").build()?;
    /// # Ok::<(), cacheme::Error>(())
    /// ```
    #[must_use]
    pub fn builder() -> CachemeBuilder {
        CachemeBuilder {
            prefix: "cacheme".into(),
        }
    }
}
