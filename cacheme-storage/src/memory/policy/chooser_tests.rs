use super::*;
use crate::memory::policy::START;

#[test]
fn a_loop_and_a_shifting_hot_set_are_distinguished() {
    let mut chooser = Chooser::new(256, START);
    let mix = |key: u32| key.wrapping_mul(0x9e37_79b9);
    // Each key five times within forty accesses, and never again: least recently used is best.
    let mut choice = START;
    for round in 0..20_000u32 {
        for back in [0, 2, 4, 6, 8] {
            choice = chooser.access(mix(round.wrapping_sub(back)));
        }
    }
    assert!(CONFIGS[choice].window >= 350, "{:?}", CONFIGS[choice]);
    // A loop somewhat longer than the cache: least recently used hits nothing.
    for round in 0..200_000u32 {
        choice = chooser.access(mix(round % 400));
    }
    assert!(CONFIGS[choice].window <= 100, "{:?}", CONFIGS[choice]);
}

#[test]
fn samples_are_few_where_there_are_many_keys() {
    for (capacity, rate) in [
        (1, 1),
        (255, 1),
        (256, 2),
        (1000, 4),
        (2048, 8),
        (4096, 8),
        (8192, 16),
        (1 << 20, 2048),
    ] {
        assert_eq!(Chooser::new(capacity, START).rate(), rate, "{capacity}");
    }
}
