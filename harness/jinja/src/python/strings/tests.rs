use super::*;

#[test]
fn white_space_is_pythons() {
    assert_eq!(strip("\u{1c}\u{a0} a b\u{200b}\u{3000}\n"), "a b\u{200b}");
    assert_eq!((lstrip(" a "), rstrip(" a ")), ("a ", " a"));
    assert_eq!(words(" a\u{1f}b\u{2003}c ").collect::<Vec<_>>(), ["a", "b", "c"]);
    assert_eq!(split_words("  a  b  c ", Some(1)), ["a", "b  c "]);
    assert_eq!(split_words("  a  b", None), ["a", "b"]);
    assert_eq!(split_lines("a\r\nb\rc\u{2028}\n", false), ["a", "b", "c", ""]);
    assert_eq!(split_lines("a\r\nb\u{b}c", true), ["a\r\n", "b\u{b}", "c"]);
}

#[test]
fn capitals_are_pythons() {
    assert_eq!(
        ["hELLO wORLD", "ǆABC", "ßAB", "", "ΣΑΣ", "éÀ"].map(capitalize),
        ["Hello world", "ǅabc", "Ssab", "", "Σας", "Éà"]
    );
    assert_eq!(["they're bill's", "hELLO 3d", "ﬁsh ǆx"].map(title), ["They'Re Bill'S", "Hello 3D", "Fish ǅx"]);
}

#[test]
fn digits_are_pythons() {
    assert!(["0", "123", "٣", "²", "①", "𝟘"].iter().all(|text| is_digit(text)));
    assert!(!["", "-1", "1.0", "½", "Ⅷ", "一", "1 "].iter().any(|text| is_digit(text)));
}
