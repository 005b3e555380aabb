"""Prompts that lm-eval itself builds, for comparison with ours.

    python prompts.py OUT.jsonl [--most N | --only PREFIX | --files FILE.yaml...]

Takes task files without Python functions, from the installed package or those named, and makes small data for each: the
columns and their types come from its templates, and a guess counts when lm-eval accepts it. Then lm-eval builds its
requests with few-shot examples (none, the task's own number, 3), as plain text and with a chat template. One line of JSON
for each task: its configuration, its rows, and all requests. Rows for FILE.yaml are taken from FILE.json where there is one:
this is how golden/eval/prompts.jsonl is made from golden/eval/tasks.
"""

import argparse
import copy
import glob
import json
import logging
import os
import random
import sys

logging.disable(logging.CRITICAL)
os.environ["TQDM_DISABLE"] = "1"

import datasets
import jinja2
import jinja2.meta
import lm_eval
from jinja2 import nodes
from lm_eval import utils
from lm_eval.api.task import ConfigurableTask
from lm_eval.models.utils import normalize_gen_kwargs
from lm_eval.tasks._yaml_loader import load_yaml

FIELDS = [
    "task", "task_alias", "dataset_path", "dataset_name", "training_split", "validation_split", "test_split",
    "fewshot_split", "process_docs", "doc_to_text", "doc_to_target", "doc_to_choice", "process_results", "gen_prefix",
    "num_fewshot", "generation_kwargs", "filter_list", "metric_list", "doc_to_decontamination_query",
]
DEFAULTS = {
    "tag": [], "dataset_kwargs": {}, "description": "", "target_delimiter": " ", "fewshot_delimiter": "\n\n",
    "fewshot_config": {}, "output_type": "generate_until", "repeats": 1, "should_decontaminate": False, "metadata": {},
}
WORDS = ["Ein Haus", "it's \"so\"", "naïve café\n", " leading", "trailing ", "3", "plain", "tab\there", "", "日本 語", "a_b", "Yes."]


def config_of(raw):
    """The fields that our configuration has, with lm-eval's defaults."""
    config = {name: raw[name] for name in FIELDS if raw.get(name) is not None}
    for name, default in DEFAULTS.items():
        value = raw.get(name)
        config[name] = default if value is None else value
    if isinstance(config["tag"], str):
        config["tag"] = [config["tag"]]
    return config


def function_free(value):
    if callable(value):
        return False
    if isinstance(value, dict):
        return all(function_free(v) for v in value.values())
    if isinstance(value, list):
        return all(function_free(v) for v in value)
    return True


class Schema:
    """What templates tell about the columns they use."""

    def __init__(self):
        self.kinds = {}
        self.keys = {}
        self.constants = {}
        self.members = {}

    def add(self, name, kind):
        self.kinds.setdefault(name, set()).add(kind)

    def read(self, source):
        try:
            tree = utils.env.parse(source)
        except jinja2.TemplateSyntaxError:
            return
        for name in jinja2.meta.find_undeclared_variables(tree):
            self.kinds.setdefault(name, set())
        for node in tree.find_all((nodes.Getattr, nodes.Getitem, nodes.Call, nodes.For, nodes.Filter)):
            self.node(node)

    def path(self, node):
        if isinstance(node, nodes.Name):
            return node.name
        if isinstance(node, nodes.Getattr):
            inner = self.path(node.node)
            return inner and f"{inner}.{node.attr}"
        if isinstance(node, nodes.Getitem) and isinstance(node.arg, nodes.Const) and isinstance(node.arg.value, str):
            inner = self.path(node.node)
            return inner and f"{inner}.{node.arg.value}"
        return None

    def node(self, node):
        if isinstance(node, nodes.Call) and isinstance(node.node, nodes.Getattr):
            owner, method = self.path(node.node.node), node.node.attr
            if method == "index" and node.args:
                wanted = node.args[0]
                while isinstance(wanted, (nodes.Call, nodes.Filter)):
                    wanted = wanted.node.node if isinstance(wanted, nodes.Call) and isinstance(wanted.node, nodes.Getattr) else wanted.node
                wanted = self.path(wanted)
                if wanted and isinstance(node.node.node, nodes.List):
                    self.constants[wanted] = [c.as_const() for c in node.node.node.items]
                elif wanted and owner:
                    self.members[wanted] = owner
            if owner:
                self.add(owner, "list" if method in ("index", "count") else "dict" if method in ("items", "values", "keys") else "text")
        elif isinstance(node, nodes.Getattr):
            owner = self.path(node.node)
            if owner and node.attr not in dir(str) + dir(list):
                self.add(owner, "dict")
                self.keys.setdefault(owner, set()).add(node.attr)
        elif isinstance(node, nodes.Getitem):
            owner = self.path(node.node)
            if owner and isinstance(node.arg, nodes.Const) and isinstance(node.arg.value, str):
                self.add(owner, "dict")
                self.keys.setdefault(owner, set()).add(node.arg.value)
            elif owner and not isinstance(node.arg, nodes.Slice):
                self.add(owner, "list")
            wanted = self.path(node.arg)
            if wanted:
                self.add(wanted, "int")
        elif isinstance(node, nodes.For):
            owner = self.path(node.iter)
            if owner:
                self.add(owner, "list")
        elif isinstance(node, nodes.Filter) and node.node is not None:
            owner = self.path(node.node)
            if owner and node.name in ("join", "map", "list"):
                self.add(owner, "list")
            if owner and node.name == "int":
                self.add(owner, "int")


