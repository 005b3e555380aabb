"""Whole evaluations of lm-eval and of `tunesmith eval --tasks`, side by side.

    python scores.py TUNESMITH FOLDER

TUNESMITH is the binary, FOLDER an empty place for models, data and results. Both evaluate the installed package's task files
that are named below (some with functions that have native ports), and our own in golden/eval/tasks, on rows that we make here (see prompts.py), with two small models
in float32, with 0 and 3 examples. What is compared, for each task:

  prompts     all arguments of all requests are equal; so are rows, targets, hashes and the keys of samples
  likelihood  the largest difference between two log-likelihoods of a request; generated texts are equal
  items       lm-eval's own process_results, given our answers, gives our values of every row and metric
  metrics     lm-eval's own aggregation of our values gives our metrics, and its standard errors ours
  results     where both sides' values of all rows are equal, all numbers of the results are; the rest of the results too
"""

import argparse
import copy
import json
import logging
import math
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

logging.disable(logging.CRITICAL)
os.environ["TQDM_DISABLE"] = "1"
os.environ["HF_HUB_OFFLINE"] = "1"

# The models are so small that threads only wait for each other.
os.environ["OMP_NUM_THREADS"] = "1"

import datasets
import ports
import prompts
from lm_eval import evaluator
from lm_eval.api.metrics import stderr_for_metric
from lm_eval.models.huggingface import HFLM
from lm_eval.models.utils import normalize_gen_kwargs
from lm_eval.tasks import TaskManager
from lm_eval.utils import handle_non_serializable, hash_string, make_table, sanitize_list

HERE = Path(__file__).resolve().parent
OWN = HERE.parent / "golden/eval/tasks"
MODELS = HERE.parents[2] / "tools/lm/tests/golden"
ITERATIONS = 1000

# Tasks and groups of the package, by the names that it gives them.
NAMES = """
arc_easy arc_challenge piqa openbookqa sciq commonsense_qa swag lambada_openai lambada_openai_cloze_yaml gsm8k
gsm8k_cot nq_open triviaqa xnli_en cola mrpc sst2 qnli rte qqp boolq boolq-seq2seq pile_arxiv pile_github
blimp_adjunct_island mmlu_anatomy mmlu_stem bbh_fewshot_snarks bbh_cot_fewshot_navigate asdiv qa4mre_2011 mc_taco
xstorycloze_en ceval-valid_accountant lambada_openai_mt_stablelm_de wmt16-de-en anagrams1 anli_r1 m_mmlu_de
""".split()
# Tasks with Python functions that have native ports; their rows are made below.
PORTED = [
    "hellaswag", "winogrande", "wikitext", "arithmetic_2da", "arithmetic_1dc", "race", "truthfulqa_mc2", "gpqa_main_zeroshot", "ifeval",
    "logiqa",
]


def models(folder):
    """The small models, with room for longer prompts: rotary embeddings have no weights for positions."""
    for name in ["llama/tied", "families/qwen2"]:
        to = folder / "models" / name.replace("/", "_")
        shutil.copytree(MODELS / name, to)
        config = json.loads((to / "config.json").read_text())
        config["max_position_embeddings"] = 2048
        (to / "config.json").write_text(json.dumps(config))
        yield to


class Data:
    """The rows of each data set, for both sides."""

    def __init__(self, folder):
        self.folder = folder
        self.splits = {}
        datasets.load_dataset = self.load

    def load(self, path=None, name=None, data_files=None, **_):
        key = key_of({"dataset_path": path, "dataset_name": name, "dataset_kwargs": {"data_files": data_files}})
        # From files, as data sets of the Hub are: only then `map` keeps what it made, and a row that a function shuffles is
        # shuffled once.
        return {split: datasets.load_from_disk(str(self.place(key) / "arrow" / split)) for split in self.splits[key]}

    def add(self, config, splits):
        key = key_of(config)
        if key in self.splits:
            return
        self.splits[key] = splits
        place = self.place(key)
        place.mkdir(parents=True)
        for split, rows in splits.items():
            datasets.Dataset.from_list(rows).save_to_disk(str(place / "arrow" / split))
            split = "file" if is_address(key[0]) else split
            lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in datasets.Dataset.from_list(rows))
            (place / f"{split}.jsonl").write_text(lines)

    def place(self, key):
        return self.folder / "data" / hash_string(str(key))[:16]

    def arguments(self, keys):
        named = lambda key: key[0] if key[1] is None else f"{key[0]}:{key[1]}"
        place = lambda key: self.place(key) / "file.jsonl" if is_address(key[0]) else self.place(key)
        return [word for key in keys for word in ("--dataset", f"{named(key)}={place(key)}")]


