"""Makes rows.json: what TRL's trainers make of rows of every format, and how TRL packs. Run after make_chat.py."""

import json
import warnings
from pathlib import Path
from types import SimpleNamespace

import datasets
from tokenizers import Tokenizer
from trl import DPOTrainer, SFTTrainer, pack_dataset
from trl.trainer.dpo_trainer import DataCollatorForPreference

import check_chat
from make_chat import tokenizer

HERE = Path(__file__).parent
TEMPLATES = HERE / "chat" / "templates"
TURNS = check_chat.conversations()

TEXT = [
    {"text": "The Volta flows south."},
    {"text": "  Où est la gare ? 🙂\n\n"},
    {"text": "It ends already.<|end|>"},
    {"text": "x"},
    {"text": ""},
]
COMPLETION = [
    {"prompt": "What is 2 + 2?", "completion": " It is 4."},
    {"prompt": "Say it: ", "completion": "naïve 🙂🙃"},
    {"prompt": "", "completion": "No prompt."},
    {"prompt": "Ends", "completion": "<|end|>"},
    {"prompt": "A long prompt that fills the limit all by itself and more", "completion": " no"},
]
MESSAGES = [{key: value for key, value in TURNS[i].items() if key in ("messages", "tools")} for i in [1, 2, 3, 4]]
MESSAGES[1]["tools"] = json.dumps([{"type": "function", "function": {"name": "f", "parameters": {"properties": {}}}}])
CHAT_COMPLETION = [
    {"prompt": TURNS[i]["messages"][:-1], "completion": TURNS[i]["messages"][-1:]} for i in [1, 2, 3, 4, 5]
]
PREFERENCE = [
    {"prompt": "What is 2 + 2?", "chosen": " It is 4.", "rejected": " It is 5<|end|>"},
    {"prompt": "Où ?", "chosen": " Là 🙂", "rejected": ""},
    {"prompt": "A long prompt that fills the limit all by itself and more", "chosen": " no", "rejected": " yes"},
]
IMPLICIT = [
    {"chosen": "The sky is blue.", "rejected": "The sky is bright green."},
    {"chosen": "Same", "rejected": "Samedi"},
    {"chosen": "abc", "rejected": "abd"},
]
ask = {"role": "user", "content": "Which is it? 🙂"}
answer = lambda text: {"role": "assistant", "content": text}
CHAT_PREFERENCE = [
    {"prompt": [ask], "chosen": [answer("This.")], "rejected": [answer("That, no doubt at all.")]},
    {"prompt": [ask, answer("Hm."), ask], "chosen": [answer("")], "rejected": [answer("é")]},
]
CHAT_IMPLICIT = [
    {"chosen": [ask, answer("This.")], "rejected": [ask, answer("That.")]},
    {"chosen": [ask, answer("Hm."), ask, answer("a")], "rejected": [ask, answer("Hm."), ask, answer("b c d")]},
]


def arguments(**more):
    return SimpleNamespace(**{
        "dataset_num_proc": None, "dataset_text_field": "text", "assistant_only_loss": False, "max_length": None,
        "truncation_mode": "keep_start", "shuffle_dataset": False, "packing_strategy": "bfd", "seed": 0, **more,
    })