def schema_of(config):
    schema = Schema()
    fields = [config.get(k) for k in ("doc_to_text", "doc_to_target", "doc_to_choice", "description", "gen_prefix")]
    fields += [v for k, v in config["fewshot_config"].items() if k.startswith("doc_to") or k == "gen_prefix"]
    for field in fields:
        if not isinstance(field, str):
            continue
        schema.read(field)
        if field.isidentifier():
            schema.kinds.setdefault(field, set())
    choice = config.get("doc_to_choice")
    if isinstance(choice, str) and choice.isidentifier():
        schema.add(choice, "list")
    elif isinstance(choice, str):
        # Choices that are one column are a list.
        for output in utils.env.parse(choice).find_all(nodes.Output):
            for node in output.nodes:
                if schema.path(node):
                    schema.add(schema.path(node), "list")
    return schema


def value_of(name, schema, rng, kinds, size):
    kind = kinds[name] if name in kinds else sorted(schema.kinds.get(name, []) or ["text"])[0]
    if name in schema.constants:
        return rng.choice(schema.constants[name])
    if kind == "dict":
        return {k: value_of(f"{name}.{k}", schema, rng, kinds, size) for k in sorted(schema.keys.get(name, ["text"]))}
    if kind == "int":
        return rng.randrange(2)
    if kind == "float":
        return rng.choice([1e-7, 2.5, 1e22, 3.0])
    if kind == "list":
        return [rng.choice(WORDS) + str(i) for i in range(size)]
    if kind == "letters":
        return ["A", "B", "C", "D", "E", "F"][:size]
    if kind == "ints":
        return [rng.randrange(2) for _ in range(2)]
    if kind == "letter":
        return rng.choice(["A", "B"])
    if kind == "digit":
        return rng.choice(["0", "1"])
    if kind == "dicts":
        keys = sorted(schema.keys.get(name, [])) or ["text"]
        return [{k: rng.choice(WORDS) for k in keys} for _ in range(size)]
    return rng.choice(WORDS) + " " + rng.choice(WORDS)


def rows_of(schema, config, rng, kinds, count, size):
    rows = []
    for _ in range(count):
        row = {name: value_of(name, schema, rng, kinds, size) for name in sorted(schema.kinds) if "." not in name}
        for wanted, owner in schema.members.items():
            place, key = row, wanted.split(".")
            items = row
            for part in owner.split("."):
                items = items[part]
            for part in key[:-1]:
                place = place[part]
            place[key[-1]] = rng.choice(items)
        rows.append(row or {"text": rng.choice(WORDS)})
    return rows


def chat_template(messages, add_generation_prompt):
    assert add_generation_prompt == (messages[-1]["role"] != "assistant")
    turns = [f"<{m['role']}>{m['content']}</>" for m in messages]
    if add_generation_prompt:
        return "".join(turns) + "<assistant>"
    return "".join(turns)[: -len("</>")]


def instance_of(instance):
    arguments = list(instance.args)
    if instance.request_type == "generate_until":
        settings = normalize_gen_kwargs(arguments[1])
        arguments[1] = {
            "until": settings["until"], "max_gen_toks": settings["max_gen_toks"], "do_sample": settings["do_sample"],
            "temperature": settings.get("temperature", 0.0), "top_p": settings.get("top_p", 1.0), "top_k": settings.get("top_k"),
        }
    assert all(isinstance(a, (str, dict)) for a in arguments), "an argument is no text"
    return {"doc_id": instance.doc_id, "idx": instance.idx, "repeats": instance.repeats, "arguments": arguments}


def hashes(task, instances):
    seen = {}
    for one in instances:
        seen.setdefault(one.doc_id, one)
    row = lambda doc: json.dumps(doc, indent=2, default=utils.handle_non_serializable, ensure_ascii=False)
    return [
        [utils.hash_string(row(one.doc)), utils.hash_string(one.arguments[0]), utils.hash_string(str(task.doc_to_target(one.doc)))]
        for one in seen.values()
    ]


