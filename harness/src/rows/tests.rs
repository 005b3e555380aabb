#![allow(clippy::unwrap_used)]

use std::fs;

use proptest::{prelude::*, test_runner::RngSeed};
use serde_json::{Value, json};

use super::*;

fn read_bytes(name: &str, content: &[u8]) -> Result<Table, String> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(name);
    fs::write(&path, content).unwrap();
    let prefix = format!("{}: ", path.display());
    read(&path).map_err(|e| {
        let text = e.to_string();
        assert!(!text.contains('\n'), "{text}");
        text.strip_prefix(&prefix).unwrap_or_else(|| panic!("{text}")).to_owned()
    })
}

fn row(value: Value) -> Row {
    value.as_object().unwrap().clone()
}

fn table(format: Format, columns: &[&str], rows: &[Value]) -> Result<Table, String> {
    let columns = columns.iter().map(|&c| c.into()).collect();
    Ok(Table { format, columns, rows: rows.iter().cloned().map(row).collect(), note: None })
}

fn error(name: &str, content: impl AsRef<[u8]>) -> String {
    read_bytes(name, content.as_ref()).unwrap_err()
}

#[test]
fn csv_with_quotes_line_breaks_and_a_byte_order_mark() {
    let text = "\u{feff}text, label\r\n\"one, \"\"two\"\"\nthree\",a\r\n\r\nplain \"x\",b\r\n";
    let rows = [json!({"text": "one, \"two\"\nthree", "label": "a"}), json!({"text": "plain \"x\"", "label": "b"})];
    assert_eq!(read_bytes("t.csv", text.as_bytes()), table(Format::Csv, &["text", "label"], &rows));
}

#[test]
fn the_delimiter_is_found_out() {
    let rows = [json!({"a": "1, 2", "b": "x"}), json!({"a": "3", "b": "y"})];
    assert_eq!(read_bytes("t.csv", b"a;b\n1, 2;x\n3;y\n"), table(Format::Csv, &["a", "b"], &rows));
    assert_eq!(read_bytes("t.txt", b"a\tb\n1, 2\tx\n3\ty\n"), table(Format::Tsv, &["a", "b"], &rows));
    assert_eq!(read_bytes("t.tsv", b"a\tb\n1, 2\tx\n3\ty"), table(Format::Tsv, &["a", "b"], &rows));
    let one = [json!({"text": "hello; you"})];
    assert_eq!(read_bytes("t.csv", b"text\nhello; you\n"), table(Format::Csv, &["text"], &one));
}

#[test]
fn json_arrays_and_json_lines_with_columns_in_the_order_of_first_sight() {
    let rows = [json!({"z": 1, "a": [true]}), json!({"b": null, "z": "x"})];
    let lines = b"{\"z\":1,\"a\":[true]}\n\n{\"b\":null,\"z\":\"x\"}\r\n";
    let columns = ["z", "a", "b"];
    for name in ["t.jsonl", "t.ndjson", "t.json", "t"] {
        assert_eq!(read_bytes(name, lines), table(Format::JsonLines, &columns, &rows), "{name}");
    }
    let array = b" [{\"z\":1,\"a\":[true]},\n{\"b\":null,\"z\":\"x\"}]";
    for name in ["t.json", "t.jsonl", "t"] {
        assert_eq!(read_bytes(name, array), table(Format::Json, &columns, &rows), "{name}");
    }
}

#[test]
fn a_nameless_column_gets_a_name_and_two_of_one_name_do_not() {
    let rows = [json!({"column_1": "0", "text": "hi"})];
    assert_eq!(read_bytes("t.csv", b",text\n0,hi\n"), table(Format::Csv, &["column_1", "text"], &rows));
    let said = error("t.csv", "text,label,text \na,b,c\n");
    assert_eq!(said, "the header names \"text\" twice (columns 1 and 3); rename one");
}

#[test]
fn what_is_not_there_or_no_file_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let said = |path: &Path| read(path).unwrap_err().problem.to_string();
    assert_eq!(said(&dir.path().join("x.csv")), "there is no such file; check the path");
    assert_eq!(said(&dir.path().join("x\u{1b}/y.csv")), "there is no such file; check the path");
    assert!(said(dir.path()).starts_with("is a directory, not a file"));
    assert!(said(Path::new("/dev/null")).starts_with("is a pipe or a device, not a file"));
}

