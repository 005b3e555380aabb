"""Writes schedules.json: the learning rate that transformers gives each step, as a factor of its peak.

    python make_schedules.py

Each line: schedule, warm-up steps, steps of the last fall, all steps, floor, factors.
"""

import json
from pathlib import Path

import torch
from transformers import optimization as o

CASES = [
    ("constant", 0, 0, 6, 0.0), ("constant", 3, 0, 6, 0.0), ("linear", 2, 0, 10, 0.0), ("linear", 0, 0, 7, 0.0),
    ("cosine", 2, 0, 10, 0.0), ("cosine", 0, 0, 9, 0.1), ("cosine", 3, 0, 12, 0.25), ("linear", 12, 0, 10, 0.0),
    ("warmup_stable_decay", 2, 4, 12, 0.0), ("warmup_stable_decay", 3, 5, 12, 0.1), ("warmup_stable_decay", 0, 3, 9, 0.5),
]


def schedule(optimizer, name, warmup, decay, total, floor):
    if name == "constant":
        return o.get_constant_schedule_with_warmup(optimizer, warmup)
    if name == "linear":
        return o.get_linear_schedule_with_warmup(optimizer, warmup, total)
    if name == "cosine":
        return o.get_cosine_with_min_lr_schedule_with_warmup(optimizer, warmup, total, min_lr_rate=floor)
    return o.get_wsd_schedule(optimizer, warmup, decay, num_training_steps=total, min_lr_ratio=floor)


def factors(*case):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    made, rates = schedule(optimizer, *case), []
    for _ in range(case[3] + 1):
        rates.append(made.get_last_lr()[0])
        optimizer.step()
        made.step()
    return rates


lines = [json.dumps([*case, factors(*case)]) for case in CASES]
(Path(__file__).parent / "schedules.json").write_text("[\n" + ",\n".join(lines) + "\n]\n")
