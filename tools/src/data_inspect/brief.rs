//! The output for planners, who pay for each letter and are shown a few thousand of them.

use super::output::{Output, Shape};

/// Bytes of the output as JSON. What planners are shown is cut in its middle beyond 6,000 characters.
const MOST: usize = 5_500;

/// An output that fits, with the less the more there is.
pub(super) fn brief(mut output: Output) -> Output {
    output.formats.retain(|fit| fit.fits || fit.kind == Shape::Messages);
    for keep in [8, 4, 2, 1, 0] {
        cut(&mut output, keep);
        if serde_json::to_string(&output).is_ok_and(|text| text.len() <= MOST) {
            break;
        }
    }
    output
}

/// Cuts every list.
fn cut(output: &mut Output, keep: usize) {
    output.columns_left_out += output.columns.len().saturating_sub(2 * keep + 2);
    output.columns.truncate(2 * keep + 2);
    for column in &mut output.columns {
        // Of what may be the target every label counts, of the others a few.
        column.labels.truncate(if keep > 1 { 30 } else { 10 });
        column.languages.truncate(keep);
        column.examples.truncate(keep);
        if keep < 2 {
            column.types.clear();
            column.numbers = None;
        }
    }
    output.findings.truncate(keep + 2);
    output.files_left_out += output.files.len().saturating_sub(keep);
    output.files.truncate(keep);
    output.skipped.truncate(keep);
    output.bad.truncate(keep.min(3));
    output.repeated.truncate(keep.min(3));
    output.damage.truncate(keep);
    output.private.truncate(keep);
    output.formats.truncate(keep + 1);
    output.formats.iter_mut().for_each(|fit| fit.problems.truncate(keep));
    if let Some(near) = &mut output.near {
        near.examples.truncate(keep / 4);
    }
    if let Some(tokens) = output.tokens.as_mut().filter(|_| keep == 0) {
        tokens.histogram.clear();
    }
    if let Some(labels) = &mut output.labels {
        // They are in their column.
        labels.counts.clear();
        labels.variants.truncate(keep);
        labels.contradicting_examples.truncate(keep / 4);
        labels.near_examples.truncate(keep / 4);
        labels.suspicious_examples.truncate(keep / 4);
    }
}
