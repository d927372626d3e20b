//! Colours and symbols of the dashboard.
//!
//! The colours are among the terminal's own sixteen and told apart by people
//! who do not tell red from green: blue, yellow and magenta, never alone the
//! bearer of a meaning. Without colour, weight and reversal do the same work.

use ratatui::style::{Color, Modifier, Style};
use tmem_common::op::Op;

/// Styles and symbols by what they are for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Theme {
    /// Names of things.
    pub(super) label: Style,
    /// The figures themselves.
    pub(super) value: Style,
    /// Headings and the lines between sections.
    pub(super) heading: Style,
    /// The chosen view or row.
    pub(super) selected: Style,
    /// Bars that are filled.
    pub(super) fill: Style,
    /// What wants attention.
    pub(super) warning: Style,
    /// What went wrong.
    pub(super) error: Style,
    /// Keys in hints and in the help.
    pub(super) key: Style,
    ops: [Style; 4],
    color: bool,
    /// Glyphs for the bars and the heat map.
    pub(super) glyphs: &'static Glyphs,
}

/// Glyphs by rising weight.
#[derive(Debug)]
pub(super) struct Glyphs {
    /// Eight heights of a bar, the last one full.
    pub(super) heights: [&'static str; 8],
    /// Four shades, the last one full.
    pub(super) shades: [&'static str; 4],
    /// The part of a bar that is not filled.
    pub(super) rest: &'static str,
    /// Eight widths of the end of a bar, the last one full.
    pub(super) widths: [&'static str; 8],
    /// The line between sections.
    pub(super) rule: &'static str,
}

static UNICODE: Glyphs = Glyphs {
    heights: ["▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"],
    shades: ["░", "▒", "▓", "█"],
    rest: "░",
    widths: ["▏", "▎", "▍", "▌", "▋", "▊", "▉", "█"],
    rule: "─",
};

static ASCII: Glyphs = Glyphs {
    heights: ["_", ".", ",", "-", "=", "+", "*", "#"],
    shades: [".", ":", "o", "#"],
    rest: ".",
    widths: [".", ".", ".", "=", "=", "=", "#", "#"],
    rule: "-",
};

impl Theme {
    /// The theme for a terminal with or without colours, and with or without
    /// block characters.
    pub(super) fn new(color: bool, ascii: bool) -> Self {
        let plain = Style::new();
        let bold = plain.add_modifier(Modifier::BOLD);
        let colored = |style: Style, color_: Color| if color { style.fg(color_) } else { style };
        Self {
            label: plain,
            value: bold,
            heading: colored(bold, Color::Cyan),
            selected: plain.add_modifier(Modifier::REVERSED),
            fill: colored(plain, Color::LightBlue),
            warning: colored(bold, Color::Yellow),
            error: colored(bold, Color::LightMagenta),
            key: colored(bold, Color::Cyan),
            ops: [
                colored(plain, Color::LightBlue),
                colored(plain, Color::Yellow),
                plain,
                colored(plain, Color::LightMagenta),
            ],
            color,
            glyphs: if ascii { &ASCII } else { &UNICODE },
        }
    }

    /// Names of the styles that a configuration can change.
    pub(super) const NAMES: [&str; 12] = [
        "label", "value", "heading", "selected", "fill", "warning", "error", "key", "put", "get",
        "flush", "evict",
    ];

    /// Puts another style in the place of one of [`Theme::NAMES`]. Without colours
    /// only its weight and reversal count.
    pub(super) fn change(&mut self, name: &str, style: Style) {
        let style = if self.color {
            style
        } else {
            Style {
                fg: None,
                bg: None,
                ..style
            }
        };
        let [put, get, flush, evict] = &mut self.ops;
        *match name {
            "label" => &mut self.label,
            "value" => &mut self.value,
            "heading" => &mut self.heading,
            "selected" => &mut self.selected,
            "fill" => &mut self.fill,
            "warning" => &mut self.warning,
            "error" => &mut self.error,
            "key" => &mut self.key,
            "put" => put,
            "get" => get,
            "flush" => flush,
            "evict" => evict,
            _ => return,
        } = style;
    }

    /// The style of one kind of operation, in charts.
    pub(super) fn op(&self, op: Op) -> Style {
        self.ops[op as usize]
    }
}
