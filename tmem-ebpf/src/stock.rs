//! eBPF programs on functions of zswap and zram, for kernels without the module: how long
//! each took, counted in the cells of the module's operations.

use core::ptr::read_volatile;

use aya_ebpf::helpers::{bpf_get_current_pid_tgid, bpf_ktime_get_ns, bpf_probe_read_kernel};
use aya_ebpf::macros::{kprobe, kretprobe, map};
use aya_ebpf::maps::LruHashMap;
use aya_ebpf::programs::{ProbeContext, RetProbeContext};
use tmem_common::event::{CellKey, STOCK_ZRAM, STOCK_ZSWAP};
use tmem_common::op::{Op, Outcome};

use crate::count_cell;

/// Whether zswap's functions return a bool, true for success, and not an int, 0 for success;
/// set by the loader.
#[unsafe(no_mangle)]
static ZSWAP_STORE_IS_BOOL: u32 = 0;
#[unsafe(no_mangle)]
static ZSWAP_LOAD_IS_BOOL: u32 = 0;

/// Where `struct bio` has its `bi_opf`, bytes: from 4.14 to 7.2 at least.
const BIO_OP: usize = 16;
/// The bits of it that tell what is asked, and two of their values.
const REQ_OP_MASK: u32 = 0xff;
const REQ_OP_READ: u32 = 0;
const REQ_OP_WRITE: u32 = 1;

/// A call that has not returned. One function may be called within another: zswap
/// writes pages back to a zram device.
#[repr(C)]
struct CallKey {
    task: u32,
    pool: u32,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Call {
    started_ns: u64,
    op: u64,
}

#[map]
static CALLS: LruHashMap<CallKey, Call> = LruHashMap::with_max_entries(4096, 0);

#[kprobe]
pub fn zswap_store_in(_: ProbeContext) -> u32 {
    begin(STOCK_ZSWAP, Op::Put)
}

#[kretprobe]
pub fn zswap_store_out(ctx: RetProbeContext) -> u32 {
    // SAFETY: a plain static; volatile, for the loader changes it after compilation.
    let is_bool = unsafe { read_volatile(&raw const ZSWAP_STORE_IS_BOOL) };
    // Why a page is refused the kernel counts; a refusal's time is of no interest.
    if succeeded(&ctx, is_bool) {
        end(&ctx, STOCK_ZSWAP, true)
    } else {
        0
    }
}

#[kprobe]
pub fn zswap_load_in(_: ProbeContext) -> u32 {
    begin(STOCK_ZSWAP, Op::Get)
}

#[kretprobe]
pub fn zswap_load_out(ctx: RetProbeContext) -> u32 {
    // SAFETY: as above.
    let is_bool = unsafe { read_volatile(&raw const ZSWAP_LOAD_IS_BOOL) };
    end(&ctx, STOCK_ZSWAP, succeeded(&ctx, is_bool))
}

/// `zram_rw_page(device, sector, page, op)`, of kernels before 6.4.
#[kprobe]
pub fn zram_page_in(ctx: ProbeContext) -> u32 {
    match ctx.arg::<u32>(3) {
        Some(op) => begin_request(op),
        None => 0,
    }
}

#[kretprobe]
pub fn zram_page_out(ctx: RetProbeContext) -> u32 {
    if succeeded(&ctx, 0) {
        end(&ctx, STOCK_ZRAM, true)
    } else {
        0
    }
}

/// `zram_submit_bio(bio)`: what it asks for is done when it returns.
#[kprobe]
pub fn zram_bio_in(ctx: ProbeContext) -> u32 {
    let Some(bio) = ctx.arg::<u64>(0) else {
        return 0;
    };
    let op = (bio as usize + BIO_OP) as *const u32;
    // SAFETY: faults are caught.
    match unsafe { bpf_probe_read_kernel(op) } {
        Ok(op) => begin_request(op),
        Err(_) => 0,
    }
}

#[kretprobe]
pub fn zram_bio_out(ctx: RetProbeContext) -> u32 {
    end(&ctx, STOCK_ZRAM, true)
}

#[inline(always)]
fn succeeded(ctx: &RetProbeContext, is_bool: u32) -> bool {
    let returned: u64 = ctx.ret();
    if is_bool == 0 {
        returned as u32 == 0
    } else {
        returned & 0xff != 0
    }
}

#[inline(always)]
fn begin_request(op: u32) -> u32 {
    match op & REQ_OP_MASK {
        REQ_OP_READ => begin(STOCK_ZRAM, Op::Get),
        REQ_OP_WRITE => begin(STOCK_ZRAM, Op::Put),
        _ => 0,
    }
}

#[inline(always)]
fn call_key(pool: u32) -> CallKey {
    CallKey {
        task: bpf_get_current_pid_tgid() as u32,
        pool,
    }
}

#[inline(always)]
fn begin(pool: u32, op: Op) -> u32 {
    let call = Call {
        // SAFETY: the helper has no preconditions.
        started_ns: unsafe { bpf_ktime_get_ns() },
        op: op as u64,
    };
    // Where there is no room this call is not timed.
    let _ = CALLS.insert(&call_key(pool), &call, 0);
    0
}

#[inline(always)]
fn end(ctx: &RetProbeContext, pool: u32, found: bool) -> u32 {
    // SAFETY: the helper has no preconditions.
    let now = unsafe { bpf_ktime_get_ns() };
    let key = call_key(pool);
    // SAFETY: nobody but this task changes its entry.
    let Some(call) = (unsafe { CALLS.get(&key) }).copied() else {
        return 0;
    };
    let _ = CALLS.remove(&key);
    let outcome = match (call.op == Op::Put as u64, found) {
        (true, _) => Outcome::Stored,
        (false, true) => Outcome::Hit,
        (false, false) => Outcome::Miss,
    };
    let cell = CellKey {
        pool,
        op: call.op as u32,
        outcome: outcome as u32,
    };
    count_cell(ctx, &cell, 0, now.saturating_sub(call.started_ns));
    0
}
