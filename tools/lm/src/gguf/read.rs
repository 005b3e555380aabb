//! Reading a model.

use std::{collections::BTreeSet, path::Path, sync::Arc};

use candle_core::{
    DType, Device, Tensor,
    quantized::{GgmlDType, QStorage, QTensor},
};

use super::{
    LLAMA3_KEYS, ROPE_FREQS, Rows, TYPES,
    bytes::{File, Info},
    layer, offset, permute_back, vocab,
};
use crate::{
    chat::ChatTemplate,
    config::{Activation, Biases, Config, FAMILIES, Family, Llama3, RopeScaling},
    error::{Error, Result},
    matrix::{Bytes, Matrix, Stored},
    model::{Model, check_vocabulary},
    storage::{Files, Mapped, printable},
    tokens::Tokenizer,
    weights::{Check, Weights},
};

/// Reads a GGUF file; its `sha256` is left to [`Model::open`].
pub fn read(path: &Path) -> Result<Model> {
    read_as(path, Check::Finite)
}

/// The same, deciding whether numbers are looked at.
pub fn read_as(path: &Path, check: Check) -> Result<Model> {
    let map = Arc::new(Mapped::open(path)?);
    let file = File::parse(map.bytes()).map_err(|e| Error::Gguf(format!("{}: {e}", path.display())))?;
    let architecture = file.string("general.architecture").map_err(Error::Gguf)?;
    // Of families that share an architecture the first is taken: there they compute the same.
    let Some(family) = FAMILIES.iter().find(|family| family.gguf == architecture) else {
        let mut known: Vec<&str> = FAMILIES.iter().map(|family| family.gguf).collect();
        known.dedup();
        let name = printable(architecture);
        return Err(Error::Gguf(format!("the architecture {name} is not supported, only {}", known.join(", "))));
    };
    let tokenizer = vocab::to_tokenizer(&file).map_err(Error::Gguf)?;
    let config = config(&file, family, &tokenizer)?;
    check_vocabulary(&tokenizer, &config)?;
    let chat = chat(&file, &tokenizer)?;
    let weights = weights(&file, (&map, check), &config)?;
    let files = if check == Check::Later { Files(vec![map]) } else { Files::default() };
    Ok(Model { config, weights, tokenizer, chat, path: path.into(), sha256: String::new(), files })
}

/// Longest sequence of the model in a GGUF file, of which only the header is read.
pub fn context_length(path: &Path) -> Result<usize> {
    let map = Mapped::open(path)?;
    let file = File::parse(map.bytes()).map_err(|e| Error::Gguf(format!("{}: {e}", path.display())))?;
    let key = format!("{}.context_length", file.string("general.architecture").map_err(Error::Gguf)?);
    let length = file.int(&key).map_err(Error::Gguf)?.and_then(|length| usize::try_from(length).ok());
    length.ok_or_else(|| Error::Gguf(format!("{} is missing", printable(&key))))
}

