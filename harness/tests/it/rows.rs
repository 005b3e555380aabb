//! Rows read in batches, from any format, compression and encoding.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
};

use proptest::{prelude::*, test_runner::RngSeed};
use serde_json::{Value, json};
use tunesmith_harness::rows::{Bad, BadRow, Batch, Documents, Format, Reading, RowsError, Skipped, Source};

const QUARANTINE: Reading = Reading { bad: Bad::Quarantine, documents: Documents::Whole };

fn written(dir: &Path, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
    let path = dir.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, content).unwrap();
    path
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    out.write_all(content).unwrap();
    out.finish().unwrap()
}

fn all(paths: &[PathBuf], reading: &Reading) -> Result<Vec<Batch>, RowsError> {
    Source::find(paths, reading)?.batches().collect()
}

/// Rows with the lines they stand on.
fn rows(path: &Path, reading: &Reading) -> Vec<(u64, Value)> {
    let batches = all(&[path.to_owned()], reading).unwrap();
    batches.into_iter().flat_map(|b| b.lines.into_iter().zip(b.rows)).map(|(line, row)| (line, row.into())).collect()
}

fn bad(path: &Path) -> Vec<(u64, String, String)> {
    let batches = all(&[path.to_owned()], &QUARANTINE).unwrap();
    batches.into_iter().flat_map(|b| b.bad).map(|BadRow { line, why, raw, .. }| (line, why, raw)).collect()
}

#[test]
fn every_text_format_reads_the_same_packed_and_unpacked() {
    let dir = tempfile::tempdir().unwrap();
    let table = [
        (
            "t.csv",
            "a,b\n1,\"x\ny\"\n2,z\n",
            vec![(2, json!({"a": "1", "b": "x\ny"})), (4, json!({"a": "2", "b": "z"}))],
        ),
        ("t.tsv", "a\tb\n1\tx\n", vec![(2, json!({"a": "1", "b": "x"}))]),
        ("t.json", "[\n{\"a\":1},\n\n{\"a\":[2]}]", vec![(2, json!({"a": 1})), (4, json!({"a": [2]}))]),
        ("t.jsonl", "\n{\"a\":1}\n{\"b\":{}}", vec![(2, json!({"a": 1})), (3, json!({"b": {}}))]),
        ("t.txt", "\none\n\ntwo\n", vec![(1, json!({"text": "one\n\ntwo"}))]),
        ("t.md", "---\ntitle: x\n---\n# One\n", vec![(1, json!({"text": "# One", "front_matter": "title: x"}))]),
    ];
    for (name, text, want) in table {
        let utf_16: Vec<u8> =
            [&[0xff, 0xfe], text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<_>>().as_slice()].concat();
        let two_members = [gzip(&text.as_bytes()[..4]), gzip(&text.as_bytes()[4..])].concat();
        let paths = [
            written(dir.path(), name, text),
            written(dir.path(), &format!("{name}.gz"), two_members),
            written(dir.path(), &format!("{name}.zst"), zstd::encode_all(text.as_bytes(), 1).unwrap()),
            // Told by its first bytes, whatever it is called.
            written(dir.path(), &format!("packed-{name}"), gzip(text.as_bytes())),
            written(dir.path(), &format!("utf-16-{name}"), &utf_16),
        ];
        for path in paths {
            assert_eq!(rows(&path, &Reading::default()), want, "{path:?}");
        }
    }
}

#[test]
fn any_number_of_blank_lines_stands_before_a_header() {
    let dir = tempfile::tempdir().unwrap();
    let path = written(dir.path(), "t.csv", format!("{}a,b\n1,2\n", "\r\n".repeat(500_000)));
    assert_eq!(rows(&path, &Reading::default()), [(500_002, json!({"a": "1", "b": "2"}))]);
}

