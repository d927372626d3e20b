//! The library behind the `tmem` tool: one [`source::Source`] trait with its
//! snapshots, what implements it, and what reads it.

pub mod histogram;
pub mod source;
