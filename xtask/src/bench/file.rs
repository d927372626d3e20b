//! What files cost that are read again, in a virtual machine that counts instructions as
//! time: without the module, with it loaded and nothing added, with another file system
//! added, and with theirs added; and what a load like a database's gains. The guest's side is `tmem-guest`'s
//! `bench_file`.

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tmem_tests::counting::Class;
use tmem_tests::{FileSystem, Kernel};

use super::machine::{self, NOT_SPLIT, Sums, Wanted};
use super::{Bound, Report, Row, spread};

/// The way that all others are compared with, the first and the last of the guest's.
const WITHOUT: &str = "module not loaded";
/// Most instructions a page where nothing is added, as a ratio to [`WITHOUT`].
const IDLE: Bound = Bound::AtMost(1.01);
/// The ways that this is of.
const IDLE_WAYS: [&str; 2] = ["nothing added", "removed"];
/// The way in which another file system of the same kind is added: hooks are placed, and let theirs pass.
const BESIDE_WAY: &str = "another added";
/// Most instructions of a read of a page that is stored raw, the codec's own left out.
const RAW: Bound = Bound::AtMost(1.3);
/// The way that this is of.
const RAW_WAY: &str = "added, none";
/// Reads and writes a second of the disk: those of a small cloud volume.
const DISK_OPERATIONS: u32 = 3000;
/// What is counted, by phase.
const PHASES: [&str; 2] = ["read", "reclaim"];

/// Boots `kernel` and measures.
pub(super) fn run(kernel: Kernel) -> Result<Report> {
    let told = machine::told(&Wanted {
        file_systems: vec![FileSystem::Ext4, FileSystem::Ext4Small],
        disk_operations: Some(DISK_OPERATIONS),
        disk_of_programs: true,
        modules: vec!["virtio_pci", "virtio_blk", "crc32c_generic?", "ext4", "lz4"],
        ..Wanted::new(kernel, "bench-file")
    })?;
    let mut ways = Vec::new();
    let mut loads = Vec::new();
    for text in &told.data {
        let data: Value = serde_json::from_str(text).with_context(|| text.clone())?;
        if data["random"].is_string() {
            loads.push(Load::read(&data).with_context(|| text.clone())?);
        } else {
            ways.push(Way::read(&data).with_context(|| text.clone())?);
        }
    }
    let mut notes = vec![note(kernel, &told.release, &ways)];
    match &told.phases {
        Some(phases) => share(&mut ways, phases)?,
        None => notes.push(NOT_SPLIT.to_owned()),
    }
    join(&mut ways);
    notes.extend(loads.first().map(Load::note));
    let mut rows = rows(&ways, kernel == Kernel::V6_12)?;
    rows.extend(load_rows(&loads));
    Ok(Report { rows, notes })
}

/// What the guest measured of one way.
struct Way {
    name: String,
    /// Instructions for each page, by round; of each of [`PHASES`].
    phases: [Vec<f64>; 2],
    pages: f64,
    /// Read from the disk in a round.
    sectors: f64,
    /// Of those instructions, the codec's, the store's and the glue's; empty where they were not split.
    split: [Vec<Sums>; 2],
}

impl Way {
    fn read(data: &Value) -> Result<Self> {
        let number = |key: &str| data[key].as_f64().context(key.to_owned());
        let numbers = |key: &str| -> Result<Vec<f64>> {
            let list = data[key].as_array().context(key.to_owned())?;
            Ok(list.iter().filter_map(Value::as_f64).collect())
        };
        Ok(Self {
            name: data["way"].as_str().context("way")?.to_owned(),
            phases: [numbers("read_ns")?, numbers("reclaim_ns")?],
            pages: number("pages")?,
            sectors: number("sectors")?,
            split: Default::default(),
        })
    }

    /// Instructions of a phase that are for that, by round.
    fn class(&self, phase: usize, class: Class) -> Vec<f64> {
        let rounds = self.split[phase].iter();
        rounds.map(|sums| sums[class as usize]).collect()
    }

