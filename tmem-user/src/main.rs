//! The `tmem` command.
fn main() {}
