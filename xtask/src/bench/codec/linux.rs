//! The kernel's LZ4 and LZO as a library of this process: from the distribution's package
//! of the kernel's sources, kept in the cache, with the flags of an x86-64 kernel as far as they fit a
//! process: no SSE, MMX, AVX or x87, no red zone. Left out are `-mcmodel=kernel` and
//! `-mpreferred-stack-boundary=3`, which do not link with a process' libraries, and the
//! mitigations' thunks, which would slow them down.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::paths;
use crate::process::{output, say};

/// The flags of all files.
const FLAGS: &str = "-std=gnu11 -w -fPIC -fno-strict-aliasing -fno-common -fshort-wchar \
    -fno-delete-null-pointer-checks -fno-strict-overflow -fno-asynchronous-unwind-tables -fcf-protection=none \
    -falign-jumps=1 -falign-loops=1 -mno-sse -mno-mmx -mno-sse2 -mno-3dnow -mno-avx -mno-80387 -mno-red-zone \
    -mskip-rax-setup -mtune=generic -m64";

/// Sources and their level of optimisation: lib/lz4's Makefile asks for -O3, lib/lzo has the kernel's ordinary one.
const SOURCES: [(&str, &str); 4] = [
    ("lib/lz4/lz4_compress.c", "-O3"),
    ("lib/lz4/lz4_decompress.c", "-O3"),
    ("lib/lzo/lzo1x_compress.c", "-O2"),
    ("lib/lzo/lzo1x_decompress_safe.c", "-O2"),
];

/// What is taken from the package.
const PARTS: [&str; 4] = [
    "*/lib/lz4/*",
    "*/lib/lzo/*",
    "*/include/linux/lz4.h",
    "*/include/linux/lzo.h",
];

/// The headers that they include.
const HEADERS: [&str; 7] = [
    "linux/module.h",
    "linux/kernel.h",
    "linux/init.h",
    "linux/bitops.h",
    "linux/string.h",
    "linux/types.h",
    "asm/unaligned.h",
];

/// All that they want of them, in terms of the compiler.
const HEADER: &str = r#"#pragma once
typedef unsigned char u8, uint8_t;
typedef unsigned short u16, uint16_t;
typedef unsigned int u32, uint32_t;
typedef unsigned long u64, uint64_t, uintptr_t;
typedef signed char int8_t;
typedef short s16, int16_t;
typedef int s32, int32_t;
typedef long s64, int64_t, ssize_t, ptrdiff_t;
typedef __SIZE_TYPE__ size_t;
typedef _Bool bool;
#define true 1
#define false 0
#define NULL ((void *)0)
#define CONFIG_64BIT 1
#define CONFIG_X86 1
#define CONFIG_X86_64 1
#define CONFIG_HAVE_EFFICIENT_UNALIGNED_ACCESS 1
#define __LITTLE_ENDIAN 1234
#undef __always_inline
#define __always_inline inline __attribute__((always_inline))
#define noinline __attribute__((noinline))
#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)
#define BUILD_BUG_ON(x) _Static_assert(!(x), "")
#define EXPORT_SYMBOL(x)
#define EXPORT_SYMBOL_GPL(x)
#define MODULE_LICENSE(x)
#define MODULE_DESCRIPTION(x)
#define min_t(t, a, b) ({ t a_ = (a); t b_ = (b); a_ < b_ ? a_ : b_; })
#define min(a, b) ({ __typeof__(a) a_ = (a); __typeof__(b) b_ = (b); a_ < b_ ? a_ : b_; })
#define get_unaligned(p) ({ const struct { __typeof__(*(p)) v; } __attribute__((packed)) *q_ = (const void *)(p); q_->v; })
#define put_unaligned(x, p) ({ struct { __typeof__(*(p)) v; } __attribute__((packed)) *q_ = (void *)(p); q_->v = (x); (void)0; })
#define get_unaligned_le16(p) get_unaligned((const u16 *)(p))
#define get_unaligned_le32(p) get_unaligned((const u32 *)(p))
#define put_unaligned_le16(x, p) put_unaligned((u16)(x), (u16 *)(p))
#define put_unaligned_le32(x, p) put_unaligned((u32)(x), (u32 *)(p))
static __always_inline unsigned long __ffs(unsigned long word) { return __builtin_ctzl(word); }
void *memcpy(void *, const void *, size_t);
void *memset(void *, int, size_t);
void *memmove(void *, const void *, size_t);
"#;

