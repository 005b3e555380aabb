"""What lm-eval's own Python functions give for rows that we made: `python ports.py OUT.jsonl`.

One line of JSON for each call: the function's name, the SHA-256 of its source and of what it calls, its input, and its output
or the fact that it raises. This is how golden/eval/ports.jsonl is made, with lm-eval 0.4.13.
"""

import hashlib
import importlib.util
import inspect
import json
import logging
import math
import os
import random
import re
import sys

logging.disable(logging.CRITICAL)
os.environ["TQDM_DISABLE"] = "1"

import datasets
import lm_eval

datasets.disable_progress_bars()
ROOT = os.path.join(os.path.dirname(lm_eval.__file__), "tasks")

TEXTS = [
    "Ein Haus steht da.", " [title] How to bake  a cake [step] First [sub] mix", "[header] naïve CAFÉ\tß", "a [b\nc] d [e [f] g] ]h[",
    "", " ", "ǆ title Σ", "日本 語 [substeps] x", "it's \"so\"  [title]", "[[[", "]]", "[]", "\x1c sep \u3000", "ﬁrst İstanbul ΑΣ",
]


def hellaswag():
    rows = [
        {"activity_label": TEXTS[i % 14], "ctx_a": TEXTS[(i * 3 + 1) % 14], "ctx_b": TEXTS[(i * 5 + 2) % 14],
         "endings": [TEXTS[(i + k) % 14] for k in range(4)], "label": str(i % 4)}
        for i in range(14)
    ]
    yield rows
    yield [{**rows[0], "query": "there before", "label": " 3 "}]
    yield [{**rows[0], "label": 2}]
    for wrong in [{"label": ""}, {"label": "x"}, {"ctx_b": None}, {"endings": None}, {"endings": ["a", None]}, {"activity_label": 3}]:
        yield [{**rows[0], **wrong}]


def arithmetic():
    contexts = ["\nQ: What is 3 plus 4?\nA:", "Question: x\n\n\nA: y\n\n", "Q:Q:A:A:", "", "日本\n\nQ : A :", "\u2003Q:\x1f"]
    yield [{"context": c, "completion": f" {i}"} for i, c in enumerate(contexts)]
    yield [{"context": None, "completion": "x"}]
    yield [{"context": "x"}]


def gpqa():
    def row(i):
        return {
            "Question": f"q{i}", "Incorrect Answer 1": TEXTS[i % 14], "Incorrect Answer 2": TEXTS[(i + 4) % 14],
            "Incorrect Answer 3": TEXTS[(i + 9) % 14], "Correct Answer": TEXTS[(i + 2) % 14],
        }

    rows = [row(i) for i in range(40)]
    yield rows
    yield [{**rows[0], "Incorrect Answer 2": None}, {**rows[1], "Correct Answer": None, "Incorrect Answer 1": " "}]
    yield [{**rows[0], "Incorrect Answer 1": "same", "Correct Answer": " same "}] * 9
    yield [{**rows[0], "Correct Answer": 3}]
    yield [{k: v for k, v in rows[0].items() if k != "Incorrect Answer 3"}]


def winogrande():
    sentences = ["Ann thanked Eva because _ was kind.", "_ ran", "ends in _", "two _ gaps _ here", "naïve _ 日本", "none", "", "x _\x1c\u3000y "]
    for i, sentence in enumerate(sentences):
        yield {"sentence": sentence, "option1": TEXTS[i], "option2": "", "answer": str(i % 2 + 1)}
    for wrong in [{"answer": ""}, {"answer": "3"}, {"answer": None}, {"answer": 1}, {"option2": None}, {"sentence": None}]:
        yield {"sentence": "a _ b", "option1": "x", "option2": "y", "answer": "1", **wrong}


def wikitext():
    pages = [
        " \n = Title = \n \n The Smiths ' cat @-@ dog cost 1 @,@ 000 @.@ 5 ; it 's \" fine \" , really ! Why ? Yes : no . \n = = Part = = \n",
        "= = = Deep = = = \n = = = = Deeper = = = = \n", "( a ( b ) c ) [ d ] { e } ( \n f )", "( unclosed [ never { x", "' one ' two ' three",
        "\" a \" b \" c", "() [] {} \"\" ''", "20 ° C at N 5 N N x", "", " ", "日本 , 語 . ß \u3000 \x1c end", "/' 5/ and /' [0-9]/ s ' s 's",
        "(\u00a0 spaced \u2003)", "a\r\nb \r\n c", "]( )[ ) ( } {", "word",
    ]
    return [{"page": page} for page in pages] + [{"page": None}, {"text": "x"}]


def wikitext_answers():
    return [[doc, [-12.5 - i]] for i, doc in enumerate(wikitext())] + [[{"page": "x"}, [-1.0, -2.0]]]


