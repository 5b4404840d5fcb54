use proptest::prelude::*;

use super::*;

proptest! {
    #[test]
    fn remembers_as_on_paper(
        entries in 0usize..40,
        steps in prop::collection::vec((any::<bool>(), 0u32..60, 0u16..400, 0u16..50), 1..500),
    ) {
        let mut ghost = Ghost::new(entries);
        let mut buckets: Vec<Vec<(u16, u16)>> = vec![Vec::new(); ghost.buckets.len()];
        let mut now = u16::MAX - 100;
        for (put, key, age, passed) in steps {
            now = now.wrapping_add(passed);
            let hash = key.wrapping_mul(0x9e37_79b9);
            let bucket = &mut buckets[((u64::from(hash) * ghost.buckets.len() as u64) >> 32) as usize];
            let there = bucket.iter().position(|(tag, _)| *tag == super::tag(hash));
            let expected = there.map(|at| bucket.remove(at).1);
            prop_assert_eq!(ghost.take(hash), expected);
            if put {
                let ts = now.wrapping_sub(age);
                if bucket.len() == WAYS {
                    let ages = bucket.iter().map(|(_, ts)| now.wrapping_sub(*ts));
                    let oldest = ages.max();
                    // Among the equally old, any; both then hold as many of them.
                    let all: Vec<usize> = (0..WAYS).filter(|at| Some(now.wrapping_sub(bucket[*at].1)) == oldest).collect();
                    let before: Vec<u16> = bucket.iter().map(|(tag, _)| *tag).collect();
                    ghost.put(hash, ts, now);
                    let at = ((u64::from(hash) * ghost.buckets.len() as u64) >> 32) as usize;
                    let gone = before.iter().position(|tag| !ghost.buckets[at].tags.contains(tag));
                    prop_assert!(gone.is_some_and(|gone| all.contains(&gone)));
                    bucket.remove(gone.unwrap_or(0));
                } else {
                    ghost.put(hash, ts, now);
                }
                bucket.push((super::tag(hash), ts));
            }
        }
    }
}
