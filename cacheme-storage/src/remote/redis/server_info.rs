//! Facts that all connections of a storage share and learn.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use redis::{FromRedisValue, Pipeline, Value};

use super::scripts::Scripts;
use crate::remote::server_clock::ServerClock;

/// The largest value where a server does not say: `proto-max-bulk-len`, as servers come.
const VALUE_LIMIT: usize = 512 * 1024 * 1024;

/// The servers' clock and limits, and the scripts that they are to know.
pub(super) struct ServerInfo {
    pub(super) clock: ServerClock,
    pub(super) scripts: Scripts,
    /// In bytes; of a cluster, where servers may differ, the least.
    value_limit: AtomicUsize,
}

impl ServerInfo {
    /// The defaults, before any server answered. With `publishes`, its scripts publish fills.
    pub(super) fn new(publishes: bool) -> Self {
        Self {
            clock: ServerClock::new(),
            scripts: Scripts::new(publishes),
            value_limit: AtomicUsize::new(VALUE_LIMIT),
        }
    }

    /// The largest value in bytes.
    pub(super) fn value_limit(&self) -> usize {
        self.value_limit.load(Ordering::Relaxed)
    }

    /// The commands that begin every new connection.
    pub(super) fn greeting(&self) -> Pipeline {
        let mut greeting = redis::pipe();
        greeting.cmd("TIME");
        greeting.cmd("CONFIG").arg("GET").arg("proto-max-bulk-len");
        // Servers before version 7 take one section at a time.
        greeting.cmd("INFO").arg("server");
        greeting.cmd("INFO").arg("replication");
        for script in self.scripts.all() {
            greeting.add_command(script.load());
        }
        greeting
    }

    /// Learns from the answers to the greeting, which was sent at `asked`. Gives who answered, where the server says.
    ///
    /// Each may be an error: a user without the right to load scripts may still run them, one without the right to ask
    /// for the time gets ours, and one who may not ask for settings is trusted to have left them alone. To a user without
    /// the right to `INFO` all servers are the same.
    pub(super) fn learn(&self, answers: &[Value], asked: Instant) -> Option<Identity> {
        let [time, settings, server, replication, ..] = answers else {
            return None;
        };
        self.observe(time, asked);
        if let Ok((_, limit)) = <(String, usize)>::from_redis_value_ref(settings) {
            self.value_limit.fetch_min(limit, Ordering::Relaxed);
        }
        let text = |answer| String::from_redis_value_ref(answer).ok();
        Identity::from_info(&text(server)?, &text(replication)?)
    }

    /// Takes note of an answer to `TIME`, asked for at `asked`.
    pub(super) fn observe(&self, time: &Value, asked: Instant) {
        match <(u64, u64)>::from_redis_value_ref(time) {
            Ok((seconds, micros)) => self.clock.observe(seconds * 1_000 + micros / 1_000, asked),
            Err(error) => tracing::debug!(%error, "no time from the server"),
        }
    }
}

/// The identity of the server that answers on a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    /// Names the process; another after each start.
    run_id: String,
    /// Names the history of the data that it has: the same for a master and its replicas, another once a replica was promoted.
    history: String,
    is_replica: bool,
}

impl Identity {
    fn from_info(server: &str, replication: &str) -> Option<Self> {
        let fact = |section: &str, name: &str| {
            let lines = section.lines().filter_map(|line| line.split_once(':'));
            lines
                .filter(|(fact, _)| *fact == name)
                .map(|(_, value)| value.trim().to_owned())
                .find(|value| !value.is_empty())
        };
        Some(Self {
            run_id: fact(server, "run_id")?,
            history: fact(replication, "master_replid")?,
            is_replica: fact(replication, "role")? == "slave",
        })
    }

    /// Says whether a connection to `other` takes the place of those to this server: it has other data, or takes writes where this
    /// one does not. Replicas of one master that share an address are alike.
    pub(super) fn gives_way_to(&self, other: &Self) -> bool {
        let has_other_data = self.history != other.history;
        let was_demoted = self.is_replica && !other.is_replica;
        !self.is_same_process(other) && (has_other_data || was_demoted)
    }

    pub(super) fn is_same_process(&self, other: &Self) -> bool {
        self.run_id == other.run_id
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(run_id: &str, history: &str, role: &str) -> Identity {
        let server = format!("# Server\r\nredis_version:7.0.15\r\nrun_id:{run_id}\r\ntcp_port:6379\r\n");
        let replication =
            format!("# Replication\r\nrole:{role}\r\nmaster_replid:{history}\r\nmaster_replid2:0\r\n");
        Identity::from_info(&server, &replication).expect("all fields are there")
    }

    #[test]
    fn t5_a_server_gives_way_to_one_with_other_data_or_one_that_takes_writes() {
        let master = server("a", "x", "master");
        assert!(!master.gives_way_to(&master));
        assert!(
            !master.gives_way_to(&server("a", "y", "slave")),
            "the same process"
        );
        assert!(
            master.gives_way_to(&server("b", "y", "master")),
            "a promoted replica"
        );
        assert!(!master.gives_way_to(&server("b", "x", "slave")), "its replica");
        let replica = server("b", "x", "slave");
        assert!(replica.gives_way_to(&master), "its master");
        assert!(!replica.gives_way_to(&server("c", "x", "slave")), "a sister");
        assert!(
            replica.gives_way_to(&server("c", "y", "slave")),
            "a replica of another master"
        );
    }

    #[test]
    fn what_a_server_does_not_say_is_not_made_up() {
        assert_eq!(Identity::from_info("", ""), None);
        assert_eq!(
            Identity::from_info("run_id:\r\n", "role:master\r\nmaster_replid:x"),
            None
        );
        assert_eq!(Identity::from_info("run_id:a\r\n", "role:master"), None);
    }
}
