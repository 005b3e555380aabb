"""Parquet files of every type from our own rows, and the rows as `datasets` gives them, for rows/parquet/tests.rs.

    python make_parquet.py FOLDER
"""

import json
import sys
from datetime import date, datetime, time
from decimal import Decimal
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq

OUT = Path(sys.argv[1])
OUT.mkdir(exist_ok=True)


def plain(value):
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items() if not isinstance(item, bytes)}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, (date, datetime, time, Decimal)):
        return str(value)
    if isinstance(value, float) and value != value:
        return None
    return value


def save(name, table, rows=None, **options):
    pq.write_table(table, OUT / f"{name}.parquet", **options)
    rows = rows if rows is not None else pq.read_table(OUT / f"{name}.parquet").to_pylist()
    (OUT / f"{name}.json").write_text(json.dumps([plain(row) for row in rows], indent=1) + "\n")


COLUMNS = {
    "bool": pa.array([True, False, None]),
    "int8": pa.array([-128, 127, None], pa.int8()),
    "int16": pa.array([-32768, 32767, None], pa.int16()),
    "int32": pa.array([-(2**31), 2**31 - 1, None], pa.int32()),
    "int64": pa.array([-(2**63), 2**63 - 1, None], pa.int64()),
    "uint8": pa.array([0, 255, None], pa.uint8()),
    "uint16": pa.array([0, 65535, None], pa.uint16()),
    "uint32": pa.array([0, 2**32 - 1, None], pa.uint32()),
    "uint64": pa.array([0, 2**64 - 1, None], pa.uint64()),
    "float16": pa.array([0.5, -2.25, None], pa.float16()),
    "float32": pa.array([0.1, -3.5, None], pa.float32()),
    "float64": pa.array([0.1, float("nan"), None], pa.float64()),
    "text": pa.array(["", "Zoë 😀\n", None]),
    "large_text": pa.array(["a", "b", None], pa.large_string()),
    "decimal": pa.array([Decimal("1.05"), Decimal("-0.03"), None], pa.decimal128(9, 2)),
    "whole": pa.array([Decimal("7"), Decimal("-12"), None], pa.decimal128(30, 0)),
    "date": pa.array([date(1969, 12, 31), date(2024, 2, 29), None]),
    "millis": pa.array([datetime(2024, 1, 2, 3, 4, 5), datetime(1960, 1, 1), None], pa.timestamp("ms")),
    "micros": pa.array([datetime(2024, 1, 2, 3, 4, 5, 6), datetime(1960, 1, 1, 0, 0, 1), None], pa.timestamp("us")),
    "time": pa.array([time(1, 2, 3), time(23, 59, 59, 5), None], pa.time64("us")),
    "list": pa.array([[1, None, 3], [], None], pa.list_(pa.int64())),
    "nested": pa.array([[["a"], []], [None], None], pa.list_(pa.list_(pa.string()))),
    "struct": pa.array([{"a": 1, "b": {"c": "x"}}, {"a": None, "b": {"c": None}}, None]),
    "records": pa.array([[{"q": "x", "n": [1]}], [], [{"q": None, "n": None}]]),
    "bytes": pa.array([b"\x00\xff", b"", b"x"], pa.binary()),
}
table = pa.table(COLUMNS)
for name, compression in [("plain", "none"), ("snappy", "snappy"), ("zstd", "zstd"), ("gzip", "gzip"), ("lz4", "lz4")]:
    save(name, table, compression=compression)

many = pa.table({"n": list(range(300)), "text": [f"row {n % 7}" for n in range(300)]})
save("pages", many, row_group_size=100, data_page_size=256, compression="zstd", data_page_version="2.0")

# As pandas writes times; `str()` of its timestamps, and of pyarrow's times of day as far as Python has them.
nanos = pa.table(
    {
        "at": pa.array([1704164645000000000, 1704164645000006000, -1, None], pa.timestamp("ns")),
        "time": pa.array([3723000000000, 86399000005000, 0, None], pa.time64("ns")),
    }
)
save("nanos", nanos)

features = datasets.Features(
    {
        "question": datasets.Value("string"),
        "choices": datasets.Sequence({"text": datasets.Value("string"), "label": datasets.Value("string")}),
        "answers": datasets.Sequence(datasets.Value("string")),
        "label": datasets.ClassLabel(names=["no", "yes"]),
        "score": datasets.Value("float32"),
    }
)
rows = {
    "question": ["One?", None],
    "choices": [{"text": ["a", "b"], "label": ["A", "B"]}, {"text": [], "label": []}],
    "answers": [["x", "y"], []],
    "label": [1, 0],
    "score": [0.1, None],
}
made = datasets.Dataset.from_dict(rows, features=features)
made.to_parquet(OUT / "datasets.parquet")
read = datasets.Dataset.from_parquet(str(OUT / "datasets.parquet"), cache_dir=str(OUT / "cache"))
(OUT / "datasets.json").write_text(json.dumps([plain(row) for row in read], indent=1) + "\n")

# A row of a million values.
crowded = pa.table({"n": pa.array([[1] * 1_000_000], pa.list_(pa.int8()))})
pq.write_table(crowded, OUT / "crowded.parquet", compression="zstd")

# A million rows of one value: run-length coding makes a few bytes of them.
bomb = pa.table({"n": pa.array([1] * 1_000_000, pa.int8())})
pq.write_table(bomb, OUT / "bomb.parquet", compression="zstd")
