//! `tmem report` opened in headless Chromium: the browser lays the page out, and says
//! how large each part became. A picture of it stays in `target/tmem/report`.

use std::fs;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::exports::{recording, tool};
use crate::paths;
use crate::prepare::Nightly;
use crate::process::{capture, run};
use crate::report::{Report, Test};

/// The test's name.
pub(super) const NAME: &str = "trace_report";

/// Runs it.
pub(super) fn test(nightly: &Nightly, report: &Report) {
    let begin = Instant::now();
    let result = opened(nightly);
    let test = Test::new(NAME, "native", begin.elapsed());
    report.add(test.ended(result));
}

/// Asks the browser, in place of the page's content, what it made of it.
const ASK: &str = r#"<script>
addEventListener("load", () => {
  const inside = (node, box) => {
    const one = node.getBoundingClientRect();
    return one.left >= box.left - 1 && one.right <= box.right + 1
      && one.top >= box.top - 1 && one.bottom <= box.bottom + 1;
  };
  const plots = [...document.querySelectorAll("figure")].map(figure => {
    const svg = figure.querySelector("svg").getBoundingClientRect();
    return {
      title: figure.querySelector("b").textContent,
      width: svg.width, height: svg.height,
      lines: [...figure.querySelectorAll(".line")].map(line => line.getTotalLength()),
      bars: [...figure.querySelectorAll(".bar")].filter(bar => bar.getBBox().height > 0).length,
      inside: [...figure.querySelectorAll("text, .line, .bar")].every(node => inside(node, svg)),
    };
  });
  const told = {
    title: document.title,
    plots,
    tiles: document.querySelectorAll(".tiles div").length,
    headings: [...document.querySelectorAll("h2")].map(node => node.textContent),
    settings: [...document.querySelectorAll("td")].map(node => node.textContent),
    loaded: performance.getEntriesByType("resource").length,
    wider: document.documentElement.scrollWidth > innerWidth,
  };
  // In two parts, so that this line is not taken for the answer.
  document.body.textContent = "TO" + "LD" + JSON.stringify(told) + "TO" + "LD";
});
</script>"#;

fn chromium() -> Command {
    let mut command = Command::new("chromium");
    // Its sandbox does not run as root; the page is our own.
    command.args(["--headless", "--no-sandbox", "--disable-gpu"]);
    command.args(["--disable-dev-shm-usage", "--window-size=1280,2400"]);
    command
}

fn opened(nightly: &Nightly) -> Result<()> {
    let folder = paths::output().join("report");
    recording(nightly, &folder)?;
    let mut make = tool(nightly)?;
    make.args(["report", "a.trace", "-o", "page.html"]);
    run(make.current_dir(&folder))?;
    let file = folder.join("page.html");
    let page = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
    for outside in ["<script", "http:", "https:", "src=", "@import", "url("] {
        ensure!(
            !page.contains(outside),
            "the page is not self-contained: {outside}"
        );
    }
    let profile = format!("--user-data-dir={}", folder.join("profile").display());
    let picture = format!("--screenshot={}", folder.join("page.png").display());
    let address = format!("file://{}", file.display());
    let drawn = capture(chromium().args([&profile, &picture, &address]))?;
    ensure!(drawn.success, "chromium: {}", drawn.stderr);

    let asking = folder.join("asking.html");
    fs::write(&asking, page.replace("</head>", &format!("{ASK}</head>")))?;
    let address = format!("file://{}", asking.display());
    let answer = capture(chromium().args([&profile, "--dump-dom", &address]))?;
    let told = answer
        .stdout
        .split("TOLD")
        .nth(1)
        .with_context(|| format!("the browser says nothing: {}", answer.stderr))?;
    // What the browser wrote is HTML.
    let told = told
        .replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&amp;", "&");
    let told: Value = serde_json::from_str(&told).with_context(|| told.clone())?;
    ensure!(
        told["title"]
            .as_str()
            .is_some_and(|title| title.contains("zipf:pages=4000")),
        "its title is {}",
        told["title"]
    );
    ensure!(
        told["loaded"] == 0,
        "it loads {} other files",
        told["loaded"]
    );
    ensure!(told["wider"] == false, "it is wider than the window");
    ensure!(told["tiles"] == 6, "{} main figures", told["tiles"]);
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let plots = list(&told["plots"]);
    for wanted in [
        "Memory",
        "Hit rate",
        "Operations",
        "Latency",
        "Sizes",
        "Miss-ratio curve",
    ] {
        let plot = plots.iter().find(|plot| plot["title"] == wanted);
        let plot = plot.with_context(|| format!("no plot {wanted}: {told}"))?;
        let lines = list(&plot["lines"]);
        let drawn =
            lines.iter().any(|line| line.as_f64() > Some(100.0)) || plot["bars"].as_u64() > Some(0);
        ensure!(drawn, "nothing is drawn: {plot}");
        ensure!(plot["inside"] == true, "it is drawn over its edge: {plot}");
        ensure!(
            plot["width"].as_f64() > Some(300.0),
            "it is too small: {plot}"
        );
    }
    let texts = list(&told["settings"]);
    ensure!(
        texts.contains(&"keep_incompressible".into()),
        "the settings are missing"
    );
    Ok(())
}
