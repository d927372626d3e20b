//! Traces that nobody wrote, and damaged ones: `cargo +nightly fuzz run trace`.
//! The bytes are read as they are, and as blocks whose checksums hold.
#![no_main]

#[path = "../../tests/trace/read_bytes.rs"]
mod read_bytes;

use tmem_user::trace::format::{Kind, block, file_header};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = read_bytes::read_bytes(bytes);
    for kind in [Kind::Meta, Kind::Events, Kind::Reading, Kind::End] {
        let mut file = file_header().to_vec();
        if kind != Kind::Meta {
            file.extend(block(Kind::Meta, b"{}").expect("short"));
        }
        file.extend(block(kind, bytes).unwrap_or_default());
        let _ = read_bytes::read_bytes(&file);
    }
});
