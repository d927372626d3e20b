//! The engine behind the C interface of `kernel/tmem_engine.h`: exports the
//! `tmem_core_*` functions, and reaches the kernel through the `tmem_host_*` ones.
//!
//! It is compiled to ONE assembly file, which kbuild assembles like any other
//! part of the module, so that objtool, return thunks and IBT are handled by the
//! kernel's own rules; `README.md` has the command. All functions take an engine
//! that `tmem_core_init` succeeded on and `tmem_core_exit` was not called on.
#![no_std]

mod host;

use host::KernelHost;
use tmem_common::op::Outcome;
use tmem_common::stats::Stats;
use tmem_kmod::{GROUPS, GroupInfo, Page, PoolError, PoolSpec, Report, Scratch};

/// The engine as C names it.
pub type Engine = tmem_kmod::Engine<KernelHost>;

/// `TMEM_CORE_ABI` of the header that this was written for.
const CORE_ABI: u32 = 4;

const ENOENT: i32 = 2;
const EEXIST: i32 = 17;
const EINVAL: i32 = 22;
const ENOSPC: i32 = 28;

/// `struct tmem_pool_info`.
#[repr(C)]
pub struct PoolInfo {
    spec: PoolSpec,
    limit_bytes: u64,
    weight: u32,
    codec: u32,
    frozen: u32,
    policy: u32,
    admission: u32,
    max_ratio: u32,
    ttl: u32,
    reserved: u32,
}

const _: () = assert!(size_of::<PoolInfo>() == 64);
const _: () = assert!(size_of::<Report>() == 8);
const _: () = assert!(size_of::<GroupInfo>() == 72 && GROUPS == 512);
const _: () = assert!(Outcome::Evicted as u32 == 11);

fn errno(result: Result<(), PoolError>) -> i32 {
    match result {
        Ok(()) => 0,
        Err(PoolError::NotFound) => -ENOENT,
        Err(PoolError::Exists) => -EEXIST,
        Err(PoolError::NoSpace) => -ENOSPC,
        Err(PoolError::Invalid) => -EINVAL,
    }
}

/// The border's version.
#[unsafe(no_mangle)]
pub extern "C" fn tmem_core_abi() -> u32 {
    CORE_ABI
}

/// Bytes of an engine.
#[unsafe(no_mangle)]
pub extern "C" fn tmem_core_size() -> usize {
    size_of::<Engine>()
}

/// Bytes of a scratch.
#[unsafe(no_mangle)]
pub extern "C" fn tmem_core_scratch_size() -> usize {
    size_of::<Scratch>()
}

/// Sets up an engine without pools; 0.
///
/// # Safety
/// `engine` points to `tmem_core_size()` bytes, 64-byte aligned.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tmem_core_init(engine: *mut Engine, limit_bytes: u64) -> i32 {
    // SAFETY: by the caller's promise.
    unsafe { Engine::init_at(engine, KernelHost, limit_bytes) };
    0
}

/// Frees everything.
///
/// # Safety
/// An engine; no other call is running or follows.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tmem_core_exit(engine: *const Engine) {
    // SAFETY: by the caller's promise.
    unsafe { &*engine }.destroy_all_pools();
}

/// Sets up a scratch.
///
/// # Safety
/// `scratch` points to `tmem_core_scratch_size()` bytes, 64-byte aligned.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tmem_core_scratch_init(scratch: *mut Scratch) {
    // SAFETY: by the caller's promise.
    unsafe { Scratch::init_at(scratch) };
}

/// Opens a pool; its number or a negative error. May sleep.
///
/// # Safety
/// An engine, and a valid `spec`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tmem_core_pool_create(
    engine: *const Engine,
    spec: *const PoolSpec,
) -> i32 {
    // SAFETY: by the caller's promise.
    let created = unsafe { (*engine).pool_create(&*spec) };
    match created {
        Ok(pool) => pool as i32,
        Err(error) => errno(Err(error)),
    }
}

/// Closes a pool. May sleep.
///
/// # Safety
/// An engine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tmem_core_pool_destroy(engine: *const Engine, pool: u32) -> i32 {
    // SAFETY: by the caller's promise.
    errno(unsafe { &*engine }.pool_destroy(pool))
}

/// Fills in a pool's settings. Any context.
///
/// # Safety
/// An engine; `out` is valid for writes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tmem_core_pool_info(
    engine: *const Engine,
    pool: u32,
    out: *mut PoolInfo,
) -> i32 {
    // SAFETY: by the caller's promise.
    match unsafe { &*engine }.pool_info(pool) {
        Err(error) => errno(Err(error)),
        Ok(info) => {
            let info = PoolInfo {
                spec: info.spec,
                limit_bytes: info.limit_bytes,
                weight: info.weight,
                codec: info.codec,
                frozen: info.frozen.into(),
                policy: info.policy as u32,
                admission: info.admission,
                max_ratio: info.max_ratio,
                ttl: info.ttl,
                reserved: 0,
            };
            // SAFETY: by the caller's promise.
            unsafe { out.write(info) };
            0
        }
    }
}

