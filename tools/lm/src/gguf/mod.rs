//! GGUF files: what llama.cpp and Ollama run. Version 3 is written, versions 2 and 3 of the llama architecture are read.

mod bytes;
mod read;
mod vocab;
mod write;

pub use read::read;
pub use write::{Quant, Written, write};

/// The tensors of a layer: llama.cpp's name after `blk.N.`, and whether its rows are the permuted ones of q or k.
/// In the order of the fields of [`crate::weights::LayerWeights`].
const LAYER: [(&str, Rows); 9] = [
    ("attn_norm", Rows::Plain),
    ("attn_q", Rows::Query),
    ("attn_k", Rows::Key),
    ("attn_v", Rows::Plain),
    ("attn_output", Rows::Plain),
    ("ffn_norm", Rows::Plain),
    ("ffn_gate", Rows::Plain),
    ("ffn_up", Rows::Plain),
    ("ffn_down", Rows::Plain),
];

/// llama.cpp rotates neighbouring pairs of numbers, transformers rotates the two halves of a head. The rows of q and k
/// are therefore stored in another order: row `2 i + j` of a head is row `j * head_dim / 2 + i` in transformers.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rows {
    Plain,
    Query,
    Key,
}

/// Puts the rows of each head into llama.cpp's order, or back.
fn permute(values: &[f32], head_dim: usize, columns: usize, back: bool) -> Vec<f32> {
    let half = head_dim / 2;
    let mut out = Vec::with_capacity(values.len());
    for head in values.chunks_exact(head_dim * columns) {
        for row in 0..head_dim {
            let from = if back { row % half * 2 + row / half } else { row % 2 * half + row / 2 };
            out.extend_from_slice(&head[from * columns..(from + 1) * columns]);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::permute;

    #[test]
    fn permuting_back_gives_the_same_rows() {
        let rows: Vec<f32> = (0..48).map(|x| x as f32).collect();
        let there = permute(&rows, 8, 3, false);
        assert_eq!(there[..12], [0., 1., 2., 12., 13., 14., 3., 4., 5., 15., 16., 17.]);
        assert_eq!(permute(&there, 8, 3, true), rows);
    }
}