fn config(file: &File<'_>, family: &'static Family, tokenizer: &Tokenizer) -> Result<Config> {
    let architecture = family.gguf;
    let unsupported = |key: &str| Error::Gguf(format!("{architecture}.{key} is not supported, use a model without it"));
    for key in ["final_logit_softcapping", "attention.sliding_window_pattern", "rope.freq_base_swa"] {
        if file.values.contains_key(format!("{architecture}.{key}").as_str()) {
            return Err(unsupported(key));
        }
    }
    let optional = |key: &str| -> Result<Option<usize>> {
        let key = format!("{architecture}.{key}");
        let value = file.int(&key).map_err(Error::Gguf)?;
        value.map(|n| usize::try_from(n).map_err(|_| Error::Gguf(format!("{key} is too large")))).transpose()
    };
    if optional("expert_count")?.is_some_and(|n| n > 0) {
        return Err(unsupported("expert_count"));
    }
    let size = |key: &str| optional(key)?.ok_or_else(|| Error::Gguf(format!("{architecture}.{key} is missing")));
    let number = |key: &str| file.float(&format!("{architecture}.{key}")).map_err(Error::Gguf);
    let has = |name: &str| file.tensors.contains_key(format!("blk.0.{name}").as_str());
    let (hidden_size, heads) = (size("embedding_length")?, size("attention.head_count")?);
    let head_dim = match optional("attention.key_length")? {
        Some(width) => width,
        None => hidden_size.checked_div(heads).unwrap_or(0),
    };
    for key in ["attention.value_length", "rope.dimension_count"] {
        if optional(key)?.is_some_and(|width| width != head_dim) {
            return Err(Error::Gguf(format!(
                "{architecture}.{key} differs from the size of a head, which is not supported"
            )));
        }
    }
    let embedding = file.tensors.get("token_embd.weight");
    let rope_theta = number("rope.freq_base")?.map_or(10_000.0, shortest);
    let mut config = Config {
        family,
        vocab_size: embedding
            .and_then(|info| info.shape.first().copied())
            .ok_or_else(|| Error::Gguf("token_embd.weight is missing".into()))?,
        hidden_size,
        intermediate_size: size("feed_forward_length")?,
        num_hidden_layers: size("block_count")?,
        num_attention_heads: heads,
        num_key_value_heads: optional("attention.head_count_kv")?.unwrap_or(heads),
        head_dim,
        max_position_embeddings: size("context_length")?,
        rms_norm_eps: number("attention.layer_norm_rms_epsilon")?.map_or(1e-5, shortest),
        rope_theta,
        rope_scaling: rope_scaling(file, architecture, (head_dim, rope_theta))?,
        biases: Biases { qkv: has("attn_q.bias"), o: has("attn_output.bias"), mlp: has("ffn_gate.bias") },
        qk_norm: has("attn_q_norm.weight"),
        post_norms: has("post_ffw_norm.weight"),
        norm_offset: false,
        activation: Activation::Silu,
        scale_embedding: false,
        query_pre_attn_scalar: None,
        sliding: None,
        tie_word_embeddings: !file.tensors.contains_key("output.weight"),
        bos_token_id: tokenizer.bos,
        eos_token_ids: tokenizer.stops.clone(),
        pad_token_id: tokenizer.pad,
    };
    let window = optional("attention.sliding_window")?.filter(|window| *window > 0);
    (family.gguf_implies)(&mut config, window);
    if window.is_some() && config.sliding.is_none() {
        return Err(unsupported("attention.sliding_window"));
    }
    config.check()?;
    Ok(config)
}

/// The header holds f32; the number a person wrote is the shortest that rounds to it (1e-5, not 9.99999974e-6).
fn shortest(x: f64) -> f64 {
    (x as f32).to_string().parse().unwrap_or(x)
}

/// The scaling of the rotary frequencies, from the keys that llama.cpp obeys and from its tensor of divisors.
fn rope_scaling(file: &File<'_>, architecture: &str, rope: (usize, f64)) -> Result<RopeScaling> {
    let prefix = format!("{architecture}.rope.scaling.");
    let known = |key: &&str| ["type", "factor", "finetuned"].contains(key);
    let old = format!("{architecture}.rope.scale_linear");
    let foreign = file
        .values
        .keys()
        .find(|key| **key == old || key.strip_prefix(prefix.as_str()).is_some_and(|rest| !known(&rest)));
    if let Some(key) = foreign {
        return Err(Error::Gguf(format!("{} is not supported, use a model without it", printable(key))));
    }
    let kind = format!("{prefix}type");
    // Without a type llama.cpp takes the factor for a linear one; without a factor nothing is scaled.
    let kind =
        if file.values.contains_key(kind.as_str()) { file.string(&kind).map_err(Error::Gguf)? } else { "linear" };
    let factor = file.float(&format!("{prefix}factor")).map_err(Error::Gguf)?.filter(|factor| *factor != 0.0);
    let linear = match (kind, factor) {
        ("none", _) | ("linear", None) => RopeScaling::None,
        ("linear", Some(factor)) => RopeScaling::Linear(shortest(factor)),
        (other, _) => {
            return Err(Error::Gguf(format!("{prefix}type = {} is not supported", printable(other))));
        }
    };
    let Some(info) = file.tensors.get(ROPE_FREQS) else { return Ok(linear) };
    match (architecture, linear, divisors(file, info, rope)?) {
        ("llama", RopeScaling::None, divisors) => Ok(divisors),
        _ => {
            Err(Error::Gguf(format!("{ROPE_FREQS} together with other scaling or in {architecture} is not supported")))
        }
    }
}

