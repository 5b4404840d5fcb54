use proptest::prelude::*;

use super::*;

/// One byte a counter, four rows of 32 a block, halved block by block.
struct Naive {
    blocks: Vec<[[u32; 32]; 4]>,
    step: u32,
    since: u32,
    next: usize,
}

impl Naive {
    fn places(&self, hash: u32) -> (usize, [usize; 4]) {
        let block = (u64::from(hash) * self.blocks.len() as u64) >> 32;
        let bits = u64::from(hash).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 24;
        // Of six bits a row, the lowest picks the word and four the counter in it.
        let place =
            |row: usize| ((bits >> (6 * row)) & 1) as usize * 16 + ((bits >> (6 * row + 1)) & 15) as usize;
        (block as usize, std::array::from_fn(place))
    }

    fn add(&mut self, hash: u32) {
        let (block, places) = self.places(hash);
        let least = self.count(hash);
        if least == MOST {
            return;
        }
        for (row, place) in places.into_iter().enumerate() {
            let counter = &mut self.blocks[block][row][place];
            *counter = (*counter).max(least + 1);
        }
        self.since += 1;
        if self.since == self.step {
            self.since = 0;
            self.blocks[self.next]
                .iter_mut()
                .flatten()
                .for_each(|counter| *counter /= 2);
            self.next = (self.next + 1) % self.blocks.len();
        }
    }

    fn count(&self, hash: u32) -> u32 {
        let (block, places) = self.places(hash);
        let counts = places.into_iter().enumerate();
        counts
            .map(|(row, place)| self.blocks[block][row][place])
            .min()
            .unwrap_or(0)
    }
}

proptest! {
    #[test]
    fn counts_as_on_paper(entries in 0usize..200, keys in prop::collection::vec(any::<u16>(), 1..3000), few in any::<bool>()) {
        let mut sketch = Sketch::new(entries);
        let mut naive = Naive {
            blocks: vec![[[0; 32]; 4]; sketch.blocks.len()],
            step: sketch.step,
            since: 0,
            next: 0,
        };
        for key in keys {
            let hash = u32::from(if few { key % 50 } else { key }).wrapping_mul(0x9e37_79b9);
            sketch.add(hash);
            naive.add(hash);
            prop_assert_eq!(sketch.count(hash), naive.count(hash));
            let other = hash.wrapping_add(0x1234_5678);
            prop_assert_eq!(sketch.count(other), naive.count(other));
        }
    }

    #[test]
    fn no_count_is_lost_when_it_doubles(entries in 100usize..300, keys in prop::collection::vec(any::<u32>(), 1..300)) {
        let mut sketch = Sketch::new(entries);
        // As many blocks for each as before.
        let blocks = sketch.blocks.len();
        for key in &keys {
            sketch.add(*key);
        }
        let larger = sketch.resized(entries * 2);
        if larger.blocks.len() == blocks * 2 {
            for key in keys {
                prop_assert_eq!(larger.count(key), sketch.count(key));
            }
        }
    }
}

#[test]
fn old_counts_fade() {
    let mut sketch = Sketch::new(100);
    for _ in 0..20 {
        sketch.add(1);
    }
    assert_eq!(sketch.count(1), MOST);
    for key in 0..12_000u32 {
        sketch.add(key.wrapping_mul(0x9e37_79b9) | 1 << 31);
    }
    assert!(sketch.count(1) <= 1, "{}", sketch.count(1));
}
