//! What the binaries of this package share.
//!
//! | to find | look at |
//! |---|---|
//! | traces and their manifest | [`trace`] |
//! | the clairvoyant optimum | [`belady`] |
//! | the caches that are compared, ours included | [`peers`] |
//! | a replay with a check of the population | [`replay`] |
//! | the command line | [`args`] |

pub mod args;
pub mod belady;
pub mod peers;
pub mod replay;
pub mod trace;
