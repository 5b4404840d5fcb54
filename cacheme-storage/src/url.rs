//! Storage URLs: `scheme://[user[:password]@]hosts[/path][?name=value&…]`.
//!
//! Not parsed by the `url` crate, since `hosts` may be a list (`a:6379,b:6379`) or empty, and a path may be a file's.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use percent_encoding::percent_decode_str;

use crate::error::{Error, Result};

/// Advice for an address whose options hold a password.
const ENCODE_SECRET: &str =
    "percent-encode signs that belong to a password: `&` is `%26`, `=` is `%3D`, `%` is `%25`";

/// A storage URL in parts. Options are taken one by one; what is left over at the end is a mistake.
pub(crate) struct StorageUrl {
    scheme: String,
    user: Option<String>,
    password: Option<String>,
    hosts: String,
    path: String,
    options: Vec<(String, String)>,
    known: Vec<&'static str>,
    /// A password is among the options, and what is not understood may be a part of it.
    has_secret: bool,
}

impl StorageUrl {
    pub(crate) fn parse(text: &str) -> Result<Self> {
        // Until the parts are known, nothing of the text is safe to show but its scheme.
        let (scheme, rest) = text
            .split_once("://")
            .filter(|(scheme, _)| is_scheme(scheme))
            .ok_or_else(|| Error::Url {
                url: "…".into(),
                reason:
                    "has no scheme; write for example `local://tlfu?size=10000` or `redis://localhost:6379`"
                        .into(),
            })?;
        let unsafe_url = |reason: String| Error::Url {
            url: format!("{scheme}://…"),
            reason,
        };
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        // Of `redis://:pass/word@host` the host would be `:pass`, and be shown in messages.
        if path.contains('@') || query.contains('@') {
            return Err(unsafe_url(
                "has `@` after `/` or `?`; percent-encode these signs where they belong to a user name, a password \
                 or a file: `@` is `%40`, `/` is `%2F`, `?` is `%3F`"
                    .into(),
            ));
        }
        let (userinfo, hosts) = match authority.rsplit_once('@') {
            Some((userinfo, hosts)) => (Some(userinfo), hosts),
            None => (None, authority),
        };
        let decode = |part: &str| {
            let decoded = percent_decode_str(part).decode_utf8();
            decoded
                .map(Into::into)
                .map_err(|_| unsafe_url("is not UTF-8 once percent-decoded".into()))
        };
        let (user, password) = match userinfo.map(|info| info.split_once(':').unwrap_or((info, ""))) {
            Some((user, password)) => (Some(decode(user)?), Some(decode(password)?)),
            None => (None, None),
        };
        let has_secret = query.contains("password");
        let mut options = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').ok_or_else(|| {
                unsafe_url(match has_secret {
                    true => format!("has an option without a value; {ENCODE_SECRET}"),
                    false => format!("option `{pair}` has no value; write `{pair}=…`"),
                })
            })?;
            options.push((decode(name)?, decode(value)?));
        }
        Ok(Self {
            scheme: scheme.to_ascii_lowercase(),
            user: user.filter(|user: &String| !user.is_empty()),
            password: password.filter(|password: &String| !password.is_empty()),
            hosts: hosts.to_owned(),
            path: decode(path)?,
            options,
            known: Vec::new(),
            has_secret,
        })
    }

    pub(crate) fn scheme(&self) -> &str {
        &self.scheme
    }

    pub(crate) fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    pub(crate) fn password(&self) -> Option<&str> {
        self.password.as_deref()
    }

    /// Everything between `@` and the path: `host`, `host:port`, `a:1,b:2` or nothing.
    pub(crate) fn hosts(&self) -> &str {
        &self.hosts
    }

    /// The path with its leading `/`, percent-decoded.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// The URL without user, password and options.
    pub(crate) fn location(&self) -> String {
        let hosts: Vec<_> = self.hosts.split(',').map(shown).collect();
        format!("{}://{}{}", self.scheme, hosts.join(","), self.path)
    }

    /// Says whether the option `name` is given and not taken. It is not known for that.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.options.iter().any(|(option, _)| option == name)
    }

    /// Takes the option `name`; `what` says what it must be ("a number of entries").
    pub(crate) fn take<T: FromStr>(&mut self, name: &'static str, what: &str) -> Result<Option<T>> {
        self.take_with(name, what, |text| text.parse().ok())
    }

    /// Takes the option `name` as a duration such as `500ms` or `1m30s`, which is not zero.
    pub(crate) fn take_duration(&mut self, name: &'static str) -> Result<Option<Duration>> {
        self.take_with(name, "a duration such as `500ms` or `1m30s`", |text| {
            humantime::parse_duration(text)
                .ok()
                .filter(|duration| !duration.is_zero())
        })
    }

    /// Takes the option `name` as a number of bytes such as `1048576`, `512KiB` or `64MiB`, which is not zero.
    pub(crate) fn take_size(&mut self, name: &'static str) -> Result<Option<usize>> {
        self.take_with(name, "a number of bytes such as `1048576` or `64MiB`", |text| {
            let (digits, unit) = text.split_at(
                text.find(|sign: char| !sign.is_ascii_digit())
                    .unwrap_or(text.len()),
            );
            let shift = match unit {
                "" | "B" => 0,
                "KiB" => 10,
                "MiB" => 20,
                "GiB" => 30,
                _ => return None,
            };
            let bytes = digits.parse::<usize>().ok()?.checked_mul(1 << shift)?;
            (bytes > 0).then_some(bytes)
        })
    }

    /// Takes the option `name`, read by `parse`.
    pub(crate) fn take_with<T>(
        &mut self,
        name: &'static str,
        what: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>> {
        self.known.push(name);
        let Some(at) = self.options.iter().position(|(option, _)| option == name) else {
            return Ok(None);
        };
        let (_, text) = self.options.remove(at);
        if self.options.iter().any(|(option, _)| option == name) {
            return Err(self.error(format!("option `{name}` is given twice")));
        }
        match parse(&text) {
            Some(value) => Ok(Some(value)),
            None => Err(self.error(format!("option `{name}` must be {what}"))),
        }
    }

    /// Refuses options that nobody took.
    pub(crate) fn finish(&self) -> Result<()> {
        match self.options.first() {
            None => Ok(()),
            Some((name, _)) => {
                let mut known = self.known.clone();
                known.sort_unstable();
                let known = known.join(", ");
                Err(self.error(match self.has_secret {
                    true => format!("has an unknown option; {ENCODE_SECRET}; known are: {known}"),
                    false => format!("unknown option `{name}`; known are: {known}"),
                }))
            }
        }
    }

    /// An error about this URL, without its secrets.
    pub(crate) fn error(&self, reason: impl Into<String>) -> Error {
        Error::Url {
            url: self.location(),
            reason: reason.into(),
        }
    }
}

