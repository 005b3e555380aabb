"""Scalars and documents of YAML 1.1 as PyYAML reads them, for eval/yaml/tests.rs.

    python make_yaml.py > yaml.json
"""

import json

import yaml
from lm_eval_tasks import plain

SCALARS = """
yes Yes YES yEs no No NO on On ON off Off OFF true True TRUE tRue false False FALSE y n Y N ~ null Null NULL nULL none
None 0 -0 +0 7 +7 -7 007 08 09.5 0_7 0o7 1_000 1__0 _1 1_ 0b101 -0b1_1 0b2 0x1F 0x_1 -0xff 0xg 12:30 12:30:45 -1:00
1:60 01:30 12:5 1:2.5 1:59:30.25 -1:30.5 1.5 -1.5 +1.5 1. 1.e+3 1.0e3 1.0e+3 1.5E-3 1e3 1e+3 .5 -.5 ._5 .5e+1 1_0.5_0
.inf -.inf +.INF .Inf .iNF .nan .NaN .NAN -.nan inf nan . .. - -- + 1.2.3 1,000 9223372036854775807 18446744073709551615
-9223372036854775808 2001-12-14x 12e 0. -0.0 00.5 1.7976931348623157e+308 4.9e-324 é a:b a#b =x <<x x=y http://x.y
""".split()

DOCUMENTS = [
    "",
    "# nothing",
    "a: ~\nb:\nc: ''\nd: \"\"",
    "a: 'it''s'\nb: \"x\\ty\\u00e9\\x41\\n\"\nc: 'no'\nd: \"1\"",
    "a: |\n  one\n   two\n\n  three\n\nb: >\n  one\n  two\n\n  three\nc: |-\n  x\nd: |+\n  x\n\ne: >-\n  x\n  y\n",
    "a: |2\n   x\n  y",
    "a: one\n  two\n\n  three",
    "a: \"one\n  two\n\n  three\\\n  four\"",
    "a: \"one\ntwo\n\nthree '\"\nb: 1",
    "a:\n  b: 'one\ntwo ''q''\n  three'\n  c: [\"x\ny\", z]",
    "a:\n  - [\n1,\n2\n]\n  - {\nx: 1,\n\"y\": 2\n}\nb: 3",
    "a: [b, c: d, {e}, [f]]\n",
    "{\"a\":1, b: , c}",
    "? a\n: b\n? c\n",
    "a: 1\nb: 2\na: 3",
    "2: a\ntrue: b\n~: c\n1.5: d\nno: e",
    "base: &b {x: 1, y: 2}\nnew: {<<: *b, y: 3, z: 4}\nold:\n  z: 0\n  <<: *b\n",
    "one: &o {x: 1}\ntwo: &t {x: 2, y: 2}\nall:\n  <<: [*o, *t]\n  w: 0\n",
    "'<<': {x: 1}",
    "a: &x [1, {b: 2}]\nc: *x\nd: &y text\ne: *y",
    "a: &x 1\nc: *x",
    "a: !!str 1\nb: !!int '7'\nc: !!float 3\nd: !!bool yes\ne: !!null x\nf: !!seq [1]\ng: !!map {h: 1}\ni: ! 12\nj: ! '12'\nk: !!str",
    "=: 1",
    "%YAML 1.1\n---\na: no\n...\n",
    "---\na: 1\n",
    "a: 1\r\nb: |\r\n  x\r\n  y\r\nc: \"d\r\n  e\"\r\n",
    "a: x # y\nb: x#y\nc: 'x # y'",
    "a:\n- b\n- - c\n  - d\n-\n  e: f\n",
    "day: 2001-12-14\n",
    "text: \"{{a}}: {% if b %}\\n\"\nplain: x {{y}} z",
    "a: ---",
    "\ufeffa: 1",
]

golden = {"scalars": {}, "documents": {}}
for text in SCALARS:
    golden["scalars"][text] = plain(yaml.load(f"- {text}", Loader=yaml.CSafeLoader))[0]
for text in DOCUMENTS:
    golden["documents"][text] = plain(yaml.load(text, Loader=yaml.CSafeLoader))
print(json.dumps(golden, indent=1))
