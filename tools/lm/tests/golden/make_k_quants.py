"""Makes a random model that is wide enough for llama.cpp's k-quants, whose blocks are 256 numbers of a row.

    python make_k_quants.py DIRECTORY

Run by the tests in ../it/peers.rs: llama-quantize then stores it as people do.
"""

import sys

import torch
from make_llama import EVERYTHING, IDS, train_tokenizer, write
from tokenizers import pre_tokenizers
from transformers import LlamaConfig

write(
    sys.argv[1],
    train_tokenizer(pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True), 320),
    LlamaConfig(**IDS, vocab_size=320, hidden_size=256, intermediate_size=512, num_hidden_layers=2, num_attention_heads=8,
         num_key_value_heads=4, head_dim=32, max_position_embeddings=64, rms_norm_eps=1e-5,
         rope_theta=10000.0, tie_word_embeddings=False),
    torch.bfloat16, [12, 9], 4,
    dict(r=2, lora_alpha=2, lora_dropout=0.0, target_modules=EVERYTHING),
)
