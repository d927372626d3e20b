//! eBPF programs on the module's tracepoints: operations are counted and timed
//! in per-CPU maps by (pool, op, outcome) and by cgroup, and a sample of them is
//! handed to the tool one by one; pages of files are counted by file. In [`stock`]
//! those for kernels without the module. Loaded by `tmem_user::observe`.
#![no_std]
#![no_main]

mod stock;

use core::hint::black_box;
use core::ptr::read_volatile;

use aya_ebpf::EbpfContext;
use aya_ebpf::bindings::{BPF_NOEXIST, BPF_RB_NO_WAKEUP};
use aya_ebpf::helpers::{bpf_ktime_get_ns, generated::bpf_probe_read_kernel_str};
use aya_ebpf::macros::{map, raw_tracepoint};
use aya_ebpf::maps::{LruPerCpuHashMap, PerCpuArray, PerCpuHashMap, RingBuf};
use aya_ebpf::programs::RawTracePointContext;
use aya_log_ebpf::warn;
use tmem_common::event::{
    Cell, CellKey, CgroupCell, CgroupKey, Event, FILE_NAME, FILE_TOLD, FileCell, FileKey, Lost,
};
use tmem_common::histogram::{BUCKETS, bucket_of};
use tmem_common::op::Op;
use tmem_common::sample::is_sampled;

/// Pages whose hash is below this are sampled; set by the loader.
#[unsafe(no_mangle)]
static SAMPLE_THRESHOLD: u64 = 0;

/// First value of a cell. In `.rodata`, for it is too large for the stack.
static ZERO_CELL: Cell = Cell {
    count: 0,
    bytes: 0,
    total_ns: 0,
    histogram: [0; BUCKETS],
};

// Preallocated (a tracing program must not allocate on 5.10): room for about
// twenty busy pools of up to 13 (op, outcome) pairs, 264 KB a CPU.
#[map]
static CELLS: PerCpuHashMap<CellKey, Cell> = PerCpuHashMap::with_max_entries(256, 0);

#[map]
static CGROUPS: LruPerCpuHashMap<CgroupKey, CgroupCell> =
    LruPerCpuHashMap::with_max_entries(4096, 0);

#[map]
static FILES: LruPerCpuHashMap<FileKey, FileCell> = LruPerCpuHashMap::with_max_entries(2048, 0);

#[map]
static EVENTS: RingBuf = RingBuf::with_byte_size(1 << 20, 0);

#[map]
static LOST: PerCpuArray<Lost> = PerCpuArray::with_max_entries(1, 0);

#[raw_tracepoint]
pub fn tmem_put(ctx: RawTracePointContext) -> i32 {
    record(&ctx, Op::Put)
}

#[raw_tracepoint]
pub fn tmem_get(ctx: RawTracePointContext) -> i32 {
    record(&ctx, Op::Get)
}

#[raw_tracepoint]
pub fn tmem_flush(ctx: RawTracePointContext) -> i32 {
    record(&ctx, Op::Flush)
}

#[raw_tracepoint]
pub fn tmem_evict(ctx: RawTracePointContext) -> i32 {
    record(&ctx, Op::Evict)
}

/// Pages of one file.
#[raw_tracepoint]
pub fn tmem_file(ctx: RawTracePointContext) -> i32 {
    let device: u32 = ctx.arg(0);
    let inode: u64 = ctx.arg(1);
    let what: u32 = ctx.arg(2);
    let pages: u32 = ctx.arg(3);
    let name: u64 = ctx.arg(4);
    let key = FileKey {
        inode,
        device: device.into(),
    };
    let cell = match FILES.get_ptr_mut(&key) {
        Some(cell) => cell,
        None => {
            let first = FileCell {
                pages: [0; FILE_TOLD],
                name: [0; FILE_NAME],
            };
            let _ = FILES.insert(&key, &first, 0);
            let Some(cell) = FILES.get_ptr_mut(&key) else {
                lost(|lost| &raw mut lost.files);
                return 0;
            };
            cell
        }
    };
    let what = black_box(what as usize) & (FILE_TOLD - 1);
    // SAFETY: a live map value of this CPU, which no other program run touches now; the
    // name is read with faults caught.
    unsafe {
        *(&raw mut (*cell).pages).cast::<u64>().add(what) += u64::from(pages);
        if name != 0 {
            bpf_probe_read_kernel_str(
                (&raw mut (*cell).name).cast(),
                FILE_NAME as u32,
                name as *const _,
            );
        }
    }
    0
}

