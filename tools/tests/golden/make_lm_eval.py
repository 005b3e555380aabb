"""Makes lm_eval.json: what lm-eval's HFLM answers, on two small models, with and without a tokenizer that adds a BOS.

    python make_lm_eval.py        # with lm-eval 0.4.13, PyTorch and transformers 5.23

The models are those in ../../lm/tests/golden. Requests are drawn from a fixed seed.
"""

import json
import random
import shutil
import tempfile
from pathlib import Path

import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM

HERE = Path(__file__).resolve().parent
MODELS = ["llama/tied", "families/qwen2"]
WORDS = (
    "the sun was warm and a cat sat there with us when he said that she sees white waves héllo wörld 日本語 😀 "
    "it's we're 12 3456 ... -- \n \n\n \t thehe atatat ss  ,  <|end|> <|endoftext|> <|user|> é e\u0301 \u00a0 \u3000 x"
).split(" ")

PUTS_BOS = {
    "type": "TemplateProcessing",
    "single": [{"SpecialToken": {"id": "<|endoftext|>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
    "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
    "special_tokens": {"<|endoftext|>": {"id": "<|endoftext|>", "ids": [0], "tokens": ["<|endoftext|>"]}},
}


def text(rng, least, most):
    return " ".join(rng.choice(WORDS) for _ in range(rng.randint(least, most)))


def pairs(rng):
    fixed = [
        ("", " the"), ("", "<|endoftext|> the cat"), ("", "<|end|>"), ("the sun ", "was"), ("the sun", " was"),
        ("the sun   ", " was"), ("the\n", "\nsun"), ("t", "he"), ("th", "e"), ("w", "hite waves"), (" ", "x y"),
        ("<|endoftext|>the sun", " was"), ("<|end|> the", " sun"), ("a\u3000", "b"), ("a\x1c ", "b"), ("日", "本語"),
        ("e", "\u0301"), ("the sun", " was warm " * 30), ("long " * 60, "tail of it"), ("a\u00a0", "b"),
    ]
    drawn = []
    for _ in range(16):
        context = text(rng, 0, 24)
        for _ in range(4):
            drawn.append((context, rng.choice([" ", "", "\n"]) + text(rng, 1, 5)))
    return fixed + [pair for pair in drawn if pair[1].strip(" ")]


def generations(rng):
    all_settings = [
        {"until": ["\n\n"], "max_gen_toks": 12},
        {"until": ["e", "\n"], "max_gen_toks": 20},
        {"until": ["he", " t"], "max_gen_toks": 16, "do_sample": False, "temperature": 0.0},
        {"until": ["<|user|>"], "max_gen_toks": 24},
        {"until": [""], "max_gen_toks": 6},
        {"until": [], "max_gen_toks": 40},
    ]
    contexts = [text(rng, 1, 12) for _ in range(8)] + ["long " * 60, "<|endoftext|>the sun", "the sun "]
    return [(context, settings) for context in contexts for settings in all_settings]


def instance(kind, arguments):
    return Instance(request_type=kind, doc={}, arguments=arguments, idx=0)


def answers(model, requests):
    lm = HFLM(pretrained=str(model), dtype="float32", device="cpu", batch_size=1)
    ask = {"loglikelihood": [], "rolling": [], "generate": []}
    # What the model itself would write: greedy continuations.
    own = [context for context, settings in requests["generate"] if settings["max_gen_toks"] == 6]
    for length in [1, 2, 3]:
        writes = [instance("generate_until", (context, {"max_gen_toks": length})) for context in own]
        requests["loglikelihood"] += [pair for pair in zip(own, lm.generate_until(writes, disable_tqdm=True)) if pair[1]]
    for pair in requests["loglikelihood"]:
        try:
            [(value, greedy)] = lm.loglikelihood([instance("loglikelihood", tuple(pair))], disable_tqdm=True)
            ask["loglikelihood"].append([*pair, value, greedy])
        except (AssertionError, IndexError):
            ask["loglikelihood"].append([*pair, None, None])
    for string in requests["rolling"]:
        [value] = lm.loglikelihood_rolling([instance("loglikelihood_rolling", (string,))], disable_tqdm=True)
        ask["rolling"].append([string, value])
    for context, settings in requests["generate"]:
        [value] = lm.generate_until([instance("generate_until", (context, dict(settings)))], disable_tqdm=True)
        ask["generate"].append([context, settings, value])
    chats = [
        [("user", "a b")], [("system", "s"), ("user", "x ")], [("user", "q"), ("assistant", "so ")],
        [("user", "q"), ("assistant", " so")],
    ]
    ask["chat"] = []
    for chat in chats:
        messages = [{"role": role, "content": content} for role, content in chat]
        prompt = lm.apply_chat_template(messages, add_generation_prompt=chat[-1][0] != "assistant")
        ask["chat"].append([messages, prompt])
    return ask


def main():
    torch.set_num_threads(1)
    made = {}
    for name in MODELS:
        for bos in [False, True]:
            rng = random.Random(f"{name} {bos}")
            requests = {
                "loglikelihood": pairs(rng),
                "rolling": ["", "x", "the sun was warm", "日本語 😀"] + [text(rng, 20, 80) for _ in range(4)],
                "generate": generations(rng),
            }
            with tempfile.TemporaryDirectory() as directory:
                model = Path(directory) / "model"
                shutil.copytree(HERE / "../../lm/tests/golden" / name, model, ignore=shutil.ignore_patterns("adapter"))
                file = model / "tokenizer.json"
                rule = PUTS_BOS if bos else None
                file.write_text(json.dumps({**json.loads(file.read_text()), "post_processor": rule}))
                made[f"{name} {'bos' if bos else 'plain'}"] = {"post_processor": rule, **answers(model, requests)}
    (HERE / "lm_eval.json").write_text(json.dumps(made, ensure_ascii=False, indent=0) + "\n")


if __name__ == "__main__":
    main()