/// The path of the library, made now if it is missing.
pub(super) fn library() -> Result<PathBuf> {
    let home = paths::cache()?.join("linux-codecs");
    let made = home.join("codecs.so");
    if made.is_file() {
        return Ok(made);
    }
    let part = paths::cache()?.join("linux-codecs.tmp");
    if part.exists() {
        fs::remove_dir_all(&part).with_context(|| part.display().to_string())?;
    }
    fs::create_dir_all(&part).with_context(|| part.display().to_string())?;
    unpack(&part).context(
        "the kernel's LZ4 is what codecs are compared with, and its sources cannot be had from the package `linux-source`",
    )?;
    compile(&part)?;
    if home.exists() {
        fs::remove_dir_all(&home).with_context(|| home.display().to_string())?;
    }
    fs::rename(&part, &home).with_context(|| home.display().to_string())?;
    Ok(made)
}

/// Puts `lib` and `include` of the kernel into `folder`.
fn unpack(folder: &Path) -> Result<()> {
    let depends = output(Command::new("apt-cache").args(["depends", "linux-source"]))?;
    let package = depends
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Depends: "))
        .find(|name| name.starts_with("linux-source-"))
        .context("apt knows no such package")?;
    say(format!("downloading {package}"));
    output(
        Command::new("apt-get")
            .args(["download", package])
            .current_dir(folder),
    )?;
    let archive = only(folder, "deb")?;
    output(
        Command::new("dpkg-deb")
            .arg("--extract")
            .arg(&archive)
            .arg(folder),
    )?;
    fs::remove_file(&archive).with_context(|| archive.display().to_string())?;
    let sources = only(&folder.join("usr/src"), "xz")?;
    let mut tar = Command::new("tar");
    tar.arg("-C").arg(folder).arg("-xJf").arg(&sources);
    output(
        tar.args(["--strip-components=1", "--wildcards"])
            .args(PARTS),
    )?;
    let usr = folder.join("usr");
    fs::remove_dir_all(&usr).with_context(|| usr.display().to_string())
}

/// The one file in a folder with this extension.
fn only(folder: &Path, extension: &str) -> Result<PathBuf> {
    let entries = fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    let mut found: Vec<PathBuf> = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == extension) {
            found.push(path);
        }
    }
    ensure!(
        found.len() == 1,
        "{}: {} files end in .{extension} where one should",
        folder.display(),
        found.len()
    );
    found.pop().context("no file")
}

fn compile(folder: &Path) -> Result<()> {
    let include = folder.join("include");
    for name in HEADERS {
        let path = include.join(name);
        fs::create_dir_all(path.parent().unwrap_or(&include))?;
        fs::write(&path, HEADER).with_context(|| path.display().to_string())?;
    }
    let mut objects = Vec::new();
    for (source, level) in SOURCES {
        let source = folder.join(source);
        let object = source.with_extension("o");
        let mut cc = Command::new("cc");
        cc.args(FLAGS.split_whitespace()).arg(level);
        cc.arg("-I").arg(&include).arg("-c").arg(&source);
        output(cc.arg("-o").arg(&object))?;
        objects.push(object);
    }
    let mut cc = Command::new("cc");
    cc.arg("-shared").args(&objects);
    output(cc.arg("-o").arg(folder.join("codecs.so"))).map(drop)
}
