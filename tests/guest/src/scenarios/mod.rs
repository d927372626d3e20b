//! The scenarios by name. Each runs in a process of its own, so that a crash or a
//! panic ends nothing but the scenario.

mod behind;
mod budget;
mod cgroups;
mod contents;
mod control;
mod cut;
mod dashboard;
mod demo;
mod ends;
mod excluded;
mod file;
mod files;
mod lifecycle;
mod mounts;
mod neighbours;
pub(crate) mod programs;
mod reclaim;
mod reread;
mod seen;
mod sysfs;
mod tool;
mod trace;
mod tune;
mod verify;

use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use serde_json::json;

use crate::context::Context;
use crate::{bench, bench_file, process, watch};

type Scenario = fn(&Context) -> Result<()>;

const TABLE: &[(&str, Scenario)] = &[
    ("swap_anon", contents::anonymous),
    ("swap_codecs", contents::codecs),
    ("swap_fork", contents::fork),
    ("swap_thp", contents::huge_pages),
    ("swap_shmem", contents::shared_memory),
    ("swap_parallel", contents::parallel),
    ("swap_pressure", contents::pressure),
    ("swap_zswap_behind", contents::zswap_behind),
    ("swap_no_memory", contents::no_memory),
    ("swap_undecodable", contents::undecodable),
    ("swap_ibt", contents::anonymous),
    ("swap_rmmod_idle", lifecycle::idle),
    ("swap_swapoff", lifecycle::swapoff),
    ("swap_load_unload", lifecycle::load_unload),
    ("swap_vain_unload", lifecycle::vain_unload),
    ("swap_flip", lifecycle::flip),
    ("swap_leak", lifecycle::leak),
    ("swap_ftrace_off", neighbours::ftrace_off),
    ("swap_livepatch_conflict", neighbours::livepatch_conflict),
    ("swap_function_tracer", neighbours::function_tracer),
    ("swap_sysfs", sysfs::tunables),
    ("swap_tracepoints", seen::tracepoints),
    ("swap_control_engine", control::broken_engine),
    ("swap_control_hook", control::broken_hook),
    ("swap_control_stale", control::stale_hook),
    ("swap_ibt_control", control::pointer_call),
    ("file_plain_ext4", file::plain),
    ("file_plain_ext4_1k", file::plain),
    ("file_plain_ext4_journal", file::plain),
    ("file_plain_xfs", file::plain),
    ("file_plain_btrfs", file::plain),
    ("file_plain_loop", file::plain),
    ("file_plain_overlay", file::plain),
    ("file_ext4", file::kept),
    ("file_ext4_1k", file::kept),
    ("file_ext4_journal", file::kept),
    ("file_xfs", file::kept),
    ("file_btrfs", file::kept),
    ("file_plain_f2fs", file::plain),
    ("file_f2fs", file::kept),
    ("file_loop", file::kept),
    ("file_overlay", file::kept),
    ("file_ibt", file::kept),
    ("file_reload", file::kept),
    ("file_policies", file::kept),
    ("file_control_model", file::plain),
    ("file_control_disk", file::plain),
    ("file_reread", reread::reread),
    ("file_reread_xfs", reread::reread),
    ("file_reread_btrfs", reread::reread),
    ("file_reread_squashfs", reread::reread),
    ("file_reread_erofs", reread::reread),
    ("file_reread_erofs_lz4", reread::reread),
    ("file_reread_iso9660", reread::reread),
    ("file_mounts", reread::mounts),
    ("file_refused", reread::refused),
    ("file_refused_f2fs", reread::refused_for_its_features),
    ("file_unwanted", reread::unwanted),
    ("file_drop_caches", reread::dropped),
    ("file_control_no_drop_caches", reread::dropped),
    ("file_shrink", reread::shrink),
    ("file_ttl", reread::time_to_live),
    ("file_whoever_reads", reread::whoever_reads),
    ("file_verify", verify::stale),
    ("file_verify_memory", verify::gone_bad),
    ("file_excluded", excluded::beside),
    ("file_control_no_exclusion", excluded::beside),
    ("file_absent", reread::absent),
    ("file_beside_swap", budget::shared),
    ("file_fio", programs::fio),
    ("file_stress_ng", programs::stress_ng),
    ("file_no_memory", file::no_records),
    ("file_no_pages", file::no_pages),
    ("file_verified", file::kept),
    ("file_verified_xfs", file::kept),
    ("file_slow", file::kept),
    ("file_ext4_claims", file::kept),
    ("file_control_no_truncate", file::broken),
    ("file_control_no_direct", file::broken),
    ("file_cut", cut::cut),
    ("file_moved", behind::moved),
    ("file_control_no_swap_extents", behind::moved),
    ("file_moved_f2fs", behind::moved_f2fs),
    ("file_cloned", behind::cloned),
    ("file_cloned_ctime", behind::cloned),
    ("file_control_no_invalidate_inode", behind::cloned),
    ("file_busy", behind::busy),
    ("file_busy_error", behind::busy),
    ("file_control_no_taint", behind::busy),
    ("file_unmount_unload", ends::unload),
    ("file_end_reuse", ends::reuse),
    ("file_overtaken", behind::overtaken),
    ("file_control_no_wait_direct", behind::overtaken),
    ("file_control_no_dio_begin", behind::overtaken),
    ("file_began_before", behind::began_before),
    ("file_control_no_freeze", behind::began_before),
    ("file_deleted", behind::deleted),
    ("file_control_no_delete", behind::deleted),
    ("file_block", behind::block),
    ("file_control_no_unfilled", behind::block),
    ("file_control_no_clean", behind::block),
    ("file_control_no_withdraw", cut::cut),
    ("file_control_no_change", cut::cut),
    ("file_control_no_wait_put", cut::cut),
    ("file_control_no_remount", reread::mounts),
    ("file_control_no_umount", reread::mounts),
    ("file_control_no_try_invalidate", reread::unwanted),
    ("file_control_no_ttl", reread::time_to_live),
    ("tool_status", tool::status),
    ("tool_observe", tool::observe),
    ("tool_set", tool::set),
    ("tool_config", tool::config),
    ("tool_check", tool::check),
    ("tool_pageout", reclaim::process),
    ("tool_pageout_cgroup", reclaim::cgroup),
    ("tool_dashboard", dashboard::keys),
    ("tool_files", files::profit),
    ("tool_sections", files::sections),
    ("tool_mount", mounts::by_hand),
    ("tool_mount_watch", mounts::by_rule),
    ("tool_stock", tool::stock),
    ("tool_stock_zram", tool::stock_zram),
    ("tool_drain", tool::drain),
    ("tool_cgroups", cgroups::limits),
    ("tool_rights", tool::rights),
    ("tool_no_bpf", tool::no_bpf),
    ("tool_tune", tune::limit),
    ("tool_tune_share", tune::share),
    ("tool_no_module", tool::no_module),
    ("trace_record", trace::record),
    ("trace_what_if_swap", trace::what_if_swap),
    ("trace_what_if_file", trace::what_if_file),
];

/// Runs a scenario in a process of its own.
pub(crate) fn run(name: &str, context: &Context) -> Result<()> {
    let (_, scenario) = TABLE
        .iter()
        .find(|(known, _)| *known == name)
        .with_context(|| format!("no {name}"))?;
    let context = context.of(name)?;
    let start = Instant::now();
    let result = process::spawn(|| scenario(&context))?.join();
    context.data(json!({ "seconds": start.elapsed().as_secs_f64() }));
    result
}

/// Runs what is no test: `demo`, `top`, `shell` or `bench`.
pub(crate) fn interactive(command: &str, context: &Context) -> Result<()> {
    match command {
        "demo" | "top" => demo::run(&context.of("demo")?),
        "shell" => demo::shell(context),
        "bench" => bench::run(context, bench::swap),
        "bench-record" => bench::run(context, bench::record),
        "bench-watch" => bench::run(context, watch::run),
        "bench-file" => bench::run(context, bench_file::run),
        other => bail!("nothing to run is called {other:?}"),
    }
}
