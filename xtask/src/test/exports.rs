//! Exports of a recording opened in the tools that they are for: `open_exports.py`
//! says which and what has to hold.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, Result};

use crate::paths;
use crate::prepare::{self, Nightly};
use crate::process::{cargo, run};
use crate::report::{Report, Test};

/// The test's name.
pub(super) const NAME: &str = "trace_exports";

/// Runs it.
pub(super) fn test(nightly: &Nightly, report: &Report) {
    let begin = Instant::now();
    let result = opened(nightly);
    let test = Test::new(NAME, "native", begin.elapsed());
    report.add(test.ended(result));
}

/// The tool as the tests build it.
///
/// # Errors
/// When it does not build.
pub(super) fn tool(nightly: &Nightly) -> Result<Command> {
    let mut build = cargo()?;
    build.args(["build", "--quiet", "-p", "tmem-user", "--bin", "tmem"]);
    run(nightly.lend_to(&mut build))?;
    Ok(Command::new(paths::target().join("debug/tmem")))
}

/// A recording of the embedded engine in `folder`, which is made anew.
///
/// # Errors
/// When it cannot be made.
pub(super) fn recording(nightly: &Nightly, folder: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| folder.display().to_string())?;
    }
    fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    let mut record = tool(nightly)?;
    record.args(["--embedded", "--workload", "zipf:pages=4000", "record"]);
    record.args(["--sample", "1/20", "--interval", "200ms"]);
    record.args(["-o", "a.trace", "--", "sleep", "1"]);
    run(record.current_dir(folder))
}

fn opened(nightly: &Nightly) -> Result<()> {
    let python = prepare::python()?;
    let folder = paths::output().join("exports");
    recording(nightly, &folder)?;
    for (format, table) in [
        ("parquet", "events"),
        ("parquet", "readings"),
        ("csv", "events"),
        ("csv", "readings"),
        ("perfetto", "events"),
    ] {
        let name = match format {
            "perfetto" => "trace.perfetto".to_owned(),
            _ => format!("{table}.{format}"),
        };
        let mut export = tool(nightly)?;
        export.args(["export", "a.trace", "--format", format]);
        export.args(["--table", table, "-o", &name]);
        run(export.current_dir(&folder))?;
    }
    let script = paths::workspace().join("xtask/src/test/open_exports.py");
    run(Command::new(python)
        .arg(script)
        .arg(&folder)
        .stdout(std::io::stderr()))
}
