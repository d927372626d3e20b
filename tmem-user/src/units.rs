//! Sizes, durations and counts as people write and read them.

use std::time::Duration;

/// A size as the module takes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// Bytes.
    Bytes(u64),
    /// Percent of RAM, 1 to 100.
    Percent(u8),
}

/// Reads `4096`, `64K`, `512M`, `2G` (powers of 1024) or `20%`; `None` for
/// anything else, nothing at all (`0`, `0%`) included, as the module does.
pub fn parse_size(text: &str) -> Option<Size> {
    if let Some(percent) = text.strip_suffix('%') {
        let percent = number(percent)?;
        return u8::try_from(percent)
            .ok()
            .filter(|percent| (1..=100).contains(percent))
            .map(Size::Percent);
    }
    let (digits, shift) = match text.as_bytes().last()? {
        b'K' | b'k' => (&text[..text.len() - 1], 10),
        b'M' | b'm' => (&text[..text.len() - 1], 20),
        b'G' | b'g' => (&text[..text.len() - 1], 30),
        _ => (text, 0),
    };
    number(digits)?
        .checked_mul(1 << shift)
        .filter(|&bytes| bytes > 0)
        .map(Size::Bytes)
}

/// Digits only: `str::parse` would also take a plus sign.
fn number(digits: &str) -> Option<u64> {
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok()
}

/// Reads `500ms`, `2s`, `1m` or a plain number of seconds.
///
/// # Errors
/// A text that says which forms are taken.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let (digits, unit_ms) = if let Some(digits) = text.strip_suffix("ms") {
        (digits, 1)
    } else if let Some(digits) = text.strip_suffix('s') {
        (digits, 1000)
    } else if let Some(digits) = text.strip_suffix('m') {
        (digits, 60_000)
    } else {
        (text, 1000)
    };
    number(digits)
        .and_then(|value| value.checked_mul(unit_ms))
        .filter(|&ms| ms > 0)
        .map(Duration::from_millis)
        .ok_or_else(|| "a time above 0 such as 500ms, 2s or 1m is wanted".to_owned())
}

/// Reads a duration of an operation: `50us`, `800ns`, `1.5ms` or `1s`.
///
/// # Errors
/// A text that says which forms are taken.
pub fn parse_short_time(text: &str) -> Result<Duration, String> {
    let units = [
        ("ns", 1.0),
        ("us", 1e3),
        ("µs", 1e3),
        ("ms", 1e6),
        ("s", 1e9),
    ];
    units
        .iter()
        .find_map(|(unit, ns)| Some((text.strip_suffix(unit)?, ns)))
        .filter(|(digits, _)| digits.starts_with(|first: char| first.is_ascii_digit()))
        .and_then(|(digits, ns)| Some((digits.parse::<f64>().ok()? * ns).round()))
        .filter(|ns| (1.0..1e18).contains(ns))
        .map(|ns| Duration::from_nanos(ns as u64))
        .ok_or_else(|| "a time above 0 such as 50us, 800ns or 1.5ms is wanted".to_owned())
}

/// The least limit that a step goes down to, in bytes.
const LEAST_LIMIT: u64 = 1 << 20;

/// The step at a limit: the power of two between an eighth and a sixteenth of it.
fn step(limit: u64) -> u64 {
    let eighth = (limit / 8).max(LEAST_LIMIT / 8);
    1 << eighth.ilog2()
}

/// The next limit above `limit` in bytes, on the stairs that [`step_down`] goes down.
pub fn step_up(limit: u64) -> u64 {
    let step = step(limit);
    (limit / step).saturating_add(1).saturating_mul(step)
}

/// The next limit below `limit` in bytes; not below 1 MiB.
pub fn step_down(limit: u64) -> u64 {
    let below = limit.saturating_sub(1);
    let step = step(below);
    // A limit below the least (typed, perhaps 0) is not raised by lowering it.
    (below / step * step).max(LEAST_LIMIT.min(limit))
}

/// Bytes with three significant digits and a binary unit: `1.50 MiB`.
pub fn show_bytes(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1000.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{} {}", three_digits(value), UNITS[unit])
}

/// An exact size as a tunable takes it: `72M`, `1536K`, `100`.
pub fn size_value(bytes: u64) -> String {
    for (unit, size) in [("G", 1 << 30), ("M", 1 << 20), ("K", 1 << 10)] {
        if bytes >= size && bytes.is_multiple_of(size) {
            return format!("{}{unit}", bytes / size);
        }
    }
    bytes.to_string()
}

