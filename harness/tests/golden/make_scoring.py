"""Makes scoring.json: what lm-eval's filters, metrics and aggregations answer to values that are drawn here.

Run in an environment with lm-eval 0.4.13:  python make_scoring.py > scoring.json
With a seed and a size, `python make_scoring.py 7 40`, it draws other cases and more of them (the soak test does so).
Floats that JSON does not have stand as texts: "nan", "inf", "-inf".
"""

import contextlib
import json
import logging
import math
import os
import random
import sys
import warnings
from types import SimpleNamespace

os.environ["DISABLE_MULTIPROC"] = "1"
warnings.filterwarnings("ignore")
logging.disable(logging.CRITICAL)

import numpy as np
from lm_eval.api import metrics as m
from lm_eval.api.group import AggMetricConfig, Group
from lm_eval.api.registry import AGGREGATION_REGISTRY, get_metric
from lm_eval.api.task import ConfigurableTask
from lm_eval.filters import build_filter_ensemble

seed = int(sys.argv[1]) if len(sys.argv) > 1 else 5
size = int(sys.argv[2]) if len(sys.argv) > 2 else 1
soak = len(sys.argv) > 1
rnd = random.Random(seed)

WORDS = ["the", "answer", "is", "A", "(B)", "C.", "yes", "No", "42", "1,234.50", "-7", "$3", "Guilty", "Guilty of Romance"]
ODD = ["İ", "ß", "ΑΣ", "Σ", "e\u0301", "a\u0300b", "東京", "北京", "ЖЁ", "مرحبا", "👍🏽", "\u1c1c", "\x1c", "\u00a0", "\u200b"]
ODD += ["\u3000", "\n", "$", "$$", ",", ".", "...", "-", "--", ":", ";", "&amp;", "&lt;b&gt;", "<skipped>", "-\n", "'s", "\u0966", "٣", "\0", "½", "_"]
LINES = ["The answer is (B).", "#### 1,234", "So: 12 apples, no: 13", "Answer: C", "A: none", "answer : D\n", "Person: John, Mary $$ Country: Kenya"]
LINES += ["persons: none $ DATE: today\nLOC: a:b", "[('run', 'VERB'), ('dog', 'NOUN')]", "('x', '')", "xtime: 5 time\u2003: noon", "", " ", "ORG:$$$"]


def phrase(most=12):
    parts = [rnd.choice(rnd.choice([WORDS, WORDS, ODD, LINES])) for _ in range(rnd.randrange(most))]
    return rnd.choice([" ", " ", ""]).join(parts)


def plain(x):
    """Values as JSON has them; None where lm-eval gave something else."""
    if isinstance(x, (np.floating, float)):
        x = float(x)
        return x if math.isfinite(x) else str(x)
    if isinstance(x, np.integer):
        return int(x)
    if isinstance(x, np.ndarray):
        return [plain(y) for y in x]
    if isinstance(x, (list, tuple)):
        return [plain(y) for y in x]
    return x


def tried(f):
    try:
        with contextlib.redirect_stdout(sys.stderr):
            return {"gives": plain(f())}
    except Exception:
        return {"fails": True}


# Filters

PATTERNS = [
    r"(\d+)|([A-Z]+)", r"a*", r"\bis\b", r"(?<=is )(.*)(?=\.)", r"^\s*(.)", r"(.)$", r"(?i)answer", r"[\w']+", r"\W+", r"(?s)(a.*)",
    r"(\()?([A-D])(\))?", r"(?P<n>-?[0-9][0-9,.]*)", r"(?=(a|is))", r"[^\s$]+$", r"\S+\s\S+", r"[&~\[]", r"\.?", r"(x)|(y)?",
]
DOC_CHOICES = [["Guilty", "Guilty of Romance"], ["yes", "No", "maybe"], ["(a)", "b.c", "東京", " ß "], ["", "42"], ["A", "A"], [], ["x y", "answer is"]]


def regex_filter():
    out = {"function": "regex", "regex_pattern": rnd.choice(PATTERNS)}
    if rnd.random() < 0.5:
        out["group_select"] = rnd.choice([0, -1, -1, 1])
    if rnd.random() < 0.4:
        out["fallback"] = rnd.choice([" none ", "", "[no]"])
    return out


