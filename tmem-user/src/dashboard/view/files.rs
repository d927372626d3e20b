//! Pages by file, as eBPF saw them: which files profit.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use tmem_common::PAGE_SIZE;

use super::observed::{self, Listing};
use super::{App, View, right};
use crate::dashboard::format::{percent, rate};
use crate::units::{show_bytes, show_count};

pub(super) fn draw(app: &App, buffer: &mut Buffer, area: Rect) {
    let listing = Listing {
        view: View::Files,
        title: "Files",
        name: "file",
        figures: [
            right("hit/s", 8, 0),
            right("hit rate", 8, 0),
            right("hits", 8, 0),
            right("misses", 8, 0),
            right("stored", 9, 1),
            right("device", 8, 2),
            right("inode", 10, 3),
        ],
        detail: 4,
        none: "none was met yet; `tmem mount add PATH` has a file system take part",
        items: app.history().files(),
    };
    observed::draw(
        app,
        buffer,
        area,
        listing,
        |file| {
            let seen = &file.seen;
            vec![
                seen.label(),
                rate(file.hits_per_second),
                percent(seen.hits, seen.hits + seen.misses),
                show_count(seen.hits),
                show_count(seen.misses),
                show_count(seen.stored),
                seen.device_name(),
                seen.inode.to_string(),
            ]
        },
        |file| {
            let seen = &file.seen;
            let lines = vec![
                vec![
                    ("reads avoided", show_bytes(seen.hits * PAGE_SIZE as u64)),
                    ("hits", show_count(seen.hits)),
                    ("misses", show_count(seen.misses)),
                ],
                vec![
                    ("put/s", rate(file.puts_per_second)),
                    ("puts", show_count(seen.puts)),
                    ("stored", show_count(seen.stored)),
                ],
                vec![
                    ("device", seen.device_name()),
                    ("inode", seen.inode.to_string()),
                ],
            ];
            (format!("File {}", seen.place()), lines)
        },
    );
}
