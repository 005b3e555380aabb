//! GGUF files: what llama.cpp and Ollama run. Version 3 is written, versions 2 and 3 are read, of the architectures
//! that [`crate::config::FAMILIES`] name.

mod bytes;
mod quants;
mod read;
mod stream;
mod vocab;
mod write;

use crate::{config::Config, matrix::Stored};

pub use read::{context_length, read, read_as};
pub use write::{Quant, Written, preflight, write};

/// The tensors of a layer of a model of this shape: llama.cpp's name after `blk.N.`, and how its rows are stored. In
/// the order of [`crate::weights::LayerWeights::tensors`].
fn layer(config: &Config) -> Vec<(String, Rows)> {
    let turned = |rows: Rows| if config.family.permuted { rows } else { Rows::Plain };
    let linears = [
        ("attn_q", turned(Rows::Rotated)),
        ("attn_k", turned(Rows::Rotated)),
        ("attn_v", Rows::Plain),
        ("attn_output", Rows::Plain),
        ("ffn_gate", Rows::Plain),
        ("ffn_up", Rows::Plain),
        ("ffn_down", Rows::Plain),
    ];
    let weight = |(name, rows): (&str, Rows)| (format!("{name}.weight"), rows);
    let mut tensors = vec![weight(("attn_norm", Rows::Plain))];
    tensors.extend(linears[..4].iter().copied().map(weight));
    tensors.push(weight(("ffn_norm", Rows::Plain)));
    tensors.extend(linears[4..].iter().copied().map(weight));
    let biased = linears.into_iter().zip(config.biases.each()).filter(|(_, biased)| *biased);
    tensors.extend(biased.map(|((name, rows), _)| (format!("{name}.bias"), rows)));
    if config.qk_norm {
        tensors.extend(["attn_q_norm", "attn_k_norm"].map(|name| weight((name, Rows::Plain))));
    }
    if config.post_norms {
        tensors.extend(["post_attention_norm", "post_ffw_norm"].map(|name| weight((name, Rows::Plain))));
    }
    tensors
}

/// What llama.cpp divides each rotary frequency by, `[head_dim / 2]`.
const ROPE_FREQS: &str = "rope_freqs.weight";

/// The numbers behind [`ROPE_FREQS`], which llama.cpp has no keys for: factor, low and high factor, and original
/// context.
const LLAMA3_KEYS: [&str; 4] = [
    "tunesmith.llama3.factor",
    "tunesmith.llama3.low_freq_factor",
    "tunesmith.llama3.high_freq_factor",
    "tunesmith.llama3.original_max_position_embeddings",
];

/// In its architecture llama, llama.cpp rotates neighbouring pairs of numbers, transformers rotates the two halves of
/// a head. The rows of q and k are therefore stored in another order: row `2 i + j` of a head is row
/// `j * head_dim / 2 + i` in transformers.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rows {
    Plain,
    /// As they are rotated.
    Rotated,
}

/// What llama.cpp adds to the tensor `name`: it stores the gain of a norm, also where the weight is the gain less one.
fn offset(config: &Config, name: &str) -> f32 {
    if config.norm_offset && name.ends_with("norm.weight") { 1.0 } else { 0.0 }
}

/// What tensors are written as and can stay, by the format's numbers.
const TYPES: [(u32, Stored); 6] =
    [(0, Stored::F32), (1, Stored::F16), (8, Stored::Q8_0), (12, Stored::Q4K), (14, Stored::Q6K), (30, Stored::BF16)];

/// The format's number of a way to store numbers.
fn number(stored: Stored) -> u32 {
    TYPES.iter().find(|(_, known)| *known == stored).map_or(0, |(number, _)| *number)
}

/// The row of a head in transformers that is row `row` of it in llama.cpp.
fn source_row(row: usize, head_dim: usize) -> usize {
    row % 2 * (head_dim / 2) + row / 2
}

/// Puts the rows of each head, which are in llama.cpp's order, back. A row is `columns` items: numbers, or bytes of blocks.
fn permute_back<T: Copy>(values: &[T], head_dim: usize, columns: usize) -> Vec<T> {
    let half = head_dim / 2;
    let mut out = Vec::with_capacity(values.len());
    for head in values.chunks_exact(head_dim * columns) {
        for row in 0..head_dim {
            let from = row % half * 2 + row / half;
            out.extend_from_slice(&head[from * columns..(from + 1) * columns]);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::{permute_back, source_row};

    #[test]
    fn permuting_back_gives_the_same_rows() {
        let there: Vec<usize> =
            [0, 8].into_iter().flat_map(|head| (0..8).map(move |row| head + source_row(row, 8))).collect();
        assert_eq!(there[..8], [0, 4, 1, 5, 2, 6, 3, 7]);
        let rows: Vec<usize> = there.iter().flat_map(|row| [3 * row, 3 * row + 1, 3 * row + 2]).collect();
        assert_eq!(permute_back(&rows, 8, 3), (0..48).collect::<Vec<_>>());
    }
}
