//! `tmem doctor` on made-up systems.

use std::fs;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;
use tmem_user::doctor::{Finding, Grade, Rights, examine};

const ROOT: Rights = Rights {
    root: true,
    capabilities: u64::MAX,
};

/// A system on which everything is right but that the module is not loaded.
fn healthy() -> TempDir {
    let system = tempfile::tempdir().expect("a directory");
    let root = system.path();
    write(root, "proc/sys/kernel/osrelease", "6.12.107-amd64\n");
    write(root, "proc/sys/kernel/ftrace_enabled", "1\n");
    let options = "MODULES SWAP ZSWAP DYNAMIC_FTRACE KPROBES KALLSYMS BPF_SYSCALL PSI MEMCG";
    let options: String = options
        .split(' ')
        .map(|name| format!("CONFIG_{name}=y\n"))
        .collect();
    write(root, "boot/config-6.12.107-amd64", &options);
    let symbols: String = ["store", "load", "invalidate", "swapoff", "never_enabled"]
        .iter()
        .map(|name| format!("0000000000000000 T zswap_{name}\n"))
        .collect();
    let files = "truncate_inode_pages_range invalidate_inode_pages2_range mapping_try_invalidate \
                 __iomap_dio_rw clear_inode shrink_dcache_for_umount drop_pagecache_sb \
                 reconfigure_super __remove_mapping";
    let files: String = files
        .split(' ')
        .map(|name| format!("0000000000000000 T {name}\n"))
        .collect();
    // A module's function has the module's name behind it.
    let ext4: String = ["readahead", "read_folio", "swap_extents"]
        .iter()
        .map(|name| format!("0000000000000000 t ext4_{name}\t[ext4]\n"))
        .collect();
    write(root, "proc/kallsyms", &(symbols + &files + &ext4));
    let swaps = "Filename Type Size Used Priority\n/dev/vda2 partition 1048572 0 -2\n";
    write(root, "proc/swaps", swaps);
    write(
        root,
        "sys/kernel/security/lockdown",
        "[none] integrity confidentiality\n",
    );
    write(
        root,
        "lib/modules/6.12.107-amd64/modules.dep",
        "updates/dkms/tmem.ko.xz: kernel/a.ko\n",
    );
    system
}

fn write(root: &Path, path: &str, text: &str) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().expect("below the root")).expect("directories");
    fs::write(path, text).expect("a file");
}

fn findings(root: &Path, what: &str) -> Vec<Finding> {
    let mut all = examine(root, ROOT);
    all.retain(|finding| finding.what == what);
    all
}

#[track_caller]
fn assert_found(root: &Path, what: &str, grade: Grade, found: &str, advice: &str) {
    let all = findings(root, what);
    assert!(
        all.iter().any(|finding| finding.grade == grade
            && finding.found.contains(found)
            && finding.advice.contains(advice)),
        "{all:#?}"
    );
}

