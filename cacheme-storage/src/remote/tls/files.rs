//! The PEM files of a URL, by the names that all storages have for them: `ca`, `cert` and `key`.

use std::fs;

use crate::error::{Error, Result};
use crate::url::StorageUrl;

use super::pem::{Part, check_authorities, check_client};

/// Other names of the options, as the storage's own programs have them.
#[derive(Clone, Copy)]
pub(crate) struct DriversNames {
    pub(crate) ca: &'static str,
    pub(crate) cert: &'static str,
    /// None if certificate and key lie in one file.
    pub(crate) key: Option<&'static str>,
}

/// Files that were looked at: each holds what it is to hold.
#[derive(Default)]
pub(crate) struct TlsFiles {
    /// The authorities to trust.
    pub(crate) ca: Option<PemFile>,
    /// The client's certificate and its key, in one file or two.
    pub(crate) client: Option<(PemFile, PemFile)>,
}

/// A file, and what was in it.
#[derive(Clone)]
pub(crate) struct PemFile {
    pub(crate) path: String,
    pub(crate) pem: Vec<u8>,
    /// The option that named it.
    option: &'static str,
}

/// A mode of TLS, by how far it goes.
#[cfg(feature = "_server")]
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// It goes in the clear where the server does not want TLS, or always.
    MayBePlain,
    /// It does not look at who answers.
    Unchecked,
    Checked,
}

const CA: &str = "the path of a PEM file with a certificate";
const CERT: &str = "the path of a PEM file with the client's certificate";
const KEY: &str = "the path of a PEM file with the key of `cert`";
/// The way to make one file of two.
const IN_ONE_FILE: &str = "both in one file (`cat cert.pem key.pem > both.pem`)";

impl TlsFiles {
    /// Takes the files that the URL names, by our names or by others.
    pub(crate) fn take(url: &mut StorageUrl, names: Option<DriversNames>) -> Result<Self> {
        let ca = file(url, "ca", names.map(|names| names.ca), CA)?;
        let cert = file(url, "cert", names.map(|names| names.cert), CERT)?;
        let key = file(url, "key", names.and_then(|names| names.key), KEY)?;
        if let Some(ca) = &ca {
            check_authorities(&ca.pem).map_err(|why| ca.refuse(url, CA, &why))?;
        }
        let client = match (cert, key) {
            (Some(cert), Some(key)) => Some((cert, key)),
            (Some(cert), None) => Some((cert.clone(), cert)),
            (None, Some(key)) => {
                let option = key.option;
                return Err(url.error(format!(
                    "option `{option}` is of no use without `cert`, the certificate that the key belongs to"
                )));
            }
            (None, None) => None,
        };
        if let Some((cert, key)) = &client {
            if matches!(names, Some(DriversNames { key: None, .. })) && cert.path != key.path {
                let option = cert.option;
                return Err(url.error(format!(
                    "option `key` must be the same file as `{option}`: the driver takes {IN_ONE_FILE}"
                )));
            }
            check_client(&cert.pem, &key.pem).map_err(|fault| match fault.part {
                Part::Certificate => cert.refuse(url, CERT, &fault.why),
                Part::Key if key.option != cert.option => key.refuse(url, KEY, &fault.why),
                Part::Key => {
                    let with_key = match names {
                        Some(DriversNames { key: None, .. }) => IN_ONE_FILE.into(),
                        _ => format!("{IN_ONE_FILE}, or the key's file as `key`"),
                    };
                    cert.refuse(url, &format!("{CERT} and its key, {with_key}"), &fault.why)
                }
            })?;
        }
        Ok(Self { ca, client })
    }

    /// Says whether the URL names any.
    pub(crate) fn any(&self) -> bool {
        self.ca.is_some() || self.client.is_some()
    }

    /// Refuses a `sslmode` that would leave the files unused, as one that says nothing may.
    ///
    /// `strictest` is what the mode is called that looks at all there is.
    #[cfg(feature = "_server")]
    pub(crate) fn check_mode(
        &self,
        url: &StorageUrl,
        mode: Option<Mode>,
        strictest: &str,
        has_socket: bool,
    ) -> Result<()> {
        let Some(file) = self.ca.as_ref().or(self.client.as_ref().map(|(cert, _)| cert)) else {
            return Ok(());
        };
        let option = file.option;
        if !cfg!(feature = "tls") {
            return Err(url.error(format!("option `{option}` needs the feature `tls`")));
        }
        if has_socket {
            return Err(url.error(format!(
                "option `{option}` is of no use with `socket`: TLS goes over TCP, not a unix socket"
            )));
        }
        let cure = format!("leave out `sslmode`, or write `sslmode={strictest}`");
        match mode {
            Some(Mode::MayBePlain) => Err(url.error(format!(
                "option `{option}` is of no use with a `sslmode` that may go in the clear; {cure}"
            ))),
            Some(Mode::Unchecked) if self.ca.is_some() => Err(url.error(format!(
                "option `{option}` is of no use with a `sslmode` that does not look at who answers; {cure}"
            ))),
            _ => Ok(()),
        }
    }
}

impl PemFile {
    fn refuse(&self, url: &StorageUrl, what: &str, why: &str) -> Error {
        let Self { option, path, .. } = self;
        url.error(format!("option `{option}` must be {what}; {path} {why}"))
    }
}

/// A file by one of two names.
fn file(
    url: &mut StorageUrl,
    ours: &'static str,
    other: Option<&'static str>,
    what: &str,
) -> Result<Option<PemFile>> {
    let mut given = Vec::new();
    for option in [Some(ours), other].into_iter().flatten() {
        if let Some(path) = url.take::<String>(option, what)? {
            given.push((option, path));
        }
    }
    match (given.pop(), given.pop()) {
        (Some((option, path)), None) => match fs::read(&path) {
            Ok(pem) => Ok(Some(PemFile { path, pem, option })),
            Err(error) => Err(url.error(format!("option `{option}` must be {what}; {path}: {error}"))),
        },
        (Some((other, _)), Some(_)) => Err(url.error(format!(
            "options `{ours}` and `{other}` are the same: give one of them"
        ))),
        (None, _) => Ok(None),
    }
}
