//! Numbers as people read them.

/// A fraction as `91.2 %`.
pub fn percent(value: f64) -> String {
    if value.is_finite() { format!("{:.1} %", tidy(value * 100.0)) } else { "unknown".to_owned() }
}

/// A difference of fractions in points, as `+81.2`.
pub fn points(value: f64) -> String {
    format!("{:+.1}", tidy(value * 100.0))
}

/// An interval of fractions as `88.0 to 93.6 %`.
pub fn percents((low, high): (f64, f64)) -> String {
    format!("{:.1} to {:.1} %", tidy(low * 100.0), tidy(high * 100.0))
}

/// A p-value as `p = 0.032` or `p < 0.001`.
pub fn p_value(p: f64) -> String {
    if p < 0.001 { "p < 0.001".to_owned() } else { format!("p = {p:.3}") }
}

/// Seconds as `42 s`, `3 min 20 s` or `1 h 5 min`.
pub fn duration(seconds: f64) -> String {
    let whole = seconds.max(0.0).round() as u64;
    match whole {
        _ if !seconds.is_finite() => "unknown".to_owned(),
        _ if seconds < 9.95 => format!("{:.1} s", seconds.max(0.0)),
        0..60 => format!("{whole} s"),
        60..3600 => format!("{} min {} s", whole / 60, whole % 60),
        _ => format!("{} h {} min", whole / 3600, whole % 3600 / 60),
    }
}

/// A count of bytes as `5.6 MB`.
pub fn bytes(count: u64) -> String {
    match count {
        0..1_000 => format!("{count} bytes"),
        1_000..1_000_000 => format!("{:.1} kB", count as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", count as f64 / 1e6),
        _ => format!("{:.2} GB", count as f64 / 1e9),
    }
}

/// A count with its noun: `1 row`, `395 rows`.
pub fn counted(count: usize, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

/// Rounds to one decimal so that no `-0.0` is ever shown.
fn tidy(value: f64) -> f64 {
    let rounded = (value * 10.0).round() / 10.0;
    if rounded == 0.0 { 0.0 } else { rounded }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_read_well() {
        assert_eq!([percent(0.91234), percent(1.0), percent(f64::NAN)], ["91.2 %", "100.0 %", "unknown"]);
        assert_eq!([points(0.812), points(-0.0001), points(-0.02)], ["+81.2", "+0.0", "-2.0"]);
        assert_eq!([p_value(0.0), p_value(0.0321)], ["p < 0.001", "p = 0.032"]);
        assert_eq!(
            [4.26, 9.96, 59.0, 200.0, 3900.0].map(duration),
            ["4.3 s", "10 s", "59 s", "3 min 20 s", "1 h 5 min"]
        );
        assert_eq!([12, 5_600_000].map(bytes), ["12 bytes", "5.6 MB"]);
    }
}