/// The other four tracepoints have the same arguments.
#[inline(always)]
fn record(ctx: &RawTracePointContext, op: Op) -> i32 {
    let pool: u32 = ctx.arg(0);
    let object: u64 = ctx.arg(1);
    let index: u64 = ctx.arg(2);
    let outcome: u32 = ctx.arg(3);
    let bytes: u32 = ctx.arg(4);
    let latency_ns: u64 = ctx.arg(5);
    let cgroup: u64 = ctx.arg(6);
    let op = op as u32;

    count_cell(ctx, &CellKey { pool, op, outcome }, bytes, latency_ns);
    if cgroup != 0 {
        let key = CgroupKey {
            cgroup,
            op,
            outcome,
        };
        count_cgroup(&key, bytes);
    }
    // SAFETY: a plain static; volatile, for the loader changes it after compilation.
    let threshold = unsafe { read_volatile(&raw const SAMPLE_THRESHOLD) };
    if is_sampled(threshold, pool, object, index) {
        emit(Event {
            // SAFETY: the helper has no preconditions.
            time_ns: unsafe { bpf_ktime_get_ns() },
            object,
            index,
            latency_ns,
            cgroup,
            pool,
            bytes,
            op,
            outcome,
        });
    }
    0
}

#[expect(
    clippy::needless_borrows_for_generic_args,
    reason = "by value the cell would be copied to the stack"
)]
#[inline(always)]
fn count_cell(ctx: &impl EbpfContext, key: &CellKey, bytes: u32, latency_ns: u64) {
    let cell = match CELLS.get_ptr_mut(key) {
        Some(cell) => cell,
        None => {
            // Another CPU may have been first: what counts is that it is there.
            let _ = CELLS.insert(key, &ZERO_CELL, u64::from(BPF_NOEXIST));
            let Some(cell) = CELLS.get_ptr_mut(key) else {
                if lost(|lost| &raw mut lost.cells) == 1 {
                    warn!(
                        ctx,
                        "no room to count pool {} op {} outcome {}", key.pool, key.op, key.outcome
                    );
                }
                return;
            };
            cell
        }
    };
    // The mask after black_box: LLVM would drop it as needless, and the verifier
    // of 5.10 needs it to see the bound.
    let bucket = black_box(bucket_of(latency_ns)) & (BUCKETS - 1);
    // SAFETY: a live map value of this CPU, which no other program run touches now.
    unsafe {
        (*cell).count += 1;
        (*cell).bytes += u64::from(bytes);
        (*cell).total_ns += latency_ns;
        // Without a time of its own: a part of another operation.
        if latency_ns != 0 {
            *(&raw mut (*cell).histogram).cast::<u64>().add(bucket) += 1;
        }
    }
}

#[expect(clippy::needless_borrows_for_generic_args, reason = "as in count_cell")]
#[inline(always)]
fn count_cgroup(key: &CgroupKey, bytes: u32) {
    match CGROUPS.get_ptr_mut(key) {
        // SAFETY: a live map value of this CPU, which no other program run touches now.
        Some(cell) => unsafe {
            (*cell).count += 1;
            (*cell).bytes += u64::from(bytes);
        },
        None => {
            let first = CgroupCell {
                count: 1,
                bytes: u64::from(bytes),
            };
            if CGROUPS.insert(key, &first, 0).is_err() {
                lost(|lost| &raw mut lost.cgroups);
            }
        }
    }
}

#[inline(always)]
fn emit(event: Event) {
    match EVENTS.reserve::<Event>(0) {
        Some(mut entry) => {
            entry.write(event);
            // The tool polls: an interrupt a sample would be waste.
            entry.submit(u64::from(BPF_RB_NO_WAKEUP));
        }
        None => {
            lost(|lost| &raw mut lost.events);
        }
    }
}

/// Counts a loss on this CPU; its number so far.
#[inline(always)]
fn lost(field: impl FnOnce(&mut Lost) -> *mut u64) -> u64 {
    let Some(lost) = LOST.get_ptr_mut(0) else {
        return 0;
    };
    // SAFETY: a live map value of this CPU, which no other program run touches now.
    unsafe {
        let counter = field(&mut *lost);
        *counter += 1;
        *counter
    }
}

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 4] = *b"GPL\0";
