//! The fuzz target's function on reproducible random bytes, so that every test
//! run passes through it.

use tmem_user::trace::format::{FILE_HEADER, Kind, block, file_header};
use tmem_user::workload::Random;

use crate::read_bytes::read_bytes;

#[test]
fn random_bytes_in_whole_blocks() {
    for seed in 0..400 {
        let mut random = Random::new(seed);
        let length = random.below(600);
        let raw: Vec<u8> = (0..length).map(|_| random.draw() as u8).collect();
        let mut bytes = file_header().to_vec();
        assert_eq!(bytes.len(), FILE_HEADER);
        // The checksums hold, so that what is behind them is reached.
        for kind in [Kind::Meta, Kind::Events, Kind::Reading, Kind::End] {
            let raw = if kind == Kind::Meta { &b"{}"[..] } else { &raw };
            bytes.extend(block(kind, raw).expect("short"));
        }
        let (records, _) = read_bytes(&bytes).expect("the first block is good");
        assert!(records.len() <= 1, "random bytes are no reading");
        let _ = read_bytes(&raw);
    }
}
