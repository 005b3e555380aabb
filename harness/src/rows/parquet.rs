//! Parquet: columns of typed values, compressed page by page.
//!
//! Values come as `datasets` gives them to a task, as far as JSON can say it: dates, times and decimals are the text that
//! Python's `str()` gives, NaN is null, and bytes, which are images and sounds as a rule, are left out with their column.

use std::{
    any::Any,
    fs::File,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
};

use jiff::{SignedDuration, Timestamp, civil::Date, tz::TimeZone};
use parquet::{
    data_type::Decimal,
    file::{reader::FileReader, serialized_reader::SerializedFileReader},
    record::{Field, Row as Record},
    schema::types::Type,
};
use serde_json::{Map, Value};

use super::{Format, MAX_BYTES, Problem, Table};

/// How a Parquet file begins and ends.
pub(super) const MAGIC: &[u8] = b"PAR1";
/// What one value takes in memory beside its text, in bytes, names and tables of its row included.
const OVERHEAD: u64 = 128;
/// Deepest nesting of columns.
const MAX_DEPTH: usize = 32;

/// Reads all rows of a file.
pub(super) fn read(path: &Path) -> Result<Table, Problem> {
    read_within(path, MAX_BYTES)
}

fn read_within(path: &Path, limit: u64) -> Result<Table, Problem> {
    let file = File::open(path).map_err(Problem::Io)?;
    // The crate indexes and asserts on what a file says of itself; a file that lies must not end the program.
    let read = catch_unwind(AssertUnwindSafe(|| rows(file, &mut Budget { spent: 0, limit })));
    read.unwrap_or_else(|panic| Err(Problem::Parquet(told(panic.as_ref()))))
}

fn told(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    text.and_then(|text| text.lines().next().map(str::to_owned)).unwrap_or_else(|| "the file contradicts itself".into())
}

fn rows(file: File, budget: &mut Budget) -> Result<Table, Problem> {
    let broken = |e: parquet::errors::ParquetError| Problem::Parquet(e.to_string());
    let reader = SerializedFileReader::new(file).map_err(broken)?;
    let schema = reader.metadata().file_metadata().schema();
    if depth(schema, 0) > MAX_DEPTH {
        return Err(Problem::Parquet(format!("columns are nested more than {MAX_DEPTH} deep")));
    }
    let declared =
        reader.metadata().row_groups().iter().map(|group| u64::try_from(group.total_byte_size()).unwrap_or(0));
    let declared = declared.fold(0, u64::saturating_add);
    if declared > budget.limit {
        return Err(Problem::TooLarge(declared));
    }
    let columns = schema.get_fields().iter().map(|field| field.name().to_owned()).collect();
    let mut rows = Vec::new();
    for record in reader.get_row_iter(None).map_err(broken)? {
        rows.push(object(record.map_err(broken)?, budget)?);
    }
    if rows.is_empty() {
        return Err(Problem::NoRows(""));
    }
    Ok(Table { format: Format::Parquet, columns, rows })
}

fn depth(schema: &Type, level: usize) -> usize {
    // Deeper levels are not looked at: a deep schema is refused without following it to its end.
    if schema.is_primitive() || level > MAX_DEPTH {
        return level;
    }
    schema.get_fields().iter().map(|field| depth(field, level + 1)).max().unwrap_or(level)
}

fn object(record: Record, budget: &mut Budget) -> Result<Map<String, Value>, Problem> {
    let mut object = Map::new();
    for (name, field) in record.into_columns() {
        budget.spend(name.len())?;
        if let Some(value) = value(field, budget)? {
            object.insert(name, value);
        }
    }
    Ok(object)
}

/// What is held, and how much may be: a page of a few bytes can stand for any number of values.
struct Budget {
    spent: u64,
    limit: u64,
}

