//! The fuzz targets' functions on reproducible random bytes, so that every test
//! run passes through them.
#![allow(clippy::unwrap_used)]
#![cfg(not(feature = "broken-for-control"))]

#[path = "common/decode.rs"]
mod decode;
#[path = "common/model.rs"]
mod model;

use model::{Random, Setup, ops_from_bytes, run};

fn random_bytes(seed: u64, len: usize) -> Vec<u8> {
    let mut random = Random(seed);
    (0..len).map(|_| random.next() as u8).collect()
}

#[test]
fn operations_from_random_bytes() {
    for seed in 1..=20 {
        let setup = Setup {
            limit: 1 << 20,
            fail: None,
        };
        run(&ops_from_bytes(&random_bytes(seed, 4000)), setup).unwrap();
    }
}

#[test]
fn decoding_of_damaged_pages() {
    for seed in 1..=60 {
        decode::try_bytes(&random_bytes(seed, seed as usize * 20));
    }
}

#[test]
fn pages_through_every_codec_and_back() {
    for seed in 1..=200 {
        decode::round_trip(&decode::page_of(&random_bytes(seed, seed as usize * 13)));
    }
}