def race():
    def problem(question, answer="B", options=("one", "two's", 'three "3"', "四")):
        return {"question": question, "answer": answer, "options": list(options)}

    lists = [
        [problem("What is it?")],
        [problem("The man  _  ."), problem("Why?", "D"), problem("He was  _  .", "A")],
        [problem("  _  ."), problem(" _  ."), problem("_"), problem("naïve?", "C", ["", "b", "c", "d", "e"])],
        [problem(""), problem("é\n\"q\" 'r'")],
    ]
    for problems in lists:
        yield {"article": "Once\nupon a \"time\" 日本.", "problems": repr(problems)}
        yield {"article": "", "problems": json.dumps(problems)}
    wrong = [[], [problem("q", "E")], [problem("q", "A", ["a"])], [problem("q", None)], [problem("q", "D", ["a"]), problem("r")], [{"question": "x"}], ["x"], {}]
    for problems in wrong:
        yield {"article": "a", "problems": repr(problems)}
    for problems in ["", "[", "open('x')", None, "[1]"]:
        yield {"article": "a", "problems": problems}
    yield {"article": None, "problems": repr(lists[0])}


def truthfulqa():
    rng = random.Random(7)
    for n in [1, 2, 3, 7, 8, 9, 15, 16, 17, 40, 130, 300]:
        labels = [int(k < max(1, n // 3)) for k in range(n)]
        yield [{"mc2_targets": {"labels": labels}}, [[-30 * rng.random(), False] for _ in range(n)]]
    yield [{"mc2_targets": {"labels": [0, 0]}}, [[-1.0, True], [-2.0, False]]]
    yield [{"mc2_targets": {"labels": [1, 0, 2]}}, [[-1.0, True], [-2.0, False], [-700.5, False]]]
    yield [{"mc2_targets": {"labels": [1, 0]}}, [[-1.0, True]]]
    yield [{"mc2_targets": {"labels": []}}, []]
    yield [{"mc2_targets": None}, [[-1.0, True]]]


# File, function, what it calls there, what it is called for, and with what.
CALLS = [
    ("hellaswag/utils.py", "process_docs", ["preprocess"], "docs", hellaswag),
    ("arithmetic/utils.py", "process_docs", [], "docs", arithmetic),
    ("gpqa/zeroshot/utils.py", "process_docs", ["preprocess", "random"], "docs", gpqa),
    ("gpqa/cot_zeroshot/utils.py", "process_docs", ["preprocess", "random"], "docs", gpqa),
    ("leaderboard/gpqa/utils.py", "process_docs", ["preprocess", "random"], "docs", gpqa),
    ("winogrande/preprocess_winogrande.py", "doc_to_text", [], "doc", winogrande),
    ("winogrande/preprocess_winogrande.py", "doc_to_target", [], "doc", winogrande),
    ("winogrande/preprocess_winogrande.py", "doc_to_choice", [], "doc", winogrande),
    ("wikitext/preprocess_wikitext.py", "wikitext_detokenizer", [], "doc", wikitext),
    ("wikitext/preprocess_wikitext.py", "process_results", [], "results", wikitext_answers),
    ("race/preprocess_race.py", "doc_to_text", ["process_ast", "last_problem", "get_answer_option"], "doc", race),
    ("race/preprocess_race.py", "doc_to_target", ["process_ast", "last_problem"], "doc", race),
    ("race/preprocess_race.py", "doc_to_choice", ["process_ast", "last_problem"], "doc", race),
    ("truthfulqa/utils.py", "process_results_mc2", [], "results", truthfulqa),
]


def sha256(text):
    return hashlib.sha256(text.encode()).hexdigest()


def source(module, name):
    """The source of a function, or the line that binds the name."""
    function = getattr(module, name)
    if inspect.isfunction(function):
        return inspect.getsource(function)
    with open(module.__file__) as text:
        return [line.rstrip("\n") for line in text if re.match(rf"({name}\s*=|from \S+ import {name}$|import {name}$)", line)][-1]


def plain(value):
    """As JSON, in which NaN is a text."""
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if isinstance(value, float):
        return "nan" if math.isnan(value) else float(value)
    return value


def call(function, kind, given):
    if kind == "docs":
        # lm-eval seeds this generator once, before it builds tasks.
        random.seed(0)
        return list(function(datasets.Dataset.from_list(given)))
    if kind == "doc":
        return function(given)
    doc, answers = given
    return function(doc, [tuple(answer) if isinstance(answer, list) else answer for answer in answers])


def main():
    with open(sys.argv[1], "w") as out:
        for file, name, helpers, kind, inputs in CALLS:
            path = os.path.join(ROOT, file)
            spec = importlib.util.spec_from_file_location(re.sub(r"\W", "_", file), path)
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
            function = getattr(module, name)
            line = {"of": file.split("/")[0], "name": name, "sha256": sha256(inspect.getsource(function))}
            line["helpers"] = {helper: sha256(source(module, helper)) for helper in helpers}
            line["kind"], line["cases"] = kind, []
            for given in inputs():
                try:
                    case = {"given": given, "gives": plain(call(function, kind, given))}
                except Exception:
                    case = {"given": given, "raises": True}
                line["cases"].append(case)
            out.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