#[test]
fn a_healthy_system_wants_the_module_only() {
    let system = healthy();
    let output = Command::new(env!("CARGO_BIN_EXE_tmem"))
        .args(["doctor", "--root"])
        .arg(system.path())
        .output()
        .expect("the tool starts");
    assert_eq!(output.status.code(), Some(0));
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let (text, rights) = text.split_at(
        text.find("good     rights")
            .or(text.find("note     rights"))
            .unwrap_or(0),
    );
    assert!(rights.contains("you may"), "{rights}");
    assert_eq!(
        text,
        "\
good     kernel      Linux 6.12.107-amd64, a tested version
good     options     /boot/config-6.12.107-amd64 has what is needed
good     hooks       the kernel has the 5 functions to redirect (zswap's)
good     file_hooks  the kernel has the 9 functions for file pages, and those of ext4
warning  module      tmem is installed but not loaded
                     -> modprobe tmem
good     swap        1 swap device in use
"
    );
}

#[test]
fn each_ailment_is_found_with_its_cure() {
    let system = healthy();
    let root = system.path();
    let problem = Grade::Problem;
    write(root, "proc/sys/kernel/ftrace_enabled", "0\n");
    assert_found(root, "ftrace", problem, "ftrace_enabled is 0", "sysctl");
    write(
        root,
        "sys/kernel/security/lockdown",
        "none [integrity] confidentiality\n",
    );
    assert_found(root, "lockdown", Grade::Warning, "integrity", "sign");
    write(
        root,
        "sys/kernel/security/lockdown",
        "none integrity [confidentiality]\n",
    );
    assert_found(root, "lockdown", problem, "eBPF", "sign");
    write(root, "sys/module/module/parameters/sig_enforce", "Y\n");
    assert_found(
        root,
        "signatures",
        Grade::Warning,
        "signed modules only",
        "mokutil",
    );
    let variable = "sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c";
    write(root, variable, "\u{6}\0\0\0\u{1}");
    assert_found(root, "secure boot", Grade::Note, "on", "DKMS");
    write(root, "sys/kernel/livepatch/kpatch_1/enabled", "1\n");
    assert_found(root, "livepatch", Grade::Note, "kpatch_1", "");
    write(
        root,
        "sys/kernel/tracing/enabled_functions",
        "zswap_load (1) R I   tramp: 0xffffffffc0\n",
    );
    assert_found(
        root,
        "hooks",
        problem,
        "zswap_load is redirected",
        "disable",
    );
    write(root, "sys/module/zswap/parameters/enabled", "Y\n");
    assert_found(root, "zswap", Grade::Note, "refuses", "echo N");
    write(
        root,
        "proc/swaps",
        "Filename\n/dev/zram0 partition 1 0 100\n",
    );
    assert_found(root, "zram", Grade::Warning, "/dev/zram0", "swapoff");
    write(root, "proc/swaps", "Filename\n");
    assert_found(root, "swap", problem, "no swap device", "mkswap");
    write(root, "proc/kallsyms", "0 T zswap_store\n0 T zswap_load\n");
    let warning = Grade::Warning;
    assert_found(root, "file_hooks", warning, "__remove_mapping", "tested");
    assert_found(
        root,
        "hooks",
        problem,
        "zswap_invalidate, zswap_swapoff",
        "CONFIG_ZSWAP",
    );
    write(
        root,
        "boot/config-6.12.107-amd64",
        "CONFIG_SWAP=y\n# CONFIG_ZSWAP is not set\n",
    );
    assert_found(
        root,
        "options",
        problem,
        "CONFIG_ZSWAP is off",
        "CONFIG_ZSWAP",
    );
    assert_found(root, "options", Grade::Warning, "CONFIG_PSI is off", "");
    write(root, "proc/sys/kernel/osrelease", "5.10.0-32-amd64\n");
    assert_found(root, "file_hooks", Grade::Note, "swap pages alone", "6.1");
    write(root, "proc/sys/kernel/osrelease", "5.4.0\n");
    assert_found(root, "kernel", problem, "too old", "5.10");
    write(root, "proc/sys/kernel/osrelease", "6.8.0-1\n");
    assert_found(root, "kernel", Grade::Note, "tested are", "virtual machine");
    assert_found(root, "module", Grade::Warning, "nor installed", "tmem top");
    write(root, "sys/kernel/mm/tmem/abi", "99\n");
    assert_found(root, "module", problem, "99", "matching");
    write(root, "sys/kernel/mm/tmem/abi", "1\n");
    write(root, "sys/kernel/mm/tmem/hooks/zswap_load", "inactive\n");
    assert_found(root, "hooks", problem, "zswap_load is not hooked", "reload");
}

#[test]
fn a_problem_ends_with_1_and_an_empty_system_breaks_nothing() {
    let system = tempfile::tempdir().expect("a directory");
    let output = Command::new(env!("CARGO_BIN_EXE_tmem"))
        .args(["doctor", "--root"])
        .arg(system.path())
        .output()
        .expect("the tool starts");
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(text.contains("mount /proc"), "{text}");
}

#[test]
fn missing_rights_are_named() {
    let system = healthy();
    let none = Rights {
        root: false,
        capabilities: 0,
    };
    let found = examine(system.path(), none).pop().expect("findings");
    for words in ["CAP_SYS_MODULE", "root", "CAP_BPF"] {
        assert!(found.found.contains(words), "{found:?}");
    }
}
