//! A zram device of this machine, added for a measurement and removed after it.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::PathBuf;

use anyhow::{Context, Result};
use rustix::fs::OFlags;
use rustix::ioctl::{Setter, ioctl};
use tmem_common::PAGE_SIZE;
use tmem_kmod::Page;

const CONTROL: &str = "/sys/class/zram-control";
/// `BLKDISCARD` of linux/fs.h: the argument is (offset, length) in bytes.
const BLKDISCARD: rustix::ioctl::Opcode = 0x1277;

/// A page as direct I/O wants it.
#[derive(Clone, Copy)]
#[repr(C, align(4096))]
pub(super) struct Aligned(pub(super) Page);

/// The device.
pub(super) struct Zram {
    number: u32,
    device: Option<File>,
    /// Bytes of its table.
    table: f64,
    buffer: Box<Aligned>,
}

/// Bytes of the tables of all devices: the ranges that were allocated when a size was set.
fn tables() -> Result<f64> {
    let text = fs::read_to_string("/proc/vmallocinfo").context("/proc/vmallocinfo")?;
    let ranges = text
        .lines()
        .filter(|line| line.contains(" disksize_store+"));
    Ok(ranges
        .filter_map(|line| line.split_whitespace().nth(1)?.parse::<f64>().ok())
        .sum())
}

impl Zram {
    /// Adds a device.
    ///
    /// # Errors
    /// Where the kernel has no zram, or we may not add a device.
    pub(super) fn add() -> Result<Self> {
        let path = format!("{CONTROL}/hot_add");
        let number = fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
        let number = number
            .trim()
            .parse()
            .with_context(|| format!("{path}: {number:?}"))?;
        Ok(Self {
            number,
            device: None,
            table: 0.0,
            buffer: Box::new(Aligned([0; PAGE_SIZE])),
        })
    }

    fn file(&self, name: &str) -> PathBuf {
        PathBuf::from(format!("/sys/block/zram{}/{name}", self.number))
    }

    fn set(&self, name: &str, value: &str) -> Result<()> {
        let path = self.file(name);
        fs::write(&path, value).with_context(|| format!("{value} to {}", path.display()))
    }

    /// Makes the device empty, with room for so many pages.
    pub(super) fn reset(&mut self, codec: &str, pages: usize) -> Result<()> {
        self.device = None;
        self.set("reset", "1")?;
        self.set("comp_algorithm", codec)?;
        let before = tables()?;
        self.set("disksize", &(pages * PAGE_SIZE).to_string())?;
        self.table = tables()? - before;
        let path = format!("/dev/zram{}", self.number);
        let mut options = OpenOptions::new();
        options
            .read(true)
            .write(true)
            .custom_flags(OFlags::DIRECT.bits() as i32);
        self.device = Some(options.open(&path).context(path)?);
        Ok(())
    }

    fn device(&self) -> Result<&File> {
        self.device.as_ref().context("the device has no size yet")
    }

    /// Writes one page from wherever it lies.
    pub(super) fn copy(&mut self, number: usize, page: &Page) -> Result<()> {
        self.buffer.0 = *page;
        self.write(number, &self.buffer)
    }

    /// Writes one page.
    pub(super) fn write(&self, number: usize, page: &Aligned) -> Result<()> {
        let place = (number * PAGE_SIZE) as u64;
        Ok(self.device()?.write_all_at(&page.0, place)?)
    }

    /// Reads one page.
    pub(super) fn read(&mut self, number: usize) -> Result<&Page> {
        let Self { device, buffer, .. } = self;
        let device = device.as_ref().context("the device has no size yet")?;
        device.read_exact_at(&mut buffer.0, (number * PAGE_SIZE) as u64)?;
        Ok(&buffer.0)
    }

    /// Drops one page.
    pub(super) fn discard(&self, number: usize) -> Result<()> {
        let range = [(number * PAGE_SIZE) as u64, PAGE_SIZE as u64];
        // SAFETY: BLKDISCARD reads two u64 and keeps no pointer to them.
        unsafe { ioctl(self.device()?, Setter::<BLKDISCARD, [u64; 2]>::new(range)) }
            .context("discarding a page")
    }

    /// Bytes of bookkeeping that `mm_stat` leaves out: the device's table, which has a place for each page of its size,
    /// and the names that its allocator gives to stored pages.
    pub(super) fn bookkeeping(&self) -> Result<f64> {
        let slabs = fs::read_to_string("/proc/slabinfo").context("/proc/slabinfo")?;
        // Name, objects in use, objects, bytes of each.
        let name = format!("zs_handle-zram{} ", self.number);
        let handles = slabs
            .lines()
            .find_map(|line| line.strip_prefix(&name))
            .context("no handles of zram in /proc/slabinfo")?;
        let figures: Vec<f64> = handles
            .split_whitespace()
            .filter_map(|word| word.parse().ok())
            .collect();
        match figures[..] {
            [_, objects, bytes, ..] => Ok(self.table + objects * bytes),
            _ => anyhow::bail!("/proc/slabinfo: {handles:?}"),
        }
    }

    /// Bytes of compressed data, and of the memory that they take, by `mm_stat`.
    pub(super) fn memory(&self) -> Result<(f64, f64)> {
        let path = self.file("mm_stat");
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let figures: Vec<f64> = text
            .split_whitespace()
            .filter_map(|w| w.parse().ok())
            .collect();
        match figures[..] {
            [_, compressed, used, ..] => Ok((compressed, used)),
            _ => anyhow::bail!("{}: {text:?}", path.display()),
        }
    }
}

impl Drop for Zram {
    fn drop(&mut self) {
        self.device = None;
        let path = format!("{CONTROL}/hot_remove");
        if let Err(error) = fs::write(&path, self.number.to_string()) {
            eprintln!("xtask: zram{} stays behind: {error}", self.number);
        }
    }
}
