"""PyTorch + PEFT's side of the benchmark: LoRA training on a random model; prints one line of JSON.

    python peer.py CONFIG STEPS THREADS ROWS LENGTH RANK float32|bfloat16 eager|compiled
"""

import json
import os
import resource
import sys
import time

config = json.loads(sys.argv[1])
steps, threads, rows, length, rank = map(int, sys.argv[2:7])
dtype, how = sys.argv[7:]
os.environ["OMP_NUM_THREADS"] = str(threads)
os.environ["CUDA_VISIBLE_DEVICES"] = ""

import torch  # noqa: E402
from peft import LoraConfig, get_peft_model  # noqa: E402
from transformers import AutoConfig, AutoModelForCausalLM  # noqa: E402


def peak_bytes():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) << 10 for line in status if line.startswith("VmHWM:"))


def cpu_seconds():
    times = os.times()
    return times.user + times.system


def faults_so_far():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_minflt + usage.ru_majflt


torch.set_num_threads(threads)
torch.manual_seed(1)
model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**config), dtype=getattr(torch, dtype))
model.config.use_cache = False
lora = LoraConfig(r=rank, lora_alpha=2 * rank, lora_dropout=0.0, target_modules="all-linear", task_type="CAUSAL_LM")
model = get_peft_model(model, lora)
model.train()
run = torch.compile(model) if how == "compiled" else model
trained = [p for p in model.parameters() if p.requires_grad]
optimizer = torch.optim.AdamW(trained, lr=2e-4, weight_decay=0.0)
ids = torch.randint(0, config["vocab_size"], (rows, length))

seconds, cpu, faults = [], [], []
for _ in range(steps):
    began, computed, faulted = time.perf_counter(), cpu_seconds(), faults_so_far()
    loss = run(input_ids=ids, labels=ids).loss
    loss.backward()
    torch.nn.utils.clip_grad_norm_(trained, 1.0)
    optimizer.step()
    optimizer.zero_grad()
    loss.item()
    seconds.append(time.perf_counter() - began)
    cpu.append(cpu_seconds() - computed)
    faults.append(faults_so_far() - faulted)
print(json.dumps({"seconds": seconds, "cpu": cpu, "faults": faults, "peak_bytes": peak_bytes()}))
