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
    ("object_branches", branches),
    ("object_same_for_all", same_for_all),
];

/// Checks the object of each kernel's build.
pub(super) fn run(built: &[Modules], filters: &[String], report: &Report) {
    for (name, check) in CHECKS.iter().filter(|(name, _)| selects(filters, name)) {
        for modules in built {
            let begin = Instant::now();
            let result = check(modules, built);
            let test = Test::new(*name, modules.kernel.name(), begin.elapsed());
            report.add(test.ended(result));
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

/// Functions of px64 that must not branch on what a word holds: part of the name, and how many words they
/// have one after the other.
const WORD_BY_WORD: &[(&str, usize)] = &[("px6411compress_by", 15), ("px6410decompress", 16)];

/// Conditional jumps that their loops and checks take at the most; with one more for each word there would be
/// at least 15 more than the 20 that there are.
const JUMPS: usize = 28;

/// The words of a page are chosen among by conditional moves.
fn branches(modules: &Modules, _: &[Modules]) -> Result<()> {
    let text = assembly(modules)?;
    for (name, words) in WORD_BY_WORD {
        let (moves, jumps) = moves_and_jumps(&text, name)
            .with_context(|| format!("no function {name} in the assembly"))?;
        ensure!(
            moves >= 2 * words && jumps <= JUMPS,
            "{name}: {moves} conditional moves for {words} words, {jumps} conditional jumps"
        );
    }
    Ok(())
}

/// Conditional moves and jumps of the function with this in its name.
fn moves_and_jumps(text: &str, name: &str) -> Option<(usize, usize)> {
    let label = |line: &&str| line.ends_with(':') && line.contains(name) && !line.starts_with('.');
    let begin = text.lines().position(|line| label(&line))?;
    let body = text.lines().skip(begin);
    let mut counts = (0, 0);
    for line in body.take_while(|line| !line.trim_start().starts_with(".size")) {
        let word = line.split_whitespace().next().unwrap_or_default();
        counts.0 += usize::from(word.starts_with("cmov"));
        counts.1 += usize::from(word.starts_with('j') && word != "jmp");
    }
    Some(counts)
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
    fn moves_and_jumps_are_those_of_one_function() {
        let text = "\tcall a_px\na_px:\n\tcmovbq %rax, %rbx\n\tjne .L1\n\tjmp .L2\n.L1:\n\tja .L2\n\t.size a_px, 9\n\
                    b:\n\tjne b\n";
        assert_eq!(moves_and_jumps(text, "_px"), Some((1, 2)));
        assert_eq!(moves_and_jumps(text, "none"), None);
    }

    #[test]
    fn frames_are_summed_per_function() {
        let text = "\t.type\tone,@function\none:\n\tpushq\t%rbx\n\tsubq\t$504, %rsp\n.L1:\n\tret\n\
                    \t.type\ttwo,@function\ntwo:\n\taddq\t$-128, %rsp\n\tsubq\t$-128, %rsp\n\tret\n";
        assert_eq!(frames(text), [("one", 520), ("two", 136)]);
    }
}
