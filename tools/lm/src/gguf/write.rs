//! Writing: which tensors a file has, how each is stored, and the header. [`super::stream`] writes what follows it.

use std::{
    fs::File,
    io::{self, Write},
    path::Path,
};

use super::{
    LLAMA3_KEYS, ROPE_FREQS, Rows,
    bytes::{ALIGNMENT, MAGIC, Values, string},
    layer, number, offset,
    stream::{self, Part, Source},
    vocab,
};
use crate::{
    config::{Config, RopeScaling},
    engine::params::shapes,
    error::{Error, Result},
    matrix::Stored,
    model::Model,
    storage,
    tokens::Tokenizer,
};

/// How the matrices of a GGUF file are stored; norms are always f32.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quant {
    /// 32-bit floats.
    F32,
    /// IEEE half precision.
    F16,
    /// Blocks of 32 signed bytes with one f16 scale.
    Q8_0,
    /// Blocks of 256 4-bit numbers, and of 6-bit ones for the matrices that llama.cpp's mix of this name spares.
    Q4KM,
}

impl Quant {
    /// The name people use in commands and file names.
    pub fn name(self) -> &'static str {
        match self {
            Quant::F32 => "f32",
            Quant::F16 => "f16",
            Quant::Q8_0 => "q8_0",
            Quant::Q4KM => "q4_k_m",
        }
    }

    /// The number of this format in `general.file_type`.
    pub fn file_type(self) -> u32 {
        match self {
            Quant::F32 => 0,
            Quant::F16 => 1,
            Quant::Q8_0 => 7,
            Quant::Q4KM => 15,
        }
    }

    /// Bytes that the numbers of a model of this shape take.
    pub fn bytes(self, config: &Config) -> usize {
        let bytes = |name: &str, (rows, columns): (usize, usize)| {
            self.stored(config, name, columns).0.bytes(columns).unwrap_or(0) * rows
        };
        let ends = [("token_embd.weight", true), ("output.weight", !config.tie_word_embeddings)];
        let ends = ends.into_iter().filter(|(_, there)| *there);
        let mut all: usize = ends.map(|(name, _)| bytes(name, (config.vocab_size, config.hidden_size))).sum();
        let (names, shapes) = (layer(config), shapes(config));
        // Four linears stand behind the first norm, three behind the second.
        let linears: Vec<_> = names[1..5].iter().chain(&names[6..9]).map(|(name, _)| name).zip(shapes).collect();
        for i in 0..config.num_hidden_layers {
            all += linears.iter().map(|(name, shape)| bytes(&format!("blk.{i}.{name}"), *shape)).sum::<usize>();
        }
        let matrices = shapes.iter().map(|(rows, columns)| rows * columns).sum::<usize>() * config.num_hidden_layers
            + config.vocab_size * config.hidden_size * if config.tie_word_embeddings { 1 } else { 2 };
        all + (config.parameters() - matrices) * 4
    }

    /// How a matrix is stored, and whether that is what this format means it to be. Rows that are no whole blocks take
    /// smaller blocks of more bits, or none. (llama.cpp takes Q5_0 where this takes Q8_0 instead of Q4_K; that is not
    /// computed with as it is stored here.)
    fn stored(self, config: &Config, name: &str, columns: usize) -> (Stored, bool) {
        let meant = match self {
            Quant::F32 => Stored::F32,
            Quant::F16 => Stored::F16,
            Quant::Q8_0 => Stored::Q8_0,
            Quant::Q4KM if spared(config, name) => Stored::Q6K,
            Quant::Q4KM => Stored::Q4K,
        };
        let fits = |stored: &Stored| columns.is_multiple_of(stored.block().0);
        let stored = [meant, Stored::Q8_0].into_iter().find(fits).unwrap_or(Stored::F16);
        (stored, stored == meant)
    }
}

