//! Numbers as the dashboard prints them: short, with their unit, of a width
//! that does not jump from one refresh to the next.

const KIB: f64 = 1024.0;

/// Bytes with a binary unit: `512 B`, `4.0 KiB`, `61.2 MiB`.
pub(super) fn bytes(bytes: u64) -> String {
    let mut value = bytes as f64;
    let mut unit = "B";
    for next in ["KiB", "MiB", "GiB", "TiB"] {
        // 1023.95 would print as 1024.0.
        if value < KIB - 0.05 {
            break;
        }
        value /= KIB;
        unit = next;
    }
    match unit {
        "B" => format!("{bytes} B"),
        _ if value < 100.0 => format!("{value:.1} {unit}"),
        _ => format!("{value:.0} {unit}"),
    }
}

/// A count with thousands set apart: `12,345`; from ten millions on `12.3M`.
pub(super) fn count(count: u64) -> String {
    if count >= 10_000_000 {
        return scaled(count as f64);
    }
    let digits = count.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A rate per second: a decimal below ten, else as [`count`].
pub(super) fn rate(per_second: f64) -> String {
    if per_second <= 0.0 {
        "0".into()
    } else if per_second < 9.95 {
        format!("{per_second:.1}")
    } else {
        count(per_second.round() as u64)
    }
}

fn scaled(value: f64) -> String {
    for (unit, size) in [("T", 1e12), ("G", 1e9), ("M", 1e6)] {
        if value >= size {
            return format!("{:.1}{unit}", value / size);
        }
    }
    format!("{value:.0}")
}

/// A duration given in ns: `850 ns`, `3.1 µs`, `12 ms`, `1.2 s`.
pub(super) fn duration(ns: u64) -> String {
    let mut value = ns as f64;
    let mut unit = "ns";
    for next in ["µs", "ms", "s"] {
        if value < 999.5 {
            break;
        }
        value /= 1000.0;
        unit = next;
    }
    match unit {
        "ns" => format!("{ns} ns"),
        _ if value < 9.95 => format!("{value:.1} {unit}"),
        _ => format!("{value:.0} {unit}"),
    }
}

/// A duration, or `-` where nothing was measured.
pub(super) fn maybe_duration(ns: Option<u64>) -> String {
    ns.map_or_else(|| "-".into(), duration)
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

/// `whole / part` as a ratio, or `-` when nothing is held.
pub(super) fn ratio(whole: u64, part: u64) -> String {
    if part == 0 {
        return "-".into();
    }
    let ratio = whole as f64 / part as f64;
    if ratio < 99.95 {
        format!("{ratio:.2}")
    } else {
        count(ratio.round() as u64)
    }
}

/// An exact size as a tunable takes it: `72M`, `1536K`, `100`.
pub(super) fn size_value(bytes: u64) -> String {
    for (unit, size) in [("G", 1 << 30), ("M", 1 << 20), ("K", 1 << 10)] {
        if bytes >= size && bytes.is_multiple_of(size) {
            return format!("{}{unit}", bytes / size);
        }
    }
    bytes.to_string()
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
    fn bytes_change_unit_before_four_digits() {
        assert_eq!(bytes(0), "0 B");
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(1024), "1.0 KiB");
        assert_eq!(bytes(1_048_575), "1.0 MiB");
        assert_eq!(bytes(64 << 20), "64.0 MiB");
        assert_eq!(bytes(300 << 20), "300 MiB");
    }

    #[test]
    fn counts_have_separators() {
        assert_eq!(count(7), "7");
        assert_eq!(count(999), "999");
        assert_eq!(count(1000), "1,000");
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(count(12_345_678), "12.3M");
    }

    #[test]
    fn durations_choose_their_unit() {
        assert_eq!(duration(850), "850 ns");
        assert_eq!(duration(999), "999 ns");
        assert_eq!(duration(3_100), "3.1 µs");
        assert_eq!(duration(12_000_000), "12 ms");
        assert_eq!(duration(1_200_000_000), "1.2 s");
    }

    #[test]
    fn percent_of_nothing_is_a_dash_and_only_all_is_a_hundred() {
        assert_eq!(percent(0, 0), "-");
        assert_eq!(percent(1, 4), "25.0 %");
        assert_eq!(percent(99_999, 100_000), "99.9 %");
        assert_eq!(percent(5, 5), "100.0 %");
    }

    #[test]
    fn size_values_are_exact() {
        assert_eq!(size_value(72 << 20), "72M");
        assert_eq!(size_value(1536 << 10), "1536K");
        assert_eq!(size_value(1000), "1000");
        assert_eq!(size_value(2 << 30), "2G");
    }
}
