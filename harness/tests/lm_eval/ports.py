"""What lm-eval's own Python functions give for rows that we made: `python ports.py OUT.jsonl [--tasks]`.

One line of JSON for each call: the function's name, the SHA-256 of its source and of what it calls, its input, and its output
or the fact that it raises. This is how golden/eval/ports.jsonl is made, with lm-eval 0.4.13.

With --tasks, whole tasks of the package are evaluated on such rows with a model that answers by the hash of the question:
one line for each, with its rows, samples and results.
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


def logiqa():
    for i in range(14):
        yield {"context": TEXTS[i], "question": TEXTS[13 - i], "options": TEXTS[i : i + 5], "label": ["a", " b\n", "c", "d"][i % 4]}
    for wrong in [{"label": "e"}, {"label": None}, {"options": None}, {"options": ["a", None, 2, 1.5]}, {"context": None}]:
        yield {"context": "x", "question": "y", "options": ["1"], "label": "a", **wrong}


def mmlu_pro():
    for i in range(14):
        thoughts = f"A: Let's think step by step. {TEXTS[i]}A: Let's think step by step. A: Let's think step by step."
        yield {"question": TEXTS[i], "options": (TEXTS * 2)[i : i + i], "cot_content": thoughts}
    for wrong in [{"question": None}, {"options": None}, {"options": ["a", None]}, {"cot_content": None}]:
        yield {"question": "x", "options": ["1"] * 12, "cot_content": "y", **wrong}


def mmlu_pro_rows():
    subjects = ["biology", "law", None, "Law", "computer science", "math", "law ", "other", "physics", "psychology", "health", "history"]
    subjects += ["business", "chemistry", "economics", "engineering", "philosophy", "law", "computer_science"]
    yield [{"category": subject, "n": i} for i, subject in enumerate(subjects)]
    yield [{"n": 1}]


INSTRUCTIONS = [
    ("keywords:existence", {"keywords": ["b.ld", "word"]}), ("keywords:existence", {"keywords": ["STRASSE|naïve"]}),
    ("keywords:frequency", {"keyword": " the ", "frequency": 2, "relation": "less than"}),
    ("keywords:frequency", {"keyword": "a", "frequency": 3, "relation": "at least"}),
    ("keywords:frequency", {"keyword": "(a)(b)|é", "frequency": 1.0, "relation": "at least"}),
    ("keywords:forbidden_words", {"forbidden_words": ["the", "naïve"]}), ("keywords:forbidden_words", {"forbidden_words": ["a_b", "日本"]}),
    ("keywords:letter_frequency", {"letter": "S", "let_frequency": 3, "let_relation": "at least"}),
    ("keywords:letter_frequency", {"letter": "k", "let_frequency": 1, "let_relation": "less than"}),
    ("length_constraints:number_paragraphs", {"num_paragraphs": 1}), ("length_constraints:number_paragraphs", {"num_paragraphs": 2}),
    ("length_constraints:number_paragraphs", {"num_paragraphs": 3}),
    ("length_constraints:number_words", {"num_words": 3, "relation": "at least"}), ("length_constraints:number_words", {"num_words": 9, "relation": "less than"}),
    ("length_constraints:nth_paragraph_first_word", {"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "Bold"}),
    ("length_constraints:nth_paragraph_first_word", {"num_paragraphs": 1, "nth_paragraph": 1, "first_word": "the"}),
    ("length_constraints:nth_paragraph_first_word", {"num_paragraphs": 3, "nth_paragraph": 1, "first_word": "ΟΔΟσ"}),
    ("detectable_content:number_placeholders", {"num_placeholders": 1}), ("detectable_content:number_placeholders", {"num_placeholders": 3}),
    ("detectable_content:postscript", {"postscript_marker": "P.S."}), ("detectable_content:postscript", {"postscript_marker": " P.P.S "}),
    ("detectable_content:postscript", {"postscript_marker": "NB:"}),
    ("detectable_format:number_bullet_lists", {"num_bullets": 2}), ("detectable_format:number_bullet_lists", {"num_bullets": 1}),
    ("detectable_format:constrained_response", {}), ("detectable_format:number_highlighted_sections", {"num_highlights": 1}),
    ("detectable_format:number_highlighted_sections", {"num_highlights": 3}),
    ("detectable_format:multiple_sections", {"section_spliter": "SECTION", "num_sections": 2}),
    ("detectable_format:multiple_sections", {"section_spliter": " (Day|Tag) ", "num_sections": 3}),
    ("detectable_format:json_format", {}), ("detectable_format:title", {}), ("combination:two_responses", {}),
    ("combination:repeat_prompt", {"prompt_to_repeat": " Say THE word "}),
    ("startend:end_checker", {"end_phrase": " Any other questions? "}), ("startend:end_checker", {"end_phrase": " "}),
    ("startend:quotation", {}), ("punctuation:no_comma", {}),
]
ANSWERS = [
    "", " \n ", "bold word", "the end", "a b.ld NB: word", "One *** two***three", "Odos ΟΔΟΣ", "ΟΔΟσ, x\n\nb\n\nc", "Day 1 Day2 Tag 3", "word", "The bold word, the STRASSE.", "the\n\nBold, text", "'\"The\" end", "The first\n\n\n\n\"bold\"! x", "ΟΔΟΣ x\n\nb\n\nc",
    "naïve naï ab éÉ aaa", "sSſ K k", "one *** two", "*** one***two ***", "a *** *** b", "***", "******", "x****** x ", "x ****** y", " ****** x ****** y ******",
    "x****** ******y", "[a] [b\nc] [d] []", "[[x]", "text\nP.S. more", "text p. s. x", "P. P.S", "p.p.s", "p.s", "nb: x", "İnb:",
    "* one\n- two", "*one\n* two\n** three", "  * x\n\n-\n---", "\u3000* x", "My answer is yes.", "xMy answer is maybe. ", "my answer is no.",
    "*a* **b** * * ****", "*a\nb*", "**a* *b**", "***x***", "*a* *b* **c** *d*", "SECTION 1 a SECTION 2", "SECTION1SECTION2 SECTION3", "Day 1 Tag ٣ x", "SECTION x",
    "<<title>>", "<<>>", "<< \n>>", "<<<<>>>>", "<<a\nb>> <<c>>", "<<> >>", "say the WORD and more", " \"Say the word\" ",
    "... Any OTHER questions?", "\"any other questions?\"", "\" any other questions? \" ", '"quoted"', '"', '""', ' "a" ', "“a”", "a,b", "a，b", "日本 a_b 日本語",
    "line one\nkeep *this*, one\nlast", "first\n{\"a\": 1}\nlast", "intro:\n\"quoted\"", "\"quoted\"\n-- me", "a\nb", "\n", "*", "**,**",
    '{"a": [1, 2.5, -0, 1e5, "x\\u00e9\\n"], "b": {}, "c": null}', "```json\n[1]\n```", "```JSON [] ```", "``` {} ", "```json```json[]", "[1,]", '{"a":1,}', "01",
    "1.", "-", "-1.5E+3", "NaN", "-Infinity", "[Infinity, true]", "tru", "'a'", '"\t"', '"\\x"', '"\\u12g4"', '"\\ud800"', "[1] x", "[" * 50 + "]" * 50, "[" * 50 + "]" * 49,
    "{}", '{"a" 1}', '{a: 1}', '{"a": {"b": [{}, []]}}', "1" * 4300, "1" * 4301, "1" * 4301 + ".0", "\ufeff1", "[1 2]", "[]]", '{"a":1]', "1e", "1e999", "+1", ".5", "\u00a0[1]\u00a0", "[\u00a01]",
]


def ifeval():
    ids, settings = [i for i, _ in INSTRUCTIONS], [k for _, k in INSTRUCTIONS]
    everything = {"num_bullets": None, "keyword": "", "frequency": 0, "keywords": []}
    doc = {"key": 1, "prompt": "p", "instruction_id_list": ids, "kwargs": [{**everything, **k} for k in settings]}
    for answer in ANSWERS:
        yield [doc, [answer]]
    yield [{**doc, "instruction_id_list": [], "kwargs": []}, ["x"]]
    wrong = [
        ("detectable_format:title", {"num": 1}), ("unknown:thing", {}), ("keywords:existence", {"keywords": ["("]}), ("keywords:existence", {"keywords": [3]}),
        ("length_constraints:number_words", {"num_words": "3", "relation": "at least"}),
        ("length_constraints:number_words", {"num_words": 3, "relation": "at most"}), ("combination:repeat_prompt", {}),
        ("detectable_format:multiple_sections", {"section_spliter": 3, "num_sections": 1}), ("startend:end_checker", {"end_phrase": 3}),
    ]
    for name, settings in wrong:
        yield [{"key": 1, "prompt": "p", "instruction_id_list": [name], "kwargs": [settings]}, ["answer 1"]]
    yield [{"key": 1, "prompt": "p", "instruction_id_list": ["punctuation:no_comma"], "kwargs": []}, ["x"]]
    yield [{"key": 1, "prompt": "p", "instruction_id_list": ["punctuation:no_comma"], "kwargs": [None]}, ["x"]]
    yield [{"key": 1, "instruction_id_list": [], "kwargs": []}, ["x"]]


def import_ifeval():
    """Packages that the instructions below do not use need not be there, nor NLTK's data."""
    import types

    import nltk

    nltk.data.find = lambda *_: None
    for name, content in [("langdetect", {}), ("immutabledict", {"immutabledict": dict})]:
        sys.modules.setdefault(name, types.SimpleNamespace(**content))


