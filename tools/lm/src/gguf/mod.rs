//! GGUF files: what llama.cpp and Ollama run.

use std::path::Path;

use crate::{
    error::{Error, Result},
    model::Model,
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
}

/// Writes `model`, its adapter already merged, to `path`: whole or not at all.
pub fn write(path: &Path, _model: &Model, _quant: Quant) -> Result<()> {
    Err(Error::Gguf(format!("{} cannot be written yet", path.display())))
}

/// Reads a GGUF file of the llama architecture.
pub fn read(path: &Path) -> Result<Model> {
    Err(Error::Gguf(format!("{} cannot be read yet", path.display())))
}