/// The matrices that llama.cpp's Q4_K_M stores as Q6_K: the output layer, and what errors come through most in the first
/// and the last eighth of the layers and in each third one between.
fn spared(config: &Config, name: &str) -> bool {
    let (layers, tied) = (config.num_hidden_layers, config.tie_word_embeddings);
    if name == "output.weight" || tied && name == "token_embd.weight" {
        return true;
    }
    let Some((layer, part)) = name.strip_prefix("blk.").and_then(|rest| rest.split_once('.')) else { return false };
    let eighth = layers / 8;
    let more = |layer: usize| layer < eighth || layer >= 7 * layers / 8 || (layer - eighth) % 3 == 2;
    ["attn_v.weight", "ffn_down.weight"].contains(&part) && layer.parse().is_ok_and(more)
}

/// What was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// Size of the file.
    pub bytes: u64,
    /// Matrices that take more bits than asked for, because their rows are no whole blocks of so few: Q8_0 where rows are
    /// multiples of 32, else F16.
    pub not_quantized: Vec<String>,
}

/// Writes `model`, its adapter already merged, to `path`: whole or not at all. Same model, same bytes, with any number of
/// threads. Memory holds a few pieces of the model at a time.
pub fn write(path: &Path, model: &Model, quant: Quant) -> Result<Written> {
    model.weights.check(&model.config)?;
    check_expressible(&model.config)?;
    let parts = parts(model, quant);
    let header = header(model, quant, &parts)?;
    let mut refused = None;
    let done = storage::atomic(path, |temporary| {
        let mut out = File::create(temporary)?;
        out.write_all(&header)?;
        refused = stream::write(&mut out, &parts, model)?;
        if refused.is_some() { Err(io::Error::other("refused")) } else { Ok(()) }
    });
    if let Some(why) = refused {
        return Err(Error::Gguf(why));
    }
    done?;
    let meta = std::fs::metadata(path).map_err(|e| Error::io("cannot read", path, e))?;
    let not_quantized = parts.into_iter().filter(|part| !part.meant).map(|part| part.name).collect();
    Ok(Written { bytes: meta.len(), not_quantized })
}

fn parts(model: &Model, quant: Quant) -> Vec<Part<'_>> {
    let named = model.weights.named(&model.config);
    let (layers, tensors) = (model.weights.layers.len(), layer(&model.config));
    let factors = rope_factors(&model.config);
    let named = named.into_iter().enumerate().map(|(i, (_, shape, numbers))| {
        // The order of `named`: embedding, the tensors of each layer, last norm, output layer.
        let (name, rows) = match i.checked_sub(1) {
            None => ("token_embd.weight".to_string(), Rows::Plain),
            Some(i) if i < layers * tensors.len() => {
                let (part, rows) = &tensors[i % tensors.len()];
                (format!("blk.{}.{part}", i / tensors.len()), *rows)
            }
            Some(i) if i == layers * tensors.len() => ("output_norm.weight".to_string(), Rows::Plain),
            Some(_) => ("output.weight".to_string(), Rows::Plain),
        };
        let columns = shape.last().copied().unwrap_or(0);
        let (stored, meant) = match shape.len() {
            1 => (Stored::F32, true),
            _ => quant.stored(&model.config, &name, columns),
        };
        let values = match offset(&model.config, &name) {
            0.0 => Source::Model(numbers),
            offset => Source::Made(numbers.floats().iter().map(|x| x + offset).collect()),
        };
        Part { name, shape, values, stored, meant, rows }
    });
    factors.into_iter().chain(named).collect()
}

/// The extra tensor of llama3's RoPE scaling.
fn rope_factors(config: &Config) -> Option<Part<'_>> {
    let RopeScaling::Llama3(scaling) = config.rope_scaling else { return None };
    let values = scaling.divisors(config.head_dim, config.rope_theta);
    let shape = vec![values.len()];
    let (values, stored) = (Source::Made(values), Stored::F32);
    Some(Part { name: ROPE_FREQS.into(), shape, values, stored, meant: true, rows: Rows::Plain })
}

