//! Checks certificates and keys, since drivers do so late, or not at all.

/// The part of a client's certificate that is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Certificate,
    Key,
}

/// The reason why a certificate with its key cannot be used, as what follows the name of the file.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) part: Part,
    pub(super) why: String,
}

#[cfg(feature = "_tls")]
pub(super) use checks::{check_authorities, check_client};

#[cfg(feature = "_tls")]
mod checks {
    use rustls::pki_types::pem::PemObject as _;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
    use rustls::server::WebPkiClientVerifier;
    use rustls::sign::CertifiedKey;
    use rustls::{CertificateError, InconsistentKeys, RootCertStore};

    use super::{Fault, Part};

    /// Says whether these are certificates of authorities, one at the least.
    pub(in crate::remote::tls) fn check_authorities(pem: &[u8]) -> Result<(), String> {
        let mut store = RootCertStore::empty();
        for certificate in certificates(pem)? {
            store.add(certificate).map_err(unreadable)?;
        }
        Ok(())
    }

    /// Says whether this is a certificate that is valid now, and its key.
    pub(in crate::remote::tls) fn check_client(cert: &[u8], key: &[u8]) -> Result<(), Fault> {
        let of_certificate = |why| Fault {
            part: Part::Certificate,
            why,
        };
        let of_key = |why| Fault { part: Part::Key, why };
        let chain = certificates(cert).map_err(of_certificate)?;
        check_dates(&chain[0]).map_err(of_certificate)?;
        if contains(key, "ENCRYPTED") {
            let decrypt =
                "holds an encrypted key; decrypt it (`openssl pkey -in key.pem -out decrypted.pem`)";
            return Err(of_key(decrypt.into()));
        }
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| match error {
            rustls::pki_types::pem::Error::NoItemsFound => of_key("holds no private key in PEM".into()),
            error => of_key(format!("holds a private key that cannot be read: {error}")),
        })?;
        let provider = rustls::crypto::ring::default_provider();
        CertifiedKey::from_der(chain, key, &provider).map_err(|error| match error {
            rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
                of_key("holds the key of another certificate".into())
            }
            error => of_key(format!("holds a private key that cannot be used: {error}")),
        })?;
        Ok(())
    }

    fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
        let found: Vec<_> = CertificateDer::pem_slice_iter(pem)
            .collect::<Result<_, _>>()
            .map_err(unreadable)?;
        match found.is_empty() {
            false => Ok(found),
            true if contains(pem, "PRIVATE KEY") => Err("holds a private key and no certificate".into()),
            true => Err("holds no certificate in PEM".into()),
        }
    }

    /// Says whether the certificate is valid now. Verifying it looks at that first; who signed it is the server's business.
    fn check_dates(certificate: &CertificateDer<'static>) -> Result<(), String> {
        let mut anchors = RootCertStore::empty();
        anchors.add(certificate.clone()).map_err(unreadable)?;
        let provider = rustls::crypto::ring::default_provider();
        let verifier = WebPkiClientVerifier::builder_with_provider(anchors.into(), provider.into())
            .build()
            .map_err(unreadable)?;
        match verifier.verify_client_cert(certificate, &[], UnixTime::now()) {
            Err(rustls::Error::InvalidCertificate(
                error @ (CertificateError::Expired
                | CertificateError::ExpiredContext { .. }
                | CertificateError::NotValidYet
                | CertificateError::NotValidYetContext { .. }),
            )) => Err(format!("cannot be used at this time: {error}")),
            _ => Ok(()),
        }
    }

    fn unreadable(error: impl std::fmt::Display) -> String {
        format!("holds a certificate that cannot be read: {error}")
    }

    fn contains(pem: &[u8], what: &str) -> bool {
        pem.windows(what.len()).any(|part| part == what.as_bytes())
    }
}

#[cfg(not(feature = "_tls"))]
pub(super) fn check_authorities(_: &[u8]) -> Result<(), String> {
    Err("cannot be used: TLS needs the feature `tls`".into())
}

#[cfg(not(feature = "_tls"))]
pub(super) fn check_client(cert: &[u8], _: &[u8]) -> Result<(), Fault> {
    check_authorities(cert).map_err(|why| Fault {
        part: Part::Certificate,
        why,
    })
}
