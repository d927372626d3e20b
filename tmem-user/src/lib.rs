//! The library behind the `tmem` tool: one [`source::Source`] trait with its
//! snapshots, what implements it, and what reads it.

pub mod cgroups;
pub mod check;
pub mod cli;
pub mod columns;
pub mod config;
pub mod control;
pub mod counters;
pub mod dashboard;
pub mod doctor;
pub mod drain;
pub mod embedded;
pub mod histogram;
pub mod interval;
pub mod json;
pub mod live;
pub mod mountinfo;
pub mod mounts;
pub mod observe;
pub mod openmetrics;
pub mod pageout;
pub mod probes;
pub mod recorded;
pub mod source;
pub mod stock;
pub mod swaps;
pub mod system;
pub mod text;
pub mod trace;
pub mod tune;
pub mod units;
pub mod workload;
