//! Parquet: columns of typed values, compressed page by page.
//!
//! Values come as `datasets` gives them to a task, as far as JSON can say it: dates, times and decimals are the text that
//! Python's `str()` gives, NaN is null, and bytes, which are images and sounds as a rule, are left out with their column.

use std::{
    any::Any,
    fs::File,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::Arc,
};

use jiff::{SignedDuration, Timestamp, civil::Date, tz::TimeZone};
use parquet::{
    basic::{ConvertedType, LogicalType, TimeUnit, Type as Physical},
    data_type::Decimal,
    file::{metadata::ParquetMetaData, reader::FileReader, serialized_reader::SerializedFileReader},
    record::{Field, Row as Record, reader::RowIter},
    schema::types::Type,
};
use serde_json::{Map, Value};

use super::{Bad, BadRow, Batch, MAX_VALUES, Problem, open::io_problem};
use crate::text::truncate_middle;

/// How a Parquet file begins and ends.
pub(super) const MAGIC: &[u8] = b"PAR1";
/// What one value takes in memory beside its text, in bytes, names and tables of its row included.
const OVERHEAD: usize = 128;
/// Longest message of the crate that is passed on, in characters.
const MOST_SAID: usize = 300;
/// Deepest nesting of columns.
const MAX_DEPTH: usize = 32;
/// A piece ends with the first row that reaches this many bytes, or at this many rows.
const PIECE: (usize, usize) = (4 << 20, 4096);

/// The rows of a file, some at a time.
pub(super) struct Groups {
    file: usize,
    rows: RowIter<'static>,
    nanos: Arc<Vec<(String, Nanos)>>,
    taken: u64,
    total: u64,
    bytes: u64,
}

/// Some rows, as the file has them.
pub(super) struct Piece {
    file: usize,
    records: Vec<Record>,
    nanos: Arc<Vec<(String, Nanos)>>,
    first: u64,
    /// What they take in memory.
    pub bytes: usize,
    read: u64,
}

/// What counts nanoseconds, which the crate gives as plain numbers. Pandas writes its times so.
#[derive(Clone, Copy)]
enum Nanos {
    Timestamp,
    Time,
}

/// The columns that count nanoseconds.
fn nanos(schema: &Type) -> Vec<(String, Nanos)> {
    let kind = |field: &Type| match field.get_basic_info().logical_type_ref() {
        Some(LogicalType::Timestamp(about)) if about.unit == TimeUnit::NANOS => Some(Nanos::Timestamp),
        Some(LogicalType::Time(about)) if about.unit == TimeUnit::NANOS => Some(Nanos::Time),
        _ => None,
    };
    let fields = schema.get_fields().iter();
    fields.filter_map(|field| Some((field.name().to_owned(), kind(field)?))).collect()
}

impl Nanos {
    /// Writes a number as the text that it stands for.
    fn spell(self, value: Option<&mut Value>) -> Result<(), Problem> {
        let Some(value) = value else { return Ok(()) };
        let Some(number) = value.as_i64() else { return Ok(()) };
        *value = match self {
            Nanos::Timestamp => timestamp(Timestamp::from_nanosecond(number.into()))?,
            Nanos::Time => time(number)?,
        }
        .into();
        Ok(())
    }
}

impl Groups {
    pub fn open(file: usize, path: &Path) -> Result<Groups, Problem> {
        let handle = File::open(path).map_err(io_problem)?;
        let bytes = handle.metadata().map_err(Problem::Io)?.len();
        guarded(|| {
            let reader = SerializedFileReader::new(handle)?;
            let about = reader.metadata().file_metadata();
            let total = u64::try_from(about.num_rows()).unwrap_or(0);
            if depth(about.schema(), 0) > MAX_DEPTH {
                let why = format!("columns are nested more than {MAX_DEPTH} deep");
                return Err(parquet::errors::ParquetError::General(why));
            }
            if crowded(reader.metadata()) {
                let why = format!("its rows hold more than {MAX_VALUES} values each");
                return Err(parquet::errors::ParquetError::General(why));
            }
            let nanos = Arc::new(nanos(about.schema()));
            Ok(Groups { file, rows: RowIter::from_file_into(Box::new(reader)), nanos, taken: 0, total, bytes })
        })
    }

    pub fn next(&mut self) -> Result<Option<Piece>, Problem> {
        guarded(|| {
            let (mut records, mut bytes) = (Vec::new(), 0);
            while bytes < PIECE.0 && records.len() < PIECE.1 {
                let Some(record) = self.rows.next().transpose()? else { break };
                bytes += record.get_column_iter().map(|(name, field)| name.len() + weight(field)).sum::<usize>();
                records.push(record);
            }
            if records.is_empty() {
                return Ok(None);
            }
            let first = self.taken + 1;
            self.taken += records.len() as u64;
            let read = (self.bytes as f64 * self.taken as f64 / self.total.max(self.taken) as f64) as u64;
            Ok(Some(Piece { file: self.file, records, nanos: self.nanos.clone(), first, bytes, read }))
        })
    }
}

impl Piece {
    pub fn parse(self, bad: Bad) -> Result<Batch, Problem> {
        let mut batch = Batch { file: self.file, bytes: self.bytes as u64, read: self.read, ..Batch::default() };
        for (line, record) in (self.first..).zip(self.records) {
            let row = object(record).and_then(|mut row| {
                self.nanos.iter().try_for_each(|(name, kind)| kind.spell(row.get_mut(name)))?;
                Ok(row)
            });
            match row {
                Ok(row) => {
                    batch.rows.push(row);
                    batch.lines.push(line);
                }
                Err(problem) if bad == Bad::Refuse => return Err(problem),
                Err(problem) => {
                    let why = format!("row {line}: {}", problem.said());
                    batch.bad.push(BadRow { file: self.file, line, why, raw: String::new() });
                }
            }
        }
        Ok(batch)
    }
}

