"""How fast `tunesmith data overlap` is, what it finds, and what it takes for a copy that is none.

    cargo build
    python3 tools/benches/data/overlap.py target/debug/tunesmith DATA [--megabytes N] [--rounds N]

DATA is a folder with gsm8k/{train,test}.jsonl and banking77/{train,test}.csv. Speed: training rows of so many megabytes,
made of the words of gsm8k's training rows, and some edited copies, are held against its test rows by the command that users
start; figures are medians over the rounds, and memory is the largest resident set of a process. What a second of computing
does depends least on what else the machine does. Recall: each test row is put into a training file as it is and in each of
several edits (seeded), and must be found in that very line. False positives: test rows that are found by half in the real
training rows, which come from the same source; what is found whole or nearly whole is printed beside it, because it is there.

Near-duplicates have no command of their own: `cargo test -p tunesmith-harness --lib soak_a_million -- --ignored --nocapture`
prints the same for a million rows.
"""

import argparse
import csv
import json
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time

SPELLED = "zero one two three four five six seven eight nine ten eleven twelve".split()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("tunesmith")
    parser.add_argument("data")
    parser.add_argument("--megabytes", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    sets = [
        ("gsm8k", "question", 0, *(read_jsonl(args.data, f"gsm8k/{part}.jsonl") for part in ("train", "test"))),
        ("banking77", "text", 22, *(read_csv(args.data, f"banking77/{part}.csv") for part in ("train", "test"))),
    ]
    with tempfile.TemporaryDirectory() as folder:
        for name, column, halves, train, test in sets:
            against = write(folder, f"{name}-test.jsonl", test)
            recall(args.tunesmith, folder, against, name, column, halves, train, test)
            mistaken(args.tunesmith, folder, against, name, column, train, test)
        speed(args, folder, *sets[0][3:])


def read_jsonl(data, file):
    with open(os.path.join(data, file)) as lines:
        return [json.loads(line) for line in lines]


def read_csv(data, file):
    with open(os.path.join(data, file), newline="") as lines:
        return list(csv.DictReader(lines))


def write(folder, name, rows):
    path = os.path.join(folder, name)
    with open(path, "w") as out:
        for row in rows:
            out.write(json.dumps(row) + "\n")
    return path


def overlap(tunesmith, train, against, *options):
    """Seconds, seconds of computing, the peak in MiB, and the result."""
    start = time.perf_counter()
    command = [tunesmith, "data", "overlap", train, "--against", against, "--json", *options]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    text, said = child.stdout.read(), child.stderr.read()
    _, status, usage = os.wait4(child.pid, 0)
    if os.waitstatus_to_exitcode(status) not in (0, 3):
        sys.exit(f"{' '.join(command)} failed: {said.decode()}")
    return time.perf_counter() - start, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, json.loads(text)


def found(tunesmith, folder, train, against, *options):
    """Of each eval line that was found: its kind, and the training lines."""
    out = os.path.join(folder, "found.jsonl")
    if os.path.exists(out):
        os.remove(out)
    overlap(tunesmith, train, against, "--out", out, *options)
    with open(out) as lines:
        rows = [json.loads(line) for line in lines]
    return {row["line"]: (row["kind"], [place["line"] for place in row["rows"]]) for row in rows}


def recall(tunesmith, folder, against, name, column, halves, train, test):
    for edit, wanted in [("verbatim", 0.99), ("case", 0.97), ("spacing", 0.97), ("punctuation", 0.97), ("number format", 0.97),
                         ("first half", 0.85), ("second half", 0.85)]:
        # Half of a short row is common speech.
        least = halves if "half" in edit else 0
        chance = random.Random(edit)
        rows = []
        for at, row in enumerate(test):
            text = edited(row[column], edit, chance)
            other = train[at * 7 % len(train)][column]
            rows.append({"prompt": f"{text} {other}" if "half" in edit else text})
        got = found(tunesmith, folder, write(folder, "copies.jsonl", rows), against, "--column", column)
        asked = [at for at, row in enumerate(test, 1) if len(row[column].split()) >= least]
        hits = sum(at in got.get(at, ("", []))[1] for at in asked)
        note = f", {len(asked)} rows of at least {least} words" if least else ""
        print(f"{name:10} recall, {edit:14} {hits / len(asked):8.2%} (wanted: {wanted:.0%}){note}", flush=True)


def edited(text, edit, chance):
    words = text.split(" ")
    half = (len(words) + 1) // 2
    if edit == "verbatim":
        return text
    if edit == "case":
        return chance.choice([text.upper(), text.lower(), text.title()])
    if edit == "spacing":
        return "".join(word + chance.choice([" ", "  ", "\n", "\t "]) for word in words)
    if edit == "punctuation":
        if chance.random() < 0.5:
            return re.sub(r"[^\w\s]", "", text) if not re.search(r"\d[.,/]\d", text) else re.sub(r"[!?;:\"]", "", text)
        return " ".join(word + chance.choice(["", "", ",", "!", " -", "..."]) for word in words)
    if edit == "number format":
        return re.sub(r"\b\d+(,\d{3})*(\.\d+)?", lambda number: renumbered(number[0], chance), text)
    return " ".join(words[:half] if edit == "first half" else words[-half:])


def renumbered(number, chance):
    whole, _, fraction = number.replace(",", "").partition(".")
    grouped = f"{int(whole):,}"
    if fraction:
        return f"{grouped}.{fraction}0"
    forms = [grouped, f"{whole}.00"] + ([SPELLED[int(whole)]] if int(whole) < len(SPELLED) else [])
    return chance.choice(forms)


def mistaken(tunesmith, folder, against, name, column, train, test):
    path = write(folder, "train.jsonl", train)
    for options in (["--column", column], []):
        kinds = [kind for kind, _ in found(tunesmith, folder, path, against, *options).values()]
        half, near, verbatim = (kinds.count(kind) for kind in ("half", "near", "verbatim"))
        columns = column if options else "every column of prose"
        print(f"{name:10} of {len(test)} test rows ({columns}): {verbatim} verbatim and {near} nearly in train; by half "
              f"{half / len(test):.2%}" + (" (wanted: at most 0.5%)" if name == "gsm8k" else ""), flush=True)


def speed(args, folder, train, test):
    chance = random.Random(1)
    words = [word for row in train for word in row["question"].split()]
    path, size = os.path.join(folder, "large.jsonl"), 0
    with open(path, "w") as out:
        while size < args.megabytes * 1_000_000:
            row = {"question": " ".join(chance.choices(words, k=45)), "answer": " ".join(chance.choices(words, k=60))}
            if chance.random() < 0.001:
                row["question"] = chance.choice(test)["question"].upper()
            size += out.write(json.dumps(row) + "\n")
    against = write(folder, "test.jsonl", test)
    runs = [overlap(args.tunesmith, path, against) for _ in range(args.rounds)]
    seconds, cpu, peak = (statistics.median(run[at] for run in runs) for at in (0, 1, 2))
    rows = runs[0][3]["train_rows"]
    print(f"speed      {size / 1e6:.0f} MB, {rows} rows in {seconds:.1f} s: {size / 1e6 / seconds:.0f} MB/s (wanted: 50), "
          f"{rows / seconds:.0f} rows/s, {len(os.sched_getaffinity(0))} cores, {size / 1e6 / cpu:.0f} MB for each second of "
          f"computing, peak {peak:.0f} MiB")


main()
