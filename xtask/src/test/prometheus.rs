//! `tmem serve` scraped by a real Prometheus: what it takes in, and what its query
//! language makes of it. Debian's package is downloaded once and not installed.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use crate::paths;
use crate::prepare::Nightly;
use crate::process::{cargo, run, say};
use crate::report::{Report, Test};

/// The test's name.
pub(super) const NAME: &str = "tool_prometheus";

/// Longer than a few scrapes take on a busy machine.
const HANG: Duration = Duration::from_secs(120);

/// Runs it.
pub(super) fn test(nightly: &Nightly, report: &Report) {
    let begin = Instant::now();
    let result = scraped(nightly);
    let test = Test::new(NAME, "native", begin.elapsed());
    report.add(test.ended(result));
}

/// A child that ends with us.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // Fails when it has ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn scraped(nightly: &Nightly) -> Result<()> {
    let prometheus = prometheus()?;
    let mut build = cargo()?;
    build.args(["build", "--quiet", "-p", "tmem-user", "--bin", "tmem"]);
    run(nightly.lend_to(&mut build))?;
    let folder = paths::output().join("prometheus");
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| folder.display().to_string())?;
    }
    fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;

    let (_exporter, target) = exporter()?;
    let (_prometheus, address) = start(&prometheus, &folder, &target)?;
    // Two scrapes make a rate.
    wait_for(&address, "count_over_time(tmem_used_bytes[1h]) >= 3")?;
    for (query, least) in [
        ("up", 1.0),
        ("tmem_limit_bytes", 1.0),
        ("sum(tmem_operations_total{op=\"put\"})", 1.0),
        (
            "sum(rate(tmem_operations_total{outcome=\"hit\"}[1m]))",
            1e-9,
        ),
        (
            "histogram_quantile(0.99, sum by (le) (tmem_operation_duration_seconds_bucket{op=\"get\"}))",
            1e-9,
        ),
    ] {
        let value = query_value(&address, query)?;
        let value = value.with_context(|| format!("{query}: no value"))?;
        ensure!(value >= least, "{query} is {value}, not at least {least}");
    }
    // A family keeps its type: this is what tells counters from gauges.
    let metadata = get(&address, "/api/v1/metadata")?;
    for (family, kind) in [
        ("tmem_operations", "counter"),
        ("tmem_used_bytes", "gauge"),
        ("tmem_operation_duration_seconds", "histogram"),
    ] {
        let found = &metadata["data"][family][0]["type"];
        ensure!(found == kind, "{family} is a {found}, not a {kind}");
    }
    Ok(())
}

/// The tool with the embedded engine, and where it listens.
fn exporter() -> Result<(Running, String)> {
    let mut child = Command::new(paths::target().join("debug/tmem"))
        .args(["--embedded", "--workload", "zipf:pages=2000"])
        .args(["serve", "--listen", "127.0.0.1:0"])
        .stdout(Stdio::piped())
        .spawn()
        .context("starting tmem serve")?;
    let stdout = child.stdout.take().context("its output")?;
    let running = Running(child);
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line)?;
    let address = line
        .trim()
        .strip_prefix("listening on http://")
        .and_then(|rest| rest.strip_suffix("/metrics"))
        .with_context(|| format!("tmem serve says {line:?}"))?;
    Ok((running, address.to_owned()))
}

fn start(prometheus: &Path, folder: &Path, target: &str) -> Result<(Running, String)> {
    let config = folder.join("prometheus.yml");
    fs::write(
        &config,
        format!(
            "global: {{scrape_interval: 500ms}}\nscrape_configs:\n  - job_name: tmem\n    \
             static_configs: [{{targets: [\"{target}\"]}}]\n"
        ),
    )?;
    // Nobody else takes the port in the moment between.
    let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string();
    let log = fs::File::create(folder.join("log"))?;
    let child = Command::new(prometheus)
        .arg(format!("--config.file={}", config.display()))
        .arg(format!(
            "--storage.tsdb.path={}",
            folder.join("data").display()
        ))
        .arg(format!("--web.listen-address={address}"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .context("starting prometheus")?;
    Ok((Running(child), address))
}

/// Waits until a query has a result.
fn wait_for(address: &str, query: &str) -> Result<()> {
    let begin = Instant::now();
    loop {
        // Until it listens there is nobody to ask.
        if let Ok(Some(_)) = query_value(address, query) {
            return Ok(());
        }
        if begin.elapsed() > HANG {
            let targets = get(address, "/api/v1/targets").unwrap_or_default();
            bail!("no result for {query}; targets: {targets}");
        }
        std::thread::sleep(Duration::from_millis(250));
    }
}

/// The first value of an instant query; `None` without a result.
fn query_value(address: &str, query: &str) -> Result<Option<f64>> {
    let mut encoded = String::new();
    for byte in query.bytes() {
        if byte.is_ascii_alphanumeric() {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    let answer = get(address, &format!("/api/v1/query?query={encoded}"))?;
    ensure!(answer["status"] == "success", "{query}: {answer}");
    let value = answer["data"]["result"][0]["value"][1].as_str();
    Ok(value.map(str::parse).transpose()?)
}

/// The JSON that a path gives.
fn get(address: &str, path: &str) -> Result<Value> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(HANG))?;
    // 1.0: the answer ends with the connection, and comes in one piece.
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (_, body) = answer.split_once("\r\n\r\n").context("no body")?;
    serde_json::from_str(body).with_context(|| body.to_owned())
}

/// The program: this machine's, else Debian's package unpacked in the cache.
fn prometheus() -> Result<PathBuf> {
    if let Some(installed) = paths::find_command("prometheus") {
        return Ok(installed);
    }
    let folder = paths::cache()?.join("prometheus");
    let program = folder.join("usr/bin/prometheus");
    if program.is_file() {
        return Ok(program);
    }
    say("downloading Debian's prometheus");
    let unpacked = folder.with_extension("tmp");
    if unpacked.exists() {
        fs::remove_dir_all(&unpacked).with_context(|| unpacked.display().to_string())?;
    }
    fs::create_dir_all(&unpacked).with_context(|| unpacked.display().to_string())?;
    let mut download = Command::new("apt-get");
    download.args(["-q", "download", "prometheus"]);
    run(download.current_dir(&unpacked).stdout(std::io::stderr()))?;
    let package = fs::read_dir(&unpacked)?
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|extension| extension == "deb"))
        .context("apt-get left no package")?;
    run(Command::new("dpkg-deb")
        .arg("-x")
        .arg(&package)
        .arg(&unpacked))?;
    fs::remove_file(&package).with_context(|| package.display().to_string())?;
    fs::rename(&unpacked, &folder).with_context(|| folder.display().to_string())?;
    Ok(program)
}
