//! The library behind the `tmem` tool: one [`source::Source`] trait with its
//! snapshots, what implements it, and what reads it.

pub mod control;
pub mod histogram;
pub mod live;
pub mod observe;
pub mod source;
pub mod system;
pub mod units;
