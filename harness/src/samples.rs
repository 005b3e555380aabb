//! For tests: real texts, where they are, and numbers from a seed.

use crate::recipe::Row;

/// A file of the shared data, beside the repository or where `TUNESMITH_TEST_DATA` says; says so where it is absent.
pub fn rows(file: &str) -> Option<Vec<Row>> {
    let beside = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data");
    let folder = std::env::var("TUNESMITH_TEST_DATA").unwrap_or_else(|_| beside.to_owned());
    let path = std::path::Path::new(&folder).join(file);
    if !path.exists() {
        eprintln!("skipped: {} is not there", path.display());
        return None;
    }
    Some(crate::rows::read(&path).unwrap().rows)
}

/// Splitmix64.
pub struct Random(pub u64);

impl Random {
    /// A number below `most`.
    pub fn below(&mut self, most: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let x = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (x ^ x >> 31) as usize % most
    }
}
