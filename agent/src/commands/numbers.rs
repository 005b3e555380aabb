//! Numbers on the command line: read where they are given, so that a wrong one is a usage error that names its option.

use std::ops::RangeBounds;

use clap::builder::RangedU64ValueParser;

/// Whole numbers in `range`.
pub fn whole(range: impl RangeBounds<u64>) -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(range)
}

/// A number above zero that a clock can hold.
pub fn positive(text: &str) -> Result<f64, String> {
    number(text, |x| x > 0.0 && x <= 1e6, "must be a number above 0, and at most a million")
}

/// An amount of money.
pub fn amount(text: &str) -> Result<f64, String> {
    number(text, |x| x >= 0.0 && x.is_sign_positive(), "must be a number, 0 or more")
}

/// A peak learning rate.
pub fn learning_rate(text: &str) -> Result<f64, String> {
    number(text, |x| (1e-8..=1.0).contains(&x), "must be a number from 1e-8 to 1, for example 2e-3")
}

/// The numerator of an adapter's scale.
pub fn alpha(text: &str) -> Result<f64, String> {
    number(text, |x| (0.001..=1e6).contains(&x), "must be a number from 0.001 to a million, for example 32")
}

/// Steps from 1 up, below that a share.
pub fn warmup(text: &str) -> Result<f64, String> {
    number(text, |x| (0.0..=1e9).contains(&x), "must be 0, a share below 1, or a number of steps")
}

/// A weight decay.
pub fn decay(text: &str) -> Result<f64, String> {
    number(text, |x| (0.0..=1.0).contains(&x), "must be a number from 0 to 1")
}

/// Reads one number. `NaN` and `inf` are numbers to the parser of the language, and never to a user.
fn number(text: &str, good: impl Fn(f64) -> bool, form: &str) -> Result<f64, String> {
    text.parse::<f64>().ok().filter(|value| value.is_finite() && good(*value)).ok_or_else(|| form.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_finite_is_no_number_for_any_option() {
        for read in [positive, amount, learning_rate, alpha, warmup, decay] {
            for wrong in ["NaN", "nan", "inf", "-inf", "infinity", "1e400", "-1", "", "a"] {
                assert!(read(wrong).is_err(), "{wrong}");
            }
        }
        assert_eq!(learning_rate("0"), Err("must be a number from 1e-8 to 1, for example 2e-3".into()));
        assert_eq!(
            (learning_rate("3e-3"), alpha("32"), warmup("0.1"), decay("0")),
            (Ok(3e-3), Ok(32.0), Ok(0.1), Ok(0.0))
        );
    }
}
