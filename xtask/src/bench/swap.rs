//! What swapping costs in a virtual machine that counts instructions as time: without
//! the module, with it idle, with it storing, with the eBPF programs attached, and
//! with what the kernel brings, zram and zswap. The guest's side is `tmem-guest`'s
//! `bench`.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;
use tmem_common::PAGE_SIZE;
use tmem_tests::protocol::BENCH_PAGES;
use tmem_tests::{Kernel, Machine};

use super::{Report, Row, median, spread};
use crate::corpus::{self, Class};
use crate::prepare::{Needs, prepare};
use crate::process::say;
use crate::vm::{self, Boot, End};
use crate::{build, paths};

/// Pages that are swapped, bytes.
const BYTES: usize = 48 << 20;
/// Longest time for all ways, on a slow host.
const PATIENCE: Duration = Duration::from_secs(1800);

/// Boots `kernel` and measures.
pub(super) fn run(kernel: Kernel) -> Result<Report> {
    let (ways, release) = measure(kernel, "bench")?;
    Ok(Report {
        rows: rows(&ways)?,
        notes: vec![note(kernel, &release, &ways)],
    })
}

/// What the guest measures as `what` with `kernel`, and that kernel's release.
pub(super) fn measure(kernel: Kernel, what: &str) -> Result<(Vec<Way>, String)> {
    let nightly = prepare(&Needs {
        kernels: vec![kernel],
        machines: vec![Machine::Qemu],
        programs: true,
        ..Needs::default()
    })?;
    let (modules, programs) = build::all(&nightly, &[kernel])?;
    let pages = paths::output().join("bench.pages");
    let (_, anonymous) = corpus::classes(BYTES)?
        .into_iter()
        .find(|(class, _)| *class == Class::Heap)
        .context("no anonymous pages")?;
    fs::write(&pages, anonymous.as_flattened()).with_context(|| pages.display().to_string())?;
    say(format!(
        "swapping in a machine with kernel {kernel} that counts instructions"
    ));
    let boot = Boot {
        name: "bench".to_owned(),
        machine: Machine::Qemu,
        modules: &modules[0],
        programs: &programs,
        memory_mib: 768,
        swap_mib: 256,
        file_systems: Vec::new(),
        cpus: 1,
        wanted: vec!["virtio_pci", "virtio_blk", "lz4", "zsmalloc", "zram"],
        extra: vec![(BENCH_PAGES, pages)],
        arguments: format!("loglevel=4 nokaslr mitigations=off tmem.run={what}"),
        timeouts: vec![PATIENCE],
        counted: true,
        echo: None,
    };
    let machine = vm::run(&boot)?;
    let failure = machine
        .console
        .outcomes
        .iter()
        .find_map(|outcome| outcome.failure.clone());
    let data: Vec<String> = machine
        .console
        .outcomes
        .iter()
        .flat_map(|outcome| outcome.data.clone())
        .collect();
    if let (Some(why), _) | (None, Some(why)) = (
        failure,
        (machine.end != End::Done).then(|| machine.end.to_string()),
    ) {
        bail!("{why}; console: {}", machine.file.display());
    }
    fs::remove_file(&machine.file).with_context(|| machine.file.display().to_string())?;
    let ways = data
        .iter()
        .map(|text| Way::read(text))
        .collect::<Result<Vec<_>>>()?;
    Ok((ways, modules[0].root.release.clone()))
}

/// What the guest measured of one way.
pub(super) struct Way {
    pub(super) name: String,
    pub(super) out: Vec<f64>,
    pub(super) back: Vec<f64>,
    pub(super) pages: f64,
    pub(super) rounds: f64,
    /// Events of a recording, and those that were lost.
    pub(super) recorded: Option<(f64, f64)>,
    io: f64,
    held: (f64, f64),
    density: (f64, f64),
}

