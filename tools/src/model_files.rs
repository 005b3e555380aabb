//! A model as a directory in Hugging Face's format.

use std::path::Path;

use anyhow::Context;
use tunesmith_lm::{
    config::Config,
    model::{FILES, Model},
    weights::Dtype,
};

use crate::files::name;

/// Writes `model`, which was made of `base`. The files beside the weights are copied as they are, where there are any.
pub fn write(base: &Path, model: &Model, out: &Path, dtype: Dtype) -> anyhow::Result<()> {
    std::fs::create_dir_all(out).with_context(|| format!("cannot make {}", name(out)))?;
    model.weights.save(out, &model.config, dtype)?;
    let write = |file: &str, bytes: &[u8]| {
        std::fs::write(out.join(file), bytes).with_context(|| format!("cannot write {file}"))
    };
    if base.is_dir() {
        for file in FILES.into_iter().filter(|file| base.join(file).is_file()) {
            write(file, &std::fs::read(base.join(file))?)?;
        }
        let mut config: serde_json::Value = serde_json::from_slice(&std::fs::read(out.join("config.json"))?)?;
        // A tied output layer that was trained is tied no more; everything else in the file stays.
        if Config::from_json(&config.to_string())?.tie_word_embeddings != model.config.tie_word_embeddings {
            config["tie_word_embeddings"] = model.config.tie_word_embeddings.into();
            write("config.json", format!("{config:#}\n").as_bytes())?;
        }
        return Ok(());
    }
    write("config.json", model.config.to_json().as_bytes())?;
    write("tokenizer.json", model.tokenizer.json().as_bytes())?;
    write("tokenizer_config.json", tokenizer_config(model).as_bytes())
}

/// What a GGUF file says about its tokenizer, in Hugging Face's words.
fn tokenizer_config(model: &Model) -> String {
    let tokenizer = &model.tokenizer;
    let token = |id: Option<u32>| id.and_then(|id| tokenizer.token(id));
    let config = serde_json::json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": model.config.max_position_embeddings,
        "bos_token": token(tokenizer.bos),
        "eos_token": token(tokenizer.eos),
        "pad_token": token(tokenizer.pad),
        "add_bos_token": tokenizer.add_bos,
        "chat_template": model.chat.as_ref().map(|chat| chat.source()),
    });
    format!("{config:#}\n")
}