    /// Those of a phase that are not the codec's, where they were split.
    fn beyond_codec(&self, phase: usize) -> Vec<f64> {
        let codec = self.class(phase, Class::Codec);
        let all = self.phases[phase].iter();
        all.zip(codec).map(|(all, codec)| all - codec).collect()
    }
}

/// Gives the plugin's sums to the ways. A round has four lines: what was before the read, the read, what was before
/// the reclaim, the reclaim; the first round does not count, and the last lines of a way are of the comparison.
fn share(ways: &mut [Way], lines: &[Sums]) -> Result<()> {
    let rounds = ways.first().map_or(0, |way| way.phases[0].len() + 1);
    let each = 4 * rounds + 2;
    ensure!(
        lines.len() == each * ways.len(),
        "the counter has {} phases of {} ways",
        lines.len(),
        ways.len()
    );
    for (way, lines) in ways.iter_mut().zip(lines.chunks(each)) {
        for (phase, split) in way.split.iter_mut().enumerate() {
            let lines = lines.iter().skip(4 + 2 * phase + 1).step_by(4);
            *split = lines
                .take(rounds - 1)
                .map(|sums| sums.map(|sum| sum / way.pages))
                .collect();
        }
    }
    Ok(())
}

/// Makes one of those that are of the same name.
fn join(ways: &mut Vec<Way>) {
    let mut joined: Vec<Way> = Vec::new();
    for way in ways.drain(..) {
        let Some(first) = joined.iter_mut().find(|first| first.name == way.name) else {
            joined.push(way);
            continue;
        };
        for (phase, (rounds, split)) in way.phases.into_iter().zip(way.split).enumerate() {
            first.phases[phase].extend(rounds);
            first.split[phase].extend(split);
        }
    }
    *ways = joined;
}

/// A load like a database's.
struct Load {
    /// Whether the module takes part: `on` or `off`.
    name: String,
    reads: f64,
    per_second: f64,
    /// Of the group, MiB.
    mib: f64,
    sectors: f64,
    hits: f64,
}

impl Load {
    fn read(data: &Value) -> Result<Self> {
        let number = |key: &str| data[key].as_f64().context(key.to_owned());
        Ok(Self {
            name: data["random"].as_str().context("random")?.to_owned(),
            reads: number("reads")?,
            per_second: number("iops")?,
            mib: number("mib")?,
            sectors: number("sectors")?,
            hits: number("hits")?,
        })
    }

    fn note(&self) -> String {
        format!(
            "random: fio reads {} pages of 48 MiB of files by Zipf's law, {} MiB of memory in all, disk of {DISK_OPERATIONS} \
             operations a second; by the guest's clock, of which an instruction is a nanosecond",
            self.reads, self.mib
        )
    }
}

