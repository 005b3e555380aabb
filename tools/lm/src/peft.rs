//! Adapters on disk, as PEFT reads and writes them: `adapter_config.json` and `adapter_model.safetensors`.

use std::{collections::BTreeMap, path::Path};

use serde_json::{Map, Value, json};

use crate::{
    config::Config,
    error::{Error, Result},
    lora::{Adapter, LoraConfig, LoraPair, TARGETS, modules},
    storage::{self, Item, Mapped, printable},
    weights::Dtype,
};

const CONFIG_FILE: &str = "adapter_config.json";
const TENSOR_FILE: &str = "adapter_model.safetensors";
/// PEFT wraps the causal model, which holds the decoder as `model`.
const PREFIX: &str = "base_model.model.model.";

impl Adapter {
    /// Reads an adapter and checks every key, shape and number against the base's `config`.
    pub fn load(dir: &Path, config: &Config) -> Result<Self> {
        let path = dir.join(CONFIG_FILE);
        let lora = read_config(&read_limited(&path, 1 << 20)?)?;
        let path = dir.join(TENSOR_FILE);
        let found = modules(config, &lora.target_modules);
        let numbers: usize = found.iter().map(|(_, out, inner)| lora.r * (out + inner)).sum();
        // Refused by its size before a byte of it is read: four bytes a number, and room for the header.
        let size = std::fs::metadata(&path).map_err(|e| Error::io("cannot read", &path, e))?.len();
        if size > (numbers * 4 + found.len() * 1024 + 65_536) as u64 {
            return Err(Error::Adapter(format!("{TENSOR_FILE} is larger than rank {} on this base can be", lora.r)));
        }
        let map = Mapped::open(&path)?;
        let file = map.tensors().map_err(|e| Error::Adapter(format!("{TENSOR_FILE}: {e}")))?;
        let mut names: std::collections::BTreeSet<&str> = file.names().into_iter().collect();
        let mut read = |module: &str, part: &str, shape: [usize; 2]| {
            let name = format!("{PREFIX}{module}.{part}.weight");
            let fail = |e: String| Error::Adapter(format!("{name} {e}"));
            let view = file.tensor(&name).map_err(|_| fail("is missing".into()))?;
            names.remove(name.as_str());
            storage::to_f32(&view, &shape).map_err(fail)
        };
        let mut tensors = BTreeMap::new();
        for (module, out, inner) in found {
            let a = read(&module, "lora_A", [lora.r, inner])?;
            let b = read(&module, "lora_B", [out, lora.r])?;
            tensors.insert(module, LoraPair { a, b });
        }
        match names.first() {
            Some(name) => Err(Error::Adapter(format!("unexpected tensor {}", printable(name)))),
            None => Ok(Self { config: lora, tensors }),
        }
    }

    /// Writes `adapter_config.json`, `adapter_model.safetensors` and `README.md` into `dir`. Same adapter, same bytes.
    pub fn save(&self, dir: &Path) -> Result<()> {
        self.config.check()?;
        std::fs::create_dir_all(dir).map_err(|e| Error::io("cannot make", dir, e))?;
        let mut items = Vec::new();
        for (module, pair) in &self.tensors {
            for (part, values) in [("lora_A", &pair.a), ("lora_B", &pair.b)] {
                let r = self.config.r;
                let other = values.len() / r;
                if other == 0 || !values.len().is_multiple_of(r) {
                    return Err(Error::Adapter(format!("{module} does not have rank {r}")));
                }
                let shape = if part == "lora_A" { vec![r, other] } else { vec![other, r] };
                items.push((format!("{PREFIX}{module}.{part}.weight"), Item { values, shape, dtype: Dtype::F32 }));
            }
        }
        storage::save(&dir.join(TENSOR_FILE), items)?;
        storage::write_file(&dir.join(CONFIG_FILE), write_config(&self.config).as_bytes())?;
        storage::write_file(&dir.join("README.md"), card(&self.config).as_bytes())
    }
}

fn read_limited(path: &Path, most: u64) -> Result<String> {
    let size = std::fs::metadata(path).map_err(|e| Error::io("cannot read", path, e))?.len();
    if size > most {
        return Err(Error::Adapter(format!("{} is larger than {most} bytes", path.display())));
    }
    std::fs::read_to_string(path).map_err(|e| Error::io("cannot read", path, e))
}

/// Fields that change the maths in ways that are not computed here; each must be absent, null, false, zero or empty.
const UNSUPPORTED: [&str; 23] = [
    "use_dora",
    "use_qalora",
    "use_bdlora",
    "lora_bias",
    "fan_in_fan_out",
    "modules_to_save",
    "rank_pattern",
    "alpha_pattern",
    "layers_to_transform",
    "layers_pattern",
    "layer_replication",
    "exclude_modules",
    "target_parameters",
    "trainable_token_indices",
    "alora_invocation_tokens",
    "loftq_config",
    "eva_config",
    "corda_config",
    "lora_ga_config",
    "arrow_config",
    "kasa_config",
    "velora_config",
    "monteclora_config",
];