def choice_filter():
    out = {"function": "multi_choice_regex", "regex_pattern": rnd.choice([r"(\([A-Z]\))", r"is ([A-Z])|(\d)", r"(zz)"])}
    for key in ["ignore_case", "ignore_punctuation"]:
        if rnd.random() < 0.5:
            out[key] = rnd.random() < 0.7
    if rnd.random() < 0.4:
        out["group_select"] = rnd.choice([0, -1])
    if rnd.random() < 0.3:
        out["regexes_to_ignore"] = rnd.choice([[r"\$", ","], [r"\s+"], ["the "]])
    return out


SIMPLE = [{"function": f} for f in ["remove_whitespace", "lowercase", "uppercase", "take_first", "majority_vote", "format_span", "regex_pos"]]
OTHERS = [
    lambda: {"function": "map", "mapping_dict": {"A": 1, "(B)": "b", "42": None, "[invalid]": 0.5}, "default_value": rnd.choice([None, -1, "other"])},
    lambda: {"function": "take_first_k", "k": rnd.randrange(1, 4)},
]


def pipeline():
    draw = lambda: rnd.choice([regex_filter, regex_filter, choice_filter, choice_filter, lambda: rnd.choice(SIMPLE), rnd.choice(OTHERS)])()
    steps = [draw() for _ in range(rnd.randrange(1, 4))]
    return steps + [{"function": "take_first"}] if rnd.random() < 0.7 else steps


def filters():
    for _ in range(300 * size):
        steps = pipeline()
        n = rnd.randrange(1, 4)
        answers = [[rnd.choice([phrase, lambda: rnd.choice(LINES)])() for _ in range(n)] for _ in range(2)]
        docs = [{"choices": rnd.choice(DOC_CHOICES)} for _ in answers]
        instances = [SimpleNamespace(resps=a, doc=d, filtered_resps={}) for a, d in zip(answers, docs)]

        def run():
            # Each class is built anew per pipeline run, as lm-eval does.
            parts = [[s["function"], {k: v for k, v in s.items() if k != "function"}] for s in steps]
            build_filter_ensemble("f", parts).apply(instances)
            return [i.filtered_resps["f"] if isinstance(i.filtered_resps["f"], (str, int, float, type(None))) else list(i.filtered_resps["f"]) for i in instances]

        yield {"filter": steps, "answers": answers, "docs": docs, **tried(run)}


# Values of one row


def task(output_type, metric_list, gold, choices, multiple_target):
    fake = SimpleNamespace(
        OUTPUT_TYPE=output_type,
        config=SimpleNamespace(process_results=None, doc_to_choice=choices),
        multiple_input=False,
        multiple_target=int(multiple_target),
        doc_to_target=lambda doc: gold,
        doc_to_choice=lambda doc: choices,
        count_words=ConfigurableTask.count_words,
        count_bytes=ConfigurableTask.count_bytes,
        _metric_fn_list={e["metric"]: get_metric(e["metric"]) for e in metric_list},
        _metric_fn_kwargs={e["metric"]: {k: v for k, v in e.items() if k != "metric"} for e in metric_list},
        _aggregation_list={},
        _higher_is_better={},
    )
    return lambda results: ConfigurableTask.process_results(fake, {}, results)


def case(output_type, metric_list, gold, choices, multiple_target, results):
    judge = task(output_type, metric_list, gold, choices, multiple_target)
    outcome = tried(lambda: [[k, v] for k, v in judge(results).items()])
    return {
        "output_type": output_type, "metric_list": metric_list, "gold": plain(gold), "choices": choices,
        "multiple_target": multiple_target, "results": plain(results), **outcome,
    }


def loglik():
    return rnd.choice([-rnd.random() * 30, -rnd.randrange(5), -rnd.randrange(5), -math.inf, math.nan] if rnd.random() < 0.3 else [-rnd.random() * 30])


def multiple_choice():
    for _ in range(150 * size):
        choices = [phrase(3) or rnd.choice(["", "a", "a b"]) for _ in range(rnd.randrange(2, 5))]
        names = ["acc", "acc_norm", "acc_bytes", "exact_match", "brier_score", "likelihood", "f1", "mcc"]
        metrics = rnd.sample(names, rnd.randrange(1, 9))
        multiple = rnd.random() < 0.2
        gold = rnd.choice([0, 1, len(choices) - 1, len(choices), -1, -9, -100, True, choices[0], "elsewhere"])
        if multiple:
            gold = [rnd.randrange(0, 5) for _ in range(rnd.randrange(0, 3))]
            metrics = [x for x in metrics if x.startswith("acc") or x == "exact_match"] or ["acc"]
        n = len(choices)
        if rnd.random() < 0.3 and not multiple:
            metrics.append("acc_mutual_info")
            n *= 2
        results = [(float(loglik()), rnd.random() < 0.5) for _ in range(n)]
        yield case("multiple_choice", [{"metric": x} for x in metrics], gold, choices, multiple, results)


