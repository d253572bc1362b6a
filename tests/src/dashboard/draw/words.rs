//! Numbers and colours, in words.

use plotters::style::RGBColor;

/// Size of small text.
pub(super) const SMALL: u32 = 11;
/// From line to line of it.
pub(super) const LEADING: i32 = 15;

/// In seconds.
const YEAR: f64 = 365.25 * 86_400.0;

/// About how wide small text is.
pub(super) fn width(text: &str) -> i32 {
    i32::try_from(text.chars().count() * 6).unwrap_or(i32::MAX)
}

/// A value with its unit, short.
pub(super) fn value(value: f64, unit: &str) -> String {
    if value.is_nan() {
        return "none".to_owned();
    }
    match unit {
        "s" => seconds(value),
        "cps" => format!("{}/s", self::value(value, "")),
        _ if value != 0.0 && value.abs() < 10.0 => trimmed(value, 2),
        _ if value.abs() < 1_000.0 => trimmed(value, 1),
        _ => format!("{} k", trimmed(value / 1_000.0, 1)),
    }
}

fn seconds(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        size if size < 1e-3 => format!("{} µs", trimmed(value * 1e6, 0)),
        size if size < 1.0 => format!("{} ms", trimmed(value * 1e3, 1)),
        size if size < 600.0 => format!("{} s", trimmed(value, 2)),
        size if size < 172_800.0 => format!("{} h", trimmed(value / 3_600.0, 1)),
        size if size < 2.0 * YEAR => format!("{} days", trimmed(value / 86_400.0, 0)),
        _ => format!("{} years", trimmed(value / YEAR, 0)),
    }
}

/// With at most so many digits behind the point.
fn trimmed(value: f64, digits: usize) -> String {
    let text = format!("{value:.digits$}");
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

/// A colour by the name that Grafana has for it.
pub(super) fn colour(name: &str) -> RGBColor {
    match name {
        "green" => RGBColor(55, 135, 45),
        "yellow" => RGBColor(224, 180, 0),
        "orange" => RGBColor(230, 120, 0),
        "purple" => RGBColor(143, 59, 184),
        "red" => RGBColor(196, 22, 42),
        _ => RGBColor(140, 145, 150),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_short_and_have_their_unit() {
        let told = [0.0, 0.000_25, 0.0123, 2.0, 7_200.0, 864_000.0].map(|it| value(it, "s"));
        assert_eq!(told, ["0", "250 µs", "12.3 ms", "2 s", "2 h", "10 days"]);
        let told = [0.0, 0.25, 3.0, 49.96, 12_300.0].map(|it| value(it, "short"));
        assert_eq!(told, ["0", "0.25", "3", "50", "12.3 k"]);
        assert_eq!(value(2.5, "cps"), "2.5/s");
    }
}
