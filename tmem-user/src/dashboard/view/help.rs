//! The live keymap, with the keys of the configuration file.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::{App, left, section, table};
use crate::dashboard::keys::When;

pub(super) fn draw(app: &App, buffer: &mut Buffer, area: Rect) {
    let inner = section(&app.theme, buffer, area, "Keys");
    let columns = [
        left("key", 16, 0),
        left("action", 14, 1),
        left("what it does", 41, 0),
    ];
    let cells = |row: usize| {
        let (binding, keys) = &app.keymap.rows()[row];
        let keys: Vec<String> = keys.iter().map(|key| key.label()).collect();
        let when = match binding.when {
            When::Looking => "",
            When::Typing => "while typing: ",
        };
        vec![
            keys.join(" "),
            binding.name.into(),
            format!("{when}{}", binding.help),
        ]
    };
    let count = app.keymap.rows().len();
    let selected = Some(app.help_offset);
    table(app, buffer, inner, &columns, count, selected, cells);
}