impl Way {
    fn read(text: &str) -> Result<Self> {
        let data: Value = serde_json::from_str(text).with_context(|| text.to_owned())?;
        let number = |key: &str| {
            data[key]
                .as_f64()
                .with_context(|| format!("{key} in {text}"))
        };
        let numbers = |key: &str| -> Result<Vec<f64>> {
            let list = data[key]
                .as_array()
                .with_context(|| format!("{key} in {text}"))?;
            Ok(list.iter().filter_map(Value::as_f64).collect())
        };
        Ok(Self {
            name: data["way"]
                .as_str()
                .with_context(|| format!("way in {text}"))?
                .to_owned(),
            out: numbers("out_ns")?,
            back: numbers("in_ns")?,
            pages: number("pages")?,
            rounds: number("rounds")?,
            recorded: data["events"].as_f64().zip(data["dropped"].as_f64()),
            io: number("written")? + number("read")?,
            held: (number("held_pages")?, number("held_bytes")?),
            density: (number("data_bytes")?, number("store_bytes")?),
        })
    }

    /// Instructions for both ways of a page, by round.
    pub(super) fn both(&self) -> Vec<f64> {
        self.out
            .iter()
            .zip(&self.back)
            .map(|(out, back)| out + back)
            .collect()
    }
}

/// What to know about the figures.
pub(super) fn note(kernel: Kernel, release: &str, ways: &[Way]) -> String {
    let (pages, rounds) = ways
        .first()
        .map_or((0.0, 0.0), |way| (way.pages, way.rounds));
    format!(
        "kernel {kernel} ({release}), one CPU, {pages} anonymous pages, {rounds} rounds; instructions \
         of all tasks of the machine, for each page that went out and came back"
    )
}

fn rows(ways: &[Way]) -> Result<Vec<Row>> {
    let find = |name: &str| ways.iter().find(|way| way.name == name);
    let without = find("disk").context("the guest did not measure swap without the module")?;
    let mut rows = Vec::new();
    for (what, figures) in [
        ("out", (|way: &Way| way.out.clone()) as fn(&Way) -> Vec<f64>),
        ("in", |way| way.back.clone()),
        ("out and in", Way::both),
    ] {
        for way in ways {
            let mut row = Row::new(
                format!("swap/{what}/{}", way.name),
                median(&figures(way)),
                "instr/page",
            );
            row.spread = Some(spread(&figures(way)));
            if way.name != without.name {
                row = row.against(median(&figures(without)));
                // Of the ratio from here on.
                row.spread = row
                    .spread
                    .zip(row.baseline)
                    .map(|(spread, base)| spread / base);
            }
            rows.push(row);
        }
        for (ours, theirs) in [
            ("tmem lz4", "zswap lz4"),
            ("tmem lz4", "zram lz4"),
            ("tmem lz4, traced", "tmem lz4"),
        ] {
            if let (Some(ours), Some(theirs)) = (find(ours), find(theirs)) {
                let name = format!("swap/{what}/{} against {}", ours.name, theirs.name);
                let row = Row::new(name, median(&figures(ours)), "instr/page");
                rows.push(row.against(median(&figures(theirs))));
            }
        }
    }
    let per_page = |way: &Way| way.io / way.rounds / way.pages / PAGE_SIZE as f64;
    for way in ways {
        let name = format!("swap/disk I/O/{}", way.name);
        let row = Row::new(name, per_page(way), "pages/page");
        rows.push(if way.name == without.name {
            row
        } else {
            row.against(per_page(without))
        });
    }
    for way in ways.iter().filter(|way| way.held.1 > 0.0) {
        let held = way.held.0 / (way.held.1 / f64::from(1 << 20));
        rows.push(Row::new(
            format!("swap/held/{}", way.name),
            held,
            "pages/MiB",
        ));
    }
    for way in ways.iter().filter(|way| way.density.1 > 0.0) {
        let density = way.density.0 / way.density.1;
        rows.push(Row::new(format!("swap/density/{}", way.name), density, ""));
    }
    Ok(rows)
}