def is_address(name):
    return "://" in name


def key_of(config):
    """What names a data set: its name and configuration, or the address of its only file."""
    files = (config.get("dataset_kwargs") or {}).get("data_files")
    if isinstance(files, dict) and len(files) == 1 and is_address(next(iter(files.values()))):
        return next(iter(files.values())), None
    return config["dataset_path"], config.get("dataset_name")


class Manager(TaskManager):
    """Keeps the tasks that were made last, which may hold rows that were drawn."""

    def load(self, *arguments, **more):
        self.last = super().load(*arguments, **more)
        return self.last


def ported_rows(name):
    """Seven rows of a task with functions, as its data set has them."""
    for i in range(7):
        text, other, more = (ports.TEXTS[i + k] or "x" for k in (0, 4, 7))
        if name == "hellaswag":
            yield {"activity_label": text, "ctx_a": other, "ctx_b": more or "x", "endings": [f"{t} {i}" for t in ports.TEXTS[i : i + 4]], "label": str(i % 4)}
        elif name == "winogrande":
            yield {"sentence": f"{text} Ann thanked Eva because _ was {other} kind.", "option1": "Ann", "option2": "Eva " + more, "answer": str(1 + i % 2)}
        elif name == "wikitext":
            yield {"page": ports.wikitext()[i]["page"]}
        elif name.startswith("arithmetic"):
            yield {"context": f"Question: What is {i} plus {i * 7}?\nAnswer:", "completion": f" {i * 8}"}
        elif name == "race":
            problems = [{"question": f"{text} _ .", "answer": "AB"[i % 2], "options": [other, more, "c", "d"]}, {"question": "Why?" if i % 2 else "It is  _  .", "answer": "ABCD"[i % 4], "options": ["a", other, more, "d"]}]
            yield {"article": f"Once {text} upon", "problems": repr(problems)}
        elif name == "truthfulqa_mc2":
            choices = [f"{t} {k}" for k, t in enumerate(ports.TEXTS[: 3 + i])]
            yield {"question": text, "mc1_targets": {"choices": choices, "labels": [1] + [0] * (2 + i)}, "mc2_targets": {"choices": choices, "labels": [1, 1] + [0] * (1 + i)}}
        elif name == "gpqa_main_zeroshot":
            yield {"Question": text, "Incorrect Answer 1": other, "Incorrect Answer 2": more, "Incorrect Answer 3": f"[title] x{i}", "Correct Answer": f"right {i}"}
        elif name == "ifeval":
            chosen = ports.INSTRUCTIONS[i * 5 : i * 5 + 1 + i % 3]
            yield {"key": i, "prompt": f"{text} Write {other}.", "instruction_id_list": [n for n, _ in chosen], "kwargs": [k for _, k in chosen]}
        elif name == "logiqa":
            yield {"context": text, "question": other, "options": [f"{t}{k}" for k, t in enumerate(ports.TEXTS[i : i + 4])], "label": "abcd"[i % 4]}


def rows_for(manager, name, data):
    """Makes the data of all tasks below a name; says why there is none."""
    entry = manager.task_index[name]
    if entry.kind.name in ("GROUP", "TAG"):
        members = json.loads(json.dumps(list(entry.tags or []))) or [
            t if isinstance(t, str) else t.get("task") for t in (entry.cfg or load(entry.yaml_path)).get("task", [])
        ]
        for member in members:
            why = rows_for(manager, member, data)
            if why:
                return why
        return None
    try:
        raw = load(entry.yaml_path)
    except (Exception, SystemExit) as error:
        return f"lm-eval does not load it: {str(error)[:100]}"
    if name in PORTED:
        rows = list(ported_rows(name))
        data.add(raw, {split: rows for split in prompts.splits_of({"fewshot_config": {}, **raw})})
        return None
    if not prompts.function_free(raw) or "class" in raw:
        return "has Python functions"
    if any(metric.get("hf_evaluate") for metric in raw.get("metric_list") or []):
        return "has metrics of another package"
    if raw.get("dataset_path") in (None, "json", "csv", "parquet", "text") or raw.get("dataset_kwargs", {}).get("data_files"):
        return "names files for its rows"
    if key_of(raw) in data.splits:
        return None
    raw = prompts.prepare(raw)
    config = prompts.config_of(raw)
    loader = datasets.load_dataset
    answer = prompts.attempt(config, raw, random.Random(name), 40, None)
    datasets.load_dataset = loader
    if isinstance(answer, str):
        return "no rows were found for it: " + answer[:100]
    data.add(config, answer["splits"])
    return None