#[test]
fn nothing_to_read_is_said_as_it_is() {
    assert!(error("t.csv", "").starts_with("is empty"));
    assert!(error("t.jsonl", "\u{feff} \n\n").starts_with("is empty"));
    assert!(error("t.csv", "text,label\n").starts_with("has no rows (only a header)"));
    assert!(error("t.json", "[]").starts_with("has no rows (an empty array)"));
}

#[test]
fn bytes_that_are_no_text_are_placed() {
    assert!(error("t.csv", "a,b\n1,\0\n").starts_with("line 2: byte 6 of the file is NUL"));
    assert!(
        error("t.csv", format!("a\0,b\n{}", "word,word\n".repeat(20))).starts_with("line 1: byte 1 of the file is NUL")
    );
    let utf_32: Vec<u8> = "\u{feff}a,b\n1,2\n".chars().flat_map(|c| u32::from(c).to_le_bytes()).collect();
    assert_eq!(
        error("t.csv", utf_32),
        "is text in UTF-32, which is not read; convert it with: iconv -f utf-32 -t utf-8"
    );
    let damaged = "text,label\nschön,a\ngrün,b\nbl\u{1}u,c\n".replace('\u{1}', "\u{7f}").into_bytes();
    let damaged: Vec<u8> = damaged.into_iter().map(|b| if b == 0x7f { 0xff } else { b }).collect();
    assert_eq!(
        error("t.csv", damaged),
        "line 4: byte 30 of the file is not UTF-8; convert it, for example with: iconv -f latin1 -t utf-8"
    );
    assert!(error("t.csv", b"PK\x03\x04rest").starts_with("is a zip archive or an Excel workbook"));
    assert!(error("t.parquet", b"PAR1rest").starts_with("is a Parquet file that cannot be read"));
}

#[test]
fn a_file_in_another_encoding_is_read_and_that_is_said() {
    let read = read_bytes("t.csv", b"text,label\nGr\xfc\xdfe aus K\xf6ln,a\n").unwrap();
    let rows = [json!({"text": "Grüße aus Köln", "label": "a"})];
    let said = "read as windows-1252, which its bytes look like; convert the file to UTF-8 if letters are wrong";
    assert_eq!(read.note.as_deref(), Some(said));
    assert_eq!(Table { note: None, ..read }, table(Format::Csv, &["text", "label"], &rows).unwrap());
}

#[test]
fn ragged_records_and_open_quotes_are_placed_by_line() {
    let said = error("t.csv", "text,label\n\"two\nlines\",a\n\n\nhello, you,b\n");
    assert_eq!(said, "line 6: 3 fields where the header has 2; quote fields that hold a comma");
    let said = error("t.tsv", "text\tlabel\nx\n");
    assert_eq!(said, "line 2: 1 fields where the header has 2; quote fields that hold a tab");
    let said = error("t.csv", "text,label\nx,a\ny,\"b\nz,c\n");
    assert!(said.starts_with("line 3: a quoted field begins here and never ends"), "{said}");
}

#[test]
fn broken_json_is_placed_by_line() {
    let said = error("t.jsonl", "{\"a\":1}\n{\"a\":\n");
    assert!(said.starts_with("line 2: not JSON: EOF while parsing a value"), "{said}");
    let said = error("t.json", "[{\"a\":1},\n{\"a\" 2}]");
    assert!(said.starts_with("line 2: not JSON: expected `:`"), "{said}");
    assert_eq!(
        error("t.jsonl", "{\"a\":1}\n\n\"x\"\n"),
        "line 3: a string, not an object; write each row as {\"column\": value, ...}"
    );
    assert!(error("t.json", "[{\"a\":1},[2]]").starts_with("row 2: an array, not an object"));
    assert!(error("t.jsonl", "x".repeat(9)).starts_with("line 1: not JSON"));
    assert!(error("t.json", format!("[{}", "[".repeat(100_000))).starts_with("line 1: not JSON"));
}

