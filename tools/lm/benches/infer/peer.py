"""transformers' side of the benchmark: a prompt, one stream and many streams on a random model; prints one line of JSON.

    python peer.py CONFIG DTYPE THREADS TOKENS PROMPT STREAMS
"""

import json
import os
import sys
import time

config, dtype = json.loads(sys.argv[1]), sys.argv[2]
threads, tokens, prompt, streams = map(int, sys.argv[3:])
os.environ["OMP_NUM_THREADS"] = str(threads)
os.environ["CUDA_VISIBLE_DEVICES"] = ""

import torch  # noqa: E402
from transformers import AutoConfig, AutoModelForCausalLM  # noqa: E402

torch.set_num_threads(threads)
torch.manual_seed(1)
model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**config), dtype=getattr(torch, dtype)).eval()


def seconds(run, times):
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        run()
        taken.append(time.perf_counter() - began)
    return taken[-1]


def generate(rows, new):
    ids = torch.randint(0, config["vocab_size"], (rows, 2))
    mask = torch.ones_like(ids)
    model.generate(ids, attention_mask=mask, max_new_tokens=new, min_new_tokens=new, do_sample=False, pad_token_id=0)


with torch.no_grad():
    ids = torch.randint(0, config["vocab_size"], (1, prompt))
    read = seconds(lambda: model(input_ids=ids, use_cache=True, logits_to_keep=1), 2)
    generate(1, 2)
    one = seconds(lambda: generate(1, tokens), 1)
    many = seconds(lambda: generate(streams, tokens), 1)
print(json.dumps({"prompt": prompt / read, "one": tokens / one, "many": streams * tokens / many}))
