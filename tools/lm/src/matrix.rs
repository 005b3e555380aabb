//! A weight matrix as it is stored: f32 in memory, or 16 bits or blocks of a file that stays where it is.

use std::{borrow::Cow, fmt, ops::Range, sync::Arc};

use crate::{kernels::stored::decode, storage::Mapped};

pub(crate) use crate::kernels::stored::{Q4_K, Q6_K, Q8_0};

/// Numbers that are decoded at a time where all are looked at: whole blocks of every kind.
const PART: usize = 1 << 16;

/// Row-major numbers that are decoded when they are used.
#[derive(Clone)]
pub struct Matrix(Data);

#[derive(Clone)]
enum Data {
    Plain(Arc<Vec<f32>>),
    Stored { bytes: Bytes, stored: Stored, numbers: usize },
}

/// Where stored bytes are.
#[derive(Clone)]
pub(crate) enum Bytes {
    /// In a file, paged in when read.
    Mapped(Arc<Mapped>, Range<usize>),
    /// In memory.
    Owned(Arc<Vec<u8>>),
}

impl Bytes {
    fn get(&self) -> &[u8] {
        match self {
            Bytes::Mapped(map, range) => map.bytes().get(range.clone()).unwrap_or_default(),
            Bytes::Owned(bytes) => bytes,
        }
    }
}

/// How numbers are stored that are not plain f32 in memory. Blocks are those of GGUF.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stored {
    /// 32-bit floats, little-endian.
    F32,
    /// IEEE half precision.
    F16,
    /// 16-bit floats with 8 bits of exponent.
    BF16,
    /// Blocks of 32 signed bytes with one f16 scale.
    Q8_0,
    /// Blocks of 256 4-bit numbers with 6-bit scales and minima.
    Q4K,
    /// Blocks of 256 6-bit numbers with 8-bit scales.
    Q6K,
}

impl Stored {
    /// Numbers and bytes of a block.
    pub fn block(self) -> (usize, usize) {
        match self {
            Stored::F32 => (1, 4),
            Stored::F16 | Stored::BF16 => (1, 2),
            Stored::Q8_0 => (32, Q8_0),
            Stored::Q4K => (256, Q4_K),
            Stored::Q6K => (256, Q6_K),
        }
    }

    /// Bytes of so many numbers, which must be whole blocks.
    pub fn bytes(self, numbers: usize) -> Option<usize> {
        let (size, bytes) = self.block();
        numbers.is_multiple_of(size).then(|| (numbers / size).checked_mul(bytes))?
    }
}

impl Matrix {
    /// Stored bytes as a matrix; an error says what is wrong with their number.
    pub(crate) fn stored(bytes: Bytes, stored: Stored, numbers: usize) -> Result<Self, String> {
        match stored.bytes(numbers) {
            Some(size) if size == bytes.get().len() => Ok(Matrix(Data::Stored { bytes, stored, numbers })),
            Some(size) => Err(format!("has {} bytes, expected {size}", bytes.get().len())),
            None => Err(format!("has {numbers} numbers, which are no whole blocks")),
        }
    }

