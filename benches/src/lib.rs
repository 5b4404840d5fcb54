//! What the binaries of this package share.
//!
//! | to find | look at |
//! |---|---|
//! | traces and their manifest | [`trace`] |
//! | what caches reached that are not run here | [`reference`] |
//! | the clairvoyant optimum | [`belady`] |
//! | the caches that are compared, ours included | [`peers`] |
//! | a replay with a check of the population | [`replay`] |
//! | keys to ask for | [`workload`] |
//! | threads that work at once, and their time | [`race`](mod@race) |
//! | what several rounds gave, and single latencies | [`stats`], [`histogram`] |
//! | processors that do not fall asleep | [`awake`] |
//! | the command line, and tables | [`args`], [`table`] |

pub mod args;
pub mod awake;
pub mod belady;
pub mod histogram;
pub mod peers;
pub mod race;
pub mod reference;
pub mod replay;
pub mod stats;
pub mod table;
pub mod trace;
pub mod workload;
