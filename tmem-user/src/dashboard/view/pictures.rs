//! The pictures in `docs/guide`: what the views draw on a test terminal, as SVG. With
//! `TMEM_DRAW=1` they are written; else they have to be what is drawn.

use std::fs;
use std::path::Path;

use ratatui::buffer::{Buffer, Cell};
use ratatui::style::{Color, Modifier};

use super::tests::{app, draw, press};

const SIZE: (u16, u16) = (80, 24);

/// A character cell in the picture, and where its text stands in it.
const CELL: (f64, f64) = (8.4, 17.0);
const BASELINE: f64 = 13.0;
const MARGIN: f64 = 8.0;

const BACKGROUND: &str = "#1c1f26";
const TEXT: &str = "#d4d7dd";

fn color(color: Color, usual: &'static str) -> &'static str {
    match color {
        Color::Cyan => "#5fc7d4",
        Color::LightBlue => "#7aa8f7",
        Color::Yellow => "#e0b44c",
        Color::LightMagenta => "#d38bd8",
        _ => usual,
    }
}

/// Foreground, background and weight.
fn look(cell: &Cell) -> (&'static str, &'static str, bool) {
    let colors = (color(cell.fg, TEXT), color(cell.bg, BACKGROUND));
    let (text, ground) = if cell.modifier.contains(Modifier::REVERSED) {
        (colors.1, colors.0)
    } else {
        colors
    };
    (text, ground, cell.modifier.contains(Modifier::BOLD))
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

/// A buffer as a picture: a rectangle and a text for each run of cells that look alike.
fn svg(buffer: &Buffer) -> String {
    let (width, height) = CELL;
    let (columns, rows) = SIZE;
    let mut picture = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{:.0}\" height=\"{:.0}\" \
         font-family=\"monospace\" font-size=\"14\">\n\
         <rect width=\"100%\" height=\"100%\" rx=\"6\" fill=\"{BACKGROUND}\"/>\n",
        f64::from(columns) * width + 2.0 * MARGIN,
        f64::from(rows) * height + 2.0 * MARGIN,
    );
    for row in 0..rows {
        let y = MARGIN + f64::from(row) * height;
        let mut column = 0;
        while column < columns {
            let start = column;
            let (text, ground, bold) = look(&buffer[(start, row)]);
            let mut run = String::new();
            while column < columns && look(&buffer[(column, row)]) == (text, ground, bold) {
                run.push_str(buffer[(column, row)].symbol());
                column += 1;
            }
            let x = MARGIN + f64::from(start) * width;
            let length = f64::from(column - start) * width;
            if ground != BACKGROUND {
                picture.push_str(&format!(
                    "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{length:.1}\" height=\"{height}\" \
                     fill=\"{ground}\"/>\n"
                ));
            }
            if run.trim().is_empty() {
                continue;
            }
            let weight = if bold { " font-weight=\"bold\"" } else { "" };
            picture.push_str(&format!(
                "<text x=\"{x:.1}\" y=\"{:.1}\" textLength=\"{length:.1}\" fill=\"{text}\"{weight} \
                 xml:space=\"preserve\">{}</text>\n",
                y + BASELINE,
                escaped(&run)
            ));
        }
    }
    picture.push_str("</svg>\n");
    picture
}

#[test]
fn the_pictures_in_the_guide_are_what_is_drawn() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/guide/pictures");
    for (name, keys) in [
        ("overview", "1"),
        ("pools", "2"),
        ("latency", "3"),
        ("files", "4"),
        ("cgroups", "5"),
        ("events", "7"),
    ] {
        let mut app = app();
        press(&mut app, keys);
        let drawn = svg(draw(&app, SIZE).buffer());
        let path = folder.join(name).with_extension("svg");
        if std::env::var_os("TMEM_DRAW").is_some() {
            fs::create_dir_all(&folder).unwrap_or_else(|error| panic!("{error}"));
            fs::write(&path, drawn).unwrap_or_else(|error| panic!("{error}"));
            continue;
        }
        let kept = fs::read_to_string(&path).unwrap_or_default();
        assert!(
            kept == drawn,
            "{} is not what is drawn: TMEM_DRAW=1 cargo test -p tmem-user pictures",
            path.display()
        );
    }
}
