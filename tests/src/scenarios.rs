//! The scenarios themselves.

use crate::{ALL_KERNELS, Effort, Expectation, Machine, Scenario};

/// Modules on every QEMU machine: its disk, and codecs of the crypto API.
const QEMU_MODULES: &[&str] = &[
    "virtio_pci",
    "virtio_blk",
    "lz4",
    "lzo-rle",
    "zstd",
    "zsmalloc",
];

/// Modules on the IBT machine: its disk.
const IBT_MODULES: &[&str] = &["ata_piix", "sd_mod", "lz4", "zstd"];

/// Kernels that can enforce IBT.
const IBT_KERNELS: &[&str] = &["6.12", "7.2"];

/// What most scenarios have in common, so that they share boots.
const fn qemu(name: &'static str, about: &'static str, stores: u64, seconds: u64) -> Scenario {
    Scenario {
        name,
        about,
        machine: Machine::Qemu,
        memory_mb: 512,
        swap_mb: 1024,
        cpus: 2,
        kernels: ALL_KERNELS,
        kernel_args: &[],
        modules: QEMU_MODULES,
        quick: Effort {
            stores,
            seconds,
            timeout: 300,
        },
        soak: Effort {
            stores: stores * 20,
            seconds: seconds * 10,
            timeout: 3600,
        },
        own_boot: false,
        expect: Expectation::Pass,
    }
}

const fn ibt(name: &'static str, about: &'static str, stores: u64) -> Scenario {
    Scenario {
        machine: Machine::Ibt,
        memory_mb: 384,
        swap_mb: 256,
        cpus: 1,
        kernels: IBT_KERNELS,
        modules: IBT_MODULES,
        quick: Effort {
            stores,
            seconds: 0,
            timeout: 600,
        },
        own_boot: true,
        ..qemu(name, about, stores, 0)
    }
}

/// Every scenario of the tests.
pub const SCENARIOS: &[Scenario] = &[
    qemu(
        "swap_anon",
        "anonymous memory in a limited cgroup, rewritten at random",
        50_000,
        0,
    ),
    qemu(
        "swap_fork",
        "fork-shared memory: each process sees its own copy-on-write view",
        20_000,
        0,
    ),
    qemu(
        "swap_thp",
        "huge pages: large folios are stored whole or not at all",
        20_000,
        0,
    ),
    qemu(
        "swap_shmem",
        "tmpfs files and memfd, shared between processes",
        20_000,
        0,
    ),
    qemu("swap_parallel", "several processes swap at once", 30_000, 0),
    qemu("swap_pressure", "a working set larger than RAM", 40_000, 0),
    qemu(
        "swap_zswap_behind",
        "refused pages go on to zswap and from there to disk",
        20_000,
        0,
    ),
    qemu(
        "swap_swapoff",
        "swapoff with pages stored brings every page back",
        10_000,
        0,
    ),
    qemu(
        "swap_load_unload",
        "10 load and unload cycles under load; rmmod refused; drain",
        10_000,
        0,
    ),
    qemu(
        "swap_flip",
        "codec flipped every 100 ms and limit swung for a time",
        10_000,
        60,
    ),
    qemu("swap_rmmod_idle", "load and unload without any page", 0, 0),
    qemu(
        "swap_no_memory",
        "no page to be had: refused and counted, nothing lost",
        5_000,
        0,
    ),
    qemu(
        "swap_ftrace_off",
        "ftrace switched off before or while loaded",
        1_000,
        0,
    ),
    qemu(
        "swap_livepatch_conflict",
        "another IPMODIFY user holds the function",
        1_000,
        0,
    ),
    qemu(
        "swap_function_tracer",
        "function tracer and kretprobes on hooked functions",
        3_000,
        0,
    ),
    qemu(
        "swap_sysfs",
        "tunables: values, refusals, permissions",
        0,
        0,
    ),
    qemu(
        "swap_tracepoints",
        "tracepoints agree with the statistics",
        2_000,
        0,
    ),
    qemu(
        "swap_leak",
        "after all of it memory and accounting are back",
        10_000,
        0,
    ),
    qemu(
        "tool_status",
        "status, pools and stats agree with sysfs",
        2_000,
        0,
    ),
    qemu(
        "tool_observe",
        "counters from eBPF agree with sysfs",
        2_000,
        0,
    ),
    qemu("tool_set", "set reads back; bad values are refused", 0, 0),
    qemu(
        "tool_drain",
        "drain empties the module so that it unloads",
        2_000,
        0,
    ),
    qemu(
        "tool_rights",
        "a plain user can read, and learns what setting needs",
        500,
        0,
    ),
    qemu(
        "tool_no_module",
        "without the module: a clear error and its exit code",
        0,
        0,
    ),
    Scenario {
        expect: Expectation::Fail("bad page"),
        ..qemu(
            "swap_control_engine",
            "an engine that corrupts pages is found out",
            5_000,
            0,
        )
    },
    Scenario {
        expect: Expectation::Fail("bad page"),
        ..qemu(
            "swap_control_hook",
            "a hook that keeps stale pages is found out",
            5_000,
            0,
        )
    },
    ibt(
        "swap_ibt",
        "verified stores and loads with IBT enforced",
        5_000,
    ),
    Scenario {
        expect: Expectation::Dies("Missing ENDBR"),
        ..ibt(
            "swap_ibt_control",
            "a pointer call to a sealed function dies",
            0,
        )
    },
];

/// `cargo xtask run`: a workload to look at, and the dashboard or a summary of it.
pub const DEMO: Scenario = Scenario {
    memory_mb: 1024,
    swap_mb: 2048,
    own_boot: true,
    ..qemu("demo", "a memory-hungry workload to look at", 0, 40)
};

/// `cargo xtask vm shell`: a shell on the console.
pub const SHELL: Scenario = Scenario {
    memory_mb: 1024,
    own_boot: true,
    ..qemu("shell", "an interactive shell", 0, 0)
};
