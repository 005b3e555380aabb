"""Makes the small random Llama models of this folder and what transformers and PEFT compute with them.

Run in an environment with torch, transformers, peft, tokenizers and safetensors:

    python make_llama.py

See README.md for the names inside the files. The weights are random; the text is written here.
"""

import json
import shutil
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoModelForCausalLM, LlamaConfig

HERE = Path(__file__).parent
SPECIAL = ["<|endoftext|>", "<|user|>", "<|assistant|>", "<|system|>", "<|end|>"]
TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}{{ '<|' + m.role + '|>' + m.content + '<|end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
TEXT = [
    "The small boat left the harbour at dawn and the crew told each other where the wind would turn.",
    "I'm sure that we've seen 1234 birds; they'll return when it's warmer, don't you think?",
    "A label is a word that the model says after the question, and then it stops.",
    "Où est la gare ? Das Wetter ist schön. Привет, мир. こんにちは世界 🙂",
    "def add(a, b):\n    return a + b  # two spaces\n\n\tand a tab\n",
] * 4


def train_tokenizer(pre_tokenizer, vocab_size):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=SPECIAL,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXT, trainer)
    return tokenizer


def splitting(numbers):
    """The splitting of Llama 3 and of Qwen, which differ in how many digits they keep together."""
    return pre_tokenizers.Sequence([
        pre_tokenizers.Split(
            Regex(
                r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|" + numbers + r"| ?[^\s\p{L}\p{N}]+[\r\n]*"
                r"|\s*[\r\n]+|\s+(?!\S)|\s+"
            ),
            behavior="isolated",
        ),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ])


def randomise(model, seed):
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in model.named_parameters():
        noise = torch.randn(tensor.shape, generator=generator)
        if "norm" in name:
            # Gemma's gain is 1 + weight.
            tensor.data = (0 if model.config.model_type == "gemma3_text" else 1) + 0.1 * noise
        elif "embed" in name or "lm_head" in name or name.endswith("bias"):
            tensor.data = 0.5 * noise
        else:
            tensor.data = noise * (1.5 / tensor.shape[1] ** 0.5)


def rounded(model, dtype):
    """The weights become what the file can hold; the mathematics stays in f32."""
    for tensor in model.parameters():
        tensor.data = tensor.data.to(dtype).float()


def rows(tokenizer, lengths):
    text = " ".join(TEXT[:5])
    ids = tokenizer.encode(text).ids
    made = []
    for i, length in enumerate(lengths):
        row = [0, 1] + ids[i * 7 : i * 7 + length - 3] + [4]
        made.append((row, length // 2))
    return made


def padded(made, pad=0):
    longest = max(len(row) for row, _ in made)
    ids = torch.full((len(made), longest), pad)
    labels = torch.full((len(made), longest), -100)
    mask = torch.zeros((len(made), longest), dtype=torch.long)
    for i, (row, prompt) in enumerate(made):
        ids[i, : len(row)] = torch.tensor(row)
        labels[i, prompt : len(row)] = torch.tensor(row[prompt:])
        mask[i, : len(row)] = 1
    return ids, labels, mask


def short(name):
    name = name.split("base_model.model.model.")[-1]
    return name.replace(".default.weight", "").replace(".weight", "")


def write(directory, tokenizer, config, dtype, lengths, seed, lora, shard=None, full=False, outer=True):
    """`config` is a config of transformers. `full`: gradients of the base too, without `outer` only those of its layers."""
    directory = HERE / directory
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(config)
    model.config._attn_implementation = "eager"
    randomise(model, seed)
    rounded(model, dtype)
    model.eval()
    made = rows(tokenizer, lengths)
    ids, labels, mask = padded(made)
    expected = {}
    for i, (row, prompt) in enumerate(made):
        expected[f"ids.{i}"] = torch.tensor(row)
        expected[f"labels.{i}"] = labels[i, : len(row)].clone()
        with torch.no_grad():
            expected[f"logits.{i}"] = model(torch.tensor([row])).logits[0].clone()
    if full:
        out = model(ids, attention_mask=mask, labels=torch.where(mask == 1, ids, -100))
        out.loss.backward()
        inner = [(name, tensor) for name, tensor in model.named_parameters() if outer or ".layers." in name]
        grads = {name: tensor.grad.clone() for name, tensor in inner}
        grads["loss"] = out.loss.detach().reshape(1)
        save_file(grads, directory / "full_grads.safetensors")
        model.zero_grad()
    extra = {"max_shard_size": shard} if shard else {}
    stored = AutoModelForCausalLM.from_config(model.config)
    stored.load_state_dict(model.state_dict())
    stored.to(dtype).save_pretrained(directory, **extra)
    # Exact f32 weights of 16-bit values: nothing is lost by writing them in that type.
    tokenizer.save(str(directory / "tokenizer.json"), pretty=False)
    (directory / "tokenizer_config.json").write_text(
        json.dumps(
            {
                "bos_token": SPECIAL[0],
                "chat_template": TEMPLATE,
                "eos_token": SPECIAL[4],
                "model_max_length": config.max_position_embeddings,
                "pad_token": SPECIAL[0],
                "tokenizer_class": "PreTrainedTokenizerFast",
            },
            indent=2,
        )
    )
    peft = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", **lora))
    generator = torch.Generator().manual_seed(seed + 1)
    for name, tensor in peft.named_parameters():
        if "lora_" in name:
            tensor.data = 0.2 * torch.randn(tensor.shape, generator=generator)
    peft.eval()
    with torch.no_grad():
        for i, (row, _) in enumerate(made):
            expected[f"lora_logits.{i}"] = peft(torch.tensor([row])).logits[0].clone()
    out = peft(ids, attention_mask=mask, labels=labels)
    out.loss.backward()
    expected["loss"] = out.loss.detach().reshape(1)
    for name, tensor in peft.named_parameters():
        if "lora_" in name:
            expected[f"grad.{short(name)}"] = tensor.grad.clone()
    save_file({k: v.contiguous() for k, v in expected.items()}, directory / "expected.safetensors")
    peft.peft_config["default"].base_model_name_or_path = f"golden/{directory.name}"
    peft.save_pretrained(directory / "adapter", save_embedding_layers=False)
    (directory / "adapter" / "README.md").unlink(missing_ok=True)


EVERYTHING = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
IDS = dict(bos_token_id=0, eos_token_id=4, pad_token_id=0)


def main():
    tokenizer = train_tokenizer(pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True), 320)
    write(
        "llama/tied",
        tokenizer,
        LlamaConfig(**IDS, vocab_size=320, hidden_size=48, intermediate_size=80, num_hidden_layers=2, num_attention_heads=6,
             num_key_value_heads=2, head_dim=8, max_position_embeddings=128, rms_norm_eps=1e-6,
             rope_theta=10000.0, tie_word_embeddings=True),
        torch.bfloat16, [20, 13], 1,
        dict(r=4, lora_alpha=8, lora_dropout=0.0, target_modules=EVERYTHING),
    )
    write(
        "llama/wide",
        tokenizer,
        LlamaConfig(**IDS, vocab_size=320, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
             num_key_value_heads=4, head_dim=16, max_position_embeddings=64, rms_norm_eps=1e-5,
             rope_theta=500000.0, tie_word_embeddings=False),
        torch.bfloat16, [12, 9], 2,
        dict(r=3, lora_alpha=16, lora_dropout=0.0, use_rslora=True, target_modules=["q_proj", "v_proj", "down_proj"]),
    )
    write(
        "llama/shards",
        tokenizer,
        LlamaConfig(**IDS, vocab_size=320, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2,
             num_key_value_heads=1, head_dim=8, max_position_embeddings=32, rms_norm_eps=1e-5,
             rope_theta=10000.0, tie_word_embeddings=True),
        torch.float16, [10, 8], 3,
        dict(r=2, lora_alpha=2, lora_dropout=0.0, target_modules=["q_proj", "v_proj"]),
        shard="8KB", full=True,
    )
    train_tokenizer(splitting(r"\p{N}{1,3}"), 300).save(str(HERE / "split_tokenizer.json"), pretty=False)


if __name__ == "__main__":
    main()