SUBJECTS = "biology business chemistry computer_science economics engineering health history law math other philosophy physics psychology".split()

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
    ("logiqa/utils_logiqa.py", "doc_to_text", [], "doc", logiqa),
    ("logiqa/utils_logiqa.py", "doc_to_target", [], "doc", logiqa),
    ("mmlu_pro/utils.py", "doc_to_text", ["format_cot_example", "choices", "partial"], "doc", mmlu_pro),
    ("mmlu_pro/utils.py", "fewshot_to_text", ["format_cot_example", "choices", "partial"], "doc", mmlu_pro),
    ("mmlu_pro/utils.py", "fewshot_to_target", ["format_cot_target", "partial"], "doc", mmlu_pro),
    *[("mmlu_pro/utils.py", f"process_{subject}", ["process_docs", "partial"], "docs", mmlu_pro_rows) for subject in SUBJECTS],
    ("truthfulqa/utils.py", "process_results_mc2", [], "results", truthfulqa),
    ("ifeval/utils.py", "process_results", ["test_instruction_following_strict", "test_instruction_following_loose", "instructions_registry", "instructions.py", "instructions_registry.py", "instructions_util.py"], "results", ifeval),
    ("ifeval/utils.py", "agg_inst_level_acc", [], "aggregation", lambda: [[[True], [False, True, True], [False]], [[False]]]),
]