fn read_config(text: &str) -> Result<LoraConfig> {
    let bad = |what: String| Error::Adapter(format!("{CONFIG_FILE}: {what}"));
    let value: Value = serde_json::from_str(text).map_err(|e| bad(format!("not JSON: {e}")))?;
    let map = value.as_object().ok_or_else(|| bad("not a JSON object".into()))?;
    let refuse = |name: &str| {
        let value = map.get(name).map(|v| printable(&v.to_string())).unwrap_or_else(|| "missing".into());
        Err(bad(format!("{name} = {value} is not supported")))
    };
    if map.get("peft_type").and_then(Value::as_str) != Some("LORA") {
        return refuse("peft_type");
    }
    for (name, allowed) in [("task_type", "CAUSAL_LM"), ("bias", "none")] {
        if map.get(name).is_some_and(|v| !v.is_null() && v != allowed) {
            return refuse(name);
        }
    }
    if let Some(name) = UNSUPPORTED.iter().find(|name| map.get(**name).is_some_and(changes)) {
        return refuse(name);
    }
    // PiSSA, OLoRA, CorDA and LoftQ also change the base, which the adapter's files do not show.
    let init = map.get("init_lora_weights").unwrap_or(&Value::Null);
    if init.as_str().is_some_and(|name| !["gaussian", "eva", "orthogonal"].contains(&name)) {
        return refuse("init_lora_weights");
    }
    let number = |name: &str, default: f64| match map.get(name) {
        None | Some(Value::Null) => Ok(default),
        Some(value) => value.as_f64().ok_or_else(|| bad(format!("{name} is not a number"))),
    };
    let r = map.get("r").and_then(Value::as_u64).and_then(|r| usize::try_from(r).ok());
    let config = LoraConfig {
        r: r.ok_or_else(|| bad("r is missing or not a whole number".into()))?,
        lora_alpha: number("lora_alpha", 8.0)?,
        lora_dropout: number("lora_dropout", 0.0)?,
        target_modules: targets(map).map_err(bad)?,
        base_model_name_or_path: map.get("base_model_name_or_path").and_then(Value::as_str).map(String::from),
        use_rslora: map.get("use_rslora").and_then(Value::as_bool).unwrap_or(false),
    };
    config.check()?;
    Ok(config)
}

fn changes(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::Array(items) => !items.is_empty(),
        Value::Object(items) => !items.is_empty(),
        _ => true,
    }
}

/// The targets in the order of [`TARGETS`]; PEFT writes them in any order, and may name the block before the layer.
fn targets(map: &Map<String, Value>) -> Result<Vec<String>, String> {
    let names: Vec<&str> = match map.get("target_modules") {
        Some(Value::String(name)) if name == "all-linear" => TARGETS.to_vec(),
        Some(Value::Array(names)) if names.iter().all(Value::is_string) => {
            names.iter().filter_map(Value::as_str).collect()
        }
        _ => return Err("target_modules must be a list of names or \"all-linear\"".into()),
    };
    let mut found = Vec::new();
    for name in &names {
        let short = name.strip_prefix("self_attn.").or_else(|| name.strip_prefix("mlp.")).unwrap_or(name);
        if !TARGETS.contains(&short) {
            return Err(format!("target module {} is not supported", printable(name)));
        }
        found.push(short);
    }
    Ok(TARGETS.iter().filter(|target| found.contains(target)).map(|target| target.to_string()).collect())
}

/// Keys sorted and indented by two, as PEFT writes them; the subset that every version of PEFT knows.
fn write_config(config: &LoraConfig) -> String {
    let whole = config.lora_alpha.fract() == 0.0 && config.lora_alpha < 1e15;
    let alpha = if whole { json!(config.lora_alpha as i64) } else { json!(config.lora_alpha) };
    let fields: BTreeMap<&str, Value> = BTreeMap::from([
        ("alpha_pattern", json!({})),
        ("auto_mapping", Value::Null),
        ("base_model_name_or_path", json!(config.base_model_name_or_path)),
        ("bias", json!("none")),
        ("fan_in_fan_out", json!(false)),
        ("inference_mode", json!(true)),
        ("init_lora_weights", json!(true)),
        ("layers_pattern", Value::Null),
        ("layers_to_transform", Value::Null),
        ("lora_alpha", alpha),
        ("lora_dropout", json!(config.lora_dropout)),
        ("modules_to_save", Value::Null),
        ("peft_type", json!("LORA")),
        ("r", json!(config.r)),
        ("rank_pattern", json!({})),
        ("revision", Value::Null),
        ("target_modules", json!(config.target_modules)),
        ("task_type", json!("CAUSAL_LM")),
        ("use_dora", json!(false)),
        ("use_rslora", json!(config.use_rslora)),
    ]);
    let map: Map<String, Value> = fields.into_iter().map(|(k, v)| (k.to_string(), v)).collect();
    format!("{:#}\n", Value::Object(map))
}

fn card(config: &LoraConfig) -> String {
    // JSON texts are YAML texts, so a name with quotes or line breaks in it cannot break the header.
    let base = config.base_model_name_or_path.as_deref().unwrap_or("unknown");
    let scale = if config.use_rslora { "alpha / sqrt(r)" } else { "alpha / r" };
    format!(
        "---\nlibrary_name: peft\nbase_model: {}\ntags:\n- lora\n- tunesmith\npipeline_tag: text-generation\n---\n\n\
         # LoRA adapter\n\nRank {}, alpha {}, scale {scale}, on {}. Load it with PEFT's `PeftModel.from_pretrained` or \
         `tunesmith generate --adapter`.\n",
        Value::from(base),
        config.r,
        config.lora_alpha,
        config.target_modules.join(", "),
    )
}
