"""The recipe of compare.py, done by another library: load, map, filter, exact de-duplication, split, Parquet.

    python peer.py polars|streaming|datasets ROWS OUT
"""
import json
import os
import sys

side, rows, out = sys.argv[1:4]
SHORTEST, VALID = 200, 0.1
TRAIN_FILE, VALID_FILE = (os.path.join(out, name) for name in ("train.parquet", "valid.parquet"))


def polars():
    import polars as pl

    text = pl.col("text")
    lazy = side == "streaming"
    table = pl.scan_ndjson(rows) if lazy else pl.read_ndjson(rows)
    table = table.with_columns(text.str.strip_chars().str.to_lowercase())
    table = table.filter(text.str.len_chars() >= SHORTEST)
    long = None if lazy else len(table)
    table = table.unique("text", keep="first", maintain_order=True)
    if lazy:
        table = table.collect(engine="streaming")
    valid = text.hash(1) % 1000 < VALID * 1000
    parts = [table.filter(~valid), table.filter(valid)]
    for part, file in zip(parts, (TRAIN_FILE, VALID_FILE)):
        part.write_parquet(file, compression="snappy")
    return long, len(table), [len(part) for part in parts]


def datasets():
    import datasets

    datasets.disable_progress_bars()
    workers = os.cpu_count()
    table = datasets.load_dataset("json", data_files=rows, split="train")
    table = table.map(lambda batch: {"text": [text.strip().lower() for text in batch["text"]]}, batched=True,
                      num_proc=workers)
    table = table.filter(lambda batch: [len(text) >= SHORTEST for text in batch["text"]], batched=True, num_proc=workers)
    long, seen = len(table), set()

    def first(batch):
        return [not (text in seen or seen.add(text)) for text in batch["text"]]

    table = table.filter(first, batched=True)
    parts = table.train_test_split(test_size=VALID, seed=1)
    parts["train"].to_parquet(TRAIN_FILE)
    parts["test"].to_parquet(VALID_FILE)
    return long, len(table), [len(parts["train"]), len(parts["test"])]


long, different, parts = datasets() if side == "datasets" else polars()
print(json.dumps({"counts": [long, different], "parts": parts}))
