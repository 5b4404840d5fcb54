//! The form of a lease in Redis, and the scripts that respect it.

use std::time::Duration;

use redis::Cmd;

use super::fill_watch::CHANNEL;
use crate::codec::envelope::LEASE_MAGIC;
use crate::contract::lease::LeaseToken;

/// A lease lies where the value would: its magic, the holder's token, and when it ends by the server's clock.
///
/// `PX` ends it on the server. The time in it tells others how long to wait, and that it is over where somebody took its `PX` away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lease {
    pub(super) token: LeaseToken,
    pub(super) until_ms: u64,
}

const CLAIM: usize = LEASE_MAGIC.len() + 16;

/// A lease as it lies in the server.
pub(super) type LeaseBytes = [u8; CLAIM + 8];

/// By how much two processes may differ over the server's clock.
const CLOCK_ERROR_MS: u64 = 1_000;

impl Lease {
    pub(super) fn to_bytes(self) -> LeaseBytes {
        let mut bytes = [0; CLAIM + 8];
        bytes[..CLAIM].copy_from_slice(&claim(self.token));
        bytes[CLAIM..].copy_from_slice(&self.until_ms.to_be_bytes());
        bytes
    }

    /// The lease in `bytes`, unless they are a value.
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (token, until_ms) = bytes.strip_prefix(&LEASE_MAGIC)?.split_at_checked(16)?;
        Some(Self {
            token: LeaseToken(u128::from_be_bytes(token.try_into().ok()?)),
            until_ms: u64::from_be_bytes(until_ms.try_into().ok()?),
        })
    }

    /// The time at which it is over even if the server still has it: what was written by an estimate of the server's clock counts a little longer.
    pub(super) fn over_ms(self) -> u64 {
        self.until_ms.saturating_add(CLOCK_ERROR_MS)
    }

    /// The time that others have to wait at `now_ms`. Never zero: the server still has the lease.
    pub(super) fn left(self, now_ms: u64) -> Duration {
        Duration::from_millis(self.until_ms.saturating_sub(now_ms).max(1))
    }
}

/// The part of a lease that its holder knows: all but its end.
pub(super) fn claim(token: LeaseToken) -> [u8; CLAIM] {
    let mut claim = [0; CLAIM];
    claim[..LEASE_MAGIC.len()].copy_from_slice(&LEASE_MAGIC);
    claim[LEASE_MAGIC.len()..].copy_from_slice(&token.0.to_be_bytes());
    claim
}

/// A script, named by its digest once the server has it.
pub(super) struct Script {
    text: String,
    digest: String,
}

impl Script {
    fn new(text: impl Into<String>) -> Self {
        let text = text.into();
        let digest = redis::Script::new(&text).get_hash().to_owned();
        Self { text, digest }
    }

    /// Gives the server the script.
    pub(super) fn load(&self) -> Cmd {
        let mut command = redis::cmd("SCRIPT");
        command.arg("LOAD").arg(&self.text);
        command
    }

    /// Runs it on one key, arguments to follow: by its digest, or by its text for a server that forgot it.
    pub(super) fn on(&self, key: &[u8], by_text: bool) -> Cmd {
        let (name, script) = match by_text {
            false => ("EVALSHA", &self.digest),
            true => ("EVAL", &self.text),
        };
        let mut command = Cmd::with_capacity(8, key.len() + script.len() + 128);
        command.arg(name).arg(script).arg(1).arg(key);
        command
    }
}

/// The server's time in milliseconds. Before Redis 5, a script that looked at the clock may only write if it says so before.
const NOW: &str = "if redis.replicate_commands then redis.replicate_commands() end \
    local time = redis.call('TIME') \
    local now = time[1] * 1000 + math.floor(time[2] / 1000)";

/// Writes the lease unless it is too late.
const GRANT: &str = "if ARGV[3] ~= '' and now > tonumber(ARGV[3]) then return now end \
    redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2]) \
    return false";

/// The scripts, which make compare-and-write one step on the server.
///
/// They look at the head of the value by `GETRANGE`, so a large value is not copied to be compared.
pub(super) struct Scripts {
    /// `KEYS[1]`, claim, value, ttl in milliseconds or an empty string: 1 when stored, 0 when lost.
    pub(super) fill: Script,
    /// `KEYS[1]`, claim.
    pub(super) release: Script,
    /// `KEYS[1]`, claim, lease, time in milliseconds.
    pub(super) renew: Script,
    /// `KEYS[1]`, lease, time in milliseconds, deadline or an empty string; perhaps what was seen there and when that is over: what
    /// is there, or nil when the lease was written, or the server's time when the deadline had passed.
    pub(super) acquire: Script,
    /// `KEYS[1]`, lease, time in milliseconds, deadline or an empty string: nil when the lease was written, or the server's time
    /// when the deadline had passed.
    pub(super) steal: Script,
}

impl Scripts {
    /// With `publishes`, they publish that a lease was given up, to those that wait for the key.
    pub(super) fn new(publishes: bool) -> Self {
        // A user without the right to publish fills all the same.
        let publish = match publishes {
            true => format!("redis.pcall('PUBLISH', '{CHANNEL}' .. KEYS[1], '') "),
            false => String::new(),
        };
        // Numbers as strings: the server writes those of Lua as floats.
        let head = format!("redis.call('GETRANGE', KEYS[1], '0', '{}') == ARGV[1]", CLAIM - 1);
        Self {
            fill: Script::new(format!(
                "if {head} then \
                   if ARGV[3] == '' then redis.call('SET', KEYS[1], ARGV[2]) \
                   else redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3]) end \
                   {publish}\
                   return 1 \
                 end \
                 return 0"
            )),
            release: Script::new(format!(
                "if {head} then redis.call('DEL', KEYS[1]) {publish}return 1 end return 0"
            )),
            renew: Script::new(format!(
                "if {head} then redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3]) return 1 end return 0"
            )),
            // Without the last two arguments, `ARGV[4]` is nil, which nothing equals.
            acquire: Script::new(format!(
                "local found = redis.call('GET', KEYS[1]) \
                 if found and found ~= ARGV[4] then return found end \
                 {NOW} \
                 if found and now <= tonumber(ARGV[5]) then return found end \
                 {GRANT}"
            )),
            steal: Script::new(format!("{NOW} {GRANT}")),
        }
    }

    pub(super) fn all(&self) -> [&Script; 5] {
        [&self.fill, &self.release, &self.renew, &self.acquire, &self.steal]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_comes_back_and_values_are_none() {
        let lease = Lease {
            token: LeaseToken(u128::MAX / 3),
            until_ms: 1_700_000_000_000,
        };
        let bytes = lease.to_bytes();
        assert_eq!(Lease::from_bytes(&bytes), Some(lease));
        assert!(bytes.starts_with(&claim(lease.token)));
        assert_eq!(Lease::from_bytes(&bytes[..bytes.len() - 1]), None);
        assert_eq!(Lease::from_bytes(&[&bytes[..], b"x"].concat()), None);
        for value in [&b""[..], b"\xF7", &LEASE_MAGIC, b"a value"] {
            assert_eq!(Lease::from_bytes(value), None);
        }
    }

    #[test]
    fn the_time_left_is_never_zero_nor_negative() {
        let lease = Lease {
            token: LeaseToken(1),
            until_ms: 1_000,
        };
        assert_eq!(lease.left(400), Duration::from_millis(600));
        assert_eq!(lease.left(1_000), Duration::from_millis(1));
        assert_eq!(lease.left(5_000), Duration::from_millis(1));
    }
}
