//! The promises of a storage, in this process and elsewhere.

pub(crate) mod fence;
pub(crate) mod lease;
pub(crate) mod local;
pub(crate) mod local_value;
pub(crate) mod remote;