def exact_settings():
    out = {"metric": "exact_match"}
    for key in ["ignore_case", "ignore_punctuation", "ignore_numbers"]:
        if rnd.random() < 0.4:
            out[key] = rnd.random() < 0.7
    if rnd.random() < 0.3:
        out["regexes_to_ignore"] = rnd.choice([[","], [r"\$", r"\.$"], [r"(?s).*#### "], [r"\s+$", "x*"]])
    return out


def changed(text):
    for _ in range(rnd.randrange(3)):
        text = rnd.choice([str.upper, str.lower, str.title, lambda t: t + ".", lambda t: t + "\0", lambda t: "7" + t, lambda t: t + " ", lambda t: t])(text)
    return text


def generated():
    for _ in range(300 * size):
        text = phrase(5)
        multiple = rnd.random() < 0.3
        choices = [changed(text), "b", "c"] if rnd.random() < 0.15 and not multiple else None
        gold = rnd.choice([changed(text), changed(text), text, 42, 0.5, 1e16, True, None, -3e-7])
        if choices:
            gold = rnd.choice([0, 1, -1, 3, True])
        if multiple:
            gold = rnd.choice([[changed(text) for _ in range(rnd.randrange(0, 4))], [phrase(3), text], changed(text)])
        metric_list = [exact_settings()]
        if not multiple and rnd.random() < 0.3:
            metric_list += [{"metric": x} for x in rnd.sample(["bleu", "chrf", "chrf++", "ter"], 2)]
        if gold == []:
            metric_list = [{"metric": "exact_match"}]
        result = text if rnd.random() < 0.85 or multiple or not isinstance(gold, str) or len(metric_list) > 1 else [text, changed(text)]
        yield case("generate_until", metric_list, gold, choices, multiple, [result])


def likelihoods():
    for _ in range(30 * size):
        yield case("loglikelihood", [{"metric": "perplexity"}, {"metric": "acc"}], "x", None, False, [(float(loglik()), rnd.random() < 0.5)])
        names = rnd.sample(["word_perplexity", "byte_perplexity", "bits_per_byte"], rnd.randrange(1, 4))
        yield case("loglikelihood_rolling", [{"metric": x} for x in names], phrase(20), None, False, [float(loglik())])


# Values of all rows


def aggregated(name, items, iterations=0, metric="x"):
    f = AGGREGATION_REGISTRY[name]

    def stderr():
        error = m.stderr_for_metric(f, min(iterations, 100) if metric in ["bleu", "chrf", "chrf++", "ter"] else iterations)
        return error(items) if error and len(items) > 1 else None

    outcome = tried(lambda: [f(items), stderr()])
    return {"aggregation": name, "metric": metric, "iterations": iterations, "items": plain(items), **outcome}


def number():
    return rnd.choice([-rnd.random() * 9, float(rnd.randrange(2)), rnd.gauss(0, 1)])


