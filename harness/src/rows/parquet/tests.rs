#![allow(clippy::unwrap_used)]

use std::{fs, path::PathBuf};

use proptest::{prelude::*, test_runner::RngSeed};

use super::{
    super::{Format, Table},
    *,
};

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/parquet").join(name)
}

#[test]
fn every_type_is_read_as_pyarrow_and_datasets_give_it() {
    for name in ["plain", "snappy", "zstd", "gzip", "lz4", "pages", "datasets", "nanos"] {
        let table = super::super::read(&golden(&format!("{name}.parquet"))).unwrap();
        let expected: Vec<Map<String, Value>> =
            serde_json::from_slice(&fs::read(golden(&format!("{name}.json"))).unwrap()).unwrap();
        assert_eq!(table.format, Format::Parquet, "{name}");
        assert_eq!(table.rows, expected, "{name}");
    }
}

fn changed(name: &str, change: impl FnOnce(&mut Vec<u8>)) -> Result<Table, Problem> {
    let mut bytes = fs::read(golden(name)).unwrap();
    change(&mut bytes);
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), bytes).unwrap();
    super::super::read(file.path()).map_err(|error| error.problem)
}

#[test]
fn a_file_that_is_cut_off_is_an_error() {
    for keep in [4, 8, 12, 100, 1000] {
        assert!(matches!(changed("plain.parquet", |bytes| bytes.truncate(keep)), Err(Problem::Parquet(_))), "{keep}");
    }
}

#[test]
fn a_few_bytes_that_stand_for_many_rows_are_refused() {
    let said = super::super::read_within(&golden("bomb.parquet"), 1 << 20).unwrap_err().problem;
    assert!(matches!(said, Problem::TooLarge(bytes) if bytes < 8 << 20), "{said}");
}

#[test]
fn a_row_of_too_many_values_is_refused_before_it_is_read() {
    let said = super::super::read(&golden("crowded.parquet")).unwrap_err().problem;
    assert!(said.to_string().contains("its rows hold more than 500000 values each"), "{said}");
}

#[test]
fn a_time_of_day_before_midnight_is_refused() {
    assert_eq!(time(86_399_999_999_000).unwrap(), "23:59:59.999999");
    assert_eq!(time(86_399_999_999_999).unwrap(), "23:59:59.999999999");
    for nanos in [-1, -86_400_000_000_000, 86_400_000_000_000] {
        assert_eq!(time(nanos).unwrap_err().to_string(), out_of_range("time").to_string());
    }
}

#[test]
fn a_scale_without_end_is_refused() {
    let number = Decimal::from_i64(1, 2_000_000_000, 2_000_000_000);
    assert_eq!(decimal(&number).unwrap_err().to_string(), out_of_range("decimal").to_string());
    assert_eq!(decimal(&Decimal::from_i64(-5, 9, 0)).unwrap(), "-5");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, rng_seed: RngSeed::Fixed(5), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn flipped_bytes_give_rows_or_an_error(name in prop::sample::select(vec!["plain", "zstd", "snappy", "datasets"]), flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)) {
        let _ = changed(&format!("{name}.parquet"), |bytes| {
            for (at, byte) in flips {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
        });
    }
}
