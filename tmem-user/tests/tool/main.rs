//! The tool and its library against a made-up module.

#![allow(
    clippy::expect_used,
    reason = "helpers of tests, where a panic is a failure"
)]

mod cgroup;
mod cli;
mod config;
mod control;
mod doctor;
mod drain;
mod mount;
mod schema;
mod serve;
mod stock;
mod support;
mod tune;
mod watch;
