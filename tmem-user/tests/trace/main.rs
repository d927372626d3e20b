//! Traces: the file format against damage, and what is made of traces.

#![allow(
    clippy::expect_used,
    reason = "helpers of tests, where a panic is a failure"
)]

mod advise;
mod export;
mod format;
mod fuzz_entries;
mod read_bytes;
mod record;
mod replay;
mod sample;
