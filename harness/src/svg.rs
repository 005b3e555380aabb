//! Small plots as inline SVG, drawn in the colours of the page around them.

use std::fmt::Write;

/// One line of a chart.
pub(crate) struct Line<'a> {
    /// Its name in the legend.
    pub name: &'a str,
    /// CSS class, for its colour.
    pub class: &'a str,
    /// Points from left to right. Numbers that are not finite are left out.
    pub points: &'a [(f64, f64)],
    /// Whether each point gets a dot; for lines with few points.
    pub dots: bool,
}

/// Width of a bar.
const BAR: f64 = 60.0;
const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 280.0;
const LEFT: f64 = 54.0;
const RIGHT: f64 = 14.0;
const TOP: f64 = 34.0;
const BOTTOM: f64 = 42.0;

/// Most points drawn per line; more cannot be told apart at this width.
const MOST_POINTS: usize = 480;

/// Draws `lines` over axes from zero, with an upright mark at `mark`. `None` without two points.
///
/// The names are the caller's own words, never data; numbers are all that comes from a run.
pub(crate) fn chart(lines: &[Line<'_>], x_name: &str, y_name: &str, mark: Option<(f64, &str)>) -> Option<String> {
    let finite: Vec<Vec<(f64, f64)>> = lines.iter().map(|line| thinned(line.points)).collect();
    let all = || finite.iter().flatten();
    if all().count() < 2 {
        return None;
    }
    let right = all().map(|p| p.0).fold(1.0, f64::max);
    let left = all().map(|p| p.0).fold(0.0, f64::min);
    let (x, y) = (
        Axis::over(left, right),
        Axis::over(all().map(|p| p.1).fold(0.0, f64::min), all().map(|p| p.1).fold(1e-9, f64::max)),
    );
    let at_x = |v: f64| LEFT + (v - left) / (right - left) * (WIDTH - LEFT - RIGHT);
    let at_y = |v: f64| HEIGHT - BOTTOM - y.share(v) * (HEIGHT - TOP - BOTTOM);
    let mut svg = format!(
        "<svg class=\"chart\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{y_name} by {x_name}\">"
    );
    for tick in y.ticks() {
        let (row, label) = (at_y(tick), y.label(tick));
        let _ = write!(
            svg,
            "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{row:.1}\" y2=\"{row:.1}\"/>",
            WIDTH - RIGHT
        );
        let _ = write!(svg, "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{label}</text>", LEFT - 8.0, row + 4.0);
    }
    for tick in x.ticks().into_iter().filter(|tick| *tick <= right) {
        let (column, label) = (at_x(tick), x.label(tick));
        let _ = write!(
            svg,
            "<text x=\"{column:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{label}</text>",
            HEIGHT - BOTTOM + 18.0
        );
    }
    let _ = write!(
        svg,
        "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{x_name}</text>",
        (LEFT + WIDTH - RIGHT) / 2.0,
        HEIGHT - 6.0
    );
    let _ = write!(svg, "<text x=\"4\" y=\"{:.1}\">{y_name}</text>", TOP - 16.0);
    if let Some((value, name)) = mark.filter(|(value, _)| (left..=right).contains(value)) {
        let column = at_x(value);
        let _ = write!(
            svg,
            "<line class=\"mark\" x1=\"{column:.1}\" x2=\"{column:.1}\" y1=\"{TOP}\" y2=\"{:.1}\"/>",
            HEIGHT - BOTTOM
        );
        let (side, anchor) = if value > (left + right) / 2.0 { (-6.0, "end") } else { (6.0, "start") };
        let _ = write!(
            svg,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\">{name}</text>",
            column + side,
            TOP + 12.0
        );
    }
    let mut legend = WIDTH - RIGHT;
    for (line, points) in lines.iter().zip(&finite).filter(|(_, points)| !points.is_empty()).rev() {
        let path: Vec<String> = points.iter().map(|p| format!("{:.1},{:.1}", at_x(p.0), at_y(p.1))).collect();
        let _ = write!(svg, "<polyline class=\"{}\" points=\"{}\"/>", line.class, path.join(" "));
        for p in points.iter().filter(|_| line.dots) {
            let _ = write!(
                svg,
                "<circle class=\"{}\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"3\"/>",
                line.class,
                at_x(p.0),
                at_y(p.1)
            );
        }
        let _ = write!(svg, "<text x=\"{legend:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>", TOP - 16.0, line.name);
        legend -= line.name.len() as f64 * 6.2 + 6.0;
        let _ = write!(
            svg,
            "<line class=\"{}\" x1=\"{:.1}\" x2=\"{legend:.1}\" y1=\"{:.1}\" y2=\"{:.1}\"/>",
            line.class,
            legend - 18.0,
            TOP - 20.0,
            TOP - 20.0
        );
        legend -= 36.0;
    }
    svg.push_str("</svg>");
    Some(svg)
}

/// A small bar of a share between 0 and 1, with a mark at the best before; `None` for what is no share.
pub(crate) fn bar(value: f64, before: Option<f64>) -> Option<String> {
    let share = |value: &f64| (0.0..=1.0).contains(value);
    Some(value).filter(share)?;
    let mark = before.filter(share).map_or(String::new(), |before| {
        format!("<line class=\"mark\" x1=\"{0:.1}\" x2=\"{0:.1}\" y1=\"0\" y2=\"8\"/>", before * BAR)
    });
    Some(format!(
        "<svg class=\"bar\" viewBox=\"0 0 {BAR} 8\" aria-hidden=\"true\"><rect class=\"all\" width=\"{BAR}\" height=\"8\" \
         rx=\"2\"/><rect class=\"part\" width=\"{:.1}\" height=\"8\" rx=\"2\"/>{mark}</svg>",
        value * BAR
    ))
}

/// Upright bars over equal parts of the range from zero to `to`, with a mark at `mark` if it lies within. `None` where
/// there is nothing to show.
///
/// The names are the caller's own words, never data.
pub(crate) fn histogram(counts: &[usize], to: usize, x_name: &str, y_name: &str, mark: usize) -> Option<String> {
    let most = counts.iter().copied().max().filter(|most| *most > 0)?;
    let (x, y) = (Axis::over(0.0, to.max(1) as f64), Axis::over(0.0, most as f64));
    let wide = (WIDTH - LEFT - RIGHT) / counts.len() as f64;
    let at_x = |v: f64| LEFT + v / to.max(1) as f64 * (WIDTH - LEFT - RIGHT);
    let at_y = |v: f64| HEIGHT - BOTTOM - y.share(v) * (HEIGHT - TOP - BOTTOM);
    let mut svg = format!(
        "<svg class=\"chart\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{y_name} by {x_name}\">"
    );
    for tick in y.ticks() {
        let (row, label, right) = (at_y(tick), y.label(tick), WIDTH - RIGHT);
        let _ = write!(svg, "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{right:.1}\" y1=\"{row:.1}\" y2=\"{row:.1}\"/>");
        let _ = write!(svg, "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{label}</text>", LEFT - 8.0, row + 4.0);
    }
    for (at, count) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
        let (left, top) = (LEFT + at as f64 * wide, at_y(*count as f64));
        let (width, height) = (wide - 1.0, HEIGHT - BOTTOM - top);
        let _ = write!(svg, "<rect x=\"{left:.1}\" y=\"{top:.1}\" width=\"{width:.1}\" height=\"{height:.1}\"/>");
    }
    for tick in x.ticks().into_iter().filter(|tick| *tick <= to as f64) {
        let (column, row, label) = (at_x(tick), HEIGHT - BOTTOM + 18.0, x.label(tick));
        let _ = write!(svg, "<text x=\"{column:.1}\" y=\"{row:.1}\" text-anchor=\"middle\">{label}</text>");
    }
    if mark <= to {
        let (column, bottom) = (at_x(mark as f64), HEIGHT - BOTTOM);
        let _ =
            write!(svg, "<line class=\"mark\" x1=\"{column:.1}\" x2=\"{column:.1}\" y1=\"{TOP}\" y2=\"{bottom:.1}\"/>");
    }
    let (middle, bottom, top) = ((LEFT + WIDTH - RIGHT) / 2.0, HEIGHT - 6.0, TOP - 16.0);
    let _ = write!(svg, "<text x=\"{middle:.1}\" y=\"{bottom:.1}\" text-anchor=\"middle\">{x_name}</text>");
    let _ = write!(svg, "<text x=\"4\" y=\"{top:.1}\">{y_name}</text></svg>");
    Some(svg)
}

