//! Operations by the cgroup that a page is charged to, as eBPF saw them.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use tmem_common::op::Outcome;

use super::observed::{self, Listing};
use super::{App, View, right};
use crate::dashboard::format::{percent, rate};
use crate::units::{show_bytes, show_count};

pub(super) fn draw(app: &App, buffer: &mut Buffer, area: Rect) {
    let listing = Listing {
        view: View::Cgroups,
        title: "Cgroups",
        name: "cgroup",
        figures: [
            right("put/s", 8, 0),
            right("get/s", 8, 0),
            right("hits", 8, 0),
            right("stored", 9, 0),
            right("refused", 9, 1),
            right("kept in", 10, 2),
            right("misses", 10, 3),
        ],
        detail: 5,
        none: "none was met yet",
        items: app.history().cgroups(),
    };
    observed::draw(
        app,
        buffer,
        area,
        listing,
        |cgroup| {
            vec![
                cgroup.name(),
                rate(cgroup.puts_per_second),
                rate(cgroup.gets_per_second),
                percent(cgroup.count(Outcome::Hit), cgroup.gets()),
                show_count(cgroup.stored()),
                show_count(cgroup.refused()),
                show_bytes(cgroup.stored_bytes),
                show_count(cgroup.count(Outcome::Miss)),
            ]
        },
        |cgroup| {
            let count = |outcome: Outcome| show_count(cgroup.count(outcome));
            let lines = vec![
                vec![
                    ("id", cgroup.id.to_string()),
                    ("put/s", rate(cgroup.puts_per_second)),
                    ("get/s", rate(cgroup.gets_per_second)),
                    (
                        "hit rate",
                        percent(cgroup.count(Outcome::Hit), cgroup.gets()),
                    ),
                ],
                vec![
                    ("compressed", count(Outcome::Stored)),
                    ("same", count(Outcome::StoredSame)),
                    ("raw", count(Outcome::StoredRaw)),
                    ("kept in", show_bytes(cgroup.stored_bytes)),
                ],
                vec![
                    ("hits", count(Outcome::Hit)),
                    ("misses", count(Outcome::Miss)),
                    ("refused: limit", count(Outcome::RefusedLimit)),
                    ("memory", count(Outcome::RefusedNoMemory)),
                ],
                vec![
                    (
                        "refused: incompressible",
                        count(Outcome::RefusedIncompressible),
                    ),
                    ("frozen", count(Outcome::RefusedFrozen)),
                    ("evicted", count(Outcome::Evicted)),
                ],
            ];
            (format!("Cgroup {}", cgroup.name()), lines)
        },
    );
}