# What makes a tokenizer begin each text with its token for that, as Llama 3's and Gemma's do.
BEGINS = {
    "type": "TemplateProcessing",
    "single": [{"SpecialToken": {"id": "<|endoftext|>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
    "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
    "special_tokens": {"<|endoftext|>": {"id": "<|endoftext|>", "ids": [0], "tokens": ["<|endoftext|>"]}},
}


def beginning(tok):
    settings = json.loads(tok._tokenizer.to_str())
    tok._tokenizer = Tokenizer.from_str(json.dumps({**settings, "post_processor": BEGINS}))


def sft(name, rows, template, train, max_length, begins=False):
    tok = tokenizer("tied")
    if begins:
        beginning(tok)
    tok.chat_template = template and (TEMPLATES / f"{template}.jinja").read_text()
    completion = "prompt" in rows[0]
    fake = SimpleNamespace(
        _tokenizer=tok, chat_template=tok.chat_template,
        completion_only_loss={None: completion, "full": False, "completion": True, "assistant": completion}[train],
    )
    args = arguments(assistant_only_loss=train == "assistant", max_length=max_length)
    data = datasets.Dataset.from_list(rows)
    out = SFTTrainer._prepare_dataset(fake, data, tok, args, False, None, "train")
    sequences = [{"ids": row["input_ids"], "trained": [i for i, x in enumerate(row["labels"]) if x != -100]} for row in out]
    return {"name": name, "template": template, "train": train, "max_length": max_length, "begins": begins, "rows": rows, "sequences": sequences}


def dpo(name, rows, template, max_length, begins=False):
    tok = tokenizer("tied")
    if begins:
        beginning(tok)
    tok.chat_template = template and (TEMPLATES / f"{template}.jinja").read_text()
    tok.pad_token = tok.eos_token
    data = datasets.Dataset.from_list(rows)
    out = DPOTrainer._prepare_dataset(SimpleNamespace(_tokenizer=tok), data, tok, arguments(max_length=max_length), "train")
    collate = DataCollatorForPreference(pad_token_id=tok.pad_token_id, max_length=max_length)
    pairs = []
    for row in out:
        batch = collate([row])
        sides = []
        for side in range(2):
            length = int(batch["attention_mask"][side].sum())
            mask = batch["completion_mask"][side][:length].tolist()
            sides.append({"ids": batch["input_ids"][side][:length].tolist(), "trained": [i for i, x in enumerate(mask) if x]})
        pairs.append(sides)
    return {"name": name, "template": template, "max_length": max_length, "begins": begins, "rows": rows, "pairs": pairs}


def packed(lengths, size):
    ids = [[number] * length for number, length in enumerate(lengths)]
    rows = pack_dataset(datasets.Dataset.from_dict({"input_ids": ids}), size, "bfd")
    return {"lengths": lengths, "max": size, "bins": [list(dict.fromkeys(row)) for row in rows["input_ids"]]}


def wrapped(texts, size):
    tok = tokenizer("tied")
    ids = [tok(text + tok.eos_token)["input_ids"] for text in texts]
    rows = pack_dataset(datasets.Dataset.from_dict({"input_ids": ids}), size, "wrapped")
    return {"texts": texts, "max": size, "blocks": list(rows["input_ids"])}


def main():
    cases = [sft("text", TEXT, None, None, limit) for limit in [None, 6]]
    for train in [None, "full"]:
        cases += [sft("completion", COMPLETION, None, train, limit) for limit in [None, 14]]
    for template in ["qwen3_training", "phi3", "mistral_v1", "chatml"]:
        rows = [row for row in MESSAGES if template in ("qwen3_training", "chatml") or "tools" not in row]
        cases += [sft("messages", rows, template, train, limit) for train, limit in [(None, 40), ("assistant", None), ("assistant", 48)]]
    for template, train in [("qwen3", None), ("chatml", "assistant"), ("phi3", "full"), ("phi3", None), ("zephyr", None)]:
        cases.append(sft("chat_completion", CHAT_COMPLETION, template, train, 90))
    cases += [sft("begun", rows, None, None, 12, begins=True) for rows in (TEXT, COMPLETION)]
    cases.append(sft("begun", MESSAGES[:1], "mistral_v1", "assistant", None, begins=True))
    pairs = [dpo("begun", PREFERENCE, None, 20, begins=True)] + [dpo("preference", PREFERENCE, None, limit) for limit in [None, 20]]
    pairs.append(dpo("implicit", IMPLICIT, None, None))
    for template in ["zephyr", "phi3"]:
        pairs += [dpo("chat_preference", CHAT_PREFERENCE, template, limit) for limit in [None, 60]]
        pairs.append(dpo("chat_implicit", CHAT_IMPLICIT, template, None))
    # A fixed spread of lengths, some longer than a bin.
    spread = [(number * 7919 + number * number * 31) % 70 for number in range(300)]
    packs = [packed(spread, size) for size in [64, 50, 69, 128]] + [packed([5, 5, 5, 3, 3, 3, 2, 2, 2, 8, 9], 8)]
    blocks = [wrapped([row["text"] for row in TEXT[:2]] * 3, size) for size in [7, 16]]
    out = {"begins": [BEGINS], "sft": cases, "dpo": pairs, "packs": packs, "blocks": blocks}
    lines = ",\n".join(f'"{key}":[\n' + ",\n".join(json.dumps(x, separators=(",", ":")) for x in value) + "\n]" for key, value in out.items())
    (HERE / "rows.json").write_text("{" + lines + "}\n")
    print({key: len(value) for key, value in out.items()})


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    datasets.disable_progress_bars()
    main()
