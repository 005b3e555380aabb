"""Makes text.json: token ids and rendered chats from transformers. Run after make_llama.py, in the same environment."""

import json
from pathlib import Path

from transformers import PreTrainedTokenizerFast

HERE = Path(__file__).parent

TEXTS = [
    "", " ", "  ", "\n", "\n\n  \n", "\t\tx", "a", " a", "a ", "Hello, world!", "hello   world", "I'm sure they'll've gone",
    "IT'S DON'T", "1234567890", "3.14159 and 1,000,000", "x=1;y=2//z", "Où est la gare ?", "naïve café", "e\u0301 é",
    "Привет, мир", "こんにちは世界", "안녕하세요", "مرحبا بالعالم", "🙂🙃", "👩‍👩‍👧‍👦 family", "\u00a0nbsp\u3000wide",
    "\u200bzero\u200dwidth", "tab\tand\r\nreturns\r", "trailing spaces   ", "   leading", "def f(x):\n    return x\n",
    "<|user|>hi<|end|>", "a<|assistant|> b", "<|endoftext|>", "<|user|", "<|end|><|end|>", "< |user|>", "<|USER|>",
    "mixed <|system|>\nYou are.<|end|>\n", "\u0000\u0001\u001f", "\ufffd", "ǅ ǈ ﬁ Ⅷ ½", "a" * 70, "\U0010ffff end",
]

NANO = (
    "{{ bos_token }}{% for m in messages %}{{ '<|' + m.role + '|>' + m.content + '<|end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
CHATML = """{%- if messages[0]['role'] == 'system' -%}
    {{- '<|im_start|>system\\n' + messages[0]['content'] | trim + '<|im_end|>\\n' -}}
{%- endif -%}
{% for message in messages %}
    {% if message.role not in ['user', 'assistant', 'system'] %}
        {{ raise_exception('Unknown role ' ~ message.role) }}
    {% endif %}
    {% if message.role != 'system' %}
        {{- '<|im_start|>' + message['role'] + '\\n' }}
        {%- if message.role == 'assistant' %}
            {%- generation -%}
            {{- message['content'].split('</think>')[-1].lstrip('\\n') + '<|im_end|>' -}}
            {%- endgeneration -%}
        {% else %}
            {{- message['content'] + '<|im_end|>' -}}
        {% endif %}
        {{- '\\n' -}}
    {% endif %}
{% endfor %}
{% if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{% endif %}
"""
ALTERNATE = """{{ bos_token }}{% set ns = namespace(turn=0, last='') %}
{%- for message in messages %}
{%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}
{{- raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}
{%- endif %}
{%- if message['role'] == 'user' %}
{{- '[INST] ' + message['content'].strip() + ' [/INST]' }}
{%- else %}
{{- ' ' ~ message['content'].strip() ~ eos_token }}
{%- endif %}
{%- set ns.turn = ns.turn + 1 %}{% set ns.last = message.role %}
{%- endfor %}

turns={{ ns.turn }} last={{ ns.last | upper }} {{ messages[::-1][0]['content'][:5] }}
"""
DUMP = """{% macro show(m, depth=1) -%}
  {{ '#' * depth }} {{ m.role.title() }}{% if m.content is string and m.content | length > 8 %} (long){% endif %}
{% endmacro %}
{%- for m in messages if m.role != 'system' -%}
{{ show(m, depth=loop.index) }}{{ m | tojson }} {{ m | tojson(indent=2) }}
{% if loop.index > 2 %}{% break %}{% endif %}
{%- else %}nothing
{%- endfor %}
{% for k, v in {'b': 1, 'a': [1.5, none, true]}.items() %}{{ k }}={{ v }};{% endfor %}
{{- messages | selectattr('role', 'equalto', 'user') | map(attribute='content') | join(' | ') }}
{{- (messages | last).content | replace('e', '3') }} {{ undefined_thing | default('none') }} {{ 7 // 2 }} {{ 7 / 2 }} {{ 2 ** 3 }}
"""
DATED = """{%- if not date_string is defined %}{%- if strftime_now is defined and false %}{%- set date_string = 'x' %}{%- else %}{%- set date_string = "26 Jul 2024" %}{%- endif %}{%- endif %}
{{- bos_token }}{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}
{{- "<|start_header_id|>system<|end_header_id|>\\n\\n" }}
{{- "Today Date: " + date_string + "\\n\\n" }}
{{- system_message }}
{{- "<|eot_id|>" }}
{%- for message in messages %}
    {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n'+ message['content'] | trim + '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}
"""

CHATS = [
    [{"role": "user", "content": "Hello"}],
    [{"role": "user", "content": "  Où <b>&\"quoted\"</b> est 🙂?\n"}, {"role": "assistant", "content": "<think>x</think>\n\nLà"}],
    [{"role": "system", "content": " Be brief. "}, {"role": "user", "content": "a"}, {"role": "assistant", "content": "b"},
     {"role": "user", "content": "c" * 12}],
    [{"role": "tool", "content": "{}"}],
]


def main():
    tokens = []
    for name, path in [("llama/tied", "llama/tied/tokenizer.json"), ("split", "split_tokenizer.json")]:
        tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(HERE / path))
        for text in TEXTS:
            ids = tokenizer(text, add_special_tokens=False)["input_ids"]
            tokens.append({
                "tokenizer": name,
                "text": text,
                "ids": ids,
                "plain": tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"],
                "decoded": tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False),
                "skipped": tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False),
            })
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_file=str(HERE / "llama/tied/tokenizer.json"), bos_token="<|endoftext|>", eos_token="<|end|>"
    )
    chats = []
    for name, template in [("nano", NANO), ("chatml", CHATML), ("alternate", ALTERNATE), ("dump", DUMP), ("dated", DATED)]:
        for messages in CHATS:
            for prompt in [False, True]:
                case = {"name": name, "template": template, "messages": messages, "prompt": prompt}
                try:
                    case["text"] = tokenizer.apply_chat_template(
                        messages, chat_template=template, tokenize=False, add_generation_prompt=prompt
                    )
                except Exception as error:
                    case["error"] = str(error)
                chats.append(case)
    templates = {case["name"]: case.pop("template") for case in chats}
    text = json.dumps({"tokens": tokens, "templates": templates, "chats": chats}, ensure_ascii=True, indent=1)
    (HERE / "text.json").write_text(text + "\n")


main()
