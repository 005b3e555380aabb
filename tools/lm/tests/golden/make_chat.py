"""Makes chat/expected.json: what transformers renders for our templates and conversations, with tokens and masks.

Run in the environment of the other makers. The templates were written for these files, with the constructs that
published ones have; the date is frozen.
"""

import json
import warnings
from pathlib import Path

from transformers import PreTrainedTokenizerFast

import check_chat

HERE = Path(__file__).parent
CHAT = HERE / "chat"


def tokenizer(name):
    path = {"tied": "llama/tied/tokenizer.json", "split": "split_tokenizer.json"}[name]
    made = PreTrainedTokenizerFast(tokenizer_file=str(HERE / path))
    vocabulary = made.get_vocab()
    bos, eos = ("<|endoftext|>", "<|end|>") if "<|end|>" in vocabulary else (None, None)
    return PreTrainedTokenizerFast(tokenizer_file=str(HERE / path), bos_token=bos, eos_token=eos)


def main():
    tied = tokenizer("tied")
    conversations = check_chat.conversations()
    cases = []
    for number, path in enumerate(sorted((CHAT / "templates").glob("*.jinja"))):
        source = path.read_text()
        tagged = check_chat.tagged(source)
        for turn in range(len(conversations)):
            # A third of the conversations for each template keeps the file small; tools and thoughts for most.
            if (turn + number) % 3 and turn not in ([5, 8] if number % 2 else [6, 10]):
                continue
            conversation = conversations[turn]
            prompt = (turn + number) % 2 == 0 and not tagged
            case = {"template": path.stem, "conversation": turn, "prompt": prompt}
            try:
                arguments = dict(
                    tools=conversation.get("tools"), chat_template=source, add_generation_prompt=prompt,
                    **conversation.get("kwargs", {}),
                )
                case["text"] = tied.apply_chat_template(conversation["messages"], tokenize=False, **arguments)
                out = tied.apply_chat_template(
                    conversation["messages"], return_dict=True, return_assistant_tokens_mask=tagged, **arguments
                )
                # Ids of half of the cases: those of every text are checked for other texts in text.json.
                if tagged or turn % 2:
                    case["ids"] = out["input_ids"]
                if tagged:
                    mask = out["assistant_masks"]
                    case["mask"] = [i for i in range(len(mask)) if mask[i] != (mask[i - 1] if i else 0)]
                    _, spans = check_chat.render(source, conversation, prompt, True)
                    case["spans"] = [[len(case["text"][:at].encode()) for at in span] for span in spans]
            except Exception as error:
                if "text" in case:
                    raise
                case["error"] = str(error)[:80]
            cases.append(case)
    lines = ",\n".join(json.dumps(case, separators=(",", ":")) for case in cases)
    (CHAT / "expected.json").write_text(f'{{"cases":[\n{lines}\n]}}\n')
    print(len(cases), "cases,", sum("error" in case for case in cases), "refusals")


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main()
