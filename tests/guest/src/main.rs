//! The guest: `/init` of the test machines.
fn main() {}
