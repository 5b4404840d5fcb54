//! The certificates of a URL, looked at before the driver reads them, which takes what it finds.

use std::fs;

use crate::Result;
use crate::url::StorageUrl;

/// The files of the URL, by the names that all storages have for them.
#[derive(Debug)]
pub(super) struct Certificates {
    ca: Option<String>,
    /// The client's, with its key in the same file.
    cert: Option<String>,
}

impl Certificates {
    /// Takes them by our names or by the driver's.
    pub(super) fn take(url: &mut StorageUrl) -> Result<Self> {
        let ca = "the path of a PEM file with a certificate";
        let ca = one(url, ["ca", "tlsCAFile"], ca, &["BEGIN CERTIFICATE"])?;
        let cert = "the path of a PEM file with a certificate and its key: the driver takes both from one file \
                    (`cat cert.pem key.pem > both.pem`)";
        let parts = ["BEGIN CERTIFICATE", "PRIVATE KEY"];
        let cert = one(url, ["cert", "tlsCertificateKeyFile"], cert, &parts)?;
        if let Some(key) = url.take::<String>("key", "the path of a PEM file")?
            && cert.as_ref() != Some(&key)
        {
            return Err(url.error(
                "option `key` must be the same file as `cert`: the driver takes both from one file \
                 (`cat cert.pem key.pem > both.pem`)",
            ));
        }
        Ok(Self { ca, cert })
    }

    /// By the driver's names.
    pub(super) fn options(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let files = [("tlsCAFile", &self.ca), ("tlsCertificateKeyFile", &self.cert)];
        files
            .into_iter()
            .filter_map(|(name, file)| Some((name, file.as_deref()?)))
    }
}

/// A file by one of two names, which must have all of the parts.
fn one(url: &mut StorageUrl, names: [&'static str; 2], what: &str, parts: &[&str]) -> Result<Option<String>> {
    let ours = url.take_with(names[0], what, |path| holds(path, parts))?;
    let the_drivers = url.take_with(names[1], what, |path| holds(path, parts))?;
    if ours.is_some() && the_drivers.is_some() {
        let [ours, the_drivers] = names;
        return Err(url.error(format!(
            "options `{ours}` and `{the_drivers}` are the same: give one of them"
        )));
    }
    Ok(ours.or(the_drivers))
}

/// The path, if the file there holds each of the parts.
fn holds(path: &str, parts: &[&str]) -> Option<String> {
    let pem = fs::read_to_string(path).ok()?;
    parts
        .iter()
        .all(|part| pem.contains(part))
        .then(|| path.to_owned())
}
