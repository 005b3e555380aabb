//! Safetensors files and whole-or-nothing writing, as weights and adapters both need them.

use std::{
    borrow::Cow,
    collections::HashMap,
    fs::File,
    io::{self, Read, Write},
    path::Path,
    sync::Arc,
};

use candle_core::{DType, Device, safetensors::Load};
use half::{bf16, f16};
use memmap2::Mmap;
use safetensors::tensor::{Dtype as Stored, SafeTensors, TensorView, View};

use crate::{
    error::{Error, Result},
    matrix::{self, Bytes, Matrix},
    weights::{Check, Dtype, Numbers},
};

/// A file in memory, paged in when read.
pub(crate) struct Mapped(Mmap);

impl Mapped {
    /// Maps a file for reading.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let file = regular(path).and_then(|_| File::open(path)).map_err(|e| Error::io("cannot read", path, e))?;
        // SAFETY: the map is private to this process and only read. Another process that shortens the file meanwhile
        // can kill this one with a bus error; heavy readers run as a worker of their own for that reason.
        #[allow(unsafe_code)]
        let map = unsafe { Mmap::map(&file) }.map_err(|e| Error::io("cannot map", path, e))?;
        Ok(Self(map))
    }

    /// Its bytes.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Its tensors, with every offset checked.
    pub(crate) fn tensors(&self) -> Result<SafeTensors<'_>, String> {
        SafeTensors::deserialize(&self.0).map_err(|e| printable(&format!("not a safetensors file: {e}")))
    }
}

/// Files that a model's weights are in, which are read once: what was read need not stay in memory.
#[derive(Clone, Default)]
pub struct Files(pub(crate) Vec<Arc<Mapped>>);

impl Files {
    /// Lets the pages go that were read so far; whoever reads them again gets them from the file again.
    pub(crate) fn let_go(&self) {
        #[cfg(unix)]
        for map in &self.0 {
            // SAFETY: nothing is ever written to the map, so that its pages hold what the file holds, and the next access
            // brings them back. A failure leaves the pages where they are, which is no harm.
            #[allow(unsafe_code)]
            let _ = unsafe { map.0.unchecked_advise(memmap2::UncheckedAdvice::DontNeed) };
        }
    }
}

/// A tensor's numbers in f32; an error says what is wrong without naming it.
pub(crate) fn to_f32(view: &TensorView<'_>, shape: &[usize]) -> Result<Vec<f32>, String> {
    if view.shape() != shape {
        return Err(format!("has the shape {:?}, expected {shape:?}", view.shape()));
    }
    if !matches!(view.dtype(), Stored::F32 | Stored::F16 | Stored::BF16) {
        return Err(format!("is stored as {:?}, only F32, F16 and BF16 are supported", view.dtype()));
    }
    let values = view
        .load(&Device::Cpu)
        .and_then(|tensor| tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>())
        .map_err(|e| printable(&e.to_string()))?;
    match values.iter().all(|x| x.is_finite()) {
        true => Ok(values),
        false => Err("holds a number that is not finite".into()),
    }
}

/// A tensor that stays in its file; an error says what is wrong without naming it.
pub(crate) fn mapped(
    view: &TensorView<'_>,
    map: &Arc<Mapped>,
    shape: &[usize],
    check: Check,
) -> Result<Matrix, String> {
    let stored = match view.dtype() {
        Stored::F32 => matrix::Stored::F32,
        Stored::F16 => matrix::Stored::F16,
        Stored::BF16 => matrix::Stored::BF16,
        _ => return to_f32(view, shape).map(Matrix::from),
    };
    if view.shape() != shape {
        return Err(format!("has the shape {:?}, expected {shape:?}", view.shape()));
    }
    let start = view.data().as_ptr() as usize - map.bytes().as_ptr() as usize;
    let bytes = Bytes::Mapped(map.clone(), start..start + view.data().len());
    let matrix = Matrix::stored(bytes, stored, shape.iter().product())?;
    match check == Check::Later || matrix.is_finite() {
        true => Ok(matrix),
        false => Err("holds a number that is not finite".into()),
    }
}

