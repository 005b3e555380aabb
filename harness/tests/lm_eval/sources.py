"""Hashes of the Python functions that the package's task files name: `python sources.py OUT.jsonl`.

The text is what `inspect.getsource` gives. Files are compiled and not run.
"""

import glob
import hashlib
import inspect
import json
import os
import re
import sys
import types

import lm_eval

root = os.path.join(os.path.dirname(lm_eval.__file__), "tasks")
named = set()
for path in glob.glob(f"{root}/**/*.yaml", recursive=True):
    with open(path) as text:
        for file, name in re.findall(r"!function\s+['\"]?([\w.]+)\.(\w+)", text.read()):
            named.add((os.path.join(os.path.dirname(path), file.replace(".", "/") + ".py"), name))
with open(sys.argv[1], "w") as out:
    for file, name in sorted(named):
        if not os.path.exists(file):
            continue
        with open(file) as opened:
            text = opened.read()
        code = compile(text, file, "exec")
        found = [c for c in code.co_consts if isinstance(c, types.CodeType) and c.co_name == name]
        # `inspect.getsource` itself looks for a `def` above a class that has not been run.
        lines = text.splitlines(keepends=True)
        block = found and "".join(inspect.getblock(lines[found[-1].co_firstlineno - 1 :]))
        sha256 = hashlib.sha256(block.encode()).hexdigest() if found else None
        out.write(json.dumps({"file": file, "name": name, "sha256": sha256}) + "\n")
