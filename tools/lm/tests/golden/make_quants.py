"""Makes quants/: a small random model as F16, and what llama-quantize makes of it.

    python make_quants.py BIN GGUF_PY

BIN is llama.cpp's folder of programs, GGUF_PY the folder of its Python package gguf. The numbers have long tails, a run of
zeros, one of equal numbers and one with an outlier. Rows are 32 numbers but for ffn_down, whose 256 fit the large blocks:
of two layers Q4_K_M stores the first in Q4_K and the second in Q6_K.
"""

import json
import os
import subprocess
import sys

import numpy

programs, package = sys.argv[1:3]
sys.path.insert(0, package)
import gguf  # noqa: E402

here = os.path.dirname(os.path.abspath(__file__))
out = os.path.join(here, "quants")
os.makedirs(out, exist_ok=True)
with open(os.path.join(here, "llama/tied/tokenizer.json"), encoding="utf-8") as file:
    tokenizer = json.load(file)
tokens = sorted(tokenizer["model"]["vocab"], key=tokenizer["model"]["vocab"].get)
special = {token["id"] for token in tokenizer["added_tokens"]}
hidden, inner, heads, layers = 32, 256, 2, 2
rng = numpy.random.default_rng(8)


def numbers(rows, columns):
    x = rng.standard_t(4, (rows, columns)).astype(numpy.float32) * 0.03
    x[0] = 0.0
    x[1, :] = 0.25
    x[2, columns // 2] = 3.0
    x[3] = numpy.abs(x[3])
    x[4] *= 1e-4
    return x.astype(numpy.float16)


path = os.path.join(out, "f16.gguf")
writer = gguf.GGUFWriter(path, "llama")
writer.add_file_type(1)
writer.add_vocab_size(len(tokens))
writer.add_context_length(64)
writer.add_embedding_length(hidden)
writer.add_block_count(layers)
writer.add_feed_forward_length(inner)
writer.add_head_count(heads)
writer.add_head_count_kv(heads)
writer.add_key_length(hidden // heads)
writer.add_value_length(hidden // heads)
writer.add_rope_dimension_count(hidden // heads)
writer.add_rope_freq_base(10000.0)
writer.add_layer_norm_rms_eps(1e-5)
writer.add_tokenizer_model("gpt2")
writer.add_tokenizer_pre("gpt-2")
writer.add_token_list(tokens)
writer.add_token_types([3 if i in special else 1 for i in range(len(tokens))])
writer.add_token_merges([" ".join(merge) for merge in tokenizer["model"]["merges"]])
writer.add_eos_token_id(4)
writer.add_tensor("token_embd.weight", numbers(len(tokens), hidden))
for layer in range(layers):
    for name, rows, columns in [
        ("attn_q", hidden, hidden), ("attn_k", hidden, hidden), ("attn_v", hidden, hidden), ("attn_output", hidden, hidden),
        ("ffn_gate", inner, hidden), ("ffn_up", inner, hidden), ("ffn_down", hidden, inner),
    ]:
        writer.add_tensor(f"blk.{layer}.{name}.weight", numbers(rows, columns))
    for name in ["attn_norm", "ffn_norm"]:
        writer.add_tensor(f"blk.{layer}.{name}.weight", numpy.ones(hidden, numpy.float32))
writer.add_tensor("output_norm.weight", numpy.ones(hidden, numpy.float32))
writer.write_header_to_file()
writer.write_kv_data_to_file()
writer.write_tensors_to_file()
writer.close()
for name in ["q8_0", "q4_k_m"]:
    subprocess.run(
        [os.path.join(programs, "llama-quantize"), path, os.path.join(out, f"{name}.gguf"), name.upper(), "1"],
        check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ, "LD_LIBRARY_PATH": programs},
    )