#[test]
fn rows_inside_one_object_are_read_where_it_is_clear_which_they_are() {
    let text = "{\n \"version\": \"[1]\",\n \"tags\": [\"]\", [2]],\n \"data\": [\n{\"a\": \"]}\"},\n {\"a\": \"ü\"}], \"n\": 2\n}\n";
    let read = read_bytes("t.json", text.as_bytes());
    let rows = [json!({"a": "]}"}), json!({"a": "ü"})];
    let note = "its rows are the list \"data\"; what stands beside it is left out";
    let want = table(Format::Json, &["a"], &rows).map(|table| Table { note: Some(note.to_owned()), ..table });
    assert_eq!(read, want);
    // As most programs write it, in one line, and with a byte-order mark.
    let line = "\u{feff}{\"version\": 1, \"data\": [{\"a\": \"]}\"}, {\"a\": \"ü\"}]}";
    assert_eq!(read_bytes("t.json", line.as_bytes()), want);
    let utf16: Vec<u8> = line.encode_utf16().flat_map(u16::to_le_bytes).collect();
    assert_eq!(read_bytes("t.json", &utf16).map(|table| table.rows), want.map(|table| table.rows));
    let said = error("t.json", "{\n \"version\": 1,\n \"train\": [{\"a\": 1}],\n \"test\": [{\"a\": 1}]\n}\n");
    assert!(said.ends_with("one object per line, here for example with: jq -c '.[\"train\"][]'"), "{said}");
    let row = json!({"data": [{"a": 1}]});
    let two = format!("{row}\n{row}\n");
    let want = table(Format::JsonLines, &["data"], &[row.clone(), row]);
    assert_eq!(read_bytes("t.json", two.as_bytes()), want);
    assert_eq!(read_bytes("t.json", b"{\"a\": 1}"), table(Format::JsonLines, &["a"], &[json!({"a": 1})]));
}

#[test]
fn what_would_take_many_times_its_size_in_memory_is_refused() {
    let numbers = |n: usize| format!("{{\"a\":[{}0]}}", "0,".repeat(n - 2));
    assert_eq!(read_bytes("t.jsonl", numbers(MAX_VALUES).as_bytes()).map(|table| table.rows.len()), Ok(1));
    let said = error("t.jsonl", numbers(MAX_VALUES + 1));
    assert!(said.starts_with("line 1: not JSON: it holds more than 500000 values"), "{said}");
    let key = "k".repeat(100_000);
    assert!(error("t.jsonl", format!("{{\"{key}\":1,\"{key}\":2}}")).len() < 1000);
    assert!(error("t.csv", format!("{key},{key}\n")).len() < 1000);
    let said = error("t.csv", ",".repeat(MAX_COLUMNS) + "\n");
    assert_eq!(said, "the header names 10001 columns, more than the 10000 that are read; keep what varies as rows");
}

#[test]
fn an_error_shows_escape_sequences_instead_of_sending_them() {
    let said = error("t.csv", "\u{1b}[2J,\u{1b}[2J\n1,2\n");
    assert!(!said.contains('\u{1b}') && said.contains("1b"), "{said}");
}

#[test]
fn written_lines_read_back() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("rows.jsonl");
    let rows = [row(json!({"z": "a\nb\u{2028}", "a": 1.5})), row(json!({"a": null}))];
    write_jsonl(&path, &rows).unwrap();
    assert_eq!(read(&path).unwrap().rows, rows);
    assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), 2);
    assert!(write_jsonl(&dir.path().join("no/rows.jsonl"), &rows).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, rng_seed: RngSeed::Fixed(3), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_table_survives_csv(cells in prop::collection::vec(("\\PC{0,8}", "[a\",;\n\r\t é]{0,6}"), 1..8)) {
        let mut writer = csv::WriterBuilder::new().quote_style(csv::QuoteStyle::Always).from_writer(Vec::new());
        writer.write_record(["x", "y"]).unwrap();
        cells.iter().for_each(|(x, y)| writer.write_record([x, y]).unwrap());
        let rows: Vec<Value> = cells.iter().map(|(x, y)| json!({"x": x, "y": y})).collect();
        let read = read_bytes("t.csv", &writer.into_inner().unwrap());
        prop_assert_eq!(read, table(Format::Csv, &["x", "y"], &rows));
    }

    #[test]
    fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..64), text in "[\\[\\]{}\":,;\n\r\t\" a1]{0,40}") {
        for name in ["t.csv", "t.tsv", "t.json", "t.jsonl", "t"] {
            let _ = read_bytes(name, &bytes);
            let _ = read_bytes(name, text.as_bytes());
        }
    }
}
