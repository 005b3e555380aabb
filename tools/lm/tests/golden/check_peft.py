"""Checks with PEFT and transformers that an adapter and a merged model written here are what they should be.

    python check_peft.py BASE ADAPTER MERGED [EXPECTED]

No key may be missing or unexpected, and the logits must be those with an adapter in BASE's expected.safetensors, or those of
EXPECTED for the same rows.
"""

import sys
import warnings

import torch
from peft import PeftModel
from peft.utils import load_peft_weights, set_peft_model_state_dict
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

base, adapter, merged = sys.argv[1:4]
rows = load_file(f"{base}/expected.safetensors")
expected = [rows[f"lora_logits.{i}"] for i in range(2)]
if len(sys.argv) > 4:
    expected = [load_file(sys.argv[4])[f"logits.{i}"] for i in range(2)]


def difference(model):
    worst = 0.0
    with torch.no_grad():
        for i in range(2):
            logits = model(rows[f"ids.{i}"][None]).logits[0]
            worst = max(worst, (logits - expected[i]).abs().max().item())
    return worst


def load(path):
    return AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32, attn_implementation="eager").eval()


wrapped = get_peft_model(load(base), LoraConfig.from_pretrained(adapter))
result = set_peft_model_state_dict(wrapped, load_peft_weights(adapter))
missing = [key for key in result.missing_keys if "lora_" in key or "modules_to_save" in key]
assert not missing and not result.unexpected_keys, (missing, result.unexpected_keys)

with warnings.catch_warnings():
    warnings.simplefilter("error", UserWarning)
    # Said of every adapter that trains one of two tied tensors, PEFT's own too.
    warnings.filterwarnings("ignore", message=".*(ensure_weight_tying|tie_word_embeddings).*")
    through_peft = difference(PeftModel.from_pretrained(load(base), adapter).eval())
assert through_peft < 1e-5, through_peft

model, info = AutoModelForCausalLM.from_pretrained(
    merged, dtype=torch.float32, attn_implementation="eager", output_loading_info=True
)
assert not info["missing_keys"] and not info["unexpected_keys"] and not info["mismatched_keys"], info
through_merge = difference(model.eval())
assert through_merge < 1e-4, through_merge
AutoTokenizer.from_pretrained(merged)
print(f"{base.split('/')[-1]}: 0 missing, 0 unexpected; logits differ by {through_peft:.1e}, merged {through_merge:.1e}")