#[test]
fn paragraphs_are_rows_where_that_is_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let path = written(dir.path(), "t.txt", "\none\ntwo\n\n\n  three\n \nfour");
    let paragraphs = Reading { documents: Documents::Paragraphs, ..Reading::default() };
    let text = |text: &str| json!({"text": text});
    assert_eq!(rows(&path, &paragraphs), [(2, text("one\ntwo")), (6, text("  three")), (8, text("four"))]);
}

#[test]
fn bad_lines_are_set_apart_with_their_places_and_refused_otherwise() {
    let dir = tempfile::tempdir().unwrap();
    let text = b"{\"a\":\"\xc3\xbc\"}\n{\"a\":\n\n[1]\n{\"a\":\"\xff\"}\n{\"a\":2}\n{\"a\":1,\"a\":2}\n{\"a\":-Infinity}\n{\"a\":18446744073709551616}\n{\"a\":-1e30}\n{\"a\":\"\0\"}";
    let path = written(dir.path(), "t.jsonl", text);
    let want = [
        (2, "line 2: not JSON: EOF while parsing a value (column 5); each line must be one whole object", "{\"a\":"),
        (4, "line 4: an array, not an object; write each row as {\"column\": value, ...}", "[1]"),
        (
            5,
            "line 5: byte 28 of the file is not UTF-8; convert it, for example with: iconv -f latin1 -t utf-8",
            "{\"a\":\"\u{fffd}\"}",
        ),
        (
            7,
            "line 7: not JSON: the key \"a\" stands twice in one object (column 13); each line must be one whole object",
            "{\"a\":1,\"a\":2}",
        ),
        (
            8,
            "line 8: not JSON: invalid number (column 7); NaN and Infinity are no JSON, write null",
            "{\"a\":-Infinity}",
        ),
        (
            9,
            "line 9: not JSON: a whole number has more than 64 bits; write it as a string",
            "{\"a\":18446744073709551616}",
        ),
        (11, "line 11: byte 115 of the file is NUL, so it is not text; check how the file was made", "{\"a\":\"\0\"}"),
    ];
    let want: Vec<_> = want.map(|(line, why, raw)| (line, why.to_owned(), raw.to_owned())).into();
    assert_eq!(bad(&path), want);
    assert_eq!(rows(&path, &QUARANTINE), [(1, json!({"a": "ü"})), (6, json!({"a": 2})), (10, json!({"a": -1e30}))]);
    let refused = all(std::slice::from_ref(&path), &Reading::default()).unwrap_err().to_string();
    assert_eq!(refused, format!("{}: {}", path.display(), want[0].1));
}

#[test]
fn bad_records_and_elements_are_set_apart_too() {
    let dir = tempfile::tempdir().unwrap();
    let lines =
        |name: &str, text: &str| bad(&written(dir.path(), name, text)).into_iter().map(|b| b.0).collect::<Vec<_>>();
    assert_eq!(lines("a.csv", "a,b\n1\n2,3\n\"4\n5,6\n7,8,9\n"), [2, 4, 6]);
    assert_eq!(lines("a.json", "[{\"a\":1},\n2,\n{\"a\" 3},{\"a\":4},\n]\n{}"), [2, 3, 4, 5]);
    assert_eq!(lines("b.json", "[{\"a\":1},\n{\"a\":"), [2]);
    assert_eq!(lines("c.json", "[{\"a\":1},\n{\"a\":2}"), [2]);
}

#[test]
fn a_line_that_is_too_long_is_set_apart_and_reading_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let long = "x".repeat(17 << 20);
    let path = written(dir.path(), "t.jsonl", format!("{{\"a\":1}}\n{{\"a\":\"{long}\"}}\n{{\"a\":2}}\n"));
    let why = "line 2: a row of more than 16777216 bytes begins here; cut it into several";
    assert_eq!(bad(&path), [(2, why.to_owned(), format!("{{\"a\":\"{}", "x".repeat(194)))]);
    assert_eq!(rows(&path, &QUARANTINE), [(1, json!({"a": 1})), (3, json!({"a": 2}))]);
}