def load(path):
    from lm_eval.tasks._yaml_loader import load_yaml

    return load_yaml(path)


def lines_of(samples):
    """Samples as lm-eval writes them."""
    out = []
    for sample in samples:
        sample = copy.deepcopy(sample)
        sample["arguments"] = {
            f"gen_args_{i}": {f"arg_{j}": part for j, part in enumerate(arguments)}
            for i, arguments in enumerate(sample["arguments"])
        }
        sample["resps"] = sanitize_list(sample["resps"])
        sample["filtered_resps"] = sanitize_list(sample["filtered_resps"])
        sample["target"] = str(sample["target"])
        out.append(json.loads(json.dumps(sample, default=handle_non_serializable, ensure_ascii=False)))
    return out


def settings_of(argument):
    if not isinstance(argument, dict):
        return argument
    if "max_gen_toks" in argument and set(argument) == {"until", "max_gen_toks", "do_sample", "temperature", "top_p", "top_k"}:
        return {**argument, "max_gen_toks": argument["max_gen_toks"] or 256}
    settings = normalize_gen_kwargs(argument)
    return {
        "until": settings["until"], "max_gen_toks": settings["max_gen_toks"], "do_sample": settings["do_sample"],
        "temperature": settings.get("temperature", 0.0), "top_p": settings.get("top_p", 1.0), "top_k": settings.get("top_k"),
    }


def arguments_of(sample):
    return {k: {j: settings_of(part) for j, part in v.items()} for k, v in sample["arguments"].items()}


def number(text):
    try:
        return float(text)
    except (TypeError, ValueError):
        return None


class Differences:
    """What differs in one evaluation of one task."""

    def __init__(self):
        self.wrong = []
        self.likelihood = 0.0
        self.requests = 0
        self.decisions = 0

    def equal(self, what, ours, theirs):
        if ours != theirs:
            self.wrong.append(f"{what}: ours {str(ours)[:300]}, theirs {str(theirs)[:300]}")

    def close(self, what, ours, theirs, most):
        same = ours == theirs or isinstance(ours, float) and isinstance(theirs, (float, int)) and (
            math.isnan(ours) and math.isnan(theirs) or abs(ours - theirs) <= most * max(1.0, abs(theirs))
        )
        if not same and not (ours is None and isinstance(theirs, float) and not math.isfinite(theirs)):
            self.wrong.append(f"{what}: ours {ours}, theirs {theirs}")

    def answers(self, what, ours, theirs):
        """Answers are numbers, texts, or lists of them."""
        if isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
            for a, b in zip(ours, theirs):
                self.answers(what, a, b)
            return
        a, b = number(ours), number(theirs)
        if a is None or b is None or ours in ("True", "False"):
            if ours in ("True", "False") and ours != theirs:
                # Whether a choice is the most likely text may change where two tokens are as likely.
                self.decisions += 1
            else:
                self.equal(what, ours, theirs)
        elif a != b:
            self.likelihood = max(self.likelihood, abs(a - b))


def drawn(sample):
    """Whether tokens are drawn: from other random numbers on each side."""
    return any(isinstance(part, dict) and part.get("do_sample") for call in arguments_of(sample).values() for part in call.values())


def answer_of(written, kind):
    """Our answer as lm-eval's process_results takes it."""
    if kind in ("multiple_choice", "loglikelihood"):
        return float(written[0]), written[1] == "True"
    return float(written) if kind == "loglikelihood_rolling" else written


