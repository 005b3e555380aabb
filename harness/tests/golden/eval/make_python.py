"""What CPython computes for the cases below: `python make_python.py > python.json`. Needs nothing but Python 3.11."""

import ast
import json
import math
import random
import re
import sys
import warnings

warnings.simplefilter("ignore")
assert sys.version_info[:2] == (3, 11)


def draws():
    out = []
    for seed in [0, 1, 42, 1234, 2**32 - 1, 2**32, 2**53 + 7]:
        r = random.Random(seed)
        case = {"seed": seed, "random": [r.random().hex() for _ in range(3)]}
        case["bits"] = [str(r.getrandbits(k)) for k in (1, 8, 31, 32, 33, 53, 64)]
        case["below"] = [r.randrange(n) for n in (1, 2, 3, 10, 1000, 2**31, 2**40)]
        case["samples"] = [[n, k, r.sample(range(n), k)] for n, k in [(5, 5), (21, 3), (22, 3), (100, 5), (84, 6), (86, 6), (1000, 25), (300, 64), (10, 0)]]
        items = list(range(20))
        r.shuffle(items)
        case["shuffled"] = items
        case["choice"] = [r.choice(items) for _ in range(3)]
        case["choices"] = r.choices(range(37), k=5)
        # Far enough that the state is made anew several times.
        for _ in range(2000):
            r.random()
        case["late"] = r.random().hex()
        out.append(case)
    return out


LITERALS = [
    "[]", "()", "{}", "[1, 2,]", "(1)", "(1,)", "1, 2", "1,", "{1: 'a', 'b': [2.5]}", "{1, 2}", "{'a',}", "set()", " \t'x'", "\n'x'", "'x'\n\n",
    "['a', \"b's\", 'c\\'d']", "'a' 'b' \"c\"", "('a'\n'b')", "'a'\n'b'", "r'\\n' 'x\\n'", "u'é'", "R\"\\\"\"", "b'x'", "f'x'", "'\\x41\\u00e9\\U0001f600\\101\\0'",
    "'\\q\\z'", "'\\N{DASH}'", "'\\x4'", "'\\ud800'", "'''a\n'b'''", "\"\"\"x\"y\"\"\"", "'a\nb'", "'a\\\nb'", "'open", "[1", "1]", "[1 2]", "None", "True", "False", "none",
    "nan", "foo", "-1", "+1", "- 1", "--1", "-'a'", "1_000", "1__0", "_1", "0x1F", "0b101", "0o17", "0x", "012", "00", "0.5", ".5", "5.", "1e5", "1E-5", "1e400", "1.5e+3", "1_0.0_1",
    "1j", "1+2j", "1 + 1", "[*'a']", "{**{}}", "{'a': 1, 'a': 2}", "[[[[]]]]", "# only", "[1, # one\n 2]", "'a' # c", "", "  ", "...", "'\t'", "1.0", "1.e1", "1.2.3", "0777", "0_7", "9" * 30,
    "True, False", "[None, True, 1.0, 'x']", "'日本'", "[‘a’]", "print('x')", "__import__('os')", "'a'.upper()", "[i for i in 'a']", "'a' if True else 'b'", "1 == 1", "not True", "[-1, +2.5]",
    "\\\n1", "[1,\\\n2]", "(\n1\n,\n)", "{1:\n2}", "'\\\r\nx'", "'a\0b'", "١", "²", "1a", "'a'b", "rb'x'", "ur'x'", "'a'r'\\b'", "{'a' : 1 , }", "[,]", "(,)", "{,}", "{:}", "{1:2,3}", "{1,2:3}",
]


def shown(value):
    """A form that keeps types apart."""
    if isinstance(value, bool) or value is None:
        return repr(value)
    if isinstance(value, int):
        return f"int {value}"
    if isinstance(value, float):
        return f"float {value!r}"
    if isinstance(value, str):
        return ["str", value]
    if isinstance(value, dict):
        return ["dict", [[shown(k), shown(v)] for k, v in value.items()]]
    if isinstance(value, set):
        return ["set", sorted((shown(v) for v in value), key=str)]
    return [type(value).__name__, [shown(v) for v in value]]


def literals():
    out = []
    for text in LITERALS:
        try:
            value = shown(ast.literal_eval(text))
            value["x"] if isinstance(value, dict) else json.dumps(value).encode()
        except Exception:
            value = "error"
        if '"complex"' in json.dumps(value) or '"bytes"' in json.dumps(value) or "ud800" in text:
            value = "error"
        out.append([text, value])
    return out


VALUES = [
    None, True, False, 0, -5, 2**63, 0.0, -0.0, 1.0, 0.1, 1e15, 1e16, 123456789012345680.0, 1e-4, 1e-5, 1.5e300, 5e-324, 2.5, 1 / 3, "", "a", "it's", "say \"x\"", "it's \"x\"", "a\nb\t\r\\",
    "\x00\x1f\x7f\x80\x85\xa0\xad", "é日本\U0001f600", "\u200b\u2028\u3000\ufeff\ue000", [], [1, "a", None, True, [2.0]], {}, {"a": 1, "b": {"c": ["d's"]}}, ["x\ny"], "\u0378\U000e0001",
]