impl Budget {
    fn spend(&mut self, bytes: usize) -> Result<(), Problem> {
        self.spent = self.spent.saturating_add(OVERHEAD + bytes as u64);
        if self.spent > self.limit { Err(Problem::TooLarge(self.spent)) } else { Ok(()) }
    }
}

fn value(field: Field, budget: &mut Budget) -> Result<Option<Value>, Problem> {
    budget.spend(0)?;
    Ok(Some(match field {
        Field::Bytes(_) => return Ok(None),
        Field::Null => Value::Null,
        Field::Bool(flag) => flag.into(),
        Field::Byte(n) => n.into(),
        Field::Short(n) => n.into(),
        Field::Int(n) => n.into(),
        Field::Long(n) => n.into(),
        Field::UByte(n) => n.into(),
        Field::UShort(n) => n.into(),
        Field::UInt(n) => n.into(),
        Field::ULong(n) => n.into(),
        // Widened as Python does it, not by way of the shortest text.
        Field::Float16(n) => f64::from(n).into(),
        Field::Float(n) => f64::from(n).into(),
        Field::Double(n) => n.into(),
        Field::Decimal(n) => decimal(&n)?.into(),
        Field::Str(text) => {
            budget.spend(text.len())?;
            text.into()
        }
        Field::Date(days) => date(days)?.into(),
        Field::TimeMillis(n) => time(i64::from(n) * 1000)?.into(),
        Field::TimeMicros(n) => time(n)?.into(),
        Field::TimestampMillis(n) => timestamp(Timestamp::from_millisecond(n))?.into(),
        Field::TimestampMicros(n) => timestamp(Timestamp::from_microsecond(n))?.into(),
        Field::Group(record) => object(record, budget)?.into(),
        Field::ListInternal(list) => {
            let mut items = Vec::new();
            for item in list.elements() {
                items.extend(value(item.clone(), budget)?);
            }
            items.into()
        }
        // As `datasets` does: a list of pairs.
        Field::MapInternal(map) => {
            let mut pairs = Vec::new();
            for (key, item) in map.entries() {
                let pair = [value(key.clone(), budget)?, value(item.clone(), budget)?];
                pairs.push(pair.into_iter().flatten().collect::<Value>());
            }
            pairs.into()
        }
    }))
}

fn out_of_range(what: &str) -> Problem {
    Problem::Parquet(format!("a {what} is out of range"))
}

fn decimal(number: &Decimal) -> Result<String, Problem> {
    // The crate pads with one zero per digit of the scale, whatever the file says that is.
    let fits = (0..=76).contains(&number.scale()) && (number.scale()..=76).contains(&number.precision());
    let text = if fits { Field::Decimal(number.clone()).to_string() } else { return Err(out_of_range("decimal")) };
    Ok(text.strip_suffix('.').unwrap_or(&text).to_owned())
}

fn date(days: i32) -> Result<String, Problem> {
    let epoch = Date::constant(1970, 1, 1);
    let date = epoch.checked_add(SignedDuration::from_hours(i64::from(days) * 24)).map_err(|_| out_of_range("date"))?;
    Ok(date.to_string())
}

fn time(micros: i64) -> Result<String, Problem> {
    let seconds =
        u32::try_from(micros.div_euclid(1_000_000)).ok().filter(|s| *s < 86_400).ok_or_else(|| out_of_range("time"))?;
    let fraction = micros.rem_euclid(1_000_000);
    let text = format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
    Ok(if fraction == 0 { text } else { format!("{text}.{fraction:06}") })
}

fn timestamp(at: Result<Timestamp, jiff::Error>) -> Result<String, Problem> {
    let at = at.map_err(|_| out_of_range("timestamp"))?;
    let fraction = if at.subsec_nanosecond() == 0 { "" } else { "%.6f" };
    Ok(at.to_zoned(TimeZone::UTC).strftime(&format!("%Y-%m-%d %H:%M:%S{fraction}")).to_string())
}

#[cfg(test)]
mod tests;
