//! Rows written and read again.

use std::{fs, path::Path};

use proptest::{prelude::*, test_runner::RngSeed};
use serde_json::{Map, Value, json};
use tunesmith_harness::{
    recipe::Row,
    rows::{Codec, Compression, Layout, Writer, Written, read},
};

const LAYOUTS: [Layout; 5] = [
    Layout::JsonLines(Compression::None),
    Layout::JsonLines(Compression::Gzip),
    Layout::JsonLines(Compression::Zstd),
    Layout::Parquet(Codec::Snappy),
    Layout::Parquet(Codec::Zstd),
];

fn row(value: Value) -> Row {
    value.as_object().unwrap().clone()
}

fn write(path: &Path, layout: Layout, rows: &[Row]) -> Written {
    let mut writer = Writer::create(path, layout).unwrap();
    writer.write(rows.iter().cloned()).unwrap();
    assert!(!path.exists());
    writer.finish().unwrap()
}

/// What Parquet keeps: every row has all keys of the others, on every level.
fn filled(rows: &[Row]) -> Vec<Value> {
    fn keys(values: &[&Value]) -> Map<String, Value> {
        let objects = || values.iter().filter_map(|value| value.as_object());
        let mut all = Map::new();
        objects().flat_map(|object| object.keys()).for_each(|key| {
            all.entry(key.clone()).or_insert(Value::Null);
        });
        for (key, like) in &mut all {
            let below: Vec<&Value> = objects().filter_map(|object| object.get(key)).collect();
            *like = merged(&below);
        }
        all
    }
    fn merged(values: &[&Value]) -> Value {
        let items: Vec<&Value> = values.iter().filter_map(|value| value.as_array()).flatten().collect();
        match values {
            _ if !items.is_empty() => Value::Array(vec![merged(&items)]),
            _ if values.iter().any(|value| value.is_object()) => keys(values).into(),
            _ => Value::Null,
        }
    }
    fn fill(value: &Value, like: &Value) -> Value {
        match (value, like) {
            (Value::Object(object), Value::Object(like)) => {
                let of =
                    |(key, like): (&String, &Value)| (key.clone(), fill(object.get(key).unwrap_or(&Value::Null), like));
                like.iter().map(of).collect::<Map<_, _>>().into()
            }
            (Value::Array(items), Value::Array(like)) => items.iter().map(|item| fill(item, &like[0])).collect(),
            (value, _) => value.clone(),
        }
    }
    let rows: Vec<Value> = rows.iter().cloned().map(Value::Object).collect();
    let like = merged(&rows.iter().collect::<Vec<_>>());
    rows.iter().map(|row| fill(row, &like)).collect()
}

#[test]
fn rows_come_back_from_every_layout() {
    let dir = tempfile::tempdir().unwrap();
    let rows = [
        json!({"text": "a\nb é", "n": -3, "score": 1.5, "ok": true, "none": null, "big": u64::MAX,
               "messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": null}],
               "meta": {"ids": [[1, 2], [], null], "deep": {"x": "y"}}}),
        json!({"text": null, "n": 7, "score": -0.25, "ok": false, "none": null, "big": 1, "messages": [], "meta": null}),
        json!({"text": "", "n": null, "score": null, "ok": null, "none": null, "big": null, "messages": null,
               "meta": {"ids": [], "deep": null}}),
    ]
    .map(row);
    for layout in LAYOUTS {
        let path = dir.path().join("rows");
        let written = write(&path, layout, &rows);
        let want = Written { rows: 3, bytes: fs::metadata(&path).unwrap().len(), notes: Vec::new() };
        assert_eq!(written, want, "{layout:?}");
        let back: Vec<Value> = read(&path).unwrap().rows.into_iter().map(Value::Object).collect();
        let want: Vec<Value> = match layout {
            Layout::JsonLines(_) => rows.iter().cloned().map(Value::Object).collect(),
            Layout::Parquet(_) => filled(&rows),
        };
        assert_eq!(back, want, "{layout:?}");
        fs::remove_file(&path).unwrap();
    }
}

#[test]
fn values_without_a_common_type_become_texts_and_that_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("rows.parquet");
    let rows = [
        json!({"mixed": 1, "wide": 9007199254740993_u64, "far": -1, "float": 1, "empty": {}}),
        json!({"mixed": "1", "wide": 0.5, "far": u64::MAX, "float": 0.5, "empty": {}}),
        json!({"mixed": [true], "later": "x"}),
    ]
    .map(row);
    let written = write(&path, Layout::Parquet(Codec::Snappy), &rows);
    let as_text = "written as texts, with JSON for what is none";
    assert_eq!(
        written.notes,
        [
            format!("mixed holds texts and numbers and lists: {as_text}"),
            format!("wide holds fractions and whole numbers that no 64-bit float is equal to: {as_text}"),
            format!("far holds numbers below zero and ones that need all 64 bits: {as_text}"),
            format!("empty holds objects without keys: {as_text}"),
        ]
    );
    let back: Vec<Value> = read(&path).unwrap().rows.into_iter().map(Value::Object).collect();
    let null = Value::Null;
    assert_eq!(
        back,
        [
            json!({"mixed": "1", "wide": "9007199254740993", "far": "-1", "float": 1.0, "empty": "{}", "later": null}),
            json!({"mixed": "1", "wide": "0.5", "far": "18446744073709551615", "float": 0.5, "empty": "{}", "later": null}),
            json!({"mixed": "[true]", "wide": null, "far": null, "float": null, "empty": null, "later": "x"}),
        ],
        "{null}"
    );
}

