"""Makes what the benchmark of evaluation runs on: a model with random weights, a tokenizer and tasks, all from one seed.

    python make.py DIR SHAPE ITEMS
"""
import json
import os
import random
import sys

folder, shape, items = sys.argv[1], sys.argv[2], int(sys.argv[3])
os.environ["CUDA_VISIBLE_DEVICES"] = ""

import torch  # noqa: E402
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers  # noqa: E402
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast  # noqa: E402

# (hidden, inner, layers, query heads, key heads, vocabulary)
SHAPES = {"135M": (576, 1536, 30, 9, 3, 49152), "small": (192, 512, 5, 6, 2, 4096)}
THINGS = "lamp kettle bridge garden letter window engine basket mirror river castle ladder bottle pillow candle".split()
PLACES = "harbour museum village station market library factory orchard school theatre mountain valley island".split()
QUALITIES = "old quiet bright heavy narrow wooden empty broken golden simple distant gentle crowded frozen".split()
VERBS = "carries repairs paints forgets measures borrows sells studies moves cleans guards follows".split()
PEOPLE = "the baker|a sailor|the teacher|an engineer|the gardener|a nurse|the painter|a farmer".split("|")


def sentence(rng):
    return (f"In the {rng.choice(QUALITIES)} {rng.choice(PLACES)} {rng.choice(PEOPLE)} {rng.choice(VERBS)} "
            f"the {rng.choice(QUALITIES)} {rng.choice(THINGS)}")


def item(rng):
    """A question of about 60 tokens with four choices."""
    text = ". ".join(sentence(rng) for _ in range(3)) + ". What is spoken of last?"
    choices = [f"the {rng.choice(QUALITIES)} {thing}" for thing in rng.sample(THINGS, 4)]
    return {"question": text, "choices": choices, "label": rng.randrange(4)}


def main():
    os.makedirs(folder, exist_ok=True)
    rng = random.Random(1)
    rows = [item(rng) for _ in range(items + 50)]
    write_rows("test.jsonl", rows[:items])
    write_rows("train.jsonl", rows[items:])
    for shots in (0, 5):
        with open(os.path.join(folder, f"things_{shots}.yaml"), "w") as file:
            file.write(TASK.format(shots=shots, folder=os.path.abspath(folder)))
    write_model(rng)


TASK = """task: things_{shots}
dataset_path: json
dataset_kwargs:
  data_files:
    train: {folder}/train.jsonl
    test: {folder}/test.jsonl
output_type: multiple_choice
test_split: test
fewshot_split: train
num_fewshot: {shots}
doc_to_text: "Question: {{{{question}}}}\\nAnswer:"
doc_to_choice: "{{{{choices}}}}"
doc_to_target: "{{{{label}}}}"
metric_list:
  - metric: acc
  - metric: acc_norm
"""


def write_rows(name, rows):
    with open(os.path.join(folder, name), "w") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)


def write_model(rng):
    hidden, inner, layers, heads, kv_heads, vocab = SHAPES[shape]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    # As many tokens to a word as real tokenizers have: few merges, the rest of the vocabulary is never seen.
    trainer = trainers.BpeTrainer(vocab_size=600, special_tokens=["<|end|>"], show_progress=False,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator((sentence(rng) for _ in range(2000)), trainer)
    end = "<|end|>"
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=end, eos_token=end).save_pretrained(folder)
    torch.manual_seed(1)
    config = AutoConfig.for_model(
        "llama", hidden_size=hidden, intermediate_size=inner, num_hidden_layers=layers, num_attention_heads=heads,
        num_key_value_heads=kv_heads, vocab_size=vocab, tie_word_embeddings=True, max_position_embeddings=2048,
        rope_theta=100000.0, bos_token_id=0, eos_token_id=0)
    # Larger than usual, so that the choices of a model that has learnt nothing differ by more than rounding.
    config.initializer_range = 0.05
    AutoModelForCausalLM.from_config(config, dtype=torch.float32).save_pretrained(folder)


main()
