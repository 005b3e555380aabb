//! Rotary frequencies that are changed for a longer context, as transformers' `modeling_rope_utils` defines them.

use serde_json::{Map, Value, json};

use super::{Family, fields::Fields, qwen2::FULL};
use crate::error::{Error, Result};

/// How the rotary frequencies differ from `1 / theta^(2i / head_dim)`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum RopeScaling {
    /// Not at all.
    #[default]
    None,
    /// Every frequency is divided by this factor.
    Linear(f64),
    /// Slow ones are divided, fast ones are kept, those between are blended.
    Llama3(Llama3),
}

/// The numbers of Llama 3.1's scaling.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Llama3 {
    /// Divides the frequencies whose wavelength is above `original_max_position_embeddings / low_freq_factor`.
    pub factor: f64,
    /// Bounds the slow frequencies.
    pub low_freq_factor: f64,
    /// Bounds the fast ones: wavelengths below `original_max_position_embeddings / high_freq_factor` stay.
    pub high_freq_factor: f64,
    /// Context before the scaling.
    pub original_max_position_embeddings: usize,
}

impl RopeScaling {
    /// The frequencies, `[head_dim / 2]`, in f32 in the order of transformers' operations.
    pub fn inverse_frequencies(&self, head_dim: usize, theta: f64) -> Vec<f32> {
        let plain = |i: usize| 1.0 / (theta as f32).powf((2 * i) as f32 / head_dim as f32);
        (0..head_dim / 2)
            .map(plain)
            .map(|inverse| match self {
                RopeScaling::None => inverse,
                RopeScaling::Linear(factor) => inverse / *factor as f32,
                RopeScaling::Llama3(scaling) => scaling.apply(inverse),
            })
            .collect()
    }

    /// Checks that its numbers are ones that scale.
    pub(super) fn check(&self) -> Result<()> {
        let factor = |factor: f64| match (1.0..=1e6).contains(&factor) {
            true => Ok(()),
            false => Err(Error::Config(format!("the factor of the RoPE scaling is {factor}, it must be at least 1"))),
        };
        match self {
            RopeScaling::None => Ok(()),
            RopeScaling::Linear(by) => factor(*by),
            RopeScaling::Llama3(l) => {
                factor(l.factor)?;
                if !(l.low_freq_factor >= 1e-6 && l.high_freq_factor > l.low_freq_factor && l.high_freq_factor <= 1e6) {
                    return Err(Error::Config(format!(
                        "low_freq_factor {} and high_freq_factor {} of the RoPE scaling must be positive, and the \
                         second larger",
                        l.low_freq_factor, l.high_freq_factor
                    )));
                }
                match l.original_max_position_embeddings {
                    0 => Err(Error::Config("original_max_position_embeddings of the RoPE scaling is 0".into())),
                    _ => Ok(()),
                }
            }
        }
    }

    /// The value of `rope_scaling`, which old and new versions of transformers read.
    pub(super) fn to_json(self) -> Value {
        match self {
            RopeScaling::None => Value::Null,
            RopeScaling::Linear(factor) => json!({"factor": factor, "rope_type": "linear"}),
            RopeScaling::Llama3(l) => json!({
                "factor": l.factor,
                "high_freq_factor": l.high_freq_factor,
                "low_freq_factor": l.low_freq_factor,
                "original_max_position_embeddings": l.original_max_position_embeddings,
                "rope_type": "llama3",
            }),
        }
    }
}

impl Llama3 {
    fn apply(&self, inverse: f32) -> f32 {
        let (factor, wavelength) = (self.factor as f32, 2.0 * std::f32::consts::PI / inverse);
        match self.smooth(wavelength) {
            Smooth::Slow => inverse / factor,
            Smooth::Fast => inverse,
            Smooth::Between(s) => (1.0 - s) * inverse / factor + s * inverse,
        }
    }

    /// What each frequency is divided by, `[head_dim / 2]`: llama.cpp's `rope_freqs.weight`, in the order of the
    /// operations of its converter.
    pub fn divisors(&self, head_dim: usize, theta: f64) -> Vec<f32> {
        let divisor = |inverse: f32| match self.smooth(2.0 * std::f32::consts::PI / inverse) {
            Smooth::Slow => self.factor as f32,
            Smooth::Fast => 1.0,
            Smooth::Between(s) => 1.0 / ((1.0 - s) / self.factor as f32 + s),
        };
        RopeScaling::None.inverse_frequencies(head_dim, theta).into_iter().map(divisor).collect()
    }

    fn smooth(&self, wavelength: f32) -> Smooth {
        let original = self.original_max_position_embeddings as f64;
        let (low, high) = (self.low_freq_factor, self.high_freq_factor);
        if wavelength > (original / low) as f32 {
            Smooth::Slow
        } else if wavelength < (original / high) as f32 {
            Smooth::Fast
        } else {
            Smooth::Between((original as f32 / wavelength - low as f32) / (high - low) as f32)
        }
    }
}

enum Smooth {
    Slow,
    Fast,
    /// From 0 (slow) to 1 (fast).
    Between(f32),
}