def same_items(ours, theirs):
    ours, theirs = json.loads(json.dumps(ours)), json.loads(json.dumps(theirs, default=handle_non_serializable))
    if isinstance(ours, list) and isinstance(theirs, list):
        return len(ours) == len(theirs) and all(same_items(a, b) for a, b in zip(ours, theirs))
    if isinstance(ours, (int, float)) and isinstance(theirs, (int, float)):
        return abs(ours - theirs) <= 1e-9 * max(1.0, abs(theirs))
    return ours == theirs


def compare_task(name, task, ours, theirs, out, found):
    """Everything of one task; whether all items are equal."""
    file = out / f"samples_{name}.jsonl"
    own = [json.loads(line) for line in file.read_text().splitlines()]
    other = lines_of(theirs["samples"][name])
    found.equal("number of samples", len(own), len(other))
    own.sort(key=lambda s: (s["filter"], s["doc_id"]))
    other.sort(key=lambda s: (s["filter"], s["doc_id"]))
    kind = task.OUTPUT_TYPE
    all_equal, columns = True, {}
    for a, b in zip(own, other):
        what = f"row {a['doc_id']}"
        found.equal(f"{what}: keys", sorted(a), sorted(b))
        found.equal(f"{what}: arguments", arguments_of(a), arguments_of(b))
        for key in ("doc_id", "doc", "target", "filter", "metrics", "doc_hash", "prompt_hash", "target_hash"):
            found.equal(f"{what}: {key}", a[key], b[key])
        if not drawn(a):
            found.answers(f"{what}: resps", a["resps"], b["resps"])
            found.answers(f"{what}: filtered_resps", a["filtered_resps"], b["filtered_resps"])
        found.requests += len(a["arguments"])
        doc = list(task.eval_docs)[a["doc_id"]]
        mine = [answer_of(answer, kind) for answer in a["filtered_resps"]]
        expected = task.process_results(doc, mine)
        found.equal(f"{what}: metrics of our answers", sorted(a["metrics"]), sorted(expected))
        for metric in a["metrics"]:
            if not same_items(a[metric], expected[metric]):
                found.wrong.append(f"{what}: {metric} of our answers: ours {a[metric]}, theirs {expected[metric]}")
            all_equal &= same_items(a[metric], b[metric])
            columns.setdefault((metric, a["filter"]), []).append(expected[metric])
    values = ours["results"][name]
    expected_keys = {"name", "alias", "sample_len"}
    for (metric, filter), items in columns.items():
        aggregation = task.aggregation()[metric]
        found.close(f"{metric},{filter}", values[f"{metric},{filter}"], aggregation(items), 1e-9)
        few = metric in ("bleu", "chrf", "ter")
        error = stderr_for_metric(aggregation, min(ITERATIONS, 100) if few else ITERATIONS)
        error = error(items) if error and len(items) > 1 else "N/A"
        found.close(f"{metric}_stderr,{filter}", values[f"{metric}_stderr,{filter}"], error, 1e-12)
        expected_keys |= {f"{metric},{filter}", f"{metric}_stderr,{filter}"}
    found.equal("keys of the results", sorted(values), sorted(expected_keys))
    hashes = "".join(s["doc_hash"] + s["prompt_hash"] + s["target_hash"] for s in theirs["samples"][name])
    found.equal("hash of the task", ours["task_hashes"][name], hash_string(hashes))
    return all_equal


def compare_results(ours, theirs, all_equal, found):
    """The results object, but what is only in one of both: hosts, times, intervals."""
    theirs = {**theirs, **json.loads(json.dumps({k: theirs.get(k) for k in ("n-shot", "higher_is_better")}))}
    for key in ("n-shot", "higher_is_better"):
        # lm-eval looks at outer groups before the inner ones, so what it says of them is only a part.
        for group in theirs["group_subtasks"]:
            if isinstance(ours[key].get(group), dict):
                part = theirs[key].get(group, {})
                found.equal(f"{key} of {group}", {k: ours[key][group].get(k) for k in part}, part)
            elif group in theirs[key]:
                found.equal(f"{key} of {group}", ours[key].get(group), theirs[key][group])
            if group in ours[key]:
                theirs[key][group] = ours[key][group]
    for key in ("group_subtasks", "versions", "n-shot", "higher_is_better", "n-samples"):
        found.equal(key, ours.get(key), json.loads(json.dumps(theirs.get(key))))
    found.equal("names", sorted(ours["results"]), sorted(theirs["results"]))
    found.equal("groups", sorted(ours.get("groups", {})), sorted(theirs.get("groups", {})))
    for name, values in theirs["results"].items():
        own = ours["results"].get(name, {})
        # What lm-eval says of groups beside their metrics is for its own tables.
        keys = [key for key in values if key != "sample_count"]
        found.equal(f"{name}: keys", sorted(own), sorted(keys))
        for key in keys:
            if all_equal or not isinstance(values[key], float):
                found.close(f"{name}: {key}", own.get(key), values[key], 1e-12 if "_stderr" in key else 1e-9)
    for column in ["results"] + (["groups"] if "groups" in theirs else []):
        own, other = make_table(ours, column), make_table(theirs, column)
        if all_equal:
            found.equal(f"table of {column}", own, other)


