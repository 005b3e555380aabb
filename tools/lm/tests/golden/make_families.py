"""Makes the small random models of the families in `families` and what transformers and PEFT compute with them.

Run as make_llama.py, which holds what both share:

    python make_families.py [NAME ...]

Rows are longer than the sliding windows and than the context before llama3's scaling.
"""

import sys

import torch
from make_llama import EVERYTHING, IDS, splitting, train_tokenizer, write
from tokenizers import normalizers, pre_tokenizers
from transformers import Gemma3TextConfig, LlamaConfig, MistralConfig, Qwen2Config, Qwen3Config

SIZE = dict(**IDS, vocab_size=270, hidden_size=32, intermediate_size=40, num_hidden_layers=2, num_attention_heads=4,
            num_key_value_heads=2, max_position_embeddings=64, rms_norm_eps=1e-6)
MODELS = {
    # A wavelength of each kind: kept, blended and divided.
    "llama3": LlamaConfig(
        **SIZE, head_dim=16, attention_bias=True, mlp_bias=True, tie_word_embeddings=False,
        rope_parameters=dict(rope_type="llama3", rope_theta=100.0, factor=4.0, low_freq_factor=0.5,
                             high_freq_factor=2.0, original_max_position_embeddings=20),
    ),
    "mistral": MistralConfig(
        **SIZE, head_dim=8, sliding_window=6, tie_word_embeddings=False,
        rope_parameters=dict(rope_type="linear", rope_theta=10000.0, factor=2.0),
    ),
    "qwen2": Qwen2Config(
        **SIZE, use_sliding_window=True, sliding_window=5, max_window_layers=1, tie_word_embeddings=True,
        rope_parameters=dict(rope_type="default", rope_theta=1000000.0),
    ),
    "qwen3": Qwen3Config(
        **SIZE, head_dim=16, attention_bias=True, use_sliding_window=True, sliding_window=7,
        layer_types=["sliding_attention", "full_attention"], tie_word_embeddings=True,
        rope_parameters=dict(rope_type="default", rope_theta=1000000.0),
    ),
    "gemma3": Gemma3TextConfig(
        **SIZE | dict(num_hidden_layers=3), head_dim=16, query_pre_attn_scalar=24, sliding_window=7,
        layer_types=["sliding_attention", "full_attention", "sliding_attention"],
        rope_parameters=dict(
            full_attention=dict(rope_type="linear", rope_theta=1000000.0, factor=8.0),
            sliding_attention=dict(rope_type="default", rope_theta=1000.0),
        ),
    ),
}


def qwen_tokenizer():
    """Qwen's way of normalising and splitting, with few tokens."""
    tokenizer = train_tokenizer(splitting(r"\p{N}"), 270)
    tokenizer.normalizer = normalizers.NFC()
    return tokenizer


def main():
    plain = train_tokenizer(pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True), 270)
    # The embedding's gradient is wanted where it is scaled.
    for seed, (name, config) in enumerate(MODELS.items()):
        if sys.argv[1:] and name not in sys.argv[1:]:
            continue
        write(
            f"families/{name}", qwen_tokenizer() if name.startswith("qwen") else plain, config, torch.bfloat16, [23, 8],
            10 + seed, dict(r=2, lora_alpha=4, lora_dropout=0.0, target_modules=EVERYTHING), full=True,
            outer=name == "gemma3",
        )


if __name__ == "__main__":
    main()