def values():
    return [[v, str(v), repr(v), json.dumps(v, indent=2, ensure_ascii=False)] for v in VALUES]


TEXTS = ["", " a ", "hello World", "they're", "\x1cx\x1f\u3000", "a\r\nb\x0bc\n", "ÉCOLE ß ǆ", "ΑΣ ΣΑ", "123", "²", "½", "٣٤", "a  b\tc", "x1y2 Z", "ﬁ ŉ", "İstanbul", "ΟΔΟΣ ΣΑΣ", "ა", "ᾳ ᾼx"]


def texts():
    return [
        {"text": t, "strip": t.strip(), "lstrip": t.lstrip(), "rstrip": t.rstrip(), "split": t.split(), "split1": t.split(None, 1),
         "splitlines": t.splitlines(), "keepends": t.splitlines(True), "capitalize": t.capitalize(), "title": t.title(), "isdigit": t.isdigit()}
        for t in TEXTS
    ]


PATTERNS = [
    r"a", r"a*", r"(a)|b", r"(a)(b)?", r"#### (\-?[0-9\.\,]+)", r"(-?[$0-9.,]{2,})|(-?[0-9]+)", r"((?<=The answer is )(.*)(?=.)|(?<=answer is )(.*)(?=.))",
    r"\$?((?:\d+,?)+(?:\.\d+)?)", r"(?i)The (?:final )?answer is[: ]*\(?([A-J])\)?", r"x$", r"^x", r"(?m)^.$", r"(?m)\w+$", r"\w+", r"\W+", r"\d+", r"\D", r"\s+", r"\S+", r"\bа|\b\w", r"\B", r"\b", r"",
    r"|a", r"a|", r"(?:|a)+", r"a??", r"(a|ab)(c|bcd)(d*)", r"(?P<n>\w)(?P=n)", r"(\w)\1", r"(a)?(?(1)b|c)", r"[]a]+", r"[^]a]+", r"[a-c\-x]+", r"[\d\-]+", r"[a\]]", r"[[a]+", r"[a&&b]+", r"[\w']+",
    r"[^\W\d]+", r"[\b]", r"\Aa", r"a\Z", r"\x61\u0062", r"\101", r"\0", r"a{2}", r"a{,2}", r"a{1,}b", r"a{,}", r"a{x", r"{", r"a{2,1}", r"*a", r"a**", r"a+?", r"a++a", r"(?>a+)a", r"(a", r"a)", r"[a", r"[b-a]", r"\q", r"\N{DASH}",
    r"(?<!a)b", r"(?<=a)b", r"(?!a)\w", r"(?#note)a", r"(?x) a b # c", r"(?s)a.b", r"a.b", r"(?s:.)x", r"(?i:A)b", r"(?-i:a)", r"a(?i)b", r"(?a)\w+", r"(?P<a>x)(?P<a>y)", r"\2(a)(b)", r"(a\1)", r"\.\d", r"[.,;:!?]$", r"\n$", r"\t| ",
    r"(?<=a|bc)d", r"[^\n]*", r".*", r"(.*)", r"(?:.*?)x", r"^\s*|\s*$", r"(\d)(\d)?(\d)?", r"\(([A-Z])\)", r"[A-Z]\.", r"[\s\S]", r"[\W_]+", r"[一-龥]+", r"é", r"(?i)É", r"(?i)ß", r"\_\-\%", r"<[^>]+>", r"[‘’]", r"[^a-z0-9 ]", r"(?P<x>a)(?P<y>b)?",
]
SUBJECTS = [
    "", "a", "aa", "aab", "abcd", "x", "x\n", "x\n\n", "xx\nyy\n", "The answer is (B).", "The answer is 12.", "#### 1,234.5", "it costs $1,000 or 2", "a b  c\t\n", "é É ß naïve", "हिन्दी का", "日本 2024 ٣²", "a-b_c", "[a]&&]", "a\nb",
    "baab cab", "\x08\x00", "<b>x</b>", "The final answer is: c", "\x1c \xa0", "bcd ad", "aXa {", "a{x a{,2}", "‘q’ ok.",
]
SUBS = [r"<\g<0>>", r"[\1]", r"\n\\x", r"\g<x>", r"-", r"\q", r"\0", r"\101", r"a\g<1>b", r"\g<9>"]


def patterns():
    out = []
    for pattern in PATTERNS:
        try:
            regex = re.compile(pattern)
        except re.error:
            out.append({"pattern": pattern, "error": True})
            continue
        found = []
        for text in SUBJECTS:
            first, start = regex.search(text), regex.match(text)
            found.append({
                "all": regex.findall(text), "search": first and [first.group(0), *first.groups()], "match": start and start.group(0), "split": regex.split(text),
                "sub": regex.sub("<>", text), "sub2": regex.sub("<>", text, count=2),
            })
        subs = []
        for repl in SUBS:
            try:
                subs.append(regex.sub(repl, "xaab ab"))
            except (re.error, IndexError):
                subs.append(None)
        out.append({"pattern": pattern, "error": False, "found": found, "subs": subs})
    return {"subjects": SUBJECTS, "replacements": SUBS, "patterns": out}


json.dump({"draws": draws(), "literals": literals(), "values": values(), "texts": texts(), "regex": patterns()}, sys.stdout, ensure_ascii=True, separators=(",", ":"))