def sentences(n, most):
    words = [phrase(2).strip() or "so" for _ in range(25)] + ["the", "a", "cat", "sat", "on", "mat", ",", ".", "(it)", "3.5", "1,000", "well-known", "20-30"]
    for _ in range(n):
        wanted = [rnd.choice(words) for _ in range(rnd.randrange(most))]
        written = list(wanted)
        for _ in range(rnd.randrange(6)):
            if written and rnd.random() < 0.4:
                a, b = sorted(rnd.randrange(len(written) + 1) for _ in range(2))
                piece = written[a:b]
                del written[a:b]
                at = rnd.randrange(len(written) + 1)
                written[at:at] = piece
            elif written:
                written[rnd.randrange(len(written))] = rnd.choice(words)
        yield " ".join(wanted), " ".join(written[: rnd.choice([len(written), most // 2])])


def aggregations():
    for n in [1, 2, 3, 7, 50]:
        for _ in range(2 * size):
            values = [number() for _ in range(n)]
            for name in ["mean", "median", "perplexity"]:
                yield aggregated(name, values, 2000)
            yield aggregated("nanmean", [rnd.choice([x, x, math.nan]) for x in values], 1000)
            yield aggregated("mean", [float(rnd.randrange(2)) for _ in range(n)], 100_000)
            weighted = [(-rnd.random() * 50, rnd.randrange(1, 90)) for _ in range(n)]
            yield aggregated("weighted_perplexity", weighted, 1000)
            yield aggregated("bits_per_byte", weighted, 1000)
            labels = rnd.choice([[0, 1], [0, 1], [1], [0], [0, 2], [1, 2], [0, 1, 2], [1, -100]])
            pairs = [(rnd.choice(labels), rnd.choice(labels)) for _ in range(n)]
            yield aggregated("f1", pairs, 10 if n < 50 else 1000)
            wide = rnd.choice([[0, 1], [0, 1, 2, 3], list(range(60)), [-100, 0, 1]])
            yield aggregated("matthews_corrcoef", [(rnd.choice(wide), rnd.choice(wide)) for _ in range(n)], 10 if n < 50 else 1000)
            k = rnd.randrange(2, 5)
            draws = [rnd.choices(range(1, 9), k=k) for _ in range(n)]
            yield aggregated("brier_score", [(rnd.randrange(-1, k), [x / sum(d) for x in d]) for d in draws], 1000)
    yield aggregated("bypass", [None, None], 1000)
    if not soak:
        yield aggregated("perplexity", [number() for _ in range(20)], 100_000)
        yield aggregated("median", [number() for _ in range(21)], 100_000)
        yield aggregated("perplexity", [number() for _ in range(5)], 1500)
        yield aggregated("median", [number() for _ in range(5)], 30)
    for metric in ["bleu", "chrf", "chrf++", "ter"]:
        for n, most in [(1, 8), (2, 3), (6, 12), (15, 25), (2, 120)] * size:
            yield aggregated(metric, [list(pair) for pair in sentences(n, most)], 100_000 if n < 15 else 20, metric)
        for n in [1, 3, 4] * size:
            several = [[[changed(wanted) for _ in range(rnd.randrange(1, 4))], written] for wanted, written in sentences(n, 12)]
            yield aggregated(metric, several, 50, metric)
        yield aggregated(metric, [["", ""], ["", "a b"]], 10, metric)
        yield aggregated(metric, [["a b c d e", ""]], 10, metric)


# Groups


def groups():
    for _ in range(40 * size):
        tasks = {}
        for i in range(rnd.randrange(1, 5)):
            n = rnd.choice([1, 2, 10, 250])
            scores = {}
            for metric in ["acc", "exact_match"]:
                for name in ["none", "strict", "loose"]:
                    if rnd.random() < 0.7:
                        scores[f"{metric},{name}"] = rnd.random()
                        scores[f"{metric}_stderr,{name}"] = "N/A" if n == 1 or rnd.random() < 0.05 else rnd.random() / 9
            tasks[f"t{i}"] = {"sample_len": n, **scores}
        configs = []
        for metric in rnd.sample(["acc", "exact_match"], rnd.randrange(1, 3)):
            config = {"metric": metric}
            if rnd.random() < 0.6:
                config["filter_list"] = rnd.choice(["none", ["strict", "none"], ["absent"], None])
            if rnd.random() < 0.6:
                config["weight_by_size"] = rnd.random() < 0.5
            configs.append(config)
        group = Group("g", aggregate_metric_list=[AggMetricConfig(**c) for c in configs])
        group.get_all_tasks = lambda: [SimpleNamespace(task_name=name) for name in tasks]
        found = group.aggregate(tasks)
        gives = [[k, v, found[k.replace(",", "_stderr,", 1)]] for k, v in found.items() if "," in k and "_stderr" not in k]
        yield {"aggregate_metric_list": configs, "tasks": list(tasks.values()), "gives": [[k, plain(v), None if e == "N/A" else plain(e)] for k, v, e in gives]}


print(json.dumps({
    "filters": list(filters()),
    "rows": [*multiple_choice(), *generated(), *likelihoods()],
    "aggregations": list(aggregations()),
    "groups": list(groups()),
}, ensure_ascii=True, separators=(",", ":")))
