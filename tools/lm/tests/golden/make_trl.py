"""Trains small adapters with TRL and writes the loss of each step: `trl/sft` and `trl/dpo`.

Run as make_llama.py, after the bases are made:

    python make_trl.py

Rows are written here and are not shuffled. Each folder holds the rows (rows.jsonl), the adapter before training (adapter)
and what TRL reports (losses.json).
"""

import json
import shutil
import tempfile

import torch
from datasets import Dataset
from make_llama import EVERYTHING, HERE
from peft import LoraConfig, get_peft_model
from torch.utils.data import SequentialSampler
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer

BASE = "llama/tied"
STEPS = 50
NAMES = ["Anna", "Ben", "Cara", "Deniz", "Emil", "Fay", "Gus"]
THINGS = ["boat", "lamp", "green door", "letter", "small bird", "map"]
VERBS = ["finds", "sells", "draws", "forgets"]


def chats(count):
    """Conversations of one or two exchanges, so that lengths differ."""
    for i in range(count):
        name, thing, verb = NAMES[i % 7], THINGS[i * 5 % 6], VERBS[i * 3 % 4]
        turns = [("user", f"What does {name} do with the {thing}?"), ("assistant", f"{name} {verb} the {thing}.")]
        if i % 3 == 0:
            turns += [("user", "And then?"), ("assistant", f"Then {name} goes home" + ", slowly" * (i % 4) + ".")]
        yield [{"role": role, "content": content} for role, content in turns]


def preferences(count):
    for i, turns in enumerate(chats(count)):
        wrong = f"{NAMES[(i + 1) % 7]} eats" + " a lot" * (i % 3) + "."
        yield dict(prompt=turns[:1], chosen=turns[1:2], rejected=[dict(role="assistant", content=wrong)])


class InOrder:
    def _get_train_sampler(self, *_, **__):
        return SequentialSampler(self.train_dataset)


class Sft(InOrder, SFTTrainer):
    pass


class Dpo(InOrder, DPOTrainer):
    pass


def make(name, trainer, config, rows, **settings):
    directory = HERE / "trl" / name
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    (directory / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    model = AutoModelForCausalLM.from_pretrained(HERE / BASE, dtype=torch.float32, attn_implementation="sdpa")
    tokenizer = AutoTokenizer.from_pretrained(HERE / BASE)
    torch.manual_seed(0)
    peft = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", r=4, lora_alpha=8, lora_dropout=0.0, target_modules=EVERYTHING))
    peft.peft_config["default"].base_model_name_or_path = f"golden/{BASE}"
    peft.save_pretrained(directory / "adapter", save_embedding_layers=False)
    (directory / "adapter" / "README.md").unlink(missing_ok=True)
    with tempfile.TemporaryDirectory() as out:
        args = config(
            output_dir=out, max_steps=STEPS, num_train_epochs=9, lr_scheduler_type="cosine",
            warmup_steps=5, weight_decay=0.1, max_grad_norm=1.0, logging_steps=1, logging_nan_inf_filter=False,
            report_to=[], use_cpu=True, bf16=False, fp16=False, gradient_checkpointing=False, save_strategy="no",
            disable_tqdm=True, seed=0, **settings,
        )
        made = trainer(model=peft, args=args, train_dataset=Dataset.from_list(rows), processing_class=tokenizer)
        made.train()
        history = [entry for entry in made.state.log_history if "loss" in entry]
    losses = [dict(loss=entry["loss"], learning_rate=entry["learning_rate"], grad_norm=entry["grad_norm"]) for entry in history]
    assert len(losses) == STEPS, len(losses)
    (directory / "losses.json").write_text("[\n" + ",\n".join(json.dumps(line) for line in losses) + "\n]\n")
    print(name, losses[0], losses[-1])


def main():
    make(
        "sft", Sft, SFTConfig, [dict(messages=turns) for turns in chats(160)], learning_rate=5e-3, max_length=100,
        packing=True, per_device_train_batch_size=2, gradient_accumulation_steps=3,
    )
    make(
        "dpo", Dpo, DPOConfig, list(preferences(60)), learning_rate=5e-4, beta=0.1, max_length=100,
        per_device_train_batch_size=2, gradient_accumulation_steps=2,
    )


if __name__ == "__main__":
    main()