/// The base of the frequencies and their scaling: `rope_theta` and `rope_scaling` of old configs, `rope_parameters` of
/// new ones, which Gemma has for each kind of layer. What is said twice must be said alike.
pub(super) fn read(fields: &Fields<'_>, max_positions: usize, family: &Family) -> Result<(f64, RopeScaling)> {
    // Families whose layers with a window have a base of their own.
    let by_layer = family.fields.contains(&"rope_local_base_freq");
    let mut theta = fields.number("rope_theta")?;
    let mut scaling = None;
    for name in ["rope_scaling", "rope_parameters"] {
        let object = match fields.0.get(name) {
            None | Some(Value::Null) => continue,
            Some(Value::Object(object)) => object,
            Some(other) => return fields.refuse(name, other),
        };
        let object = match object.get(FULL) {
            _ if !(by_layer && name == "rope_parameters") => object,
            None | Some(Value::Null) => continue,
            Some(Value::Object(full)) => full,
            Some(other) => return fields.refuse(name, other),
        };
        let (its_theta, its_scaling) = parse(fields, name, object, max_positions)?;
        let twice = theta.is_some_and(|theta| its_theta.is_some_and(|its| its != theta));
        if twice || scaling.is_some_and(|scaling| scaling != its_scaling) {
            return Err(Error::Config(format!("{name} and another field of config.json name different RoPE settings")));
        }
        theta = theta.or(its_theta);
        scaling = Some(its_scaling);
    }
    Ok((theta.unwrap_or(family.defaults.rope_theta), scaling.unwrap_or_default()))
}

/// The base that one object of settings names, and its scaling.
pub(super) fn parse(
    config: &Fields<'_>,
    name: &str,
    object: &Map<String, Value>,
    max_positions: usize,
) -> Result<(Option<f64>, RopeScaling)> {
    let fields = Fields(object);
    let given = |key: &str| object.get(key).filter(|value| !value.is_null());
    let kind = given("rope_type").or(given("type"));
    let kind = kind.map_or(Some("default"), Value::as_str);
    let known: &[&str] = match kind {
        Some("default") => &[],
        Some("linear") => &["factor"],
        Some("llama3") => &["factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"],
        _ => return config.refuse(name, &Value::Object(object.clone())),
    };
    let understood = |(key, value): (&String, &Value)| match key.as_str() {
        "rope_type" | "type" => value.is_null() || value.as_str() == kind,
        "rope_theta" => value.is_null() || value.is_number(),
        key => value.is_null() || known.contains(&key),
    };
    if !object.iter().all(understood) {
        return config.refuse(name, &Value::Object(object.clone()));
    }
    let number = |key: &str| fields.number(key)?.ok_or_else(|| Error::Config(format!("{key} is missing from {name}")));
    let scaling = match kind {
        Some("linear") => RopeScaling::Linear(number("factor")?),
        Some("llama3") => {
            let (outer, inner) = (config.size(ORIGINAL)?, fields.size(ORIGINAL)?);
            if outer.is_some_and(|outer| inner.is_some_and(|inner| inner != outer)) {
                return Err(Error::Config(format!("{name} and config.json name different {ORIGINAL}")));
            }
            RopeScaling::Llama3(Llama3 {
                factor: number("factor")?,
                low_freq_factor: number("low_freq_factor")?,
                high_freq_factor: number("high_freq_factor")?,
                original_max_position_embeddings: inner.or(outer).unwrap_or(max_positions),
            })
        }
        _ => RopeScaling::None,
    };
    Ok((fields.number("rope_theta")?, scaling))
}

const ORIGINAL: &str = "original_max_position_embeddings";

#[cfg(test)]
mod tests {
    use super::*;

    /// Llama 3.2's numbers. What is expected comes from transformers 5.23 and llama.cpp's own converter.
    #[test]
    fn frequencies_and_divisors_are_those_of_transformers_and_llama_cpp() {
        let scaling = Llama3 {
            factor: 32.0,
            low_freq_factor: 1.0,
            high_freq_factor: 4.0,
            original_max_position_embeddings: 8192,
        };
        let near = |got: f32, bits: u32| {
            let want = f32::from_bits(bits);
            assert!((got - want).abs() <= 5e-7 * want, "{got} instead of {want}");
        };
        let divisors = scaling.divisors(64, 500_000.0);
        assert!(divisors[..15].iter().all(|x| *x == 1.0) && divisors[18..].iter().all(|x| *x == 32.0), "{divisors:?}");
        for (i, bits) in [(15, 0x3fd3_5ec2), (16, 0x4052_b46f), (17, 0x411a_aaee)] {
            near(divisors[i], bits);
        }
        let inverse = RopeScaling::Llama3(scaling).inverse_frequencies(64, 500_000.0);
        for (i, bits) in [
            (0, 0x3f80_0000),
            (1, 0x3f29_e1c6),
            (14, 0x3b52_7720),
            (15, 0x3aa9_279b),
            (17, 0x38cb_98f7),
            (31, 0x33ca_41b0),
        ] {
            near(inverse[i], bits);
        }
    }
}
