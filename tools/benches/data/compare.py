"""Load, map, filter, exact de-duplication, split and Parquet beside polars and Hugging Face datasets, interleaved in one run.

    cargo build
    TUNESMITH_BENCH_PYTHON=PYTHON python3 tools/benches/data/compare.py target/debug/tunesmith
        [--rows 971037] [--rounds 3] [--sides polars,streaming,datasets] [--data FILE]

PYTHON is one that has datasets and polars. The rows are those of make.py, 1 GB of JSON lines, or the FILE that it made before. Every
side lower-cases and strips texts, keeps rows whose text has 200 characters or more, keeps the first row of each text, cuts off
a tenth and writes both parts as Parquet with snappy; ours is `data prepare --rows`, which also hashes what it read and wrote
and lists what it left out. Every measurement is a process of its own and sides take turns; figures
are medians over the rounds. It is checked that all keep as many rows. `streaming` is polars' streaming engine.

Wall time is what a user waits; `CPU s` does not depend on what else the machine does. Memory is the largest resident set of a
process of that side, with the pages of mapped files.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

RECIPE = """
format = "parquet"
[steps]
clean = ["trim", "lower"]
keep = [{ column = "text", min_chars = 200 }]
[rows]
by = ["text"]
"""

HERE = os.path.dirname(os.path.abspath(__file__))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("tunesmith")
    parser.add_argument("--rows", type=int, default=971_037)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sides", default="polars,streaming,datasets")
    parser.add_argument("--data")
    args = parser.parse_args()
    python = os.environ.get("TUNESMITH_BENCH_PYTHON")
    if not python:
        sys.exit("TUNESMITH_BENCH_PYTHON must name a Python that has datasets and polars")
    sides = ["tunesmith"] + args.sides.split(",")
    runs = {side: [] for side in sides}
    with tempfile.TemporaryDirectory() as folder:
        data = args.data or os.path.join(folder, "rows.jsonl")
        if not args.data:
            subprocess.run([sys.executable, os.path.join(HERE, "make.py"), data, str(args.rows)], check=True)
        recipe = os.path.join(folder, "recipe.toml")
        with open(recipe, "w") as file:
            file.write(RECIPE)
        for _ in range(args.rounds):
            for side in sides:
                out = os.path.join(folder, "out")
                os.makedirs(out)
                peer = [python, "-W", "ignore", os.path.join(HERE, "peer.py"), side, data, out]
                ours = [args.tunesmith, "data", "prepare", data, "--recipe", recipe, "--json", "--out", os.path.join(out, "rows")]
                runs[side].append(measure(ours if side == "tunesmith" else peer, out))
                check(side, runs[side][-1]["said"], runs["tunesmith"][-1]["said"])
                shutil.rmtree(out)
        size = os.path.getsize(data)
    ours = runs["tunesmith"]
    print(f"{size / 1e6:.0f} MB, {ours[0]['said']['read']} rows, {args.rounds} rounds, {os.cpu_count()} cores")
    print(f"{'':12}{'wall s':>9}{'CPU s':>8}{'peak MB':>9}{'times our wall':>16}{'our CPU':>9}{'our peak':>10}")
    for side in sides:
        wall, cpu, peak = (median(runs[side], of) for of in ("wall", "cpu", "peak"))
        ratios = [median(runs[side], of) / median(ours, of) for of in ("wall", "cpu", "peak")]
        print(f"{side:12}{wall:9.2f}{cpu:8.2f}{peak:9.0f}{ratios[0]:16.2f}{ratios[1]:9.2f}{ratios[2]:10.2f}")


def measure(command, out):
    """Seconds, seconds of computing and the peak in MB of a process, and what it printed."""
    environment = {**os.environ, "HF_DATASETS_CACHE": os.path.join(out, "cache"), "HF_HUB_OFFLINE": "1"}
    said = os.path.join(out, "said")
    with open(said, "w+") as file:
        start = time.perf_counter()
        child = subprocess.Popen(command, stdout=file, env=environment)
        _, status, usage = os.wait4(child.pid, 0)
        wall = time.perf_counter() - start
        child.returncode = os.waitstatus_to_exitcode(status)
        file.seek(0)
        text = file.read()
    if child.returncode:
        sys.exit(f"{' '.join(command)} failed ({child.returncode}):\n{text}")
    said = json.loads(text)
    if "stages" in said:
        counts = {stage["name"]: stage["after"] for stage in said["stages"]}
        parts = [said["parts"][f"{part}.parquet"] for part in ("train", "valid")]
        said = {"read": said["rows"], "counts": [counts["keep"], counts["duplicates"]], "parts": parts}
    return {"wall": wall, "cpu": usage.ru_utime + usage.ru_stime, "peak": usage.ru_maxrss / 1000, "said": said}


def check(side, said, ours):
    """That a side kept as many rows as we did, at every stage that it counts."""
    for theirs, wanted in zip(said["counts"], ours["counts"], strict=True):
        if theirs not in (None, wanted):
            sys.exit(f"{side} keeps {said['counts']}, we {ours['counts']}")
    if sum(said["parts"]) != ours["counts"][-1] or abs(said["parts"][1] / sum(said["parts"]) - 0.1) > 0.02:
        sys.exit(f"{side} divides into {said['parts']}")


def median(runs, of):
    return statistics.median(run[of] for run in runs)


main()