#[test]
fn folders_and_patterns_give_their_files_of_rows_in_order_and_say_what_they_skip() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("data");
    for name in ["b.jsonl", "a/c.csv.gz", "a/empty.csv", "README.md", "notes.pdf", ".hidden.csv"] {
        let content = match name {
            "a/c.csv.gz" => gzip(b"a\n1\n"),
            "a/empty.csv" => Vec::new(),
            _ => b"{\"a\":1}".to_vec(),
        };
        written(&root, name, content);
    }
    let outside = written(dir.path(), "outside.csv", "a\n1\n");
    std::os::unix::fs::symlink(&outside, root.join("link.csv")).unwrap();
    let source = Source::find(std::slice::from_ref(&root), &Reading::default()).unwrap();
    let found: Vec<_> =
        source.inputs.iter().map(|i| (i.path.strip_prefix(&root).unwrap().to_str().unwrap(), i.format)).collect();
    assert_eq!(found, [("a/c.csv.gz", Format::Csv), ("b.jsonl", Format::JsonLines)]);
    let skipped: Vec<_> =
        source.skipped.iter().map(|s| (s.path.strip_prefix(&root).unwrap().to_str().unwrap(), s.why)).collect();
    assert_eq!(
        skipped,
        [
            (".hidden.csv", "hidden"),
            ("README.md", "a text beside files of rows"),
            ("link.csv", "a link that leads out of the folder"),
            ("notes.pdf", "no extension of a file of rows"),
            ("a/empty.csv", "empty"),
        ]
    );
    let pattern = |pattern: &str| Source::find(&[root.join(pattern)], &Reading::default());
    let of = |source: Source| {
        source.inputs.into_iter().map(|i| i.path.strip_prefix(&root).unwrap().display().to_string()).collect::<Vec<_>>()
    };
    assert_eq!(of(pattern("**/**/**/*.csv.gz").unwrap()), ["a/c.csv.gz"]);
    assert_eq!(of(pattern("*.m?").unwrap()), ["README.md"]);
    assert_eq!(of(pattern("a/**").unwrap()), ["a/c.csv.gz"]);
    let twice = Source::find(&[root.join("b.jsonl"), root.join("a/../*.jsonl")], &Reading::default()).unwrap();
    let again = Skipped { path: root.join("a/../b.jsonl"), why: "a file that is read already" };
    assert_eq!((twice.skipped.clone(), of(twice)), (vec![again], vec!["b.jsonl".to_owned()]));
    assert!(pattern("*.xml").unwrap_err().to_string().ends_with("fits no file; check the pattern"));
    let none =
        Source::find(&[written(dir.path(), "none/x.pdf", "x").parent().unwrap().to_owned()], &Reading::default());
    assert!(none.unwrap_err().to_string().contains("holds no file of rows (1 skipped)"));
}

#[test]
fn columns_of_bytes_are_left_out_and_named() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/parquet/plain.parquet");
    let source = Source::find(&[golden], &Reading::default()).unwrap();
    let said = source.inputs[0].note().unwrap_or_default();
    assert!(said.starts_with("columns of bytes are left out: "), "{said}");
    let left_out = &source.inputs[0].left_out;
    let row = source.batches().next().unwrap().unwrap().rows.remove(0);
    assert!(!left_out.is_empty() && left_out.iter().all(|column| !row.contains_key(column)), "{left_out:?}");
}

#[test]
fn a_packed_file_that_is_cut_off_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let text = (0..10_000).map(|n| format!("{{\"a\":{n}}}\n")).collect::<String>();
    for packed in [gzip(text.as_bytes()), zstd::encode_all(text.as_bytes(), 1).unwrap()] {
        let path = written(dir.path(), "t.jsonl", &packed[..packed.len() / 2]);
        let said = all(&[path], &QUARANTINE).unwrap_err().to_string();
        assert!(said.contains("cannot be unpacked") && said.ends_with("was it cut off?"), "{said}");
    }
}