/// A duration with three significant digits: `850 ns`, `12.3 us`, `4.00 ms`.
pub fn show_ns(ns: u64) -> String {
    if ns < 1000 {
        return format!("{ns} ns");
    }
    let mut value = ns as f64 / 1000.0;
    let mut unit = "us";
    for larger in ["ms", "s"] {
        if value < 999.5 {
            break;
        }
        value /= 1000.0;
        unit = larger;
    }
    format!("{} {unit}", three_digits(value))
}

/// A count with its thousands set apart: `1,234,567`.
pub fn show_count(count: u64) -> String {
    let digits = count.to_string();
    let mut shown = String::with_capacity(digits.len() + digits.len() / 3);
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            shown.push(',');
        }
        shown.push(digit);
    }
    shown
}

/// A share of 1 as percent: `97.3 %`; `-` for none.
pub fn show_share(share: Option<f64>) -> String {
    share.map_or_else(|| "-".to_owned(), |share| format!("{:.1} %", share * 100.0))
}

fn three_digits(value: f64) -> String {
    if value < 9.995 {
        format!("{value:.2}")
    } else if value < 99.95 {
        format!("{value:.1}")
    } else {
        format!("{value:.0}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_the_module_reads_them() {
        assert_eq!(parse_size("4096"), Some(Size::Bytes(4096)));
        assert_eq!(parse_size("1G"), Some(Size::Bytes(1 << 30)));
        assert_eq!(parse_size("64k"), Some(Size::Bytes(65536)));
        assert_eq!(parse_size("20%"), Some(Size::Percent(20)));
        for bad in [
            "0",
            "0%",
            "0G",
            "",
            "G",
            "%",
            "-1",
            "+1",
            "1.5G",
            "101%",
            "1T",
            "1 G",
            "99999999999G",
            "é",
        ] {
            assert_eq!(parse_size(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn durations_are_read_with_their_units() {
        assert_eq!(parse_duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse_duration("2s"), Ok(Duration::from_secs(2)));
        assert_eq!(parse_duration("3"), Ok(Duration::from_secs(3)));
        assert_eq!(parse_duration("1m"), Ok(Duration::from_secs(60)));
        for bad in ["", "0s", "s", "-1s", "1h", "1.5s"] {
            assert!(parse_duration(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn short_times_need_their_unit() {
        assert_eq!(parse_short_time("50us"), Ok(Duration::from_micros(50)));
        assert_eq!(parse_short_time("1.5ms"), Ok(Duration::from_micros(1500)));
        assert_eq!(parse_short_time("2s"), Ok(Duration::from_secs(2)));
        for bad in ["", "50", "us", "-1us", "infs", "0ns", "1h", "1e30s"] {
            assert!(parse_short_time(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn values_are_shown_with_three_digits() {
        assert_eq!(show_bytes(1023), "1023 B");
        assert_eq!(show_bytes(1536), "1.50 KiB");
        assert_eq!(show_bytes(1000 * 1024), "0.98 MiB");
        assert_eq!(show_bytes(1 << 30), "1.00 GiB");
        assert_eq!(show_ns(999), "999 ns");
        assert_eq!(show_ns(12_340), "12.3 us");
        assert_eq!(show_ns(999_900), "1.00 ms");
        assert_eq!(show_ns(2_500_000_000), "2.50 s");
        assert_eq!(show_count(1_234_567), "1,234,567");
        assert_eq!(show_count(123), "123");
        assert_eq!(show_share(Some(0.973)), "97.3 %");
        assert_eq!(show_share(None), "-");
    }

    #[test]
    fn size_values_are_exact() {
        assert_eq!(size_value(72 << 20), "72M");
        assert_eq!(size_value(1536 << 10), "1536K");
        assert_eq!(size_value(1000), "1000");
        assert_eq!(size_value(2 << 30), "2G");
    }

    #[test]
    fn steps_go_up_and_down_the_same_stairs() {
        let mut limit = 5 << 20;
        let mut stairs = vec![limit];
        for _ in 0..100 {
            limit = step_up(limit);
            stairs.push(limit);
        }
        for expected in stairs.iter().rev().skip(1) {
            limit = step_down(limit);
            assert_eq!(limit, *expected);
        }
        assert_eq!(step_down(LEAST_LIMIT), LEAST_LIMIT);
        assert_eq!(step_down(0), 0);
        assert_eq!(step_down(4096), 4096);
        assert!(step_up(0) > 0);
        assert_eq!(step_up(u64::MAX), u64::MAX);
    }
}