/// A range and its round ticks.
struct Axis {
    low: f64,
    high: f64,
    step: f64,
}

impl Axis {
    /// An axis that holds `low` to `high` and ends on a tick.
    fn over(low: f64, high: f64) -> Axis {
        let rough = ((high - low) / 5.0).max(f64::MIN_POSITIVE);
        let power = 10f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|m| m * power).find(|s| *s >= rough).unwrap_or(rough);
        Axis { low: (low / step).floor() * step, high: (high / step).ceil() * step, step }
    }

    fn ticks(&self) -> Vec<f64> {
        let count = ((self.high - self.low) / self.step).round().clamp(1.0, 12.0) as usize;
        (0..=count).map(|i| self.low + i as f64 * self.step).collect()
    }

    fn share(&self, value: f64) -> f64 {
        (value - self.low) / (self.high - self.low)
    }

    fn label(&self, value: f64) -> String {
        let digits = (-self.step.log10().floor()).clamp(0.0, 6.0) as usize;
        if value.abs() >= 1e6 || (value != 0.0 && value.abs() < 1e-4) {
            format!("{value:.1e}")
        } else {
            format!("{value:.digits$}")
        }
    }
}

/// At most [`MOST_POINTS`] of the finite points, the last among them.
fn thinned(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let sane = |v: f64| v.is_finite() && v.abs() < 1e12;
    let finite: Vec<(f64, f64)> = points.iter().copied().filter(|p| sane(p.0) && sane(p.1)).collect();
    let every = finite.len().div_ceil(MOST_POINTS).max(1);
    let last = finite.len().saturating_sub(1);
    finite.into_iter().enumerate().filter(|(i, _)| i % every == 0 || *i == last).map(|(_, p)| p).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn one(points: &[(f64, f64)]) -> Option<String> {
        chart(&[Line { name: "training", class: "train", points, dots: false }], "step", "loss", Some((2.0, "best")))
    }

    #[test]
    fn too_few_points_give_no_chart() {
        assert_eq!(one(&[]), None);
        assert_eq!(one(&[(1.0, 2.0), (2.0, f64::NAN), (f64::INFINITY, 1.0)]), None);
    }

    #[test]
    fn a_bar_is_as_long_as_its_share_and_only_shares_have_one() {
        let svg = bar(0.5, Some(0.25)).unwrap();
        assert!(svg.contains("width=\"30.0\"") && svg.contains("x1=\"15.0\""), "{svg}");
        assert!(!bar(0.5, None).unwrap().contains("mark"));
        assert_eq!([1.5, -0.1, f64::NAN].map(|value| bar(value, None)), [None, None, None]);
    }

    #[test]
    fn bars_stand_side_by_side_as_high_as_their_counts() {
        let svg = histogram(&[10, 0, 5, 1], 40, "tokens", "rows", 20).unwrap();
        assert_eq!(svg.matches("<rect").count(), 3);
        assert!(svg.contains("<rect x=\"54.0\" y=\"34.0\" width=\"162.0\" height=\"204.0\"/>"), "{svg}");
        assert!(svg.contains("<rect x=\"380.0\" y=\"136.0\" width=\"162.0\" height=\"102.0\"/>"), "{svg}");
        assert!(svg.contains("class=\"mark\" x1=\"380.0\""), "{svg}");
        assert!(!histogram(&[1], 40, "tokens", "rows", 41).unwrap().contains("mark"));
        assert_eq!((histogram(&[], 40, "a", "b", 1), histogram(&[0, 0], 40, "a", "b", 1)), (None, None));
    }

    #[test]
    fn points_lie_inside_the_frame() {
        let svg = one(&[(1.0, 8.0), (2.0, 4.0), (4.0, 1.0), (5.0, f64::NAN)]).unwrap();
        assert!(svg.contains("points=\"217.0,34.0 380.0,136.0 706.0,212.5\""), "{svg}");
        assert!(svg.contains(">best</text>") && svg.contains(">step</text>") && !svg.contains("NaN"), "{svg}");
    }

    #[test]
    fn long_lines_keep_their_last_point() {
        let points: Vec<(f64, f64)> = (0..10_000).map(|i| (i as f64, 1.0)).collect();
        let thin = thinned(&points);
        assert!(thin.len() <= MOST_POINTS + 1);
        assert_eq!(thin.last(), Some(&(9_999.0, 1.0)));
    }

    #[test]
    fn flat_and_tiny_values_have_axes() {
        for y in [0.0, 1e-7, 3e9] {
            let svg = one(&[(0.0, y), (1.0, y)]).unwrap();
            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        }
    }
}