/// One tensor on its way into a file: converted when it is written, so that only one copy exists at a time.
pub(crate) struct Item<'a> {
    pub(crate) numbers: Numbers<'a>,
    pub(crate) shape: Vec<usize>,
    pub(crate) dtype: Dtype,
}

impl View for Item<'_> {
    fn dtype(&self) -> Stored {
        match self.dtype {
            Dtype::F32 => Stored::F32,
            Dtype::BF16 => Stored::BF16,
            Dtype::F16 => Stored::F16,
        }
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Owned(to_bytes(&self.numbers.floats(), self.dtype))
    }

    fn data_len(&self) -> usize {
        self.numbers.len() * if self.dtype == Dtype::F32 { 4 } else { 2 }
    }
}

/// Little-endian bytes of `values` in another width.
pub(crate) fn to_bytes(values: &[f32], dtype: Dtype) -> Vec<u8> {
    match dtype {
        Dtype::F32 => values.iter().flat_map(|x| x.to_le_bytes()).collect(),
        Dtype::BF16 => values.iter().flat_map(|x| bf16::from_f32(*x).to_le_bytes()).collect(),
        Dtype::F16 => values.iter().flat_map(|x| f16::from_f32(*x).to_le_bytes()).collect(),
    }
}

/// Writes a safetensors file whole or not at all. Its bytes depend on the items alone.
pub(crate) fn save(path: &Path, items: Vec<(String, Item<'_>)>) -> Result<()> {
    let metadata = HashMap::from([("format".to_string(), "pt".to_string())]);
    atomic(path, |temporary| {
        safetensors::serialize_to_file(items, Some(metadata), temporary).map_err(|error| match error {
            safetensors::SafeTensorError::IoError(error) => error,
            other => io::Error::other(other),
        })
    })
}

/// Writes a file whole or not at all.
pub(crate) fn write_file(path: &Path, bytes: &[u8]) -> Result<()> {
    atomic(path, |temporary| File::create(temporary)?.write_all(bytes))
}

/// Lets `write` fill a temporary file beside `path`, then gives it its name.
pub(crate) fn atomic(path: &Path, write: impl FnOnce(&Path) -> io::Result<()>) -> Result<()> {
    let fail = |e| Error::io("cannot write", path, e);
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let mut builder = tempfile::Builder::new();
    builder.prefix(".partial-");
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644));
    let temporary = builder.tempfile_in(parent).map_err(fail)?;
    write(temporary.path()).map_err(fail)?;
    File::open(temporary.path()).and_then(|file| file.sync_all()).map_err(fail)?;
    temporary.persist(path).map_err(|e| fail(e.error))?;
    Ok(())
}

/// No text file of a model is larger.
const LARGEST_TEXT: u64 = 256 << 20;

/// The text of a file; `None` where there is none.
pub(crate) fn read_optional(path: &Path) -> Result<Option<String>> {
    match std::fs::metadata(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        _ => read_text(path, LARGEST_TEXT).map(Some),
    }
}

/// The text of a file of at most `most` bytes.
pub(crate) fn read_text(path: &Path, most: u64) -> Result<String> {
    let read = || {
        let mut text = String::new();
        if regular(path)? > most {
            return Err(io::Error::other(format!("the file is larger than {most} bytes")));
        }
        File::open(path)?.take(most).read_to_string(&mut text)?;
        Ok(text)
    };
    read().map_err(|e| Error::io("cannot read", path, e))
}

/// The size of a regular file. What a stranger's directory links to may be a device or a pipe, which never ends.
fn regular(path: &Path) -> io::Result<u64> {
    let meta = std::fs::metadata(path)?;
    if meta.is_file() { Ok(meta.len()) } else { Err(io::Error::other("it is not a regular file")) }
}

/// Messages that quote a hostile file: no control characters, a sane length.
pub(crate) fn printable(text: &str) -> String {
    text.chars().take(200).map(|c| if c.is_control() { ' ' } else { c }).collect()
}
