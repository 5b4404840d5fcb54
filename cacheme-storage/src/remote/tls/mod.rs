//! TLS, as far as storages share it: whom to trust and who we are, checked before a driver takes it, and what goes wrong.

use std::fmt;

mod files;
mod pem;
#[cfg(any(feature = "redis", feature = "mongodb"))]
mod probe;
mod trouble;

#[cfg(any(feature = "_server", feature = "mongodb"))]
pub(crate) use files::DriversNames;
#[cfg(feature = "_server")]
pub(crate) use files::Mode;
pub(crate) use files::TlsFiles;
#[cfg(any(feature = "redis", feature = "mongodb"))]
pub(crate) use probe::{answers, speaks_tls};
pub(crate) use trouble::explained;
#[cfg(any(feature = "redis", feature = "mongodb"))]
pub(crate) use trouble::{SPEAKS_NO_TLS, SPEAKS_TLS};

/// Whom to trust and who we are, as PEM, for whoever builds a storage step by step.
#[derive(Clone, Default)]
pub(crate) struct Credentials {
    /// Certificates of authorities.
    pub(crate) authorities: Option<Vec<u8>>,
    pub(crate) client: Option<ClientPem>,
}

/// A client's certificate and its key.
#[derive(Clone)]
pub(crate) struct ClientPem {
    pub(crate) cert: Vec<u8>,
    pub(crate) key: Vec<u8>,
}

impl Credentials {
    /// The reason why they cannot be used, by the names of the builders' methods.
    pub(crate) fn check(&self) -> Result<(), String> {
        if let Some(authorities) = &self.authorities {
            pem::check_authorities(authorities)
                .map_err(|why| format!("the PEM of `tls_authorities` {why}"))?;
        }
        if let Some(ClientPem { cert, key }) = &self.client {
            pem::check_client(cert, key).map_err(|fault| {
                let what = match fault.part {
                    pem::Part::Certificate => "certificate",
                    pem::Part::Key => "key",
                };
                format!("the PEM of `tls_certificate` for the {what} {}", fault.why)
            })?;
        }
        Ok(())
    }

    #[cfg(feature = "_server")]
    pub(crate) fn is_empty(&self) -> bool {
        self.authorities.is_none() && self.client.is_none()
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the key.
        f.debug_struct("Credentials")
            .field("authorities", &self.authorities.is_some())
            .field("client", &self.client.is_some())
            .finish()
    }
}
