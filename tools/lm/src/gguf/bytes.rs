//! The outer format: a header of keys and values, then tensor descriptions, then the tensors' bytes.
//!
//! Files come from strangers. Every length is compared with the bytes that are left before anything is allocated.

use std::collections::BTreeMap;

use crate::storage::printable;

pub(super) const MAGIC: &[u8; 4] = b"GGUF";
pub(super) const ALIGNMENT: usize = 32;

/// Numbers of the value types.
pub(super) mod kind {
    pub const U32: u32 = 4;
    pub const I32: u32 = 5;
    pub const F32: u32 = 6;
    pub const BOOL: u32 = 7;
    pub const STRING: u32 = 8;
    pub const ARRAY: u32 = 9;
}

/// A value of the header. Arrays are only located; what is in them is read when it is wanted.
#[derive(Clone, Debug)]
pub(super) enum Value<'a> {
    Int(i128),
    Float(f64),
    Bool(bool),
    String(&'a str),
    Array { kind: u32, count: usize, bytes: &'a [u8] },
}

/// Where a tensor is, and how it is stored.
#[derive(Clone, Debug)]
pub(super) struct Info<'a> {
    /// Rows first, as everywhere else in this crate; the file has them the other way round.
    pub(super) shape: Vec<usize>,
    pub(super) dtype: u32,
    /// All bytes from the tensor's start to the end of the file.
    pub(super) rest: &'a [u8],
}

/// A parsed file.
pub(super) struct File<'a> {
    pub(super) values: BTreeMap<&'a str, Value<'a>>,
    pub(super) tensors: BTreeMap<&'a str, Info<'a>>,
}

impl<'a> File<'a> {
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self, String> {
        let mut reader = Reader { bytes, at: 0 };
        if reader.take(4)? != MAGIC {
            return Err("not a GGUF file".into());
        }
        let version = reader.u32()?;
        if version != 2 && version != 3 {
            return Err(format!("version {version} is not supported, only 2 and 3"));
        }
        // Each description takes at least 24 bytes, each value at least 13.
        let tensor_count = reader.count(24)?;
        let value_count = reader.count(13)?;
        let mut values = BTreeMap::new();
        for _ in 0..value_count {
            let key = reader.string()?;
            let kind = reader.u32()?;
            let value = reader.value(kind)?;
            if values.insert(key, value).is_some() {
                return Err(format!("the key {} is there twice", printable(key)));
            }
        }
        let mut found = Vec::new();
        for _ in 0..tensor_count {
            found.push((reader.string()?, reader.shape()?, reader.u32()?, reader.u64()?));
        }
        let alignment = match values.get("general.alignment") {
            None => ALIGNMENT,
            Some(Value::Int(n)) if (8..=65536).contains(n) && n.count_ones() == 1 => *n as usize,
            Some(_) => return Err("general.alignment must be a power of two from 8 to 65536".into()),
        };
        let start = reader.at.next_multiple_of(alignment);
        let mut tensors = BTreeMap::new();
        for (name, shape, dtype, offset) in found {
            let at = usize::try_from(offset).ok().and_then(|offset| start.checked_add(offset));
            let rest = at.filter(|at| at.is_multiple_of(alignment)).and_then(|at| bytes.get(at..));
            let Some(rest) = rest else {
                return Err(format!("the tensor {} starts outside the file", printable(name)));
            };
            if tensors.insert(name, Info { shape, dtype, rest }).is_some() {
                return Err(format!("the tensor {} is there twice", printable(name)));
            }
        }
        Ok(Self { values, tensors })
    }