ASKED = [
    {"num_fewshot": 0}, {}, {"num_fewshot": 3}, {"num_fewshot": 2, "system": "Be brief."},
    {"num_fewshot": 2, "chat": True, "multiturn": False}, {"num_fewshot": 2, "chat": True, "multiturn": True, "system": "Be brief."},
    {"chat": True, "multiturn": True, "num_fewshot": 0},
]


def build(config, splits, raw):
    """All requests of a task, for each way of asking."""
    datasets.load_dataset = lambda path=None, name=None, **more: {s: datasets.Dataset.from_list(r) for s, r in splits.items()}
    answers = []
    for asked in ASKED:
        task = ConfigurableTask(config=copy.deepcopy(raw))
        if asked.get("num_fewshot") is not None and task.config.num_fewshot != 0:
            task.set_config("num_fewshot", asked["num_fewshot"])
        elif task.config.num_fewshot is None:
            task.set_config("num_fewshot", 0)
        task.set_fewshot_seed(1234)
        task.build_all_requests(
            limit=None, system_instruction=asked.get("system"), apply_chat_template=asked.get("chat", False),
            fewshot_as_multiturn=asked.get("multiturn", False), chat_template=chat_template if asked.get("chat") else None,
        )
        instances = task.instances
        answers.append({**asked, "instances": [instance_of(i) for i in instances], "hashes": hashes(task, instances)})
    loaded = {s: list(datasets.Dataset.from_list(r)) for s, r in splits.items()}
    return {"config": config, "splits": loaded, "answers": answers}


def splits_of(config):
    names = [config.get(k) for k in ("training_split", "validation_split", "test_split", "fewshot_split")]
    return list(dict.fromkeys(n for n in names + [config["fewshot_config"].get("split")] if n))


def prepare(raw):
    raw = {k: v for k, v in raw.items() if k not in ("tag", "group", "task_list", "dataset_kwargs")}
    # Metrics of another package are not needed for prompts.
    for metric in raw.get("metric_list") or []:
        metric.pop("hf_evaluate", None)
    return raw


def attempt(config, raw, rng, tries, own):
    if own:
        return build(config, own, raw)
    schema = schema_of(config)
    kinds = ["text", "list", "int", "letters", "letter", "digit", "ints", "dicts", "float"]
    error = None
    for number in range(tries):
        fixed = set(schema.members.values()) | set(schema.members) | set(schema.constants)
        open_kinds = [n for n in sorted(schema.kinds) if n not in fixed and "dict" not in schema.kinds[n]]
        chosen = {n: rng.choice(kinds) for n in open_kinds if number > 6 or not schema.kinds[n]} if number else {}
        try:
            splits = {s: rows_of(schema, config, rng, chosen, 7, 4 + number % 3) for s in splits_of(config)}
            return build(config, splits, raw)
        except Exception as e:
            error = e
    return f"{type(error).__name__}: {error}"


def candidates(arguments):
    if arguments.files:
        return arguments.files
    root = os.path.join(os.path.dirname(lm_eval.__file__), "tasks")
    return sorted(glob.glob(f"{root}/{arguments.only}**/*.yaml", recursive=True))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("out")
    parser.add_argument("--most", type=int, default=2, help="tasks for each folder, output type and set of fields")
    parser.add_argument("--only", default="")
    parser.add_argument("--tries", type=int, default=40)
    parser.add_argument("--files", nargs="*")
    arguments = parser.parse_args()
    counts, done, failed = {}, 0, []
    with open(arguments.out, "w") as out:
        for path in candidates(arguments):
            try:
                with open(path) as text:
                    if "!function" in text.read() or os.path.basename(path).startswith("_") and not arguments.files:
                        continue
                raw = load_yaml(path)
            except (Exception, SystemExit):
                # Some files name modules that are not installed.
                continue
            if not isinstance(raw.get("task"), str) or not function_free(raw) or "class" in raw:
                continue
            if any(raw.get(k) for k in ("use_prompt", "doc_to_image", "doc_to_audio", "custom_dataset")):
                continue
            raw = prepare(raw)
            config = config_of(raw)
            shape = (os.path.dirname(path).split("/tasks/")[-1].split("/")[0], config["output_type"], str(config.get("doc_to_text"))[:60])
            counts[shape] = counts.get(shape, 0) + 1
            if not arguments.files and counts[shape] > arguments.most:
                continue
            rows = path.removesuffix(".yaml") + ".json"
            own = json.load(open(rows)) if arguments.files and os.path.exists(rows) else None
            answer = attempt(config, raw, random.Random(config["task"]), arguments.tries, own)
            if isinstance(answer, str):
                failed.append(f"{config['task']}: {answer}")
                continue
            out.write(json.dumps(answer) + "\n")
            done += 1
    print(f"{done} tasks, {len(failed)} for which no data was found", file=sys.stderr)
    for line in failed:
        print("  " + line[:200], file=sys.stderr)


if __name__ == "__main__":
    main()
