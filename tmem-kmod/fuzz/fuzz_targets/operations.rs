//! Sequences of operations against the model: `cargo +nightly fuzz run operations`.
#![no_main]

#[path = "../../tests/common/model.rs"]
mod model;

use libfuzzer_sys::fuzz_target;
use model::{Setup, ops_from_bytes, run};

fuzz_target!(|bytes: &[u8]| {
    let setup = Setup {
        limit: 1 << 20,
        fail: None,
    };
    if let Err(error) = run(&ops_from_bytes(bytes), setup) {
        panic!("{error}");
    }
});
