//! Bars for people: a line for each setting and a bar for each of its figures, so
//! that settings are compared at a glance.

use crate::text::bar;

/// Columns of a full bar.
const WIDTH: usize = 18;
/// Columns of a value.
const VALUE: usize = 11;

/// What the bars of one figure mean.
pub(super) struct Scale {
    /// What it is.
    pub(super) title: &'static str,
    /// The value of a full bar; the largest of all unless told.
    pub(super) top: Option<f64>,
    /// A value for people.
    pub(super) show: fn(f64) -> String,
}

/// One line.
pub(super) struct Bars {
    /// What stands before it.
    pub(super) label: String,
    /// One value a scale; `None`: not known.
    pub(super) values: Vec<Option<f64>>,
}

/// Lines of bars in groups, each with a title.
pub(super) fn bars(scales: &[Scale], groups: &[(String, Vec<Bars>)]) -> String {
    let lines = || groups.iter().flat_map(|(_, lines)| lines);
    let label = lines().map(|line| line.label.chars().count()).max();
    let label = label.unwrap_or(0) + 2;
    let tops: Vec<f64> = scales
        .iter()
        .enumerate()
        .map(|(place, scale)| {
            let values = lines().filter_map(|line| line.values.get(place).copied().flatten());
            scale.top.unwrap_or_else(|| values.fold(0.0, f64::max))
        })
        .collect();
    let mut text = " ".repeat(label);
    for scale in scales {
        text.push_str(&format!("  {:<1$}", scale.title, WIDTH + 1 + VALUE));
    }
    text.truncate(text.trim_end().len());
    text.push('\n');
    for (title, lines) in groups {
        text.push_str(title);
        text.push('\n');
        for Bars {
            label: name,
            values,
        } in lines
        {
            let mut drawn = format!("{name:>label$}");
            for ((scale, top), value) in scales.iter().zip(&tops).zip(values) {
                let share = value.map_or(0.0, |value| value / top.max(f64::MIN_POSITIVE));
                let shown = value.map_or_else(|| "-".to_owned(), scale.show);
                drawn.push_str(&format!("  {} {shown:>VALUE$}", line(WIDTH, share)));
            }
            text.push_str(&drawn);
            text.push('\n');
        }
    }
    text
}

/// A bar of so many columns, `share` (0 to 1) of it filled.
pub(super) fn line(width: usize, share: f64) -> String {
    const EIGHTHS: [&str; 8] = ["▏", "▎", "▍", "▌", "▋", "▊", "▉", "█"];
    let (filled, columns) = bar(&EIGHTHS, width, share);
    filled + &" ".repeat(width - columns)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_is_a_full_bar() {
        let scales = [
            Scale {
                title: "share",
                top: Some(1.0),
                show: |share| format!("{share:.1}"),
            },
            Scale {
                title: "size",
                top: None,
                show: |size| format!("{size}"),
            },
        ];
        let line = |label: &str, share, size| Bars {
            label: label.to_owned(),
            values: vec![share, size],
        };
        let groups = [(
            "lru".to_owned(),
            vec![
                line("1 GiB", Some(0.5), Some(20.0)),
                line("16 MiB", None, Some(5.0)),
            ],
        )];
        let wanted = [
            "          share                           size",
            "lru",
            "   1 GiB  █████████                  0.5  ██████████████████          20",
            "  16 MiB                               -  ████▌                        5",
            "",
        ];
        assert_eq!(bars(&scales, &groups), wanted.join("\n"));
    }
}