/// The scaling that a tensor of divisors amounts to. Its numbers are in keys of our own, or else those that all
/// published Llamas have, with the factor in the slowest frequency. The tensor must be exactly what they give, but
/// for rounding.
fn divisors(file: &File<'_>, info: &Info<'_>, (head_dim, theta): (usize, f64)) -> Result<RopeScaling> {
    let fail = |e: String| Error::Gguf(format!("{ROPE_FREQS} {e}"));
    if info.shape != [head_dim / 2] {
        return Err(fail(format!("has the shape {:?}, expected {:?}", info.shape, [head_dim / 2])));
    }
    let found = decode(info).map_err(fail)?;
    let float = |key: &str| file.float(key).map_err(Error::Gguf).map(|x| x.map(shortest));
    let [factor, low, high, original] = LLAMA3_KEYS;
    let scaling = Llama3 {
        factor: float(factor)?.or(found.last().map(|x| f64::from(*x))).unwrap_or(1.0),
        low_freq_factor: float(low)?.unwrap_or(1.0),
        high_freq_factor: float(high)?.unwrap_or(4.0),
        original_max_position_embeddings: file.int(original).map_err(Error::Gguf)?.unwrap_or(8192) as usize,
    };
    let near = |(a, b): (&f32, f32)| (a - b).abs() <= 1e-5 * b.abs();
    match found.iter().zip(scaling.divisors(head_dim, theta)).all(near) {
        true => Ok(RopeScaling::Llama3(scaling)),
        false => Err(fail("is not the scaling of Llama 3.1, which is the only one supported".into())),
    }
}

fn chat(file: &File<'_>, tokenizer: &Tokenizer) -> Result<Option<ChatTemplate>> {
    if !file.values.contains_key("tokenizer.chat_template") {
        return Ok(None);
    }
    let source = file.string("tokenizer.chat_template").map_err(Error::Gguf)?;
    let text = |id: Option<u32>| id.and_then(|id| tokenizer.token(id)).unwrap_or_default();
    let template = ChatTemplate::new(source, &text(tokenizer.bos), &text(tokenizer.eos))?;
    Ok(Some(template.with_token("pad_token", &text(tokenizer.pad))))
}

fn weights(file: &File<'_>, (map, check): (&Arc<Mapped>, Check), config: &Config) -> Result<Weights> {
    let (parts, mut names) = (layer(config), vec![("token_embd.weight".to_string(), Rows::Plain)]);
    for layer in 0..config.num_hidden_layers {
        names.extend(parts.iter().map(|(part, rows)| (format!("blk.{layer}.{part}"), *rows)));
    }
    names.push(("output_norm.weight".into(), Rows::Plain));
    if !config.tie_word_embeddings {
        names.push(("output.weight".into(), Rows::Plain));
    }
    let known: BTreeSet<&str> = names.iter().map(|(name, _)| name.as_str()).chain([ROPE_FREQS]).collect();
    if let Some(extra) = file.tensors.keys().find(|name| !known.contains(**name)) {
        return Err(Error::Gguf(format!("the tensor {} is not supported", printable(extra))));
    }
    // `collect` asks in the same order as `names`.
    let mut names = names.into_iter();
    Weights::collect(config, |_, shape| {
        let (name, rows) = names.next().ok_or_else(|| Error::Gguf("a tensor is missing".into()))?;
        let fail = |e: String| Error::Gguf(format!("{name} {e}"));
        let info = file.tensors.get(name.as_str()).ok_or_else(|| fail("is missing".into()))?;
        if info.shape != shape {
            return Err(fail(format!("has the shape {:?}, expected {shape:?}", info.shape)));
        }
        let offset = offset(config, &name);
        let matrix = match stored(info) {
            Some(dtype) if shape.len() == 2 => kept((info, dtype), map, (rows, config.head_dim)),
            _ => decode(info).map(|mut values| match rows {
                Rows::Plain => {
                    values.iter_mut().for_each(|x| *x -= offset);
                    values.into()
                }
                Rows::Rotated => permute_back(&values, config.head_dim, shape.get(1).copied().unwrap_or(1)).into(),
            }),
        };
        match matrix.map_err(fail)? {
            matrix if check == Check::Later || matrix.is_finite() => Ok(matrix),
            _ => Err(fail("holds a number that is not finite".into())),
        }
    })
}

