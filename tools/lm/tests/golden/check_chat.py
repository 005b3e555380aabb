"""Renders every chat template of installed packages with transformers, for the test in ../it/peers.rs to compare.

    python check_chat.py OUT [FOLDER ...]

Writes OUT, a JSON file of templates and cases. Templates are searched in TRL's package and in the folders. The date is
frozen. Where transformers refuses a conversation, so must we; its words are not compared.
"""

import datetime
import json
import re
import sys
from importlib.util import find_spec
from pathlib import Path

from transformers.utils import chat_template_utils

HERE = Path(__file__).parent


class Frozen(datetime.datetime):
    """The clock that strftime_now reads."""

    @classmethod
    def now(cls, tz=None):
        return cls(2024, 7, 6)


chat_template_utils.datetime = Frozen


def templates(folders):
    package = find_spec("trl")
    folders = [Path(package.origin).parent] * (package is not None) + [Path(folder) for folder in folders]
    found = {}
    for folder in folders:
        for path in sorted(folder.rglob("*.jinja")):
            source = path.read_text()
            if "messages" in source and source not in found:
                found[source] = f"{folder.name}/{path.name}"
    return found


def tagged(source):
    without_comments = re.sub(r"\{#.*?#\}", "", source, flags=re.S)
    return re.search(r"\{%-?\s*generation\s*-?%\}", without_comments) is not None


def conversations():
    return json.loads((HERE / "chat" / "conversations.json").read_text())


def render(source, case, prompt, spans):
    # What apply_chat_template does before it renders.
    messages = [{k: v for k, v in m.items() if v is not None} for m in case["messages"]]
    texts, indices = chat_template_utils.render_jinja_template(
        [messages], tools=case.get("tools"), chat_template=source, add_generation_prompt=prompt,
        return_assistant_tokens_mask=spans, bos_token="<|endoftext|>", eos_token="<|end|>",
        **case.get("kwargs", {}),
    )
    return texts[0], indices[0] if spans else None


def main():
    out, *folders = sys.argv[1:]
    found, cases = [], []
    for source, name in templates(folders).items():
        found.append({"name": name, "source": source})
        for number, conversation in enumerate(conversations()):
            for prompt in [False, True]:
                case = {"template": len(found) - 1, "conversation": number, "prompt": prompt}
                try:
                    case["text"], spans = render(source, conversation, prompt, tagged(source) and not prompt)
                    if spans is not None:
                        text = case["text"]
                        case["spans"] = [[len(text[:at].encode()) for at in span] for span in spans]
                except Exception as error:
                    case["error"] = f"{type(error).__name__}: {error}"[:200]
                cases.append(case)
    Path(out).write_text(json.dumps({"templates": found, "conversations": conversations(), "cases": cases}))
    print(f"{len(found)} templates, {len(cases)} cases")


if __name__ == "__main__":
    main()
