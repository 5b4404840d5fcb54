//! An authority of our own, with certificates for servers and clients, as files.

use std::fs;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use tempfile::TempDir;

/// An authority (`ca.pem`), a server's certificate by it (`cert.pem`, `key.pem`), and a client's (`client.pem`,
/// `client-key.pem`, and `both.pem` with both).
pub(super) struct Certificates {
    pub(super) dir: TempDir,
    pub(super) authority: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Certificates {
    /// For a server that is called `localhost`.
    pub(super) fn make() -> Self {
        Self::make_for(&["localhost"])
    }

    pub(super) fn make_for(names: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let key = KeyPair::generate().unwrap();
        let mut params = named("an authority", &[]);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = params.self_signed(&key).unwrap().pem();
        fs::write(dir.path().join("ca.pem"), &authority).unwrap();
        let made = Self {
            dir,
            authority,
            issuer: Issuer::new(params, key),
        };
        let (cert, key) = made.sign(named("a server", names));
        made.write("cert.pem", &cert);
        made.write("key.pem", &key);
        let (cert, key) = made.sign(named("a client", &[]));
        made.write("client.pem", &cert);
        made.write("client-key.pem", &key);
        made.write("both.pem", &(cert + &key));
        made
    }

    /// Adds a client's certificate that is not valid any more, `expired.pem` with its key.
    pub(super) fn with_expired(self) -> Self {
        let mut params = named("a client of old", &[]);
        params.not_before = date_time_ymd(2019, 1, 1);
        params.not_after = date_time_ymd(2020, 1, 1);
        let (cert, key) = self.sign(params);
        self.write("expired.pem", &(cert + &key));
        self
    }

    /// A server's certificate whose time is over, in place of the one that is valid.
    pub(super) fn with_expired_server(self) -> Self {
        let mut params = named("a server of old", &["localhost"]);
        params.not_before = date_time_ymd(2019, 1, 1);
        params.not_after = date_time_ymd(2020, 1, 1);
        let (cert, key) = self.sign(params);
        self.write("cert.pem", &cert);
        self.write("key.pem", &key);
        self
    }

    /// A server that shows the certificate of its own authority, which is how self-signed ones are mostly made.
    pub(super) fn own_authority() -> Self {
        let made = Self::make();
        let mut params = named("a server", &["localhost"]);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let cert = params.self_signed(&key).unwrap().pem();
        made.write("ca.pem", &cert);
        made.write("cert.pem", &cert);
        made.write("key.pem", &key.serialize_pem());
        made
    }

    /// Where a file is.
    pub(super) fn path(&self, file: &str) -> String {
        self.dir.path().join(file).display().to_string()
    }

    /// The options of a URL that trusts the authority and shows the client's certificate.
    pub(super) fn mutual(&self) -> String {
        format!(
            "ca={}&cert={}&key={}",
            self.path("ca.pem"),
            self.path("client.pem"),
            self.path("client-key.pem")
        )
    }

    pub(super) fn write(&self, file: &str, text: &str) {
        fs::write(self.dir.path().join(file), text).unwrap();
    }

    fn sign(&self, params: CertificateParams) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let cert = params.signed_by(&key, &self.issuer).unwrap();
        (cert.pem(), key.serialize_pem())
    }
}

fn named(name: &str, hosts: &[&str]) -> CertificateParams {
    let hosts: Vec<_> = hosts.iter().map(|&host| host.into()).collect();
    let mut params = CertificateParams::new(hosts).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}