def sha256(text):
    return hashlib.sha256(text.encode()).hexdigest()


def source(module, name):
    """The source of a function, or the line that binds the name; of a file beside the whole text."""
    if name.endswith(".py"):
        with open(os.path.join(os.path.dirname(module.__file__), name), newline="") as text:
            return text.read()
    with open(module.__file__) as text:
        lines = text.read().splitlines()
    if any(line.startswith(f"def {name}(") for line in lines):
        return inspect.getsource(getattr(module, name))
    return [line for line in lines if re.match(rf"({name}\s*=|from \S+ import {name}$|import {name}$)", line)][-1]


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
    if kind == "aggregation":
        return function(given)
    doc, answers = given
    return function(doc, [tuple(answer) if isinstance(answer, list) else answer for answer in answers])


# Name, file, number of examples, and rows.
TASKS = [
    ("hellaswag", "hellaswag/hellaswag.yaml", 2, lambda: next(hellaswag())),
    ("winogrande", "winogrande/default.yaml", 2, lambda: list(winogrande())[:5]),
    ("wikitext", "wikitext/wikitext.yaml", 0, lambda: [doc for doc in wikitext()[:-2] if doc["page"]]),
    ("arithmetic_1dc", "arithmetic/arithmetic_1dc.yaml", 2, lambda: next(arithmetic())),
    ("race", "race/race.yaml", 0, lambda: [doc for doc in list(race())[:8] if doc["article"]]),
    ("truthfulqa_mc2", "truthfulqa/truthfulqa_mc2.yaml", 0, lambda: [
        {"question": f"{i}?", "mc1_targets": {"choices": ["a", "b"], "labels": [1, 0]},
         "mc2_targets": {"choices": [f"{k} {TEXTS[k % 14]}" for k in range(i + 1)], "labels": [k % 3 % 2 for k in range(i + 1)]}}
        for i in range(1, 20)
    ]),
    ("gpqa_main_zeroshot", "gpqa/zeroshot/gpqa_main_zeroshot.yaml", 0, lambda: next(gpqa())),
    ("gpqa_diamond_generative_n_shot", "gpqa/generative/gpqa_diamond_generative_n_shot.yaml", 2, lambda: next(gpqa())),
    ("leaderboard_gpqa_main", "leaderboard/gpqa/gpqa_main_zeroshot.yaml", 0, lambda: next(gpqa())),
    ("ifeval", "ifeval/ifeval.yaml", 0, lambda: [
        {"key": i, "prompt": f"Do {i}.", "instruction_id_list": [a[0], b[0]], "kwargs": [a[1], b[1]]}
        for i, (a, b) in enumerate(zip(INSTRUCTIONS, INSTRUCTIONS[7:]))
    ]),
    ("logiqa", "logiqa/logiqa.yaml", 2, lambda: [{**doc, "options": doc["options"][:4]} for doc in list(logiqa())[:9]]),
    ("mmlu_pro_law", "mmlu_pro/mmlu_pro_law.yaml", 2, lambda: [
        {**doc, "answer": "B", "category": "law" if i % 3 else "math"} for i, doc in enumerate(list(mmlu_pro())[:14])
    ]),
]


