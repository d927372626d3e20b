//! What the engine's kernel object has to be like: the kernel gives it no SSE
//! registers, little stack and only the symbols it is meant to know.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};

use crate::build::Modules;
use crate::process::output;
use crate::report::{Report, Test, selects};

/// Undefined symbols that the object may have, whole names or beginnings (`*`).
/// Bullseye's assembler notes a global offset table for calls through `@PLT`, which
/// no relocation uses; modpost knows that and ignores it.
const ALLOWED: &[&str] = &[
    "tmem_host_*",
    "__x86_return_thunk",
    "__x86_indirect_thunk_*",
    "memcpy",
    "memset",
    "memcmp",
    "memmove",
    "_GLOBAL_OFFSET_TABLE_",
];

/// Bytes of stack that no frame may reach: a kernel stack has 16 KiB for all.
const FRAME_LIMIT: u64 = 512;

type Check = fn(&Modules, &[Modules]) -> Result<()>;

const CHECKS: &[(&str, Check)] = &[
    ("object_symbols", symbols),
    ("object_registers", registers),
    ("object_stack", stack),
    ("object_same_for_all", same_for_all),
];

/// Checks the object of each kernel's build.
pub(super) fn run(built: &[Modules], filters: &[String], report: &Report) {
    for (name, check) in CHECKS.iter().filter(|(name, _)| selects(filters, name)) {
        for modules in built {
            let begin = Instant::now();
            let result = check(modules, built);
            let test = Test::new(*name, modules.kernel.name(), begin.elapsed());
            report.add(match result {
                Ok(()) => test,
                Err(error) => test.failed(format!("{error:#}")),
            });
        }
    }
}

fn assembly(modules: &Modules) -> Result<String> {
    let path = modules.folder.join("tmem_core.S");
    fs::read_to_string(&path).with_context(|| path.display().to_string())
}

/// The object knows nothing but its host and what the compiler itself calls.
fn symbols(modules: &Modules, _: &[Modules]) -> Result<()> {
    let listing = output(
        Command::new("nm")
            .arg("-u")
            .arg(modules.folder.join("tmem_core.o")),
    )?;
    let odd = unexpected(&listing);
    ensure!(
        odd.is_empty(),
        "unexpected undefined symbols: {}",
        odd.join(" ")
    );
    ensure!(
        listing.contains("tmem_host_"),
        "it calls no host: is this the engine?"
    );
    Ok(())
}

fn unexpected(listing: &str) -> Vec<&str> {
    let allowed = |name: &str| {
        ALLOWED.iter().any(|rule| match rule.strip_suffix('*') {
            Some(beginning) => name.starts_with(beginning),
            None => name == *rule,
        })
    };
    listing
        .lines()
        .filter_map(|line| line.split_whitespace().last())
        .filter(|name| !allowed(name))
        .collect()
}

/// No vector or floating-point register: the kernel does not save them.
fn registers(modules: &Modules, _: &[Modules]) -> Result<()> {
    let text = assembly(modules)?;
    let found = foreign_registers(&text);
    ensure!(
        found.is_empty(),
        "registers that kernel code must not touch: {found:?}"
    );
    Ok(())
}

fn foreign_registers(text: &str) -> BTreeSet<&str> {
    text.lines()
        .filter(|line| line.starts_with('\t') && !line.trim_start().starts_with('.'))
        .flat_map(|line| line.split(|c: char| !(c.is_ascii_alphanumeric() || "_.$".contains(c))))
        .filter(|word| {
            let number = ["xmm", "ymm", "zmm", "mm"]
                .iter()
                .find_map(|kind| word.strip_prefix(kind));
            number.is_some_and(|n| n.parse::<u8>().is_ok()) || *word == "st"
        })
        .collect()
}

/// No frame of [`FRAME_LIMIT`] bytes or more.
fn stack(modules: &Modules, _: &[Modules]) -> Result<()> {
    let text = assembly(modules)?;
    let frames = frames(&text);
    ensure!(!frames.is_empty(), "no function found in the assembly");
    let large: Vec<String> = frames
        .iter()
        .filter(|(_, bytes)| *bytes >= FRAME_LIMIT)
        .map(|(name, bytes)| format!("{name}: {bytes}"))
        .collect();
    ensure!(
        large.is_empty(),
        "stack frames of {FRAME_LIMIT} bytes or more: {}",
        large.join(", ")
    );
    Ok(())
}

/// Functions and the bytes of stack they take: return address, saved registers,
/// locals. Registers saved on several paths count several times; it errs upwards.
fn frames(text: &str) -> Vec<(&str, u64)> {
    let functions: BTreeSet<&str> = text
        .lines()
        .filter_map(|line| line.trim().strip_prefix(".type"))
        .filter_map(|rest| rest.trim().split_once(','))
        .filter(|(_, kind)| kind.trim() == "@function")
        .map(|(name, _)| name.trim())
        .collect();
    let mut frames: Vec<(&str, u64)> = Vec::new();
    for line in text.lines() {
        if let Some(label) = line.strip_suffix(':').filter(|l| functions.contains(l)) {
            frames.push((label, 8));
        } else if let Some((_, bytes)) = frames.last_mut() {
            *bytes += stack_taken(line);
        }
    }
    frames
}

/// Bytes that an instruction takes from the stack.
fn stack_taken(line: &str) -> u64 {
    let words: Vec<&str> = line
        .split([' ', '\t', ','])
        .filter(|w| !w.is_empty())
        .collect();
    let number = |word: &str| word.trim_start_matches('$').parse::<i64>().unwrap_or(0);
    match words.as_slice() {
        ["pushq" | "push", ..] => 8,
        ["subq", n, "%rsp", ..] | ["sub", "rsp", n, ..] => number(n).max(0).unsigned_abs(),
        // The shorter way to subtract 128.
        ["addq", n, "%rsp", ..] | ["add", "rsp", n, ..] => number(n).min(0).unsigned_abs(),
        _ => 0,
    }
}

/// Each kernel got the same assembly.
fn same_for_all(modules: &Modules, all: &[Modules]) -> Result<()> {
    let first = all.first().context("no kernel")?;
    if assembly(modules)? != assembly(first)? {
        bail!("tmem_core.S differs from the one of {}", first.kernel);
    }
    Ok(())
}

/// Whether the tests of the object are selected.
pub(super) fn any(filters: &[String]) -> bool {
    CHECKS.iter().any(|(name, _)| selects(filters, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_symbols_are_named() {
        let listing = "         U memcpy\n         U tmem_host_lock\n         U __rust_alloc\n         U memcpy_fast\n";
        assert_eq!(unexpected(listing), ["__rust_alloc", "memcpy_fast"]);
    }

    #[test]
    fn vector_registers_are_seen_and_names_with_them_are_not() {
        let text = "mm1:\n\tmovups\t%xmm0, (%rdi)\n\tcallq\tcomm1_st\n\tmovq\t%rax, %rbx\n\t.ascii \"xmm3\"\n";
        assert_eq!(
            foreign_registers(text).into_iter().collect::<Vec<_>>(),
            ["xmm0"]
        );
    }

    #[test]
    fn frames_are_summed_per_function() {
        let text = "\t.type\tone,@function\none:\n\tpushq\t%rbx\n\tsubq\t$504, %rsp\n.L1:\n\tret\n\
                    \t.type\ttwo,@function\ntwo:\n\taddq\t$-128, %rsp\n\tsubq\t$-128, %rsp\n\tret\n";
        assert_eq!(frames(text), [("one", 520), ("two", 136)]);
    }
}