/// Whether rows hold too many values on average. A row is read as a whole, and a few bytes can stand for any number of values.
fn crowded(about: &ParquetMetaData) -> bool {
    about.row_groups().iter().any(|group| {
        let most = group.num_rows().max(1).saturating_mul(MAX_VALUES as i64);
        group.columns().iter().any(|column| column.num_values() > most)
    })
}

/// The columns of bytes, which are left out of the rows.
pub(super) fn left_out(path: &Path) -> Result<Vec<String>, Problem> {
    let file = File::open(path).map_err(io_problem)?;
    guarded(|| {
        let reader = SerializedFileReader::new(file)?;
        let columns = reader.metadata().file_metadata().schema_descr().columns();
        let bytes = columns.iter().filter(|column| {
            let plain = matches!(column.converted_type(), ConvertedType::NONE | ConvertedType::BSON);
            match column.physical_type() {
                Physical::BYTE_ARRAY => plain,
                Physical::FIXED_LEN_BYTE_ARRAY => plain && column.logical_type_ref() != Some(&LogicalType::Float16),
                _ => false,
            }
        });
        Ok(bytes.map(|column| column.path().string()).collect())
    })
}

/// The crate indexes and asserts on what a file says of itself; a file that lies must not end the program.
fn guarded<T>(read: impl FnOnce() -> Result<T, parquet::errors::ParquetError>) -> Result<T, Problem> {
    match catch_unwind(AssertUnwindSafe(read)) {
        // The crate quotes the bytes that it cannot read, all of them.
        Ok(read) => read.map_err(|error| Problem::Parquet(truncate_middle(&error.to_string(), MOST_SAID).into_owned())),
        Err(panic) => Err(Problem::Parquet(told(panic.as_ref()))),
    }
}

fn told(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    text.and_then(|text| text.lines().next().map(str::to_owned)).unwrap_or_else(|| "the file contradicts itself".into())
}

/// What a value takes in memory; a page of a few bytes can stand for any number of values.
fn weight(field: &Field) -> usize {
    OVERHEAD
        + match field {
            Field::Str(text) => text.len(),
            Field::Bytes(bytes) => bytes.len(),
            Field::Group(record) => record.get_column_iter().map(|(name, field)| name.len() + weight(field)).sum(),
            Field::ListInternal(list) => list.elements().iter().map(weight).sum(),
            Field::MapInternal(map) => map.entries().iter().map(|(key, item)| weight(key) + weight(item)).sum(),
            _ => 0,
        }
}

fn depth(schema: &Type, level: usize) -> usize {
    // Deeper levels are not looked at: a deep schema is refused without following it to its end.
    if schema.is_primitive() || level > MAX_DEPTH {
        return level;
    }
    schema.get_fields().iter().map(|field| depth(field, level + 1)).max().unwrap_or(level)
}

fn object(record: Record) -> Result<Map<String, Value>, Problem> {
    let mut object = Map::new();
    for (name, field) in record.into_columns() {
        if let Some(value) = value(field)? {
            object.insert(name, value);
        }
    }
    Ok(object)
}

fn value(field: Field) -> Result<Option<Value>, Problem> {
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
        Field::Str(text) => text.into(),
        Field::Date(days) => date(days)?.into(),
        Field::TimeMillis(n) => time(i64::from(n) * 1_000_000)?.into(),
        Field::TimeMicros(n) => time(n.checked_mul(1000).ok_or_else(|| out_of_range("time"))?)?.into(),
        Field::TimestampMillis(n) => timestamp(Timestamp::from_millisecond(n))?.into(),
        Field::TimestampMicros(n) => timestamp(Timestamp::from_microsecond(n))?.into(),
        Field::Group(record) => object(record)?.into(),
        Field::ListInternal(list) => {
            let mut items = Vec::new();
            for item in list.elements() {
                items.extend(value(item.clone())?);
            }
            items.into()
        }
        // As `datasets` does: a list of pairs.
        Field::MapInternal(map) => {
            let mut pairs = Vec::new();
            for (key, item) in map.entries() {
                let pair = [value(key.clone())?, value(item.clone())?];
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

fn time(nanos: i64) -> Result<String, Problem> {
    let seconds = u32::try_from(nanos.div_euclid(1_000_000_000)).ok().filter(|s| *s < 86_400);
    let seconds = seconds.ok_or_else(|| out_of_range("time"))?;
    let fraction = fraction(nanos.rem_euclid(1_000_000_000));
    Ok(format!("{:02}:{:02}:{:02}{fraction}", seconds / 3600, seconds / 60 % 60, seconds % 60))
}

fn timestamp(at: Result<Timestamp, jiff::Error>) -> Result<String, Problem> {
    let at = at.map_err(|_| out_of_range("timestamp"))?.to_zoned(TimeZone::UTC);
    Ok(at.strftime("%Y-%m-%d %H:%M:%S").to_string() + &fraction(at.subsec_nanosecond().into()))
}

/// A part of a second, as far as it is not zero: nothing, six digits, or nine.
fn fraction(nanos: i64) -> String {
    match (nanos, nanos % 1000) {
        (0, _) => String::new(),
        (_, 0) => format!(".{:06}", nanos / 1000),
        _ => format!(".{nanos:09}"),
    }
}

#[cfg(test)]
mod tests;