/// Offers a page. May sleep.
///
/// # Safety
/// An engine; `page` points to 4096 bytes that nobody changes meanwhile, `report` is valid for writes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tmem_core_put(
    engine: *const Engine,
    pool: u32,
    object: u64,
    index: u64,
    page: *const Page,
    owner: u64,
    report: *mut Report,
) {
    // SAFETY: by the caller's promise.
    unsafe { report.write((*engine).put(pool, object, index, &*page, owner)) };
}

/// Asks for a page. May sleep.
///
/// # Safety
/// An engine; `page` points to 4096 bytes that are the caller's alone, `report` is valid for writes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tmem_core_get(
    engine: *const Engine,
    pool: u32,
    object: u64,
    index: u64,
    page: *mut Page,
    report: *mut Report,
) {
    // SAFETY: by the caller's promise.
    unsafe { report.write((*engine).get(pool, object, index, &mut *page)) };
}

/// Asks for a page, which is gone on a hit. May sleep.
///
/// # Safety
/// An engine; `page` points to 4096 bytes that are the caller's alone, `report` is valid for writes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tmem_core_take(
    engine: *const Engine,
    pool: u32,
    object: u64,
    index: u64,
    page: *mut Page,
    report: *mut Report,
) {
    // SAFETY: by the caller's promise.
    unsafe { report.write((*engine).take(pool, object, index, &mut *page)) };
}

/// Whether a page is there. Any context.
///
/// # Safety
/// An engine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tmem_core_contains(
    engine: *const Engine,
    pool: u32,
    object: u64,
    index: u64,
) -> bool {
    // SAFETY: by the caller's promise.
    unsafe { &*engine }.contains(pool, object, index)
}

/// Withdraws a page. Any context.
///
/// # Safety
/// An engine; `report` is valid for writes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tmem_core_flush_page(
    engine: *const Engine,
    pool: u32,
    object: u64,
    index: u64,
    report: *mut Report,
) {
    // SAFETY: by the caller's promise.
    unsafe { report.write((*engine).flush_page(pool, object, index)) };
}

/// Withdraws an object; the number of pages. Any context.
///
/// # Safety
/// An engine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tmem_core_flush_object(
    engine: *const Engine,
    pool: u32,
    object: u64,
) -> u64 {
    // SAFETY: by the caller's promise.
    unsafe { &*engine }.flush_object(pool, object)
}

/// Whether puts are accepted at all.
///
/// # Safety
/// An engine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tmem_core_set_enabled(engine: *const Engine, on: bool) {
    // SAFETY: by the caller's promise.
    unsafe { &*engine }.set_enabled(on);
}

/// Whether incompressible pages are kept.
///
/// # Safety
/// An engine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tmem_core_set_keep_incompressible(engine: *const Engine, on: bool) {
    // SAFETY: by the caller's promise.
    unsafe { &*engine }.set_keep_incompressible(on);
}

/// The codec of pools that have none of their own.
///
/// # Safety
/// An engine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tmem_core_set_default_codec(engine: *const Engine, codec: u32) -> i32 {
    // SAFETY: by the caller's promise.
    errno(unsafe { &*engine }.set_default_codec(codec))
}

/// A pool's codec.
///
/// # Safety
/// An engine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tmem_core_set_pool_codec(
    engine: *const Engine,
    pool: u32,
    codec: u32,
) -> i32 {
    // SAFETY: by the caller's promise.
    errno(unsafe { &*engine }.set_pool_codec(pool, codec))
}

/// Bytes that a pool may hold. May sleep.
///
/// # Safety
/// An engine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tmem_core_set_pool_limit(
    engine: *const Engine,
    pool: u32,
    bytes: u64,
) -> i32 {
    // SAFETY: by the caller's promise.
    errno(unsafe { &*engine }.set_pool_limit(pool, bytes))
}

/// A pool's share among the ephemeral pools.
///
/// # Safety
/// An engine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tmem_core_set_pool_weight(
    engine: *const Engine,
    pool: u32,
    weight: u32,
) -> i32 {
    // SAFETY: by the caller's promise.
    errno(unsafe { &*engine }.set_pool_weight(pool, weight))
}

/// How an ephemeral pool chooses which page goes first. May sleep.
///
/// # Safety
/// An engine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tmem_core_set_pool_policy(
    engine: *const Engine,
    pool: u32,
    policy: u32,
) -> i32 {
    // SAFETY: by the caller's promise.
    errno(unsafe { &*engine }.set_pool_policy(pool, policy))
}

/// Which pages an ephemeral pool takes. May sleep.
///
/// # Safety
/// An engine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tmem_core_set_pool_admission(
    engine: *const Engine,
    pool: u32,
    admission: u32,
) -> i32 {
    // SAFETY: by the caller's promise.
    errno(unsafe { &*engine }.set_pool_admission(pool, admission))
}