fn load_rows(loads: &[Load]) -> Vec<Row> {
    type Figure = fn(&Load) -> f64;
    let figures: [(&str, &'static str, Figure); 3] = [
        ("throughput", "reads/s", |load| load.per_second),
        ("disk reads", "pages/read", |load| {
            load.sectors / 8.0 / load.reads
        }),
        ("hits", "pages/read", |load| load.hits / load.reads),
    ];
    let mut rows = Vec::new();
    for (what, unit, figure) in figures {
        for load in loads {
            let row = Row::new(
                format!("file/random/{what}, tmem {}", load.name),
                figure(load),
                unit,
            );
            rows.push(match loads.first() {
                Some(off) if off.name != load.name && figure(off) > 0.0 => row.against(figure(off)),
                _ => row,
            });
        }
    }
    rows
}

fn note(kernel: Kernel, release: &str, ways: &[Way]) -> String {
    let pages = ways.first().map_or(0.0, |way| way.pages);
    format!(
        "kernel {kernel} ({release}), one CPU, {pages} pages of files on ext4; instructions of all tasks of the \
         machine, for each page that was read, and for each that was reclaimed"
    )
}

/// What stands for all rounds: what disturbs one (when the disk's interrupts come, the kernel's own chores) only adds to it.
fn least(figures: &[f64]) -> f64 {
    figures.iter().copied().fold(f64::INFINITY, f64::min)
}

/// `raw`: whether what is stored raw has its bound.
fn rows(ways: &[Way], raw: bool) -> Result<Vec<Row>> {
    let without = ways
        .iter()
        .find(|way| way.name == WITHOUT)
        .context("the guest did not measure reading without the module")?;
    let mut rows = Vec::new();
    for (phase, what) in PHASES.into_iter().enumerate() {
        let base = least(&without.phases[phase]);
        let compared = |name: String, figures: &[f64]| {
            let mut row = Row::new(name, least(figures), "instr/page").against(base);
            row.spread = Some(spread(figures) / base);
            row
        };
        for way in ways {
            let name = format!("file/{what}/{}", way.name);
            let figures = &way.phases[phase];
            if way.name == WITHOUT {
                let mut row = Row::new(name, base, "instr/page");
                row.spread = Some(spread(figures));
                rows.push(row);
                continue;
            }
            let mut row = compared(name.clone(), figures);
            row.bound = IDLE_WAYS.contains(&&*way.name).then_some(IDLE);
            rows.push(row);
            let idle = IDLE_WAYS.contains(&&*way.name) || way.name == BESIDE_WAY;
            if way.split[phase].is_empty() || idle {
                continue;
            }
            let mut row = compared(format!("{name}: all but codec"), &way.beyond_codec(phase));
            row.bound = (raw && phase == 0 && way.name == RAW_WAY).then_some(RAW);
            rows.push(row);
            for (class, part) in [
                (Class::Codec, "codec"),
                (Class::Store, "store"),
                (Class::Glue, "glue"),
            ] {
                let figures = way.class(phase, class);
                let mut row = Row::new(format!("{name}: {part}"), least(&figures), "instr/page");
                row.spread = Some(spread(&figures));
                rows.push(row);
            }
        }
    }
    for way in ways {
        let name = format!("file/disk reads/{}", way.name);
        rows.push(Row::new(name, way.sectors / 8.0 / way.pages, "pages/page"));
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn way(name: &str, read: f64, reclaim: f64) -> Way {
        Way {
            name: name.to_owned(),
            phases: [vec![read], vec![reclaim]],
            pages: 100.0,
            sectors: 800.0,
            split: Default::default(),
        }
    }

    fn verdicts(ways: &[Way]) -> Vec<(String, bool)> {
        let rows = rows(ways, true).unwrap();
        rows.iter()
            .filter_map(|row| Some((row.name.clone(), row.ok()?)))
            .collect()
    }

    #[test]
    fn costs_are_judged_against_the_kernel_alone() {
        let ways = [
            way(WITHOUT, 1000.0, 500.0),
            way("nothing added", 1005.0, 510.0),
        ];
        assert_eq!(
            verdicts(&ways),
            [
                ("file/read/nothing added".to_owned(), true),
                ("file/reclaim/nothing added".to_owned(), false),
            ]
        );
        assert!(rows(&ways[1..], true).is_err());
    }

    #[test]
    fn ways_of_one_name_are_one() {
        let mut ways = vec![way("a", 3.0, 1.0), way("b", 5.0, 6.0), way("a", 2.0, 4.0)];
        join(&mut ways);
        assert_eq!(ways.len(), 2);
        assert_eq!(ways[0].phases, [vec![3.0, 2.0], vec![1.0, 4.0]]);
    }

    #[test]
    fn the_codec_is_left_out_of_what_is_stored_raw() {
        let mut ways = [way(WITHOUT, 1000.0, 500.0), way(RAW_WAY, 1600.0, 900.0)];
        // Lines of two rounds: by 1000 the read's codec, by 2000 the reclaim's.
        let line = |codec: f64| {
            let mut sums = Sums::default();
            sums[Class::Codec as usize] = codec * 100.0;
            sums
        };
        let round = [0.0, 400.0, 0.0, 700.0].map(line);
        let first = [0.0, 9.0, 0.0, 9.0].map(line);
        let lines: Vec<Sums> = [&first[..], &round, &first[..2]].concat();
        share(&mut ways, &[lines.clone(), lines].concat()).unwrap();
        assert_eq!(
            verdicts(&ways),
            [("file/read/added, none: all but codec".to_owned(), true)]
        );
        assert!(share(&mut ways, &[]).is_err());
    }
}