/// How a tensor can stay as it is stored.
fn stored(info: &Info<'_>) -> Option<Stored> {
    TYPES.iter().find(|(number, _)| *number == info.dtype).map(|(_, stored)| *stored)
}

/// A matrix as it is stored: in the file, or in memory where its rows stand in another order.
fn kept(
    (info, dtype): (&Info<'_>, Stored),
    map: &Arc<Mapped>,
    (rows, head_dim): (Rows, usize),
) -> Result<Matrix, String> {
    let [out, columns] = info.shape[..] else { return Err("has no two dimensions".into()) };
    let numbers = out.checked_mul(columns).ok_or("is too large")?;
    let row = dtype.bytes(columns).ok_or(format!("has rows of {columns} numbers, which are no whole blocks"))?;
    let bytes = info.rest.get(..row.checked_mul(out).ok_or("is too large")?).ok_or("is cut off")?;
    let bytes = match rows {
        Rows::Plain => {
            let start = bytes.as_ptr() as usize - map.bytes().as_ptr() as usize;
            Bytes::Mapped(map.clone(), start..start + bytes.len())
        }
        Rows::Rotated => Bytes::Owned(Arc::new(permute_back(bytes, head_dim, row))),
    };
    Matrix::stored(bytes, dtype, numbers)
}

fn decode(info: &Info<'_>) -> Result<Vec<f32>, String> {
    let numbers = info.shape.iter().try_fold(1usize, |n, size| n.checked_mul(*size)).ok_or("is too large")?;
    let dtype = match info.dtype {
        0 => GgmlDType::F32,
        1 => GgmlDType::F16,
        2 => GgmlDType::Q4_0,
        3 => GgmlDType::Q4_1,
        6 => GgmlDType::Q5_0,
        7 => GgmlDType::Q5_1,
        8 => GgmlDType::Q8_0,
        10 => GgmlDType::Q2K,
        11 => GgmlDType::Q3K,
        12 => GgmlDType::Q4K,
        13 => GgmlDType::Q5K,
        14 => GgmlDType::Q6K,
        30 => GgmlDType::BF16,
        other => return Err(format!("is stored as type {other}, which is not supported")),
    };
    let columns = info.shape.last().copied().unwrap_or(0);
    if !columns.is_multiple_of(dtype.block_size()) {
        return Err(format!("has rows of {columns} numbers, which are no whole blocks"));
    }
    let size = (numbers / dtype.block_size()).checked_mul(dtype.type_size()).ok_or("is too large")?;
    let bytes = info.rest.get(..size).ok_or("is cut off")?;
    let raw = |dtype| Tensor::from_raw_buffer(bytes, dtype, &[numbers], &Device::Cpu);
    let tensor = match dtype {
        GgmlDType::F32 => raw(DType::F32),
        GgmlDType::F16 => raw(DType::F16),
        GgmlDType::BF16 => raw(DType::BF16),
        // Blocks are read in place by the library, which needs them where the format puts them.
        _ if !(bytes.as_ptr() as usize).is_multiple_of(8) => return Err("is not aligned".into()),
        _ => QStorage::from_data(bytes.into(), &Device::Cpu, dtype)
            .and_then(|storage| QTensor::new(storage, info.shape.as_slice())?.dequantize(&Device::Cpu)),
    };
    tensor
        .and_then(|tensor| tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1())
        .map_err(|e| printable(&format!("cannot be read: {e}")))
}
