//! Adapters on disk, as PEFT reads and writes them: `adapter_config.json` and `adapter_model.safetensors`.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use serde_json::{Map, Value, json};

use crate::{
    config::Config,
    error::{Error, Result},
    lora::{Adapter, LoraConfig, LoraPair, Module, Saved, TARGETS, Targets},
    storage::{self, Item, Mapped, printable},
    weights::{Dtype, Numbers},
};

const CONFIG_FILE: &str = "adapter_config.json";
const TENSOR_FILE: &str = "adapter_model.safetensors";
/// PEFT wraps the causal model, which holds the decoder as `model`.
const PREFIX: &str = "base_model.model.";

impl Adapter {
    /// Reads an adapter and checks every key, shape and number against the base's `config`.
    pub fn load(dir: &Path, config: &Config) -> Result<Self> {
        let path = dir.join(CONFIG_FILE);
        let lora = read_config(&storage::read_text(&path, 1 << 20)?)?;
        let path = dir.join(TENSOR_FILE);
        let (modules, whole) = (lora.modules(config)?, lora.saved(config)?);
        let expected: usize = modules.iter().flat_map(|module| parts(module, &lora)).map(|part| part.numbers()).sum();
        let numbers = expected + whole.iter().map(Saved::numbers).sum::<usize>();
        // Refused by its size before a byte of it is read: four bytes a number, and room for the header.
        let size = std::fs::metadata(&path).map_err(|e| Error::io("cannot read", &path, e))?.len();
        if size > (numbers * 4 + (modules.len() + whole.len()) * 1024 + 65_536) as u64 {
            return Err(Error::Adapter(format!("{TENSOR_FILE} is larger than rank {} on this base can be", lora.r)));
        }
        let map = Mapped::open(&path)?;
        let file = map.tensors().map_err(|e| Error::Adapter(format!("{TENSOR_FILE}: {e}")))?;
        let mut names: BTreeSet<&str> = file.names().into_iter().collect();
        let mut read = |name: String, shape: &[usize]| {
            let fail = |e: String| Error::Adapter(format!("{name} {e}"));
            let view = file.tensor(&name).map_err(|_| fail("is missing".into()))?;
            names.remove(name.as_str());
            storage::to_f32(&view, shape).map_err(fail)
        };
        let mut tensors = BTreeMap::new();
        for module in modules {
            let parts = parts(&module, &lora).into_iter().map(|part| read(part.name, &part.shape));
            let mut parts = parts.collect::<Result<Vec<_>>>()?.into_iter();
            let mut next = || parts.next().unwrap_or_default();
            let (a, b) = (next(), next());
            let magnitude = lora.use_dora.then(next);
            tensors.insert(module.name, LoraPair { a, b, magnitude });
        }
        let saved = whole.into_iter().map(|tensor| {
            let values = read(format!("{PREFIX}{}", tensor.name), &tensor.shape)?;
            Ok((tensor.name, values))
        });
        let saved = saved.collect::<Result<_>>()?;
        match names.first() {
            Some(name) => Err(Error::Adapter(format!("unexpected tensor {}", printable(name)))),
            None => Ok(Self { config: lora, tensors, saved }),
        }
    }

    /// Writes `adapter_config.json`, `adapter_model.safetensors` and `README.md` into `dir`. It must fit the base of
    /// shape `config`. Same adapter, same bytes.
    pub fn save(&self, dir: &Path, config: &Config) -> Result<()> {
        self.check(config)?;
        std::fs::create_dir_all(dir).map_err(|e| Error::io("cannot make", dir, e))?;
        let mut items = Vec::new();
        let mut item = |name: String, shape: Vec<usize>, values| {
            items.push((name, Item { numbers: Numbers::Vector(values), shape, dtype: Dtype::F32 }));
        };
        for module in self.config.modules(config)? {
            let Some(pair) = self.tensors.get(&module.name) else { continue };
            let values = [Some(&pair.a), Some(&pair.b), pair.magnitude.as_ref()].into_iter().flatten();
            for (part, values) in parts(&module, &self.config).into_iter().zip(values) {
                item(part.name, part.shape, values);
            }
        }
        for tensor in self.config.saved(config)? {
            if let Some(values) = self.saved.get(&tensor.name) {
                item(format!("{PREFIX}{}", tensor.name), tensor.shape, values);
            }
        }
        storage::save(&dir.join(TENSOR_FILE), items)?;
        storage::write_file(&dir.join(CONFIG_FILE), write_config(&self.config).as_bytes())?;
        storage::write_file(&dir.join("README.md"), card(&self.config).as_bytes())
    }
}