/// Whether a model of this shape and with this tokenizer can be written, without its weights.
pub fn preflight(config: &Config, tokenizer: &Tokenizer) -> Result<()> {
    check_expressible(config)?;
    vocab::from_tokenizer(tokenizer, config.vocab_size).map_err(Error::Gguf)?;
    end(tokenizer).map(drop)
}

/// The token that ends a text.
fn end(tokenizer: &Tokenizer) -> Result<u32> {
    tokenizer.eos.or(tokenizer.stops.first().copied()).ok_or_else(|| {
        Error::Gguf("the tokenizer names no token that ends a text; set eos_token in tokenizer_config.json".into())
    })
}

/// What llama.cpp would compute otherwise is not written.
fn check_expressible(config: &Config) -> Result<()> {
    let name = config.family.gguf;
    let refuse =
        |what: String| Err(Error::Gguf(format!("llama.cpp's {name} does not know {what}; export safetensors")));
    match (&config.sliding, (config.family.gguf_lacks)(config)) {
        (_, Some(what)) => refuse(what.into()),
        _ if implied_window(config).is_some() => Ok(()),
        // A window as long as the context hides nothing.
        (Some(sliding), None) if sliding.window < config.max_position_embeddings => refuse(format!(
            "sliding windows, and this one of {} is shorter than the context of {}",
            sliding.window, config.max_position_embeddings
        )),
        _ => Ok(()),
    }
}

/// The window that llama.cpp takes from its key; `None` where it would hide other positions.
fn implied_window(config: &Config) -> Option<usize> {
    let window = config.sliding.as_ref()?.window;
    let mut implied = Config { sliding: None, ..config.clone() };
    (config.family.gguf_implies)(&mut implied, Some(window));
    (implied.sliding == config.sliding).then_some(window)
}

fn header(model: &Model, quant: Quant, parts: &[Part<'_>]) -> Result<Vec<u8>> {
    let values = values(model, quant)?;
    let mut out = Vec::new();
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&3u32.to_le_bytes());
    out.extend_from_slice(&(parts.len() as u64).to_le_bytes());
    out.extend_from_slice(&values.count.to_le_bytes());
    out.extend_from_slice(&values.bytes);
    let mut offset = 0u64;
    for part in parts {
        string(&mut out, &part.name);
        out.extend_from_slice(&(part.shape.len() as u32).to_le_bytes());
        for size in part.shape.iter().rev() {
            out.extend_from_slice(&(*size as u64).to_le_bytes());
        }
        out.extend_from_slice(&number(part.stored).to_le_bytes());
        out.extend_from_slice(&offset.to_le_bytes());
        offset += part.bytes().next_multiple_of(ALIGNMENT) as u64;
    }
    out.resize(out.len().next_multiple_of(ALIGNMENT), 0);
    Ok(out)
}