def model():
    from lm_eval.api.model import LM

    def number(request):
        return int(sha256(json.dumps(request.args))[:12], 16)

    class Hashes(LM):
        def loglikelihood(self, requests):
            return [(-(number(r) % 100_003) / 977, number(r) % 3 == 0) for r in requests]

        def loglikelihood_rolling(self, requests):
            return [-(number(r) % 100_003) / 977 for r in requests]

        def generate_until(self, requests):
            texts = ANSWERS + ["The answer is (B).", "answer is B", "Answer: (A)", "(B)", "(C) is it", "The correct answer is (D)"] * 20
            return [texts[number(r) % len(texts)] for r in requests]

    return Hashes()


def evaluated(name, file, shots, rows):
    """One task, its data in files as a user's would be, so that `datasets` keeps what it made of them."""
    import tempfile

    from lm_eval.tasks._yaml_loader import load_yaml

    raw = load_yaml(os.path.join(ROOT, file))
    splits = {raw.get(f"{split}_split") for split in ("training", "validation", "test", "fewshot")} - {None}
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "rows.jsonl")
        with open(path, "w") as out:
            out.writelines(json.dumps(row) + "\n" for row in rows)
        files = {split: path for split in sorted(splits)}
        datasets.config.HF_DATASETS_CACHE = folder
        raw = {k: v for k, v in raw.items() if k not in ("tag", "dataset_name")}
        raw.update(dataset_path="json", dataset_kwargs={"data_files": files})
        made = lm_eval.simple_evaluate(model=model(), tasks=[raw], num_fewshot=shots or None, bootstrap_iters=10)
        loaded = [row for row in datasets.load_dataset("json", data_files=path, split="train")]
    keys = ["doc_id", "filter", "arguments", "resps", "doc_hash", "prompt_hash", "target_hash", "metrics"]
    samples = [{k: s[k] for k in keys + list(s["metrics"])} for s in made["samples"][name]]
    results = {k: v for k, v in made["results"][name].items() if "," in k}
    return {"task": name, "shots": shots, "splits": {split: loaded for split in files}, "samples": samples, "results": results}


def tasks(out):
    for name, file, shots, rows in TASKS:
        out.write(json.dumps(evaluated(name, file, shots, rows()), default=float) + "\n")


def main():
    import_ifeval()
    if "--tasks" in sys.argv:
        with open(sys.argv[1], "w") as out:
            tasks(out)
        return
    with open(sys.argv[1], "w") as out:
        for file, name, helpers, kind, inputs in CALLS:
            path = os.path.join(ROOT, file)
            spec = importlib.util.spec_from_file_location(re.sub(r"\W", "_", file), path)
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
            function = getattr(module, name)
            line = {"of": file.split("/")[0], "name": name, "sha256": sha256(source(module, name))}
            line["helpers"] = {helper: sha256(source(module, helper)) for helper in helpers}
            line["kind"], line["cases"] = kind, []
            before = None
            for given in inputs():
                try:
                    case = {"given": given, "gives": plain(call(function, kind, given))}
                except Exception:
                    case = {"given": given, "raises": True}
                # A row that is asked about again is written once.
                if kind == "results":
                    case["given"] = [None if given[0] is before else given[0], given[1]]
                    before = given[0]
                line["cases"].append(case)
            out.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