/// A tensor of a module: its name in the file and its shape.
struct Part {
    name: String,
    shape: Vec<usize>,
}

impl Part {
    fn numbers(&self) -> usize {
        self.shape.iter().product()
    }
}

/// The tensors of a module: A, B, and DoRA's magnitude.
fn parts(module: &Module, lora: &LoraConfig) -> Vec<Part> {
    let Module { out, inner, r, .. } = *module;
    let part = |name: &str, shape: &[usize]| Part {
        name: format!("{PREFIX}model.{}.{name}", module.name),
        shape: shape.to_vec(),
    };
    let mut parts = vec![part("lora_A.weight", &[r, inner]), part("lora_B.weight", &[out, r])];
    parts.extend(lora.use_dora.then(|| part("lora_magnitude_vector", &[out])));
    parts
}

/// Fields that change the maths in ways that are not computed here; each must be absent, null, false, zero or empty.
const UNSUPPORTED: [&str; 18] = [
    "use_qalora",
    "use_bdlora",
    "lora_bias",
    "fan_in_fan_out",
    "layers_pattern",
    "layer_replication",
    "ensure_weight_tying",
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
    let whole = |value: &Value| value.as_u64().and_then(|n| usize::try_from(n).ok());
    let flag = |name: &str| match map.get(name) {
        None | Some(Value::Null) => Ok(false),
        Some(value) => value.as_bool().ok_or_else(|| bad(format!("{name} is neither true nor false"))),
    };
    let target_modules = targets(map.get("target_modules")).map_err(|e| bad(format!("target_modules {e}")))?;
    let exclude_modules = match map.get("exclude_modules").filter(|value| changes(value)) {
        Some(value) => Some(targets(Some(value)).map_err(|e| bad(format!("exclude_modules {e}")))?),
        None => None,
    };
    let layers = match map.get("layers_to_transform").filter(|value| changes(value)) {
        None => None,
        Some(Value::Array(layers)) => Some(layers.iter().map(whole).collect::<Option<Vec<_>>>()),
        Some(layer) => Some(whole(layer).map(|layer| vec![layer])),
    };
    let saved = match map.get("modules_to_save").filter(|value| changes(value)) {
        None => Some(Vec::new()),
        Some(value) => value.as_array().and_then(|names| names.iter().map(|n| n.as_str().map(String::from)).collect()),
    };
    let dictionary = |name: &str| match map.get(name) {
        None | Some(Value::Null) => Ok(Map::new()),
        Some(Value::Object(items)) => Ok(items.clone()),
        Some(_) => Err(bad(format!("{name} is not an object"))),
    };
    let wrong = |name: &str| bad(format!("{name} has a value of the wrong type"));
    let ranks = dictionary("rank_pattern")?.into_iter().map(|(k, v)| Some((k, whole(&v)?))).collect::<Option<_>>();
    let alphas = dictionary("alpha_pattern")?.into_iter().map(|(k, v)| Some((k, v.as_f64()?))).collect::<Option<_>>();
    let text = |name: &str| map.get(name).and_then(Value::as_str).map(String::from);
    let config = LoraConfig {
        r: map.get("r").and_then(whole).ok_or_else(|| bad("r is missing or not a whole number".into()))?,
        lora_alpha: number("lora_alpha", 8.0)?,
        lora_dropout: number("lora_dropout", 0.0)?,
        target_modules,
        exclude_modules,
        layers_to_transform: layers.map(|l| l.ok_or_else(|| wrong("layers_to_transform"))).transpose()?,
        rank_pattern: ranks.ok_or_else(|| wrong("rank_pattern"))?,
        alpha_pattern: alphas.ok_or_else(|| wrong("alpha_pattern"))?,
        modules_to_save: saved.ok_or_else(|| wrong("modules_to_save"))?,
        base_model_name_or_path: text("base_model_name_or_path"),
        revision: text("revision"),
        use_rslora: flag("use_rslora")?,
        use_dora: flag("use_dora")?,
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

/// A list of names or a regular expression. PEFT writes a list in any order, so it is brought into the model's.
fn targets(value: Option<&Value>) -> Result<Targets, String> {
    match value {
        Some(Value::String(name)) if name == "all-linear" => Ok(Targets::all_linear()),
        Some(Value::String(pattern)) => Ok(Targets::Pattern(pattern.clone())),
        Some(Value::Array(names)) if names.iter().all(Value::is_string) => {
            let mut names: Vec<String> = names.iter().filter_map(Value::as_str).map(String::from).collect();
            let place = |name: &str| TARGETS.iter().position(|t| name.ends_with(t)).unwrap_or(TARGETS.len());
            names.sort_by_cached_key(|name| (place(name), name.clone()));
            names.dedup();
            Ok(Targets::Names(names))
        }
        _ => Err("must be a list of names or a text".into()),
    }
}

fn write_config(config: &LoraConfig) -> String {
    let whole = config.lora_alpha.fract() == 0.0 && config.lora_alpha < 1e15;
    let alpha = if whole { json!(config.lora_alpha as i64) } else { json!(config.lora_alpha) };
    let fields: BTreeMap<&str, Value> = BTreeMap::from([
        ("alpha_pattern", json!(config.alpha_pattern)),
        ("auto_mapping", Value::Null),
        ("base_model_name_or_path", json!(config.base_model_name_or_path)),
        ("bias", json!("none")),
        ("exclude_modules", json!(config.exclude_modules)),
        ("fan_in_fan_out", json!(false)),
        ("inference_mode", json!(true)),
        ("init_lora_weights", json!(true)),
        ("layers_pattern", Value::Null),
        ("layers_to_transform", json!(config.layers_to_transform)),
        ("lora_alpha", alpha),
        ("lora_dropout", json!(config.lora_dropout)),
        ("modules_to_save", some(&config.modules_to_save)),
        ("peft_type", json!("LORA")),
        ("r", json!(config.r)),
        ("rank_pattern", json!(config.rank_pattern)),
        ("revision", json!(config.revision)),
        ("target_modules", json!(config.target_modules)),
        ("task_type", json!("CAUSAL_LM")),
        ("use_dora", json!(config.use_dora)),
        ("use_rslora", json!(config.use_rslora)),
    ]);
    let map: Map<String, Value> = fields.into_iter().map(|(k, v)| (k.to_string(), v)).collect();
    format!("{:#}\n", Value::Object(map))
}

/// PEFT writes null where a list has nothing in it.
fn some(names: &[String]) -> Value {
    if names.is_empty() { Value::Null } else { json!(names) }
}

fn card(config: &LoraConfig) -> String {
    // JSON texts are YAML texts, so a name with quotes or line breaks in it cannot break the header.
    let base = config.base_model_name_or_path.as_deref().unwrap_or("unknown");
    let scale = if config.use_rslora { "alpha / sqrt(r)" } else { "alpha / r" };
    let name = if config.use_dora { "DoRA" } else { "LoRA" };
    format!(
        "---\nlibrary_name: peft\nbase_model: {}\ntags:\n- lora\n- tunesmith\npipeline_tag: text-generation\n---\n\n\
         # {name} adapter\n\nRank {}, alpha {}, scale {scale}, on {}. Load it with PEFT's `PeftModel.from_pretrained` or \
         `tunesmith generate --adapter`.\n",
        Value::from(base),
        config.r,
        config.lora_alpha,
        config.target_modules.describe(),
    )
}
