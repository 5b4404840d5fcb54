//! Errors of TLS, with advice for each.

use std::fmt;

use crate::error::{BoxError, Chain};

/// A server that answers in the clear where we speak TLS.
pub(crate) const SPEAKS_NO_TLS: &str =
    "the server speaks no TLS on this port; name the port where it does, or connect without TLS";
/// A server that speaks TLS where we do not.
#[cfg(any(feature = "redis", feature = "mongodb"))]
pub(crate) const SPEAKS_TLS: &str = "the server speaks TLS on this port, and was asked in the clear";

/// Texts in messages of TLS libraries and servers, and advice for each.
const CURES: [(&str, &str); 14] = [
    (
        "CaUsedAsEndEntity",
        "the server shows the certificate of an authority itself (a self-signed one, perhaps), which is no certificate of a \
         server. Make one for the server that the authority signs, and name the authority with `ca`; or make the server's \
         certificate without `CA:TRUE`",
    ),
    (
        "UnknownIssuer",
        "the authority that signed the server's certificate is not trusted; name the authority's certificate with `ca`",
    ),
    (
        "not valid for name",
        "the server's certificate is for another name; connect by a name that it is for",
    ),
    (
        "certificate expired",
        "the server's certificate has expired; renew it, or set this machine's clock",
    ),
    (
        "certificate not valid yet",
        "the server's certificate is not valid yet; wait, or set this machine's clock",
    ),
    (
        "fatal alert: CertificateRequired",
        "the server asks its clients for a certificate; name it with `cert` and its key with `key`",
    ),
    (
        "requires a valid client certificate",
        "the server asks its clients for a certificate; name it with `cert` and its key with `key`",
    ),
    (
        "fatal alert: UnknownCA",
        "the server does not trust the authority that signed our certificate (`cert`)",
    ),
    (
        "fatal alert: CertificateExpired",
        "our certificate (`cert`) has expired by the server's clock",
    ),
    (
        "fatal alert: BadCertificate",
        "the server refuses our certificate (`cert`)",
    ),
    (
        "fatal alert: UnsupportedCertificate",
        "the server refuses our certificate (`cert`): it may not be one for clients",
    ),
    (
        "fatal alert: CertificateRevoked",
        "our certificate (`cert`) was revoked",
    ),
    ("corrupt message of type InvalidContentType", SPEAKS_NO_TLS),
    (
        "server does not support TLS",
        "the server speaks no TLS; switch it on there, or connect without (`sslmode`, and neither `ca` nor `cert`)",
    ),
];

/// The error, with what to do about it where it is one of TLS that is known.
pub(crate) fn explained(error: BoxError) -> BoxError {
    let text = Chain(&*error).to_string();
    match CURES.iter().find(|(part, _)| text.contains(part)) {
        Some(&(_, cure)) => Explained { cure, error }.into(),
        None => error,
    }
}

#[derive(Debug)]
struct Explained {
    cure: &'static str,
    error: BoxError,
}

impl fmt::Display for Explained {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.cure)
    }
}

impl std::error::Error for Explained {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&*self.error)
    }
}