    /// How many numbers it has.
    pub fn len(&self) -> usize {
        match &self.0 {
            Data::Plain(values) => values.len(),
            Data::Stored { numbers, .. } => *numbers,
        }
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of memory that it takes; what is in a file counts too, because training reads all of it in every step.
    pub fn bytes(&self) -> usize {
        match &self.0 {
            Data::Plain(values) => values.len() * 4,
            Data::Stored { bytes, .. } => bytes.get().len(),
        }
    }

    /// Whether its bytes are in memory and not in a file.
    pub fn in_memory(&self) -> bool {
        !matches!(&self.0, Data::Stored { bytes: Bytes::Mapped(..), .. })
    }

    /// Its numbers, where they are f32, in memory or in a file that has them where the processor can read them.
    pub fn plain(&self) -> Option<&[f32]> {
        match &self.0 {
            Data::Plain(values) => Some(values),
            Data::Stored { bytes, stored: Stored::F32, .. } if cfg!(target_endian = "little") => {
                bytemuck::try_cast_slice(bytes.get()).ok()
            }
            Data::Stored { .. } => None,
        }
    }

    /// The numbers of a tensor with one dimension.
    pub(crate) fn into_vector(self) -> Arc<Vec<f32>> {
        match self.0 {
            Data::Plain(values) => values,
            Data::Stored { .. } => Arc::new(self.floats().into_owned()),
        }
    }

    /// How it is stored, where its numbers must be decoded in each use.
    pub fn dtype(&self) -> Option<Stored> {
        match &self.0 {
            Data::Stored { stored, .. } if self.plain().is_none() => Some(*stored),
            _ => None,
        }
    }

    /// All its numbers.
    pub fn floats(&self) -> Cow<'_, [f32]> {
        match &self.0 {
            Data::Plain(values) => Cow::Borrowed(values),
            Data::Stored { numbers, .. } => {
                let mut out = vec![0.0; *numbers];
                self.read(0..*numbers, &mut out);
                Cow::Owned(out)
            }
        }
    }

    /// Decodes `range`, which begins and ends at whole blocks, into `out`.
    pub fn read(&self, range: Range<usize>, out: &mut [f32]) {
        match &self.0 {
            Data::Plain(values) => out.copy_from_slice(&values[range]),
            Data::Stored { bytes, stored, .. } => {
                let (size, width) = stored.block();
                decode(*stored, &bytes.get()[range.start / size * width..range.end.div_ceil(size) * width], out);
            }
        }
    }

    /// Appends the rows of `width` numbers that `tokens` name, each number times `scale`.
    pub fn gather(&self, tokens: &[u32], width: usize, scale: f32, out: &mut Vec<f32>) {
        for token in tokens {
            let (row, end) = (*token as usize * width, out.len());
            out.resize(end + width, 0.0);
            self.read(row..row + width, &mut out[end..]);
            out[end..].iter_mut().for_each(|x| *x *= scale);
        }
    }

    /// The bytes of all its numbers, and how they are stored.
    pub fn raw(&self) -> (Stored, &[u8]) {
        match &self.0 {
            Data::Plain(values) => (Stored::F32, bytemuck::cast_slice(values)),
            Data::Stored { bytes, stored, .. } => (*stored, bytes.get()),
        }
    }

    /// Calls `f` with the numbers in parts of `part`, which is a multiple of the block.
    pub(crate) fn parts(&self, part: usize, mut f: impl FnMut(Range<usize>, &[f32])) {
        let mut scratch = Vec::new();
        let mut at = 0;
        while at < self.len() {
            let range = at..(at + part).min(self.len());
            match self.plain() {
                Some(values) => f(range.clone(), &values[range.clone()]),
                None => {
                    scratch.resize(range.len(), 0.0);
                    self.read(range.clone(), &mut scratch);
                    f(range.clone(), &scratch);
                }
            }
            at = range.end;
        }
    }

    /// Whether every number is finite.
    pub fn is_finite(&self) -> bool {
        let mut finite = true;
        self.parts(PART, |_, values| finite &= values.iter().all(|x| x.is_finite()));
        finite
    }
}

impl From<Vec<f32>> for Matrix {
    fn from(values: Vec<f32>) -> Self {
        Matrix(Data::Plain(values.into()))
    }
}

impl PartialEq for Matrix {
    fn eq(&self, other: &Self) -> bool {
        let (mut same, mut theirs) = (self.len() == other.len(), Vec::new());
        if same {
            self.parts(PART, |range, ours| {
                theirs.resize(range.len(), 0.0);
                other.read(range, &mut theirs);
                same &= ours == theirs;
            });
        }
        same
    }
}

impl fmt::Debug for Matrix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} numbers", self.len())?;
        self.dtype().map_or(Ok(()), |stored| write!(f, " as {stored:?}"))
    }
}
