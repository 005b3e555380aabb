"""Runs llama.cpp's convert_hf_to_gguf.py on a model whose tokenizer no published model has.

    python peer.py convert_hf_to_gguf.py ARGUMENTS

The script knows a tokenizer by what it makes of a text, and refuses one that it does not know: that is answered here for it.
So is its question for a tokenizer of the other kind (sentencepiece), which these models do not have and whose package need
not be installed.
"""

import os
import runpy
import sys

script = os.path.abspath(sys.argv[1])
folder = os.path.dirname(script)
sys.path[:0] = [folder, os.path.join(folder, "gguf-py")]
from conversion import base  # noqa: E402


def none(self):
    raise FileNotFoundError("tokenizer.model")


base.TextModel.get_vocab_base_pre = lambda self, tokenizer: "gpt-2"
base.TextModel._create_vocab_sentencepiece = none
sys.argv = sys.argv[1:]
runpy.run_path(script, run_name="__main__")
