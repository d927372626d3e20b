//! The engine of tmem: pools of pages in memory, indexed by (object, index),
//! compressed, within a budget.
//!
//! It knows nothing of a kernel: all memory, locks and notices come from a
//! [`Host`]. It has no allocator; every page it uses may be refused to it, and it
//! goes on without. `docs/internals/engine.md` describes layout and invariants.
#![no_std]

#[cfg(any(test, feature = "userspace"))]
extern crate std;

pub mod adaptive;
mod codec;
mod engine;
mod ghost;
mod group;
mod host;
mod index;
mod lz4;
mod memory;
pub mod policy;
mod pool;
pub mod px64;
mod room;
mod slab;
mod store;
mod table;
#[cfg(feature = "userspace")]
pub mod userspace;

pub use codec::{Scratch, compress, decompress};
pub use engine::{Engine, Report};
pub use group::{GROUPS, GroupInfo, WEIGHT_OF_OTHERS};
pub use host::{Frame, Host, LOCK_POOLS, LOCK_STORE, LOCKS, PAGE, Page, SHARDS};
pub use pool::{POOL_EXCLUSIVE_GET, POOL_PERSISTENT, PoolError, PoolInfo, PoolSpec};
