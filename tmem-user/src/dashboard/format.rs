//! Figures that only the dashboard shows, as text; sizes, times and counts come
//! from [`crate::units`].

use crate::units::{show_count, show_ns};

/// A rate per second: a decimal below ten, millions shortened.
pub(super) fn rate(per_second: f64) -> String {
    if per_second <= 0.0 {
        "0".into()
    } else if per_second < 9.95 {
        format!("{per_second:.1}")
    } else if per_second < 1e7 {
        show_count(per_second.round() as u64)
    } else {
        format!("{:.1}M", per_second / 1e6)
    }
}

/// A duration in ns, or `-` where nothing was measured.
pub(super) fn maybe_ns(ns: Option<u64>) -> String {
    ns.map_or_else(|| "-".into(), show_ns)
}

/// `part` of `whole` in percent, or `-` when there is no whole.
pub(super) fn percent(part: u64, whole: u64) -> String {
    if whole == 0 {
        return "-".into();
    }
    let share = part as f64 / whole as f64 * 100.0;
    // Only everything is 100.0 %.
    let shown = if part < whole { share.min(99.9) } else { share };
    format!("{shown:.1} %")
}

/// A ratio, or `-` when there is none.
pub(super) fn ratio(ratio: Option<f64>) -> String {
    match ratio {
        None => "-".into(),
        Some(ratio) if ratio < 99.95 => format!("{ratio:.2}"),
        Some(ratio) => show_count(ratio.round() as u64),
    }
}

/// Seconds as a span of time: `45 s`, `3 min`.
pub(super) fn span(seconds: f64) -> String {
    if seconds < 119.5 {
        format!("{seconds:.0} s")
    } else {
        format!("{:.0} min", seconds / 60.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_short() {
        assert_eq!(rate(0.0), "0");
        assert_eq!(rate(3.25), "3.2");
        assert_eq!(rate(9.96), "10");
        assert_eq!(rate(12_345.4), "12,345");
        assert_eq!(rate(12_345_678.0), "12.3M");
    }

    #[test]
    fn percent_of_nothing_is_a_dash_and_only_all_is_a_hundred() {
        assert_eq!(percent(0, 0), "-");
        assert_eq!(percent(1, 4), "25.0 %");
        assert_eq!(percent(99_999, 100_000), "99.9 %");
        assert_eq!(percent(5, 5), "100.0 %");
        assert_eq!(ratio(Some(2.5)), "2.50");
        assert_eq!(ratio(Some(1234.0)), "1,234");
        assert_eq!(ratio(None), "-");
    }
}
