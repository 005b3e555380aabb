#![allow(clippy::unwrap_used)]

use std::fs;

use super::*;

/// A safetensors file with one tensor of four numbers.
fn safetensors(shape: &str, numbers: usize) -> Vec<u8> {
    let header =
        format!("{{\"__metadata__\":{{}},\"w\":{{\"dtype\":\"F32\",\"shape\":{shape},\"data_offsets\":[0,16]}}}}");
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.extend(vec![0; numbers * 4]);
    bytes
}

#[test]
fn a_file_that_is_changed_cut_or_taken_away_is_not_the_one_that_was_written() {
    let dir = tempfile::tempdir().unwrap();
    for size in [10, 1 << 18, (1 << 20) + 7] {
        let path = dir.path().join("model.gguf");
        let content: Vec<u8> = (0..size).map(|i: usize| (i % 251) as u8).collect();
        fs::write(&path, &content).unwrap();
        let claimed = mark(&path).unwrap();
        assert_eq!(same(&path, &claimed), Ok(()));
        for at in [0, size - 1] {
            let mut other = content.clone();
            other[at] ^= 1;
            fs::write(&path, other).unwrap();
            assert_eq!(same(&path, &claimed), Err("model.gguf is not the file that was written".into()));
        }
        fs::write(&path, &content[..size - 1]).unwrap();
        assert_eq!(same(&path, &claimed), Err("model.gguf is not the file that was written".into()));
        fs::remove_file(&path).unwrap();
        assert_eq!(same(&path, &claimed), Err("model.gguf is not there".into()));
    }
}

#[test]
#[cfg(unix)]
fn a_link_is_no_claimed_file() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    fs::write(at("file"), "a\n").unwrap();
    std::os::unix::fs::symlink(at("file"), at("link")).unwrap();
    assert_eq!(lines(&at("file"), 1), Ok(true));
    assert_eq!(lines(&at("link"), 1), Err("link cannot be read as a regular file".into()));
    assert_eq!(same(&at("link"), &mark(&at("file")).unwrap()), Err("link cannot be read as a regular file".into()));
}

#[test]
fn rows_are_counted() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("train.jsonl");
    fs::write(&path, "{}\n{}\n").unwrap();
    assert_eq!(lines(&path, 2), Ok(true));
    assert_eq!(lines(&path, 3), Err("train.jsonl has 2 rows, not 3".into()));
    fs::File::create(&path).unwrap().set_len(COUNTED + 1).unwrap();
    assert_eq!(lines(&path, 2), Ok(false));
}

#[test]
fn headers_say_what_is_in_a_file_and_damaged_ones_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.safetensors");
    let read = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        tensors(&path)
    };
    assert_eq!(read(&safetensors("[2,2]", 4)).unwrap(), [("w".to_owned(), vec![2, 2])].into());
    let damaged = Err("a.safetensors is no whole safetensors file".to_owned());
    let whole = safetensors("[2,2]", 4);
    for bytes in [&safetensors("[2,2]", 3)[..], &whole[..20], &[255; 40], b"", &safetensors("[-1]", 4)] {
        assert_eq!(read(bytes), damaged);
    }

    let path = dir.path().join("a.gguf");
    let text = |text: &str| [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat();
    let value = |key: &str, kind: u32, value: &[u8]| [&text(key)[..], &kind.to_le_bytes(), value].concat();
    let head = |values: &[Vec<u8>]| [&b"GGUF"[..], &[0; 20], &values.concat()].concat();
    let read = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        gguf_file_type(&path)
    };
    let values = [value("general.architecture", 8, &text("llama")), value("general.file_type", 4, &7u32.to_le_bytes())];
    assert_eq!(read(&head(&values)), Ok(7));
    let damaged = Err("a.gguf is no GGUF file that says how its numbers are stored".to_owned());
    let endless = [value("general.architecture", 8, &u64::MAX.to_le_bytes())];
    for bytes in [&head(&values[..1])[..], &head(&endless), b"GGUX", b"", &head(&[value("x", 9, &[])])] {
        assert_eq!(read(bytes), damaged);
    }
}
