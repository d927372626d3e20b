//! The dashboard on a terminal of its own, against the live module.

use anyhow::{Result, ensure};
use serde_json::json;
use tmem_common::sysfs as names;

use crate::context::Context;
use crate::dashboard::Dashboard;
use crate::tier::{self, Tier};

/// Most memory that the dashboard may take, bytes.
const MOST_RESIDENT: u64 = 40_000_000;

/// Started in a terminal, the dashboard changes the limit by keys, and gives the
/// terminal back.
pub(super) fn keys(context: &Context) -> Result<()> {
    let tier = Tier::start(context)?;
    tier.set(names::LIMIT, "10%")?;
    let mut dashboard = Dashboard::start("200ms")?;
    for (keys, old, limit) in [
        ("L\u{15}64M\r", "10%", "64M"),
        ("+", "64M", "72M"),
        ("u", "72M", "64M"),
        ("u", "64M", "10%"),
    ] {
        dashboard.press(keys)?;
        dashboard.wait(limit, |_| Ok(tier::attribute(names::LIMIT)? == limit))?;
        // It has to hear of it before the next key counts.
        dashboard.wait_for_screen(&format!("limit: {old} -> {limit}"))?;
    }
    let peak = dashboard.cost()?.peak_bytes;
    context.data(json!({ "peak_bytes": peak }));
    ensure!(peak <= MOST_RESIDENT, "it takes {peak} bytes");
    dashboard.quit()?;
    tier.finish()
}
