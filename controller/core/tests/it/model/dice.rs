//! Chance that can be had again: a seed that fails can be written down.

use scribe_core::chance::{Chance, KeyPair, Redacted};

/// SplitMix64.
#[derive(Clone, Debug)]
pub struct Dice(pub u64);

impl Dice {
    /// A number below `sides`.
    pub fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % sides
    }

    /// Once in so many times.
    pub fn one_in(&mut self, times: u64) -> bool {
        self.roll(times) == 0
    }

    /// A place in a list of this length, if there is one.
    pub fn place(&mut self, length: usize) -> Option<usize> {
        let sides = u64::try_from(length).ok().filter(|sides| *sides > 0)?;
        usize::try_from(self.roll(sides)).ok()
    }
}

/// Ids and keys that a reader recognises and that are never given twice.
#[derive(Clone, Debug)]
pub struct Serial {
    count: u32,
    dice: Dice,
}

impl Serial {
    pub fn new(seed: u64) -> Self {
        Self { count: 0, dice: Dice(seed) }
    }

    fn next(&mut self) -> u32 {
        self.count += 1;
        self.count
    }
}

impl Chance for Serial {
    fn sync_id(&mut self) -> String {
        format!("s{:07}", self.next())
    }

    fn relationship(&mut self) -> String {
        format!("relationship-{}", self.next())
    }

    fn key_pair(&mut self) -> KeyPair {
        let number = self.next();
        KeyPair {
            private: Redacted(format!("private-{number}")),
            public: format!("public-{number}"),
            fingerprint: format!("SHA256:{number}"),
        }
    }

    fn fraction(&mut self) -> f64 {
        // Hundredths are fine enough for jitter.
        f64::from(u32::try_from(self.dice.roll(100)).unwrap_or_default()) / 100.0
    }
}
