//! Bytes that nobody compressed, and damaged pages: `cargo +nightly fuzz run decode`.
#![no_main]

#[path = "../../tests/common/decode.rs"]
mod decode;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| decode::try_bytes(bytes));
