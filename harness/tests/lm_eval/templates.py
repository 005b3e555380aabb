"""Every template of the package's tasks without functions, on made-up rows, as Jinja2 renders them under lm-eval.

    python templates.py OUT.jsonl

One line for each template and row: {"template", "doc", "text"}, or "error" where Jinja2 raises one.
"""

import json
import random
import sys

import prompts
from lm_eval import utils
from lm_eval.tasks._yaml_loader import load_yaml


class Everything:
    files, only = None, ""


def templates(config):
    fields = [config.get(k) for k in ("doc_to_text", "doc_to_target", "doc_to_choice", "description", "gen_prefix")]
    fields += [v for k, v in config["fewshot_config"].items() if k.startswith("doc_to") or k == "gen_prefix"]
    return [f for f in fields if isinstance(f, str) and f]


def main():
    seen, rng = set(), random.Random(0)
    kinds = ["text", "list", "int", "letters", "letter", "digit", "ints", "dicts", "float"]
    with open(sys.argv[1], "w") as out:
        for path in prompts.candidates(Everything):
            try:
                with open(path) as text:
                    if "!function" in text.read():
                        continue
                raw = load_yaml(path)
            except (Exception, SystemExit):
                # Some files name modules that are not installed.
                continue
            if not prompts.function_free(raw) or not isinstance(raw.get("fewshot_config", {}), dict):
                continue
            config = prompts.config_of(raw)
            schema = prompts.schema_of(config)
            for template in templates(config):
                if template in seen:
                    continue
                seen.add(template)
                written = 0
                for number in range(30):
                    fixed = set(schema.members.values()) | set(schema.members) | set(schema.constants)
                    names = [n for n in sorted(schema.kinds) if n not in fixed and "dict" not in schema.kinds[n]]
                    chosen = {n: rng.choice(kinds) for n in names if number % 3 == 2} if number else {}
                    try:
                        doc = prompts.rows_of(schema, config, rng, chosen, 1, 4 + number % 3)[0]
                        answer = {"template": template, "doc": doc, "text": utils.apply_template(template, doc)}
                    except Exception as e:
                        if number < 29 or written:
                            continue
                        answer = {"template": template, "doc": {}, "error": str(e)}
                    out.write(json.dumps(answer) + "\n")
                    written += 1
                    if written == 4:
                        break
    print(f"{len(seen)} templates", file=sys.stderr)


main()
