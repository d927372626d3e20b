//! What recording costs the swap workload, in a virtual machine that counts
//! instructions as time: counters only, events of one page in 100, and all events,
//! against the module storing with nobody watching.

use anyhow::{Context as _, Result};
use tmem_tests::Kernel;

use super::swap::{Way, measure, note};
use super::{Bound, Report, Row, median, spread};

/// Boots `kernel` and measures.
pub(super) fn run(kernel: Kernel) -> Result<Report> {
    let (ways, release) = measure(kernel, "bench-record")?;
    Ok(Report {
        rows: rows(&ways)?,
        notes: vec![note(kernel, &release, &ways)],
    })
}

fn rows(ways: &[Way]) -> Result<Vec<Row>> {
    let (nobody, recorded) = ways.split_first().context("the guest measured nothing")?;
    let mut rows = Vec::new();
    for (what, figures) in [
        ("out", (|way: &Way| way.out.clone()) as fn(&Way) -> Vec<f64>),
        ("in", |way| way.back.clone()),
        ("out and in", Way::both),
    ] {
        let base = median(&figures(nobody));
        rows.push(Row::new(
            format!("record/{what}/{}", nobody.name),
            base,
            "instr/page",
        ));
        for way in recorded {
            let name = format!("record/{what}/{}", way.name);
            let mut row = Row::new(name, median(&figures(way)), "instr/page").against(base);
            row.spread = Some(spread(&figures(way)) / base);
            rows.push(row);
        }
    }
    for way in recorded {
        let Some((events, dropped)) = way.recorded else {
            continue;
        };
        rows.push(Row::new(format!("record/events/{}", way.name), events, ""));
        let row = Row::new(format!("record/lost/{}", way.name), dropped, "");
        rows.push(if way.name.ends_with("1/1") {
            row
        } else {
            row.bound(Bound::AtMost(0.0))
        });
    }
    Ok(rows)
}
