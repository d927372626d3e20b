//! px64 on any bytes, against its description: `cargo +nightly fuzz run px64`.
#![no_main]

#[path = "../../tests/common/px64.rs"]
mod px64;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| px64::try_bytes(bytes));
