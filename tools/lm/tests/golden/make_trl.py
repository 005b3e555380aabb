"""Trains a small adapter with TRL and records the loss of every step.

Run in an environment with torch, transformers, peft, trl and datasets:

    python make_trl.py

The base is llama/tied in f32. Rows are made here; TRL packs them by best fit, two to a pack, without shuffling. See
README.md for what is written to trl/.
"""

import json
import random
import shutil
import tempfile
from pathlib import Path

import torch
from datasets import Dataset
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import SFTConfig, SFTTrainer

HERE = Path(__file__).parent
BASE = HERE / "llama" / "tied"
OUT = HERE / "trl"
LENGTH = 32
MODULES = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
SPEC = {
    "learning_rate": 5e-3,
    "epochs": 5,
    "schedule": "cosine",
    "warmup": 5.0,
    "weight_decay": 0.01,
    "max_grad_norm": 1.0,
}


def rows(vocab):
    """Documents in which a token decides its successors, in lengths that fill packs of LENGTH exactly."""
    draw = random.Random(7)
    lengths = [length for i in range(40) for length in (9 + i % 8, LENGTH - 9 - i % 8)]
    draw.shuffle(lengths)
    documents = []
    for length in lengths:
        token = draw.randrange(8, vocab)
        document = []
        for _ in range(length):
            document.append(token)
            token = 8 + (token * 5 + draw.randrange(2)) % 48
        documents.append({"input_ids": document})
    return Dataset.from_list(documents)


def save(model):
    """The adapter as PEFT saves it, without what differs between machines and runs."""
    model.save_pretrained(OUT)
    path = OUT / "adapter_config.json"
    config = json.loads(path.read_text())
    config["base_model_name_or_path"] = "llama/tied"
    config["target_modules"] = MODULES
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    (OUT / "adapter_model.safetensors").chmod(0o644)
    (OUT / "README.md").unlink(missing_ok=True)


def main():
    shutil.rmtree(OUT, ignore_errors=True)
    torch.manual_seed(3)
    torch.set_num_threads(1)
    base = AutoModelForCausalLM.from_pretrained(BASE, dtype=torch.float32, attn_implementation="eager")
    lora = LoraConfig(r=4, lora_alpha=8, lora_dropout=0.0, target_modules=MODULES, task_type="CAUSAL_LM")
    model = get_peft_model(base, lora)
    save(model)
    with tempfile.TemporaryDirectory() as directory:
        config = SFTConfig(
            output_dir=directory,
            max_length=LENGTH,
            packing=True,
            packing_strategy="bfd",
            per_device_train_batch_size=2,
            gradient_accumulation_steps=2,
            num_train_epochs=SPEC["epochs"],
            learning_rate=SPEC["learning_rate"],
            lr_scheduler_type=SPEC["schedule"],
            warmup_steps=int(SPEC["warmup"]),
            weight_decay=SPEC["weight_decay"],
            max_grad_norm=SPEC["max_grad_norm"],
            train_sampling_strategy="sequential",
            gradient_checkpointing=False,
            bf16=False,
            logging_steps=1,
            save_strategy="no",
            report_to="none",
            use_cpu=True,
        )
        trainer = SFTTrainer(
            model=model,
            args=config,
            train_dataset=rows(base.config.vocab_size),
            processing_class=AutoTokenizer.from_pretrained(BASE),
        )
        packs = trainer.train_dataset.with_format(None)
        documents = []
        for pack in packs:
            ids = list(pack["input_ids"])
            assert [len(ids), len(pack["seq_lengths"])] == [LENGTH, 2], pack
            for length in pack["seq_lengths"]:
                documents.append(ids[:length])
                ids = ids[length:]
        trainer.train()
    log = [entry for entry in trainer.state.log_history if "loss" in entry]
    spec = {**SPEC, "batch_size": 8, "micro_tokens": 2 * LENGTH}
    losses = [entry["loss"] for entry in log]
    lines = ",\n".join(json.dumps(document) for document in documents)
    text = f'{{"spec": {json.dumps(spec)},\n"losses": {json.dumps(losses)},\n"documents": [\n{lines}\n]}}\n'
    (OUT / "sft.json").write_text(text)
    print(len(documents), losses[0], losses[-1], len(losses))


if __name__ == "__main__":
    main()
