//! `tmem serve` over HTTP.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

use crate::support::FakeSysfs;

const DASHBOARD: &str = include_str!("../../share/grafana-dashboard.json");

/// A server on a port of its own; ended when dropped.
struct Server {
    child: Child,
    address: String,
}

impl Server {
    fn start(arguments: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_tmem"))
            .args(arguments)
            .args(["serve", "--listen", "127.0.0.1:0"])
            .stdout(Stdio::piped())
            .spawn()
            .expect("the tool starts");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("piped");
        BufReader::new(stdout).read_line(&mut line).expect("a line");
        let address = line
            .trim()
            .strip_prefix("listening on http://")
            .and_then(|rest| rest.strip_suffix("/metrics"))
            .expect("an address");
        Self {
            address: address.to_owned(),
            child,
        }
    }

    /// Head and body of the answer.
    fn ask(&self, request: &str) -> (String, String) {
        let mut stream = TcpStream::connect(&self.address).expect("it listens");
        let request = format!("{request} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it answers");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        (head.to_lowercase(), body.to_owned())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Fails when it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn metrics_are_served_and_other_requests_refused() {
    let fake = FakeSysfs::new();
    let root = fake.root().to_str().expect("UTF-8");
    let server = Server::start(&["--sysfs", root]);
    let (head, body) = server.ask("GET /metrics");
    assert!(head.starts_with("http/1.1 200"), "{head}");
    let kind = "content-type: application/openmetrics-text; version=1.0.0; charset=utf-8";
    assert!(head.contains(kind), "{head}");
    for line in [
        "tmem_limit_bytes 104857600\n",
        "tmem_pool_pages{pool=\"swap\",id=\"0\",kind=\"persistent\"} 1000\n",
        "tmem_operations_total{pool=\"swap\",id=\"0\",op=\"get\",outcome=\"hit\"} 8\n",
        "tmem_observed 0\n",
    ] {
        assert!(body.contains(line), "{line} is missing in\n{body}");
    }
    assert!(body.ends_with("# EOF\n"));
    assert!(server.ask("GET /else").0.starts_with("http/1.1 404"));
    assert!(server.ask("POST /metrics").0.starts_with("http/1.1 405"));
    // A module that goes away is told, and the server stays.
    fake.write("used_bytes", "many");
    let (head, body) = server.ask("GET /metrics");
    assert!(
        head.starts_with("http/1.1 503") && body.contains("used_bytes"),
        "{head}\n{body}"
    );
    fake.write("used_bytes", "1");
    assert!(server.ask("GET /metrics").0.starts_with("http/1.1 200"));
}

#[test]
fn a_signal_ends_the_server_and_a_used_port_is_told() {
    let fake = FakeSysfs::new();
    let root = fake.root().to_str().expect("UTF-8");
    let mut server = Server::start(&["--sysfs", root]);
    let output = fake.tmem(&["serve", "--listen", &server.address]);
    assert_eq!(output.status.code(), Some(1));
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(message.contains(&server.address), "{message}");
    let pid = i32::try_from(server.child.id()).expect("a pid");
    let pid = rustix::process::Pid::from_raw(pid).expect("a pid");
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("it runs");
    assert_eq!(server.child.wait().expect("it ends").code(), Some(0));
}

/// Words of the query language that look like metrics.
fn metrics_of(expression: &str) -> Vec<&str> {
    expression
        .split(|char: char| !(char.is_ascii_alphanumeric() || char == '_'))
        .filter(|word| word.starts_with("tmem_"))
        .collect()
}

#[test]
fn every_metric_of_the_dashboard_is_served() {
    let server = Server::start(&["--embedded", "--workload", "zipf:pages=1000,rate=0"]);
    let (_, mut body) = server.ask("GET /metrics");
    // Not of the embedded engine: what only a live machine has.
    let dashboard: serde_json::Value = serde_json::from_str(DASHBOARD).expect("JSON");
    let live = [
        "tmem_swap_pages_written_total ",
        "tmem_swap_pages_read_total ",
        "tmem_memory_pressure_some_seconds_total ",
        "tmem_cgroup_operations_total{",
        "tmem_exporter_ebpf_seconds_total ",
    ];
    body.push_str(&live.join("\n"));
    let panels = dashboard["panels"].as_array().expect("panels");
    let mut seen = 0;
    for panel in panels {
        for target in panel["targets"].as_array().expect("targets") {
            for metric in metrics_of(target["expr"].as_str().expect("a query")) {
                let served = [format!("{metric} "), format!("{metric}{{")];
                assert!(served.iter().any(|name| body.contains(name)), "{metric}");
                seen += 1;
            }
        }
    }
    assert!(seen > panels.len(), "{seen}");
}
