//! The one definition of everything that crosses a border between the rooms of
//! tmem: the engine and the C module, the module and the eBPF programs, the
//! eBPF programs and the tool. No dependencies, no `std`, fixed layouts.
#![no_std]

pub mod codec;
pub mod event;
pub mod histogram;
pub mod op;
pub mod policy;
pub mod random;
pub mod sample;
pub mod stats;
pub mod sysfs;

/// Bytes in a page. Every supported machine is x86-64 with 4 KiB pages.
pub const PAGE_SIZE: usize = 4096;

/// Version of the sysfs files and tracepoints of the module. It rises when a
/// file or a field changes its meaning or disappears; additions keep it.
pub const ABI_VERSION: u32 = 1;

/// Pools an engine can hold at once.
pub const MAX_POOLS: usize = 64;
