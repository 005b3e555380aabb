//! A task's `generation_kwargs` as its requests carry them.

use serde_json::{Map, Value};

use super::{
    python::{literal::int, repr::str_of, strings},
    request::Generation,
};

/// The settings' aliases for the most new tokens, the first that is given counts.
const MOST_TOKENS: [&str; 4] = ["max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens"];

/// Settings that change nothing at these values.
const NEUTRAL: [(&str, f64); 5] = [
    ("num_beams", 1.0),
    ("num_return_sequences", 1.0),
    ("repetition_penalty", 1.0),
    ("length_penalty", 1.0),
    ("min_p", 0.0),
];

/// Reads `generation_kwargs` as lm-eval's `TaskConfig` and `normalize_gen_kwargs` do.
pub(super) fn generation(kwargs: Option<&Map<String, Value>>, fewshot_delimiter: &str) -> Result<Generation, String> {
    let Some(kwargs) = kwargs else {
        return Ok(Generation {
            until: vec![fewshot_delimiter.to_string()],
            max_gen_toks: Some(256),
            do_sample: false,
            temperature: 0.0,
            top_p: 1.0,
            top_k: None,
            repeat: 0,
        });
    };
    let mut settings = Generation {
        until: until(kwargs.get("until"), fewshot_delimiter)?,
        max_gen_toks: None,
        do_sample: false,
        temperature: 0.0,
        top_p: 1.0,
        top_k: None,
        repeat: 0,
    };
    for key in MOST_TOKENS {
        if let (None, Some(value)) = (settings.max_gen_toks, kwargs.get(key).filter(|value| !value.is_null())) {
            settings.max_gen_toks = Some(whole(key, value)?);
        }
    }
    let temperature = kwargs.get("temperature").map(|value| number("temperature", value)).transpose()?;
    settings.temperature = temperature.unwrap_or(0.0);
    settings.do_sample = match kwargs.get("do_sample") {
        None | Some(Value::Null) => settings.temperature > 0.0,
        Some(Value::Bool(false)) => {
            settings.temperature = 0.0;
            false
        }
        Some(Value::Bool(true)) => true,
        Some(other) => return Err(format!("do_sample must be true or false, not {}", str_of(other))),
    };
    if let Some(value) = kwargs.get("top_p").filter(|value| !value.is_null()) {
        settings.top_p = number("top_p", value)?;
    }
    if let Some(value) = kwargs.get("top_k").filter(|value| !value.is_null()) {
        let most = number("top_k", value)?;
        settings.top_k = if most > 0.0 { Some(whole("top_k", value)?) } else { None };
    }
    for (key, value) in kwargs {
        check_known(key, value)?;
    }
    Ok(settings)
}

fn until(value: Option<&Value>, fewshot_delimiter: &str) -> Result<Vec<String>, String> {
    match value {
        None => Ok(vec![fewshot_delimiter.to_string()]),
        Some(Value::Null) => Ok(Vec::new()),
        Some(Value::String(text)) => Ok(vec![text.clone()]),
        Some(Value::Array(items)) => {
            let texts = items.iter().map(|item| item.as_str().map(String::from)).collect::<Option<_>>();
            texts.ok_or_else(|| "until must be a list of texts".into())
        }
        Some(other) => Err(format!("until must be a text or a list of texts, not {}", str_of(other))),
    }
}

/// What would change the text and is not understood is refused, not left out.
fn check_known(key: &str, value: &Value) -> Result<(), String> {
    let known = ["until", "temperature", "do_sample", "top_p", "top_k"].contains(&key) || MOST_TOKENS.contains(&key);
    let neutral = NEUTRAL.iter().any(|&(name, neutral)| key == name && value.as_f64() == Some(neutral));
    match known || neutral || value.is_null() {
        true => Ok(()),
        false => Err(format!("`{key}: {}` is not supported", str_of(value))),
    }
}

/// `float(value)`.
fn number(key: &str, value: &Value) -> Result<f64, String> {
    let number = match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => strings::strip(text).parse().ok(),
        _ => None,
    };
    number.filter(|x: &f64| x.is_finite()).ok_or_else(|| format!("{key} must be a number, not {}", str_of(value)))
}

/// `int(value)`, which must not be negative.
fn whole(key: &str, value: &Value) -> Result<usize, String> {
    let number = match value {
        Value::Number(number) => number.as_u64().or_else(|| number.as_f64().filter(|x| *x >= 0.0).map(|x| x as u64)),
        Value::String(text) => int(text).and_then(|x| u64::try_from(x).ok()),
        _ => None,
    };
    let number = number.and_then(|x| usize::try_from(x).ok());
    number.ok_or_else(|| format!("{key} must be a whole number, not {}", str_of(value)))
}
