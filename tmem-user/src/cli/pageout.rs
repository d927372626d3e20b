//! `tmem pageout`: has memory reclaimed now, and says what became of it.

use std::time::Duration;

use rustix::process::Pid;

use super::USAGE;
use super::args::{Global, Pageout};
use super::commands::{Watch, open, print, print_json};
use crate::cgroups::directory_of;
use crate::interval::Interval;
use crate::json::{Body, PageoutJson};
use crate::pageout::{Target, page_out};
use crate::source::Source;
use crate::stock::StockSource;
use crate::text;

pub(super) fn run(global: &Global, options: &Pageout) -> anyhow::Result<u8> {
    if global.embedded {
        log::error!("pageout is for this machine's memory, not for --embedded");
        return Ok(USAGE);
    }
    let target = match (&options.pid, &options.cgroup) {
        (Some(pid), _) => match Pid::from_raw(*pid).filter(|_| *pid > 0) {
            Some(pid) => Target::Process(pid),
            None => {
                log::error!("--pid {pid}: a number above 0 is wanted");
                return Ok(USAGE);
            }
        },
        (None, Some(path)) => Target::Cgroup(directory_of(path)),
        (None, None) => return Ok(USAGE),
    };
    // It does its work without a module, too; zswap or zram then get the pages.
    let mut source: Box<dyn Source> = if global.sysfs.is_dir() {
        open(global, Watch::NOTHING)?
    } else {
        Box::new(StockSource::new("/"))
    };
    let earlier = source.snapshot()?;
    let result = page_out(&target, options.bytes, options.idle_for)?;
    let snapshot = source.snapshot()?;
    let interval = Interval::between(&earlier, &snapshot);
    let kept_bytes = snapshot
        .totals
        .data_bytes
        .saturating_sub(earlier.totals.data_bytes);
    let json = PageoutJson::new(source.describe(), &result, &interval, kept_bytes);
    if global.json {
        print_json(Body::Pageout(json))?;
    } else {
        print(&text::paged_out(&json))?;
    }
    Ok(0)
}

/// Reads `--bytes`.
pub(super) fn parse_bytes(text: &str) -> Result<u64, String> {
    match crate::units::parse_size(text) {
        Some(crate::units::Size::Bytes(bytes)) => Ok(bytes),
        _ => Err("bytes such as 64M are wanted".to_owned()),
    }
}

/// Reads `--idle-for`; longer than a day is a mistake.
pub(super) fn parse_idle(text: &str) -> Result<Duration, String> {
    crate::units::parse_duration(text).and_then(|time| {
        if time <= Duration::from_secs(86_400) {
            Ok(time)
        } else {
            Err("at most a day (1440m)".to_owned())
        }
    })
}
