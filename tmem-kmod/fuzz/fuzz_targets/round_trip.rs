//! Pages through the engine's own codecs and back: `cargo +nightly fuzz run round_trip`.
#![no_main]

#[path = "../../tests/common/decode.rs"]
mod decode;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| decode::round_trip(&decode::page_of(bytes)));