fn is_scheme(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
}

/// A host with its port, as messages may show it.
///
/// What stands for a port and is none may be a password: of `redis://user:password`, where the host is forgotten.
fn shown(host: &str) -> &str {
    let colon = host.rfind(':').filter(|&colon| !host[colon..].contains(']'));
    match colon.map(|colon| host.split_at(colon)) {
        Some((_, port)) if host != ":memory:" && port[1..].parse::<u16>().is_err() => "…",
        _ => host,
    }
}

impl fmt::Debug for StorageUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("StorageUrl").field(&self.location()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_taken_apart_and_decoded() {
        let mut url = StorageUrl::parse("redis://ann:p%40ss@h1:1,h2:2/3?timeout=250ms").unwrap();
        assert_eq!(
            (url.scheme(), url.hosts(), url.path()),
            ("redis", "h1:1,h2:2", "/3")
        );
        assert_eq!((url.user(), url.password()), (Some("ann"), Some("p@ss")));
        assert_eq!(
            url.take_duration("timeout").unwrap(),
            Some(Duration::from_millis(250))
        );
        url.finish().unwrap();
    }

    #[test]
    fn mistakes_name_the_option_and_hide_the_password() {
        let mut url = StorageUrl::parse("redis://:secret@h/0?sise=3").unwrap();
        assert_eq!(url.take::<u64>("size", "a number of entries").unwrap(), None);
        let error = url.finish().unwrap_err().to_string();
        assert_eq!(
            error,
            "storage url `redis://h/0`: unknown option `sise`; known are: size"
        );
        assert!(!format!("{url:?} {:?}", url.error("x")).contains("secret"));

        let mut url = StorageUrl::parse("local://tlfu?size=lots").unwrap();
        let error = url
            .take::<u64>("size", "a number of entries")
            .unwrap_err()
            .to_string();
        assert_eq!(
            error,
            "storage url `local://tlfu`: option `size` must be a number of entries"
        );
        for zero in ["0s", "0ms"] {
            let mut url = StorageUrl::parse(&format!("local://lru?ttl={zero}")).unwrap();
            let error = url.take_duration("ttl").unwrap_err().to_string();
            assert!(
                error.ends_with("must be a duration such as `500ms` or `1m30s`"),
                "{error}"
            );
        }
        assert!(
            StorageUrl::parse("redis.example:6379")
                .unwrap_err()
                .to_string()
                .contains("has no scheme")
        );
    }

    #[test]
    fn what_may_be_a_password_in_the_wrong_place_is_not_shown() {
        for url in [
            "redis://:sEcReT@host",
            "redis://ann:sEc/sEcReT@host",
            "redis://ann:sEc?sEcReT@host",
            "redis://ann:sEc?x=sEcReT@host",
            "redis://ann:sEc#sEcReT@host/1",
            "redis://ann:sEcReT",
            "redis://ann:sEcReT/1",
            "redis://a:6379,ann:sEcReT",
            "redis://ann:123456sEcReT",
            "password=sEcReT host=x ://",
            "sEcReT@host",
            "ann:sEcReT@host://",
            "redis://h?sentinel_password=a&sEcReT",
        ] {
            let shown = match StorageUrl::parse(url) {
                Ok(url) => format!("{url:?} {} {:?}", url.error("x"), url.error("x")),
                Err(error) => format!("{error} {error:?}"),
            };
            assert!(!shown.contains("sEcReT"), "{url}: {shown}");
        }
        let mut url = StorageUrl::parse("redis://h?sentinel_password=a&sEcReT=b").unwrap();
        let _: Option<String> = url.take("sentinel_password", "a password").unwrap();
        let shown = url.finish().unwrap_err().to_string();
        assert!(
            !shown.contains("sEcReT") && shown.contains("`&` is `%26`"),
            "{shown}"
        );
        for (hosts, location) in [
            ("[::1]:6379", "[::1]:6379"),
            ("[::1]", "[::1]"),
            ("a:1,b:x", "a:1,…"),
            (":memory:", ":memory:"),
        ] {
            let url = StorageUrl::parse(&format!("x://{hosts}")).unwrap();
            assert_eq!(url.location(), format!("x://{location}"));
        }
    }
}