def evaluate(name, model, lm, shots, manager, data, arguments):
    found = Differences()
    theirs = evaluator.simple_evaluate(
        model=lm, tasks=[name], num_fewshot=shots, bootstrap_iters=ITERATIONS, task_manager=manager, log_samples=True
    )
    keys = {key_of(c) for c in theirs["configs"].values()}
    tasks = manager.last["tasks"]
    out = arguments.folder / "out" / model.name / f"{name}-{shots}"
    command = [arguments.tunesmith, "eval", "--model", str(model), "--tasks", name, "--fewshot", str(shots)]
    command += ["--include", str(arguments.tasks), "--include", str(OWN), "--out", str(out), "--bootstrap-iters", str(ITERATIONS)]
    ran = subprocess.run(command + data.arguments(keys), capture_output=True, text=True)
    if ran.returncode != 0:
        found.wrong.append(f"exit code {ran.returncode}: {ran.stderr.strip()[-400:]}")
        return found
    ours = json.loads((out / "results.json").read_text())
    equal = [compare_task(n, task, ours, theirs, out, found) for n, task in tasks.items()]
    compare_results(ours, theirs, all(equal), found)
    if found.likelihood > 1e-4:
        found.wrong.append(f"log-likelihoods differ by {found.likelihood}")
    return found


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("tunesmith", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", nargs="*", help="names instead of those above")
    parser.add_argument("--shots", nargs="*", type=int, default=[0, 3])
    arguments = parser.parse_args()
    arguments.tasks = Path(prompts.lm_eval.__file__).parent / "tasks"
    data = Data(arguments.folder)
    ports.import_ifeval()
    manager = Manager(include_path=str(OWN))
    own = []
    for path in sorted(OWN.glob("*.yaml")):
        raw = load(path)
        if "dataset_path" in raw:
            data.add(prompts.config_of(raw), json.loads(path.with_suffix(".json").read_text()))
        own.append(raw.get("task") if isinstance(raw.get("task"), str) else raw["group"])
    names, left_out = [], []
    for name in arguments.only or own + PORTED + NAMES:
        if name not in manager.task_index:
            left_out.append((name, "is no task of this version"))
            continue
        why = rows_for(manager, name, data) if name not in own else None
        names.append(name) if why is None else left_out.append((name, why))
    for name, why in left_out:
        print(f"left out: {name}: {why}", file=sys.stderr)
    total = bad = requests = 0
    worst = 0.0
    print(f"{'task':44} {'model':16} shots requests  likelihood  greedy  differences")
    for model in models(arguments.folder):
        lm = HFLM(pretrained=str(model), dtype="float32", device="cpu", batch_size=1)
        for name in names:
            for shots in arguments.shots:
                try:
                    found = evaluate(name, model, lm, shots, manager, data, arguments)
                except Exception as error:
                    if name in own:
                        raise
                    print(f"left out: {name}, {shots} examples: lm-eval: {type(error).__name__}: {str(error)[:200]}", file=sys.stderr)
                    continue
                total += 1
                bad += bool(found.wrong)
                requests += found.requests
                worst = max(worst, found.likelihood)
                print(f"{name:44} {model.name:16} {shots:5} {found.requests:8} {found.likelihood:11.1e} {found.decisions:7}  {len(found.wrong)}", flush=True)
                for line in found.wrong[:6]:
                    print(f"    {line}", flush=True)
    print(f"{len(names)} names, {total} evaluations, {requests} requests; {bad} differ; largest difference of a log-likelihood {worst:.1e}")
    sys.exit(bad > 0)


if __name__ == "__main__":
    main()
