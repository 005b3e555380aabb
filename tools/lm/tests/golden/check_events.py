"""Reads the event files of an adapter's directory with TensorBoard and compares every scalar with log.jsonl.

    pip install tensorboard; python check_events.py ADAPTER
"""

import json
import sys
from pathlib import Path

import numpy as np
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

TAGS = {
    "train/loss": "loss",
    "train/epoch": "epoch",
    "train/learning_rate": "learning_rate",
    "train/grad_norm": "grad_norm",
    "train/tokens_per_second": "tokens_per_second",
    "train/utilisation": "utilisation",
    "train/peak_rss_bytes": "peak_rss_bytes",
    "eval/loss": "valid_loss",
    "eval/exact_match": "valid_exact",
}

adapter = Path(sys.argv[1])
lines = [json.loads(line) for line in (adapter / "log.jsonl").read_text().splitlines()]
events = EventAccumulator(str(adapter / "runs"), size_guidance={"scalars": 0, "tensors": 0}).Reload()
read = {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}
logged = {tag: [(line["step"], float(np.float32(line[key]))) for line in lines if key in line] for tag, key in TAGS.items()}
logged = {tag: points for tag, points in logged.items() if points}
assert [line["step"] for line in lines] == list(range(1, len(lines) + 1)), "steps are missing or doubled in log.jsonl"
assert read == logged, {tag: (read.get(tag), logged.get(tag)) for tag in read.keys() | logged.keys() if read.get(tag) != logged.get(tag)}
files = len(list((adapter / "runs").iterdir()))
print(f"{sum(map(len, read.values()))} scalars of {len(read)} tags in {files} files equal log.jsonl, {len(lines)} steps")