#[test]
fn what_is_nested_too_deeply_for_types_is_kept_as_text() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("rows.parquet");
    let nested = |depth: usize| {
        (0..depth).fold(json!(1), |inner, n| if n % 2 == 0 { json!([inner]) } else { json!({"a": inner}) })
    };
    let rows = [row(json!({"fits": nested(10), "deep": nested(100)}))];
    let written = write(&path, Layout::Parquet(Codec::Snappy), &rows);
    assert_eq!(written.notes.len(), 1);
    assert!(written.notes[0].contains("nested too deeply"), "{:?}", written.notes);
    let back = read(&path).unwrap().rows;
    assert_eq!(back[0]["fits"], nested(10));
    let mut inner = &back[0]["deep"];
    for n in 0..10 {
        inner = if n % 2 == 0 { &inner["a"] } else { &inner[0] };
    }
    assert_eq!(inner.as_str().map(str::to_owned), Some(nested(90).to_string()));
}

#[test]
fn a_type_that_shows_up_late_is_that_of_the_whole_file() {
    let dir = tempfile::tempdir().unwrap();
    let pad = "x".repeat(1000);
    let mut rows: Vec<Row> = (0..80_000).map(|n| row(json!({"n": n, "pad": pad}))).collect();
    rows.push(row(json!({"n": 0.5, "late": ["a"]})));
    let path = dir.path().join("rows.parquet");
    write(&path, Layout::Parquet(Codec::Zstd), &rows);
    let back = read(&path).unwrap().rows;
    assert_eq!(back.len(), rows.len());
    assert_eq!(Value::from(back[7].clone()), json!({"n": 7.0, "pad": pad, "late": null}));
    assert_eq!(Value::from(back[80_000].clone()), json!({"n": 0.5, "pad": null, "late": ["a"]}));
    // In one piece or in many, by one thread or by several: the same bytes.
    let bytes = fs::read(&path).unwrap();
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    let again = dir.path().join("again.parquet");
    pool.install(|| {
        let mut writer = Writer::create(&again, Layout::Parquet(Codec::Zstd)).unwrap();
        rows.chunks(777).for_each(|rows| writer.write(rows.iter().cloned()).unwrap());
        writer.finish().unwrap();
    });
    assert!(bytes == fs::read(&again).unwrap());
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
}

#[test]
fn a_file_that_is_not_finished_is_not_there() {
    let dir = tempfile::tempdir().unwrap();
    for layout in LAYOUTS {
        let mut writer = Writer::create(&dir.path().join("rows"), layout).unwrap();
        writer.write([row(json!({"a": 1}))]).unwrap();
        drop(writer);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "{layout:?}");
    }
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<i32>().prop_map(Value::from),
        (-1e6..1e6f64).prop_map(Value::from),
        "[a-zé]{0,4}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::btree_map("[abc]", inner, 1..3).prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// A value of one type wherever it stands: what a column of Parquet holds as it is.
fn typed(shape: u8, seed: u32) -> Value {
    match (shape % 6, seed % 5) {
        (_, 0) => Value::Null,
        (0, _) => (f64::from(seed) / 2.0 + 0.25).into(),
        (1, _) => format!("t{seed}").into(),
        (2, n) => (0..n - 1).map(|n| typed(shape / 6, seed / 5 + n)).collect(),
        (3, _) => json!({"x": typed(shape / 6, seed / 5), "y": seed}),
        (4, n) => (0..n).map(|n| json!({"role": "user", "parts": typed(shape / 6, seed / 3 + n)})).collect(),
        _ => seed.is_multiple_of(2).into(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, rng_seed: RngSeed::Fixed(31), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn typed_rows_come_back_from_parquet(shapes in prop::collection::vec(any::<u8>(), 1..4), seeds in prop::collection::vec(any::<u32>(), 1..20)) {
        let row = |seed: &u32| shapes.iter().enumerate().map(|(n, shape)| (format!("c{n}"), typed(*shape, seed / (n as u32 + 1)))).collect::<Row>();
        let rows: Vec<Row> = seeds.iter().map(row).collect();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("rows.parquet");
        prop_assert_eq!(write(&path, Layout::Parquet(Codec::Snappy), &rows).notes, Vec::<String>::new());
        let back: Vec<Value> = read(&path).unwrap().rows.into_iter().map(Value::Object).collect();
        prop_assert_eq!(back, filled(&rows));
    }

    #[test]
    fn any_rows_are_written_and_as_many_come_back(values in prop::collection::vec(value(), 1..12)) {
        let rows: Vec<Row> = values.into_iter().map(|value| Row::from_iter([("v".to_owned(), value)])).collect();
        let dir = tempfile::tempdir().unwrap();
        for layout in LAYOUTS {
            let path = dir.path().join("rows");
            write(&path, layout, &rows);
            prop_assert_eq!(read(&path).unwrap().rows.len(), rows.len());
            fs::remove_file(&path).unwrap();
        }
    }
}