fn values(model: &Model, quant: Quant) -> Result<Values> {
    let Config { vocab_size, head_dim, .. } = model.config;
    let vocab = vocab::from_tokenizer(&model.tokenizer, vocab_size).map_err(Error::Gguf)?;
    let eos = end(&model.tokenizer)?;
    let mut values = Values::default();
    let architecture = model.config.family.gguf;
    values.string("general.architecture", architecture);
    values.string("general.type", "model");
    values.u32("general.file_type", quant.file_type());
    values.u32("general.quantization_version", 2);
    let c = &model.config;
    for (key, size) in [
        ("vocab_size", vocab_size),
        ("context_length", c.max_position_embeddings),
        ("embedding_length", c.hidden_size),
        ("block_count", c.num_hidden_layers),
        ("feed_forward_length", c.intermediate_size),
        ("attention.head_count", c.num_attention_heads),
        ("attention.head_count_kv", c.num_key_value_heads),
        ("attention.key_length", head_dim),
        ("attention.value_length", head_dim),
        ("rope.dimension_count", head_dim),
    ] {
        values.u32(&format!("{architecture}.{key}"), size as u32);
    }
    values.f32(&format!("{architecture}.rope.freq_base"), c.rope_theta as f32);
    values.f32(&format!("{architecture}.attention.layer_norm_rms_epsilon"), c.rms_norm_eps as f32);
    if let Some(window) = implied_window(c) {
        values.u32(&format!("{architecture}.attention.sliding_window"), window as u32);
    }
    match c.rope_scaling {
        RopeScaling::None => {}
        RopeScaling::Linear(factor) => {
            values.string(&format!("{architecture}.rope.scaling.type"), "linear");
            values.f32(&format!("{architecture}.rope.scaling.factor"), factor as f32);
        }
        RopeScaling::Llama3(l) => {
            let [factor, low, high, original] = LLAMA3_KEYS;
            values.f32(factor, l.factor as f32);
            values.f32(low, l.low_freq_factor as f32);
            values.f32(high, l.high_freq_factor as f32);
            values.u32(original, l.original_max_position_embeddings as u32);
        }
    }
    values.string("tokenizer.ggml.model", "gpt2");
    values.string("tokenizer.ggml.pre", vocab.pre);
    values.strings("tokenizer.ggml.tokens", &vocab.tokens);
    values.i32s("tokenizer.ggml.token_type", &vocab.types);
    values.strings("tokenizer.ggml.merges", &vocab.merges);
    if let Some(bos) = model.tokenizer.bos {
        values.u32("tokenizer.ggml.bos_token_id", bos);
    }
    values.u32("tokenizer.ggml.eos_token_id", eos);
    if let Some(other) = model.tokenizer.stops.iter().find(|id| **id != eos) {
        values.u32("tokenizer.ggml.eot_token_id", *other);
    }
    if let Some(pad) = model.tokenizer.pad {
        values.u32("tokenizer.ggml.padding_token_id", pad);
    }
    values.bool("tokenizer.ggml.add_bos_token", model.tokenizer.add_bos && model.tokenizer.bos.is_some());
    if let Some(chat) = &model.chat {
        values.string("tokenizer.chat_template", chat.source());
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// As llama-quantize says of models of these shapes.
    #[test]
    fn the_mix_is_that_of_llama_quantize() {
        let config = |layers: usize, hidden: usize, tied: bool| {
            Config::from_json(&format!(
                r#"{{"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu",
                "hidden_size": {hidden}, "intermediate_size": 1536, "num_hidden_layers": {layers},
                "num_attention_heads": 4, "max_position_embeddings": 64, "rms_norm_eps": 1e-5, "rope_theta": 1e4,
                "vocab_size": 512, "tie_word_embeddings": {tied}}}"#
            ))
            .unwrap()
        };
        let spared = |config: &Config, part: &str| -> Vec<usize> {
            let stored = |i: &usize| Quant::Q4KM.stored(config, &format!("blk.{i}.{part}.weight"), 1536).0;
            (0..config.num_hidden_layers).filter(|i| stored(i) == Stored::Q6K).collect()
        };
        let thirty = [0, 1, 2, 5, 8, 11, 14, 17, 20, 23, 26, 27, 28, 29];
        assert_eq!(spared(&config(30, 512, true), "ffn_down"), thirty);
        assert_eq!(spared(&config(30, 512, true), "attn_v"), thirty);
        assert_eq!(spared(&config(24, 512, true), "ffn_down"), [0, 1, 2, 5, 8, 11, 14, 17, 20, 21, 22, 23]);
        assert_eq!(spared(&config(2, 512, true), "ffn_down"), [1]);
        assert_eq!(spared(&config(24, 512, true), "attn_q"), [0; 0]);
        let ends = |tied: bool, columns: usize| {
            ["token_embd.weight", "output.weight"]
                .map(|name| Quant::Q4KM.stored(&config(2, 512, tied), name, columns).0)
        };
        assert_eq!(ends(true, 512)[0], Stored::Q6K);
        assert_eq!(ends(false, 512), [Stored::Q4K, Stored::Q6K]);
        assert_eq!(ends(false, 288), [Stored::Q8_0, Stored::Q8_0]);
        assert_eq!(ends(false, 72), [Stored::F16, Stored::F16]);
    }
}