#[test]
fn batches_are_the_same_on_any_number_of_threads() {
    let dir = tempfile::tempdir().unwrap();
    let text = (0..60_000).map(|n| format!("{{\"n\":{n},\"text\":\"{}\"}}\n", "é".repeat(n % 50))).collect::<String>();
    let paths = [written(dir.path(), "a.jsonl", &text), written(dir.path(), "b.jsonl", text.replace("5}", "5"))];
    let on = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| all(&paths, &QUARANTINE).unwrap())
    };
    let one = on(1);
    assert!(one.len() > 4, "{}", one.len());
    assert!(one.iter().all(|batch| batch.bytes < 2 << 20));
    assert_eq!(one, on(3));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, rng_seed: RngSeed::Fixed(21), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_line_is_a_row_or_bad(lines in prop::collection::vec(line(), 1..30)) {
        let dir = tempfile::tempdir().unwrap();
        let path = written(dir.path(), "t.jsonl", lines.join(&b'\n'));
        let filled: Vec<u64> = (1..).zip(&lines).filter(|(_, line)| !line.trim_ascii().is_empty()).map(|(n, _)| n).collect();
        let Ok(batches) = all(&[path], &QUARANTINE) else { return Ok(()) };
        let mut seen: Vec<u64> = batches.iter().flat_map(|b| b.lines.iter().copied().chain(b.bad.iter().map(|bad| bad.line))).collect();
        seen.sort_unstable();
        prop_assert_eq!(seen, filled);
    }

    #[test]
    fn every_record_and_element_is_a_row_or_bad(cells in prop::collection::vec(prop::collection::vec("[a-z,\"\n ]{0,6}", 1..4), 1..20), broken in prop::collection::vec("[0-9a-z]{1,3}", 0..4)) {
        let dir = tempfile::tempdir().unwrap();
        let quoted = |cell: &String| format!("\"{}\"", cell.replace('"', "\"\""));
        let records: Vec<String> = cells.iter().map(|cells| cells.iter().map(quoted).collect::<Vec<_>>().join(",")).collect();
        let path = written(dir.path(), "t.csv", format!("\"x\",\"y\"\n{}", records.join("\r\n")));
        let of = |path| all(&[path], &QUARANTINE).unwrap().iter().map(|b| (b.rows.len(), b.bad.len())).fold((0, 0), |a, b| (a.0 + b.0, a.1 + b.1));
        let pairs = cells.iter().filter(|cells| cells.len() == 2).count();
        prop_assert_eq!(of(path), (pairs, cells.len() - pairs));

        let elements: Vec<String> = cells.iter().map(|cells| json!({"cells": cells}).to_string()).chain(broken.iter().cloned()).collect();
        let path = written(dir.path(), "t.json", format!("[{}]", elements.join(", ")));
        prop_assert_eq!(of(path), (cells.len(), broken.len()));
    }

    #[test]
    fn no_bytes_of_any_format_make_reading_panic(name in prop::sample::select(vec!["t.csv", "t.tsv", "t.json", "t.jsonl", "t.txt", "t.md", "t.parquet", "t"]), bytes in prop::collection::vec(any::<u8>(), 0..80), text in "[\\[\\]{}\":,;\\-\n\r\t\" a1]{0,60}") {
        let dir = tempfile::tempdir().unwrap();
        let contents = [
            bytes.clone(),
            text.as_bytes().to_vec(),
            gzip(text.as_bytes()),
            [b"\x1f\x8b".as_slice(), &bytes].concat(),
            [b"\x28\xb5\x2f\xfd".as_slice(), &bytes].concat(),
        ];
        for content in contents {
            let _ = all(&[written(dir.path(), name, content)], &QUARANTINE);
        }
    }
}

/// Numbers that look random, from a seed.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn bytes(&mut self, most: u64) -> Vec<u8> {
        (0..self.next() % most).map(|_| self.next() as u8).collect()
    }
}

