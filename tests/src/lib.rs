//! What the host side (`cargo xtask`) and the guest side (`tmem-guest`, the
//! virtual machine's init) must agree on: which scenarios there are, what
//! machine each wants, and the words both say over the serial console.

pub mod content;
pub mod control;
pub mod counting;
pub mod file_set;
pub mod protocol;
pub mod scenario;

pub use scenario::{DEMO, Effort, Expect, FileSystem, Kernel, Machine, SCENARIOS, Scenario};
