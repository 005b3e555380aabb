"""Checks in llama.cpp that a GGUF file written here tokenizes and continues as the model does in transformers.

    python check_llama_cpp.py BIN MODEL_DIR FILE.gguf [ALLOWED]

BIN is llama.cpp's folder of programs. Token ids of 50 prompts must be equal, and so must the next 16 greedy tokens, but for
ALLOWED prompts (0 unless the file is of a random model in 16 or 8 bits, where llama.cpp also rounds the activations and
near-ties fall otherwise: half of them by default).
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
allowed = int(sys.argv[4]) if len(sys.argv) > 4 else (0 if path.endswith("f32.gguf") else 25)
words = ("the boat is small and I'm sure that we've seen 1234 birds; Où est la gare ? Привет こんにちは 🙂 "
         "<|user|> x <|assistant|> def add(a, b):\n    return a").split(" ")
prompts = [" ".join(words[i % 13 : i % 13 + 1 + i // 3]) + ("" if i % 2 else " ") for i in range(48)]
prompts += ["<|endoftext|><|user|>hi<|end|><|assistant|>", "\n\n  tab\t \r\n  x"]

with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]
server = subprocess.Popen(
    [f"{programs}/llama-server", "-m", path, "--host", "127.0.0.1", "--port", str(port), "-c", "128", "-t", "1",
     "--no-webui", "-np", "1"],
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
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32).eval()
    other = 0
    for prompt in prompts:
        ids = tokenizer(prompt, add_special_tokens=False)["input_ids"]
        theirs = ask("tokenize", {"content": prompt, "add_special": False, "parse_special": True})["tokens"]
        assert theirs == ids, (prompt, theirs, ids)
        ids = ids[-40:] or [0]
        generated = model.generate(torch.tensor([ids]), max_new_tokens=16, do_sample=False, pad_token_id=0)
        expected = generated[0][len(ids):].tolist()
        reply = ask("completion", {"prompt": ids, "n_predict": 16, "temperature": 0.0, "top_k": 1,
                                   "return_tokens": True, "cache_prompt": False})
        got = reply["tokens"]
        stop = model.generation_config.eos_token_id
        expected = [token for token in expected if token != stop]
        got = [token for token in got if token != stop]
        other += got != expected
    print(f"{os.path.basename(path)}: ids equal on {len(prompts)} prompts, greedy tokens equal on {len(prompts) - other}")
    assert other <= allowed, other
finally:
    server.terminate()
    server.wait()