/// Up to how many percent of their size pages are worth keeping.
///
/// # Safety
/// An engine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tmem_core_set_pool_max_ratio(
    engine: *const Engine,
    pool: u32,
    percent: u32,
) -> i32 {
    // SAFETY: by the caller's promise.
    errno(unsafe { &*engine }.set_pool_max_ratio(pool, percent))
}

/// For how many seconds an ephemeral pool keeps a page; 0: for ever.
///
/// # Safety
/// An engine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tmem_core_set_pool_ttl(
    engine: *const Engine,
    pool: u32,
    seconds: u32,
) -> i32 {
    // SAFETY: by the caller's promise.
    errno(unsafe { &*engine }.set_pool_ttl(pool, seconds))
}

/// It is `now`, ns: in how many to call again, `u64::MAX` if no pool has a time to live. May sleep.
///
/// # Safety
/// An engine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tmem_core_expire(engine: *const Engine, now: u64) -> u64 {
    // SAFETY: by the caller's promise.
    unsafe { &*engine }.expire(now).unwrap_or(u64::MAX)
}

/// Freezes a pool or thaws it.
///
/// # Safety
/// An engine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tmem_core_set_pool_frozen(
    engine: *const Engine,
    pool: u32,
    frozen: bool,
) -> i32 {
    // SAFETY: by the caller's promise.
    errno(unsafe { &*engine }.set_pool_frozen(pool, frozen))
}

/// Sets the budget; bytes held beyond it. May sleep.
///
/// # Safety
/// An engine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tmem_core_set_limit(engine: *const Engine, bytes: u64) -> u64 {
    // SAFETY: by the caller's promise.
    unsafe { &*engine }.set_limit(bytes)
}

/// Fills in what is known of the cgroup at a place; whether there is one. Any context.
///
/// # Safety
/// An engine; `out` is valid for writes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tmem_core_group_info(
    engine: *const Engine,
    place: u32,
    out: *mut GroupInfo,
) -> bool {
    // SAFETY: by the caller's promise.
    let info = unsafe { &*engine }.group_info(place as usize);
    if let Some(info) = info {
        // SAFETY: by the caller's promise.
        unsafe { out.write(info) };
    }
    info.is_some()
}

/// Bytes that a cgroup may hold. May sleep.
///
/// # Safety
/// An engine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tmem_core_set_group_limit(
    engine: *const Engine,
    id: u64,
    bytes: u64,
) -> i32 {
    // SAFETY: by the caller's promise.
    errno(unsafe { &*engine }.set_group_limit(id, bytes))
}

/// A cgroup's share of the budget when that is tight.
///
/// # Safety
/// An engine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tmem_core_set_group_weight(
    engine: *const Engine,
    id: u64,
    weight: u32,
) -> i32 {
    // SAFETY: by the caller's promise.
    errno(unsafe { &*engine }.set_group_weight(id, weight))
}

/// Gives up to so many pages back by eviction; how many. May sleep.
///
/// # Safety
/// An engine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tmem_core_shrink(engine: *const Engine, pages: u64) -> u64 {
    // SAFETY: by the caller's promise.
    unsafe { &*engine }.shrink(pages)
}

/// Pages that a shrink could give back at the most. Any context.
///
/// # Safety
/// An engine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tmem_core_shrinkable(engine: *const Engine) -> u64 {
    // SAFETY: by the caller's promise.
    unsafe { &*engine }.shrinkable()
}

/// One bounded step of compaction; whether more is worth doing. May sleep.
///
/// # Safety
/// An engine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tmem_core_maintain(engine: *const Engine) -> bool {
    // SAFETY: by the caller's promise.
    unsafe { &*engine }.maintain()
}

/// Fills in the counters and gauges of the whole.
///
/// # Safety
/// An engine; `out` is valid for writes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tmem_core_stats(engine: *const Engine, out: *mut Stats) {
    // SAFETY: by the caller's promise.
    unsafe { out.write((*engine).stats()) };
}

/// Fills in the counters and gauges of a pool.
///
/// # Safety
/// An engine; `out` is valid for writes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tmem_core_pool_stats(
    engine: *const Engine,
    pool: u32,
    out: *mut Stats,
) -> i32 {
    // SAFETY: by the caller's promise.
    match unsafe { &*engine }.pool_stats(pool) {
        Ok(stats) => {
            // SAFETY: by the caller's promise.
            unsafe { out.write(stats) };
            0
        }
        Err(error) => errno(Err(error)),
    }
}

/// Bytes of memory taken from the kernel.
///
/// # Safety
/// An engine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tmem_core_used_bytes(engine: *const Engine) -> u64 {
    // SAFETY: by the caller's promise.
    unsafe { &*engine }.used_bytes()
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    let (file, line) = info
        .location()
        .map_or(("", 0), |place| (place.file(), place.line()));
    host::panic(file, line)
}
