//! What leaving the dashboard open costs, in a virtual machine that counts instructions
//! as time: shares of a CPU that executes one instruction a nanosecond.

use anyhow::{Context as _, Result};
use serde_json::Value;
use tmem_tests::Kernel;

use super::{Bound, Report, Row, swap};

/// Most that the tool may take of one CPU, percent.
const MOST_CPU: f64 = 1.0;
/// Most memory that it may take, MB.
const MOST_MEMORY: f64 = 40.0;

/// Boots `kernel` and measures.
pub(super) fn run(kernel: Kernel) -> Result<Report> {
    let told = swap::told(kernel, "bench-watch")?;
    let mut rows = Vec::new();
    for text in &told.data {
        let data: Value = serde_json::from_str(text).with_context(|| text.clone())?;
        let number = |key: &str| {
            let value = data[key].as_f64();
            value.with_context(|| format!("{key} in {text}"))
        };
        let way = data["way"].as_str().context("way")?;
        let (ns, cpu, programs) = (number("ns")?, number("cpu_ns")?, number("programs_ns")?);
        let operations = number("operations")?;
        let row = |what: &str, value, unit| Row::new(format!("watch/{what}/{way}"), value, unit);
        let cpu = row("CPU", cpu / ns * 100.0, "%");
        rows.push(cpu.bound(Bound::AtMost(MOST_CPU)));
        let memory = row("memory", number("peak_bytes")? / 1e6, "MB");
        rows.push(memory.bound(Bound::AtMost(MOST_MEMORY)));
        rows.push(row("eBPF programs", programs / ns * 100.0, "%"));
        rows.push(row("operations", operations / (ns / 1e9), "1/s"));
        if operations > 0.0 {
            rows.push(row("eBPF programs, each", programs / operations, "instr"));
        }
    }
    Ok(Report {
        rows,
        notes: vec![format!(
            "kernel {kernel} ({}), `tmem top` with a refresh a second; one CPU that \
             executes an instruction a nanosecond",
            told.release
        )],
    })
}