    pub(super) fn string(&self, key: &str) -> Result<&'a str, String> {
        match self.values.get(key) {
            Some(Value::String(text)) => Ok(text),
            Some(_) => Err(format!("{key} is not a text")),
            None => Err(format!("{key} is missing")),
        }
    }

    /// A whole number; `None` where the key is not there.
    pub(super) fn int(&self, key: &str) -> Result<Option<u64>, String> {
        match self.values.get(key) {
            None => Ok(None),
            Some(Value::Int(n)) => u64::try_from(*n).map(Some).map_err(|_| format!("{key} is out of range")),
            Some(_) => Err(format!("{key} is not a whole number")),
        }
    }

    /// A number; `None` where the key is not there.
    pub(super) fn float(&self, key: &str) -> Result<Option<f64>, String> {
        match self.values.get(key) {
            None => Ok(None),
            Some(Value::Float(x)) => Ok(Some(*x)),
            Some(Value::Int(n)) => Ok(Some(*n as f64)),
            Some(_) => Err(format!("{key} is not a number")),
        }
    }

    /// The texts of an array; `None` where the key is not there.
    pub(super) fn strings(&self, key: &str) -> Result<Option<Vec<&'a str>>, String> {
        match self.values.get(key) {
            None => Ok(None),
            Some(Value::Array { kind: kind::STRING, count, bytes }) => {
                let mut reader = Reader { bytes, at: 0 };
                (0..*count).map(|_| reader.string()).collect::<Result<_, _>>().map(Some)
            }
            Some(_) => Err(format!("{key} is not an array of texts")),
        }
    }

    /// The whole numbers of an array; `None` where the key is not there.
    pub(super) fn ints(&self, key: &str) -> Result<Option<Vec<i64>>, String> {
        match self.values.get(key) {
            None => Ok(None),
            Some(Value::Array { kind: kind::U32 | kind::I32, bytes, .. }) => {
                let number = |b: &[u8]| i64::from(i32::from_le_bytes([b[0], b[1], b[2], b[3]]));
                Ok(Some(bytes.chunks_exact(4).map(number).collect()))
            }
            Some(_) => Err(format!("{key} is not an array of 32-bit whole numbers")),
        }
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, n: usize) -> Result<&'a [u8], String> {
        let end = self.at.checked_add(n).filter(|end| *end <= self.bytes.len());
        let Some(end) = end else { return Err("the file ends too early; was it cut off?".into()) };
        let taken = &self.bytes[self.at..end];
        self.at = end;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        self.take(N)?.try_into().map_err(|_| "the file ends too early".into())
    }

    fn u32(&mut self) -> Result<u32, String> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    fn u64(&mut self) -> Result<u64, String> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    /// A number of things that take at least `least` bytes each.
    fn count(&mut self, least: usize) -> Result<usize, String> {
        let count = self.u64()?;
        match usize::try_from(count) {
            Ok(n) if n <= (self.bytes.len() - self.at) / least => Ok(n),
            _ => Err(format!("the file says that {count} things follow, which do not fit into it")),
        }
    }

    fn string(&mut self) -> Result<&'a str, String> {
        let length = self.count(1)?;
        std::str::from_utf8(self.take(length)?).map_err(|_| "a text in it is not UTF-8".into())
    }

    fn shape(&mut self) -> Result<Vec<usize>, String> {
        let dimensions = self.u32()?;
        if dimensions == 0 || dimensions > 4 {
            return Err(format!("a tensor has {dimensions} dimensions"));
        }
        let mut shape = Vec::new();
        for _ in 0..dimensions {
            shape.push(usize::try_from(self.u64()?).map_err(|_| "a tensor is too large")?);
        }
        shape.reverse();
        Ok(shape)
    }

    fn value(&mut self, kind: u32) -> Result<Value<'a>, String> {
        Ok(match kind {
            0 => Value::Int(u8::from_le_bytes(self.array()?).into()),
            1 => Value::Int(i8::from_le_bytes(self.array()?).into()),
            2 => Value::Int(u16::from_le_bytes(self.array()?).into()),
            3 => Value::Int(i16::from_le_bytes(self.array()?).into()),
            kind::U32 => Value::Int(self.u32()?.into()),
            kind::I32 => Value::Int(i32::from_le_bytes(self.array()?).into()),
            kind::F32 => Value::Float(f32::from_le_bytes(self.array()?).into()),
            kind::BOOL => Value::Bool(self.take(1)? != [0]),
            kind::STRING => Value::String(self.string()?),
            kind::ARRAY => self.list()?,
            10 => Value::Int(self.u64()?.into()),
            11 => Value::Int(i64::from_le_bytes(self.array()?).into()),
            12 => Value::Float(f64::from_le_bytes(self.array()?)),
            other => return Err(format!("a value has the unknown type {other}")),
        })
    }

    fn list(&mut self) -> Result<Value<'a>, String> {
        let kind = self.u32()?;
        let width = match kind {
            0 | 1 | kind::BOOL => 1,
            2 | 3 => 2,
            kind::U32 | kind::I32 | kind::F32 => 4,
            10..=12 => 8,
            kind::STRING => 0,
            _ => return Err(format!("an array of type {kind} is not supported")),
        };
        let count = self.count(if kind == kind::STRING { 8 } else { width })?;
        let start = self.at;
        if kind == kind::STRING {
            for _ in 0..count {
                self.string()?;
            }
        } else {
            self.take(count * width)?;
        }
        Ok(Value::Array { kind, count, bytes: &self.bytes[start..self.at] })
    }
}

/// The keys and values of the header, as bytes.
#[derive(Default)]
pub(super) struct Values {
    pub(super) count: u64,
    pub(super) bytes: Vec<u8>,
}

impl Values {
    fn key(&mut self, key: &str, kind: u32) {
        self.count += 1;
        string(&mut self.bytes, key);
        self.bytes.extend_from_slice(&kind.to_le_bytes());
    }

    pub(super) fn u32(&mut self, key: &str, value: u32) {
        self.key(key, kind::U32);
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    pub(super) fn f32(&mut self, key: &str, value: f32) {
        self.key(key, kind::F32);
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    pub(super) fn bool(&mut self, key: &str, value: bool) {
        self.key(key, kind::BOOL);
        self.bytes.push(value.into());
    }

    pub(super) fn string(&mut self, key: &str, value: &str) {
        self.key(key, kind::STRING);
        string(&mut self.bytes, value);
    }

    pub(super) fn strings(&mut self, key: &str, items: &[String]) {
        self.array(key, kind::STRING, items.len());
        items.iter().for_each(|item| string(&mut self.bytes, item));
    }

    pub(super) fn i32s(&mut self, key: &str, items: &[i32]) {
        self.array(key, kind::I32, items.len());
        items.iter().for_each(|item| self.bytes.extend_from_slice(&item.to_le_bytes()));
    }

    fn array(&mut self, key: &str, kind: u32, count: usize) {
        self.key(key, kind::ARRAY);
        self.bytes.extend_from_slice(&kind.to_le_bytes());
        self.bytes.extend_from_slice(&(count as u64).to_le_bytes());
    }
}

/// A text as the format has it: its length, then its bytes.
pub(super) fn string(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(&(text.len() as u64).to_le_bytes());
    out.extend_from_slice(text.as_bytes());
}
