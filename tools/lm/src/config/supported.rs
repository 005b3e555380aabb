//! Which of the models that a `config.json` may describe are computed here.

use serde_json::{Map, Value};

use super::{
    FAMILIES, Family,
    fields::{Fields, short},
};
use crate::error::{Error, Result};

/// The family that config.json names, in both fields the same.
pub(super) fn family(map: &Map<String, Value>) -> Result<&'static Family> {
    let architectures: Vec<&str> =
        map.get("architectures").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
    let model_type = map.get("model_type").and_then(Value::as_str);
    let named = |family: &&&'static Family| match architectures.as_slice() {
        [] => model_type == Some(family.model_type),
        [one] => *one == family.architecture && model_type.is_none_or(|name| name == family.model_type),
        _ => false,
    };
    if let Some(family) = FAMILIES.iter().find(named) {
        return Ok(family);
    }
    let name = match (architectures.first(), model_type) {
        (Some(a), Some(t)) => format!("{} (model_type {})", short(a), short(t)),
        (Some(a), None) => short(a),
        (None, Some(t)) => format!("model_type {}", short(t)),
        (None, None) => "none named".into(),
    };
    let known: Vec<&str> = FAMILIES.iter().map(|family| family.architecture).collect();
    Err(Error::Config(format!("unsupported architecture: {name}; only {} are supported", known.join(", "))))
}

/// Fields that change the maths must have the one value that this decoder computes, unless the family reads them.
pub(super) fn check(map: &Map<String, Value>, family: &Family) -> Result<()> {
    let fields = Fields(map);
    let foreign = |names: &'static [&'static str]| names.iter().filter(|name| !family.fields.contains(name));
    for name in foreign(&["attention_bias", "mlp_bias", "use_sliding_window", "use_bidirectional_attention"]) {
        match map.get(*name) {
            None | Some(Value::Null | Value::Bool(false)) => {}
            Some(value) => return fields.refuse(name, value),
        }
    }
    for name in foreign(&[
        "sliding_window",
        "quantization_config",
        "layer_types",
        "partial_rotary_factor",
        "attn_logit_softcapping",
        "final_logit_softcapping",
        "query_pre_attn_scalar",
        "rope_local_base_freq",
    ]) {
        match map.get(*name) {
            None | Some(Value::Null) => {}
            Some(value) => return fields.refuse(name, value),
        }
    }
    for name in foreign(&["hidden_act"]) {
        match map.get(*name) {
            None => {}
            Some(value) if value == "silu" => {}
            Some(value) => return fields.refuse(name, value),
        }
    }
    match map.get("pretraining_tp") {
        None | Some(Value::Null) => Ok(()),
        Some(value) if value.as_u64() == Some(1) => Ok(()),
        Some(value) => fields.refuse("pretraining_tp", value),
    }
}