/// Most memory of this process that is in use while a source is read, beyond what was before, in MiB.
fn peak(source: &Source, mut on: impl FnMut(Batch)) -> u64 {
    let used = || {
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
    };
    let (before, mut most) = (used(), 0);
    for (n, batch) in source.batches().enumerate() {
        on(batch.unwrap());
        if n % 16 == 0 {
            most = most.max(used().saturating_sub(before));
        }
    }
    most
}

#[test]
#[ignore = "reads 5 GB; run it alone"]
fn soak_five_gigabytes_take_no_more_memory_than_five_megabytes() {
    let dir = tempfile::tempdir().unwrap();
    let row = |n: u64| format!("{}\n", json!({"id": n, "text": "some words of a row ".repeat(50), "tags": ["a", "b"]}));
    let text: String = (0..20_000).map(row).collect();
    let path = dir.path().join("t.jsonl.gz");
    let (member, times) = (gzip(text.as_bytes()), (5_u64 << 30).div_ceil(text.len() as u64));
    let mut file = fs::File::create(&path).unwrap();
    (0..times).for_each(|_| file.write_all(&member).unwrap());
    let (mut rows, mut bytes) = (0, 0);
    let source = Source::find(&[path], &Reading::default()).unwrap();
    let most = peak(&source, |batch| {
        rows += batch.rows.len() as u64;
        bytes += batch.bytes;
    });
    assert_eq!((rows, bytes), (20_000 * times, text.len() as u64 * times));
    assert!(most < 250, "{most} MiB");
}

#[test]
#[ignore = "reads 100 MB of noise in each format"]
fn soak_noise_is_rows_or_bad_rows_and_nothing_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let mut noise = Noise(0x9e37_79b9_7f4a_7c15);
    let mut text: Vec<u8> = b"{\"a\":\"\xc3\xbc\"}\n".repeat(100_000);
    while text.len() < 100 << 20 {
        match noise.next() % 5 {
            0 => text.extend(noise.bytes(4000)),
            1 => text.extend(format!("\"{},[{{\n", noise.next()).into_bytes()),
            _ => text.extend(format!("{{\"a\":\"é {}\"}}\n", noise.next()).into_bytes()),
        }
    }
    for name in ["t.jsonl", "t.csv", "t.tsv", "t.txt", "t.md", "t.json"] {
        let path = written(dir.path(), name, if name == "t.json" { [b"[", &text[..]].concat() } else { text.clone() });
        let paragraphs = Reading { documents: Documents::Paragraphs, ..QUARANTINE };
        let (mut rows, mut bad) = (0, 0);
        let source = Source::find(&[path], &paragraphs).unwrap();
        let most = peak(&source, |batch| {
            rows += batch.rows.len();
            bad += batch.bad.len();
        });
        if name == "t.jsonl" {
            let filled = text.split(|&b| b == b'\n').filter(|line| !line.trim_ascii().is_empty()).count();
            assert_eq!(rows + bad, filled);
            assert!(rows > 200_000, "{rows}");
        }
        assert!(rows + bad > 0, "{name}");
        assert!(most < 250, "{name}: {most} MiB");
    }
}

/// A line of JSON lines: whole, broken, in another encoding, or noise.
fn line() -> impl Strategy<Value = Vec<u8>> {
    let row = "[a-zé ]{0,12}".prop_map(|text| json!({"text": text, "n": [1, null]}).to_string().into_bytes());
    let no_break = |bytes: Vec<u8>| bytes.into_iter().filter(|&b| b != b'\n').collect::<Vec<u8>>();
    prop_oneof![
        6 => row.clone(),
        1 => (row, any::<prop::sample::Index>()).prop_map(|(row, at)| row[..at.index(row.len())].to_vec()),
        1 => "[a-z]{3}".prop_map(|text| [b"{\"a\":\"", text.as_bytes(), b"\xfc\"}"].concat()),
        1 => prop::collection::vec(any::<u8>(), 0..6).prop_map(no_break),
        1 => Just(Vec::new()),
    ]
}
