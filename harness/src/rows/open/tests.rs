#![allow(clippy::unwrap_used)]

use super::*;

fn told(bytes: &[u8]) -> String {
    encoding(bytes, true).map_or_else(|problem| problem.to_string(), |encoding| encoding.name().to_owned())
}

#[test]
fn encodings_are_told_by_marks_zeros_and_letters() {
    let utf_16 = |text: &str| text.encode_utf16().collect::<Vec<u16>>();
    let little: Vec<u8> = utf_16("a line of text\n").iter().flat_map(|unit| unit.to_le_bytes()).collect();
    let big: Vec<u8> = utf_16("a line of text\n").iter().flat_map(|unit| unit.to_be_bytes()).collect();
    let japanese = encoding_rs::SHIFT_JIS.encode("これは日本語の文章です。お支払いの方法を変更したいのですが。").0;
    let russian = encoding_rs::WINDOWS_1251.encode("Почему мой платёж ещё не пришёл? Проверьте, пожалуйста.").0;
    let table: [(&[u8], &str); 11] = [
        (b"plain", "UTF-8"),
        ("schön".as_bytes(), "UTF-8"),
        (b"\xef\xbb\xbfplain", "UTF-8"),
        (b"\xff\xfep\0", "UTF-16LE"),
        (b"\xfe\xff\0p", "UTF-16BE"),
        (&little, "UTF-16LE"),
        (&big, "UTF-16BE"),
        (b"Die K\xfcche ist gr\xfcn und gro\xdf.", "windows-1252"),
        (&japanese, "Shift_JIS"),
        (&russian, "windows-1251"),
        (b"two\nlines\0\0", "line 2: byte 9 of the file is NUL, so it is not text; check how the file was made"),
    ];
    for (bytes, want) in table {
        assert_eq!(told(bytes), want, "{bytes:?}");
    }
}

#[test]
fn a_broken_letter_in_utf_8_is_damage_and_a_cut_one_at_the_end_is_none() {
    assert_eq!(told("grün schön sü\u{7f}".replace('\u{7f}', "").as_bytes()), "UTF-8");
    assert_eq!(told(&[b"gr\xc3\xbcn sch\xc3\xb6n " as &[u8], b"\xff"].concat()), "UTF-8");
    assert_eq!(encoding(b"cut \xc3", false).unwrap(), UTF_8);
}

#[test]
fn what_an_encoding_does_not_have_is_left_as_no_text() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t");
    std::fs::write(&path, b"\x82\xb1\n\x82\xff\n\x82\xb1\n").unwrap();
    let (mut text, mut into) = (Text::open(&path, encoding_rs::SHIFT_JIS).unwrap(), Vec::new());
    while text.read(&mut into).unwrap() {}
    let lines: Vec<_> = into.split(|&b| b == b'\n').map(|line| str::from_utf8(line).ok()).collect();
    assert_eq!(lines, [Some("こ"), None, Some("こ"), Some("")]);
}
