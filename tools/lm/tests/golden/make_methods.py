"""Makes adapters of every method on bases of this folder, and what PEFT computes with them.

Run as make_llama.py, which holds what both share, after the bases are made:

    python make_methods.py

Each folder of `methods` holds `adapter`, as PEFT saves it with random numbers, and `expected.safetensors`: logits, the
loss of two rows and the gradient of every trained tensor. The base is named in `base.txt`.
"""

import shutil

import torch
from make_llama import EVERYTHING, HERE, padded
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

METHODS = {
    "dora": ("families/qwen2", dict(r=3, lora_alpha=6, use_dora=True, target_modules=EVERYTHING)),
    # All that can be said about ranks and layers at once.
    "patterns": (
        "llama/wide",
        dict(
            r=2, lora_alpha=4, use_rslora=True, use_dora=True, target_modules=["q_proj", "self_attn.v_proj", "down_proj"],
            exclude_modules=["layers.0.mlp.down_proj"], layers_to_transform=[0, 1],
            rank_pattern={"layers.1.self_attn.q_proj": 5, "down_proj": 3}, alpha_pattern={".*v_proj": 16},
        ),
    ),
    "regex": ("llama/tied", dict(r=2, lora_alpha=2, target_modules=r"model\.layers\.1\.(mlp|self_attn)\.(up|k|gate)_proj")),
    "upper_layers": ("families/qwen3", dict(r=2, lora_alpha=4, target_modules=["o_proj"], layers_to_transform=[1])),
    "saved_tied": (
        "families/qwen2",
        dict(r=2, lora_alpha=4, target_modules=["q_proj", "v_proj"], modules_to_save=["lm_head", "embed_tokens"]),
    ),
    "saved_head_of_tied": ("llama/tied", dict(r=2, lora_alpha=4, target_modules=["v_proj"], modules_to_save=["lm_head"])),
    "saved_embedding_of_tied": (
        "llama/tied", dict(r=2, lora_alpha=4, target_modules=["v_proj"], modules_to_save=["embed_tokens"]),
    ),
    "saved_untied": (
        "families/llama3",
        dict(
            r=2, lora_alpha=4, target_modules="all-linear",
            modules_to_save=["lm_head", "embed_tokens", "norm", "layers.1.self_attn.o_proj"],
        ),
    ),
}


def short(name):
    name = name.removeprefix("base_model.model.")
    for part in [".modules_to_save.default", ".default"]:
        name = name.replace(part, "")
    return name


def main():
    shutil.rmtree(HERE / "methods", ignore_errors=True)
    for seed, (name, (base, lora)) in enumerate(METHODS.items()):
        directory = HERE / "methods" / name
        directory.mkdir(parents=True)
        model = AutoModelForCausalLM.from_pretrained(HERE / base, dtype=torch.float32, attn_implementation="eager")
        rows = load_file(HERE / base / "expected.safetensors")
        torch.manual_seed(seed)
        peft = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", lora_dropout=0.0, **lora))
        generator = torch.Generator().manual_seed(seed)
        for parameter_name, tensor in peft.named_parameters():
            noise = torch.randn(tensor.shape, generator=generator)
            if "magnitude" in parameter_name:
                tensor.data *= 1 + 0.2 * noise
            elif "lora_" in parameter_name:
                tensor.data = 0.2 * noise
            elif tensor.requires_grad:
                tensor.data += 0.05 * noise
        peft.eval()
        made = [(rows[f"ids.{i}"].tolist(), int((rows[f"labels.{i}"] != -100).nonzero()[0])) for i in (0, 1)]
        ids, labels, mask = padded(made)
        expected = {}
        with torch.no_grad():
            for i, (row, _) in enumerate(made):
                expected[f"logits.{i}"] = peft(torch.tensor([row])).logits[0].clone()
        out = peft(ids, attention_mask=mask, labels=labels)
        out.loss.backward()
        expected["loss"] = out.loss.detach().reshape(1)
        for parameter_name, tensor in peft.named_parameters():
            if tensor.requires_grad:
                expected[f"grad.{short(parameter_name)}"] = tensor.grad.clone()
        save_file({k: v.contiguous() for k, v in expected.items()}, directory / "expected.safetensors")
        peft.peft_config["default"].base_model_name_or_path = f"golden/{base}"
        peft.save_pretrained(directory / "adapter", save_embedding_layers=False)
        (directory / "adapter" / "README.md").unlink(missing_ok=True)
        (directory / "base.txt").write_text(base)
        print(name, sorted(k for k in load_file(directory / "adapter/adapter_model.safetensors"))[:4], len(expected))


if __name__ == "__main__":
    main()
