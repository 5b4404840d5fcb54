use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// A mark that no other call has, in this process or another: what a call wrote is known by it afterwards, also when
/// the call had to be sent twice.
pub(crate) fn receipt() -> [u8; 16] {
    static PROCESS: LazyLock<u64> = LazyLock::new(|| RandomState::new().hash_one(std::process::id()));
    static CALLS: AtomicU64 = AtomicU64::new(0);
    let call = CALLS.fetch_add(1, Ordering::Relaxed);
    ((u128::from(*PROCESS) << 64) | u128::from(call)).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_are_alike() {
        let receipts: std::collections::HashSet<_> = (0..1000).map(|_| receipt()).collect();
        assert_eq!(receipts.len(), 1000);
    }
}
