//! Counters for exporters, by the recorder of the `metrics` crate.

use metrics::{counter, describe_counter, describe_gauge, gauge};

use crate::bus::stats::BusStats;
use crate::instance::Cacheme;
use crate::kind::stats::{NodeStats, TierStats};

/// The name of a counter, its description, and its field.
type Counted<S> = (&'static str, &'static str, fn(&S) -> u64);

/// Counters of a kind of node.
const OF_NODES: [Counted<NodeStats>; 4] = [
    ("cacheme_loads_total", "Values asked of a loader", |node| {
        node.loads
    }),
    (
        "cacheme_load_failures_total",
        "Loads that failed, panicked, ran out of time or left the node out",
        |node| node.load_failures,
    ),
    (
        "cacheme_joined_total",
        "Reads that waited for the load of another",
        |node| node.joined,
    ),
    (
        "cacheme_remote_invalidations_total",
        "Keys reported as changed by other processes",
        |node| node.remote_invalidations,
    ),
];

/// Counters of a tier.
const OF_TIERS: [Counted<TierStats>; 5] = [
    ("cacheme_hits_total", "Reads that found a value", |tier| tier.hits),
    (
        "cacheme_misses_total",
        "Reads that found none, or could not look",
        |tier| tier.misses,
    ),
    ("cacheme_fills_total", "Values stored", |tier| tier.fills),
    (
        "cacheme_troubles_total",
        "Operations that failed or took too long",
        |tier| tier.troubles,
    ),
    (
        "cacheme_undecodable_total",
        "Values found that could not be decoded, or could not be encoded",
        |tier| tier.undecodable,
    ),
];

/// Counters of a bus.
const OF_BUSES: [Counted<BusStats>; 5] = [
    (
        "cacheme_bus_received_total",
        "Messages of other processes that were understood",
        |bus| bus.received,
    ),
    (
        "cacheme_bus_partly_understood_total",
        "Messages of other processes with an unknown change",
        |bus| bus.partly_understood,
    ),
    (
        "cacheme_bus_other_prefix_total",
        "Messages for another prefix",
        |bus| bus.other_prefix,
    ),
    (
        "cacheme_bus_other_version_total",
        "Messages whose format has an unknown version",
        |bus| bus.other_version,
    ),
    (
        "cacheme_bus_unreadable_total",
        "Messages that Cacheme has not written, or that are torn",
        |bus| bus.unreadable,
    ),
];

const NOT_STORED: &str = "cacheme_not_stored_total";
const IN_FLIGHT: &str = "cacheme_in_flight";
const ENTRIES: &str = "cacheme_local_entries";

impl Cacheme {
    /// Passes all counters to the recorder that the application installed with the crate [`metrics`](https://docs.rs/metrics).
    ///
    /// An exporter to Prometheus has such a recorder, for example. Call this before the metrics are read, or every few seconds. A hit
    /// counts in counters of this crate, and costs nothing more for being exported. Needs the feature `metrics`.
    ///
    /// | name | kind | labels |
    /// |---|---|---|
    /// | `cacheme_hits_total`, `cacheme_misses_total`, `cacheme_fills_total`, `cacheme_troubles_total`, `cacheme_undecodable_total` | counter | `prefix`, `node`, `storage` |
    /// | `cacheme_not_stored_total` | counter | `prefix`, `node`, `storage`, `reason` ([`NotStored::name`](crate::NotStored::name)) |
    /// | `cacheme_loads_total`, `cacheme_load_failures_total`, `cacheme_joined_total`, `cacheme_remote_invalidations_total` | counter | `prefix`, `node` |
    /// | `cacheme_bus_received_total`, `cacheme_bus_partly_understood_total`, `cacheme_bus_other_prefix_total`, `cacheme_bus_other_version_total`, `cacheme_bus_unreadable_total` | counter | `prefix`, `storage` |
    /// | `cacheme_in_flight` | gauge | `prefix`, `node` |
    /// | `cacheme_local_entries` | gauge | `prefix`, `storage` |
    ///
    /// [`NodeStats`], [`TierStats`] and [`BusStats`] say what each counts.
    ///
    /// # Examples
    ///
    /// ```
    /// # use std::time::Duration;
    /// # #[tokio::main(flavor = "current_thread")] async fn main() {
    /// // Once, at start-up, next to the installation of an exporter.
    /// tokio::spawn(async {
    ///     let mut every = tokio::time::interval(Duration::from_secs(5));
    ///     loop {
    ///         every.tick().await;
    ///         cacheme::record_metrics();
    ///     }
    /// });
    /// # }
    /// ```
    pub fn record_metrics(&self) {
        // Each time, since the recorder may have been installed after the last call.
        let counters = OF_NODES.iter().map(|(name, what, _)| (*name, *what));
        let counters = counters.chain(OF_TIERS.iter().map(|(name, what, _)| (*name, *what)));
        for (name, what) in counters.chain(OF_BUSES.iter().map(|(name, what, _)| (*name, *what))) {
            describe_counter!(name, what);
        }
        describe_counter!(
            NOT_STORED,
            "Values that were handed out and not stored, by reason"
        );
        describe_gauge!(IN_FLIGHT, "Loads under way");
        describe_gauge!(ENTRIES, "Entries of a storage in memory");

        let prefix = &self.inner.prefix;
        for node in self.all_stats() {
            let labels = [("prefix", prefix.to_owned()), ("node", node.name.to_string())];
            for (name, _, count) in OF_NODES {
                counter!(name, &labels).absolute(count(&node));
            }
            gauge!(IN_FLIGHT, &labels).set(node.in_flight as f64);
            for tier in &node.tiers {
                let [prefix, node] = labels.clone();
                let labels = [prefix, node, ("storage", tier.storage.to_string())];
                for (name, _, count) in OF_TIERS {
                    counter!(name, &labels).absolute(count(tier));
                }
                for (reason, count) in tier.not_stored.iter() {
                    let [prefix, node, storage] = labels.clone();
                    let labels = [prefix, node, storage, ("reason", reason.name().to_owned())];
                    counter!(NOT_STORED, &labels).absolute(count);
                }
            }
        }
        for bus in self.bus_stats() {
            let labels = [("prefix", prefix.to_owned()), ("storage", bus.storage.clone())];
            for (name, _, count) in OF_BUSES {
                counter!(name, &labels).absolute(count(&bus));
            }
        }
        let storages = self.inner.storages.read().clone();
        for (name, known) in storages {
            if let Some(local) = known.storage.as_local() {
                let labels = [("prefix", prefix.to_owned()), ("storage", name)];
                gauge!(ENTRIES, &labels).set(local.len() as f64);
            }
        }
    }
}
