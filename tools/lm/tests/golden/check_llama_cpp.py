"""Checks in llama.cpp that a GGUF file written here tokenizes and continues as the model does in transformers.

    python check_llama_cpp.py BIN MODEL_DIR FILE.gguf [ALLOWED [PROMPTS.jsonl]]

BIN is llama.cpp's folder of programs, MODEL_DIR the weights of the file as f32. Token ids of 50 prompts must be equal, and
so must the next 16 greedy tokens, but for ALLOWED prompts. The prompts are those below, on which near-ties abound. With
PROMPTS.jsonl they are its first 50 rows, whose `prompt` holds chat messages as in the valid.jsonl of a run, and 24 tokens.
The default of ALLOWED is 0, and 20 for Q8_0: there llama.cpp rounds the activations to 8 bits too, and near-ties of a
random model fall otherwise (18 of 50 with `wide`; 5 when transformers is made to round its activations as well).
"""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

programs, directory, path = sys.argv[1:4]
if path.endswith("f16.gguf"):
    # llama.cpp rounds what it multiplies with F16 weights to F16 too; without this, near-ties fall otherwise.
    linear = torch.nn.functional.linear
    torch.nn.functional.linear = lambda x, *rest: linear(x.half().float(), *rest)
allowed = int(sys.argv[4]) if len(sys.argv) > 4 else (20 if path.endswith("q8_0.gguf") else 0)
words = ("the boat is small and I'm sure that we've seen 1234 birds; Où est la gare ? Привет こんにちは 🙂 "
         "<|user|> x <|assistant|> def add(a, b):\n    return a").split(" ")
prompts = [" ".join(words[i % 13 : i % 13 + 1 + i // 3]) + ("" if i % 2 else " ") for i in range(48)]
prompts += ["<|endoftext|><|user|>hi<|end|><|assistant|>", "\n\n  tab\t \r\n  x"]

with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]
server = subprocess.Popen(
    [f"{programs}/llama-server", "-m", path, "--host", "127.0.0.1", "--port", str(port), "-c", "512", "-t", "1",
     "-np", "1", "-ctk", "f32", "-ctv", "f32", "-fa", "off"],
    stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env={**os.environ, "LD_LIBRARY_PATH": programs},
)


def ask(route, body):
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/{route}", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as reply:
        return json.load(reply)


try:
    for _ in range(300):
        if server.poll() is not None:
            sys.exit(server.stderr.read().decode(errors="replace")[-2000:])
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5)
            break
        except OSError:
            time.sleep(0.1)
    tokenizer = AutoTokenizer.from_pretrained(directory)
    new = 16
    if len(sys.argv) > 5:
        new = 24
        rows = [json.loads(line)["prompt"] for line in open(sys.argv[5], encoding="utf-8")][:50]
        prompts = [tokenizer.apply_chat_template(row, tokenize=False, add_generation_prompt=True) for row in rows]
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32).eval()
    # Besides the file's own end token llama.cpp stops at tokens with these names, whatever the file says.
    names = ["<|end|>", "<|endoftext|>", "<|im_end|>", "<|eot_id|>"]
    ends = {i for i in map(tokenizer.convert_tokens_to_ids, names) if i is not None} | {tokenizer.eos_token_id}

    def until_end(tokens):
        return next((tokens[:i] for i, token in enumerate(tokens) if token in ends), tokens)

    other = 0
    for prompt in prompts:
        ids = tokenizer(prompt, add_special_tokens=False)["input_ids"]
        theirs = ask("tokenize", {"content": prompt, "add_special": False, "parse_special": True})["tokens"]
        assert theirs == ids, (prompt, theirs, ids)
        ids = (ids if len(sys.argv) > 5 else ids[-40:]) or [0]
        # The mask is given: generate would hide the first token, which fills as well.
        row = torch.tensor([ids])
        generated = model.generate(row, attention_mask=torch.ones_like(row), max_new_tokens=new, do_sample=False)
        expected = generated[0][len(ids):].tolist()
        reply = ask("completion", {"prompt": ids, "n_predict": new, "temperature": 0.0, "top_k": 1,
                                   "return_tokens": True, "cache_prompt": False})
        got = reply["tokens"]
        expected, got = until_end(expected), until_end(got)
        if got != expected:
            other += 1
            at = next((i for i, pair in enumerate(zip(got, expected)) if pair[0] != pair[1]), min(len(got), len(expected)))
            if at < min(len(got), len(expected)):
                logits = model(torch.tensor([ids + expected[:at]])).logits[0, -1]
                gap = (logits[expected[at]] - logits[got[at]]).item()
                print(f"  differs at token {at}, where transformers prefers its own by {gap:.1e}")
    print(f"{os.path.basename(path)}: ids equal on {len(prompts)} prompts, greedy tokens equal on {len(prompts) - other}")
    assert other <= allowed, other
finally:
    server.terminate()
    server.wait()
