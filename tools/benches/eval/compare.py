"""Multiple choice against lm-eval on PyTorch, both sides interleaved in one run.

    cargo build
    TUNESMITH_PEER_LM_EVAL=PYTHON python3 tools/benches/eval/compare.py target/debug/tunesmith
        [--shape small|135M] [--items N] [--rounds N] [--batches 1,8,16,32] [--shots 0,5]

PYTHON is one that has lm-eval (with torch and transformers). Both sides are what users start: `tunesmith eval --tasks` and
`python -m lm_eval --model hf`, in f32 on the CPU, on the same model with random weights and the same two task files with
four choices, without examples and with five, all made by make.py. Every measurement is a process of its own and sides take
turns; figures are medians over the rounds, those of lm-eval of its fastest batch size. It is checked that both give the
same log-likelihood of every request within 1e-4, and the same metrics.

`first` is the time from the start to the first answer: the first line of the journal here, the first step of the progress
bar there. `items/s` counts from the start, `then items/s` from the first answer. `CPU s` does not depend on what else the
machine does; memory is the largest resident set of a process of that side.
"""

import argparse
import glob
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
OFFLINE = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "true"}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("tunesmith")
    parser.add_argument("--shape", default="135M")
    parser.add_argument("--items", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batches", default="1,8,16,32")
    parser.add_argument("--shots", default="0,5")
    args = parser.parse_args()
    python = os.environ.get("TUNESMITH_PEER_LM_EVAL")
    if not python:
        sys.exit("TUNESMITH_PEER_LM_EVAL must name a Python that has lm-eval")
    with tempfile.TemporaryDirectory() as folder:
        data = os.path.join(folder, "data")
        make = [python, "-W", "ignore", os.path.join(HERE, "make.py"), data, args.shape, str(args.items)]
        subprocess.run(make, check=True, stderr=subprocess.DEVNULL)
        for shots in args.shots.split(","):
            compare(args, python, folder, data, shots)


def compare(args, python, folder, data, shots):
    task = os.path.join(data, f"things_{shots}.yaml")
    ours, theirs = [], {int(batch): [] for batch in args.batches.split(",")}
    for number in range(args.rounds):
        out = os.path.join(folder, f"ours_{shots}_{number}")
        command = [args.tunesmith, "eval", "--model", data, "--tasks", task, "--out", out, "--json"]
        ours.append(measure(command, lambda _, out=out: answered(os.path.join(out, "answers.jsonl"))))
        for batch, runs in theirs.items():
            other = os.path.join(folder, f"theirs_{shots}_{batch}_{number}")
            command = [python, "-W", "ignore", "-m", "lm_eval", "--model", "hf", "--device", "cpu", "--tasks", task,
                       "--model_args", f"pretrained={data},dtype=float32", "--batch_size", str(batch),
                       "--output_path", other, "--log_samples"]
            runs.append(measure(command, lambda text: re.search(r"requests: .*[ |]([1-9]\d*)/\d+ \[", text)))
            check(out, other)
    best = min(theirs, key=lambda batch: median(theirs[batch], "wall"))
    print(f"\n{args.shape}, {shots} examples, {args.items} items, f32, {args.rounds} rounds")
    print(f"{'':24}{'first s':>9}{'items/s':>9}{'then items/s':>14}{'CPU s':>8}{'peak MiB':>10}")
    sides = [("tunesmith", ours)] + [(f"lm-eval, batch {batch}", runs) for batch, runs in theirs.items()]
    for name, runs in sides:
        rate, steady = (median([{"x": args.items / seconds(run)} for run in runs], "x")
                        for seconds in (lambda run: run["wall"], lambda run: run["wall"] - run["first"]))
        print(f"{name:24}{median(runs, 'first'):9.2f}{rate:9.2f}{steady:14.2f}{median(runs, 'cpu'):8.1f}"
              f"{median(runs, 'peak'):10.0f}")
    faster, cheaper, smaller = (median(theirs[best], of) / median(ours, of) for of in ("wall", "cpu", "peak"))
    print(f"against batch {best}: {faster:.2f} times as fast (wanted: 2), {cheaper:.2f} times less CPU time, "
          f"{1 / smaller:.2f} of the memory (wanted: at most 0.5)", flush=True)


def measure(command, begun):
    """Seconds, seconds of computing and the peak in MiB of a process, and when its first answer was there."""
    start, first, text = time.perf_counter(), None, bytearray()
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env={**os.environ, **OFFLINE})

    def read():
        while piece := os.read(child.stdout.fileno(), 1 << 16):
            text.extend(piece)

    reader = threading.Thread(target=read)
    reader.start()
    while True:
        if first is None and begun(text.decode(errors="replace")):
            first = time.perf_counter() - start
        pid, status, usage = os.wait4(child.pid, os.WNOHANG)
        if pid:
            break
        time.sleep(0.01)
    wall = time.perf_counter() - start
    child.returncode = os.waitstatus_to_exitcode(status)
    reader.join()
    if child.returncode or first is None:
        sys.exit(f"{' '.join(command)} failed ({child.returncode}):\n{text.decode(errors='replace')}")
    return {"wall": wall, "first": first, "cpu": usage.ru_utime + usage.ru_stime, "peak": usage.ru_maxrss / 1024}


def answered(path):
    """Whether the journal holds an answer: its first line says whose answers they are."""
    try:
        with open(path, "rb") as file:
            return file.read().count(b"\n") > 1
    except FileNotFoundError:
        return False


def check(ours, theirs):
    """That both sides answered alike."""
    sides = []
    for folder in (ours, theirs):
        [file] = glob.glob(os.path.join(folder, "**", "samples_*.jsonl"), recursive=True)
        with open(file) as lines:
            samples = sorted((json.loads(line) for line in lines), key=lambda sample: sample["doc_id"])
        sums = [float(answer[0][0]) for sample in samples for answer in sample["resps"]]
        sides.append((sums, [(sample["acc"], sample["acc_norm"]) for sample in samples]))
    (sums, metrics), (wanted, wanted_metrics) = sides
    worst = max(abs(a - b) for a, b in zip(sums, wanted, strict=True))
    print(f"  largest difference of {len(sums)} log-likelihoods: {worst:.1e}", file=sys.stderr)
    if worst > 1e-4:
        sys.exit(f"log-likelihoods differ by {worst}")
    if metrics != wanted_metrics:
        sys.exit("metrics of an item differ")


def median(runs, of):
    return statistics.median(run[of] for run in runs)


main()
