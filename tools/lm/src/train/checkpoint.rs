//! Checkpoints on disk: each is whole or not there, carries a checksum, and only the newest few are kept.
//!
//! A checkpoint is a safetensors file, so that other programs can read it. Its last tensor, `sha256`, is the hash of
//! everything before it: one pass writes and hashes, and a torn or damaged file is found before anything is taken from it.

use std::{
    collections::HashMap,
    fs::{self, File, TryLockError},
    io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use safetensors::tensor::{Metadata, TensorInfo};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};

/// Where checkpoints are kept, how often one is saved, and what they belong to. Names follow transformers'.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    /// Their directory, which holds nothing else.
    pub dir: PathBuf,
    /// Optimizer steps between checkpoints; the last step has one as well.
    pub save_steps: usize,
    /// How many are kept, the newest. Each holds the best parameters beside the last.
    pub save_total_limit: usize,
    /// What decides the run beside its spec, by name: for example hashes of base and data.
    pub key: Map<String, Value>,
}

impl Checkpoint {
    /// Steps between checkpoints where the caller has no wish: a few per cent of the time even of the smallest models.
    pub const SAVE_STEPS: usize = 50;
    /// Checkpoints that are kept where the caller has no wish: one more than needed, should the newest be damaged.
    pub const SAVE_TOTAL_LIMIT: usize = 2;

    /// Whether there is a checkpoint in this directory.
    pub fn is_in(dir: &Path) -> bool {
        steps(dir).is_ok_and(|steps| !steps.is_empty())
    }
}

/// Something about the files of a run that did not stop it, but that its owner should know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum StorageWarning {
    /// A checkpoint could not be written, for example because the disk is full.
    #[error("the checkpoint of step {step} was not saved ({why}); training goes on and the one before it stays")]
    CheckpointNotSaved {
        /// The step.
        step: usize,
        /// What the system said.
        why: String,
    },
    /// A damaged checkpoint was passed over and removed.
    #[error("the checkpoint of step {step} is damaged ({why}); it was removed, and an older one taken")]
    CheckpointDamaged {
        /// The step.
        step: usize,
        /// What was found.
        why: String,
    },
    /// A file of telemetry could not be written; no result depends on it.
    #[error("{file} was not written any further ({why}); training goes on")]
    TelemetryNotWritten {
        /// The file's name.
        file: String,
        /// What the system said.
        why: String,
    },
}

/// How long a process that is being killed may still hold the directory.
const PATIENCE: Duration = Duration::from_secs(5);

/// Bytes that are hashed and written at a time.
const CHUNK: usize = 1 << 16;

/// Bytes of the hash at the end.
const HASH: usize = 32;

/// The directory of checkpoints, held by this process alone.
pub(super) struct Store<'a> {
    pub(super) settings: &'a Checkpoint,
    _lock: File,
}

/// Why a checkpoint could not be opened.
pub(super) enum Unread {
    /// The system refused.
    Io(io::Error),
    /// It is not what was written.
    Damaged(String),
}

impl From<io::Error> for Unread {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Unread::Damaged("it is cut off".into()),
            _ => Unread::Io(error),
        }
    }
}

impl<'a> Store<'a> {
    /// Makes the directory, waits for a dying predecessor, and removes what it left half written.
    pub(super) fn open(settings: &'a Checkpoint) -> Result<Self> {
        let dir = &settings.dir;
        let fail = |e| Error::io("cannot use", dir, e);
        fs::create_dir_all(dir).map_err(fail)?;
        let lock = File::create(dir.join("lock")).map_err(fail)?;
        let mut waited = Duration::ZERO;
        while let Err(TryLockError::WouldBlock) = lock.try_lock() {
            if waited >= PATIENCE {
                return Err(Error::Train(format!("another process is training in {}: wait for it", dir.display())));
            }
            std::thread::sleep(PATIENCE / 100);
            waited += PATIENCE / 100;
        }
        for entry in fs::read_dir(dir).map_err(fail)?.flatten() {
            if entry.path().extension().is_some_and(|ending| ending == "partial") {
                let _ = fs::remove_file(entry.path());
            }
        }
        Ok(Store { settings, _lock: lock })
    }

    /// The steps of the checkpoints that are there, the newest first.
    pub(super) fn steps(&self) -> Result<Vec<usize>> {
        steps(&self.settings.dir).map_err(|e| Error::io("cannot read", &self.settings.dir, e))
    }

    /// Where the checkpoint of a step is.
    pub(super) fn path(&self, step: usize) -> PathBuf {
        self.settings.dir.join(format!("checkpoint-{step}.safetensors"))
    }

    /// Writes a checkpoint beside its place, syncs it, gives it its name, and removes those that are too many.
    pub(super) fn write(&self, step: usize, state: &str, tensors: &[(String, &[f32])]) -> io::Result<()> {
        let path = self.path(step);
        let partial = path.with_extension("partial");
        let written = File::create(&partial).and_then(|file| {
            let mut out = BufWriter::with_capacity(CHUNK, file);
            write(&mut out, state, tensors)?;
            out.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
            fs::rename(&partial, &path)?;
            sync_directory(&self.settings.dir)
        });
        if let Err(error) = written {
            // What is half written only takes space, of which there may be none.
            let _ = fs::remove_file(&partial);
            return Err(error);
        }
        for old in steps(&self.settings.dir)?.into_iter().skip(self.settings.save_total_limit.max(1)) {
            let path = self.path(old);
            fs::remove_file(&path).map_err(|e| io::Error::other(format!("cannot remove {}: {e}", path.display())))?;
        }
        Ok(())
    }
}

/// The steps of the checkpoints in `dir`, the newest first.
fn steps(dir: &Path) -> io::Result<Vec<usize>> {
    let mut steps = Vec::new();
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name();
        let step = name.to_str().and_then(|name| name.strip_prefix("checkpoint-")?.strip_suffix(".safetensors"));
        steps.extend(step.and_then(|step| step.parse::<usize>().ok()));
    }
    steps.sort_unstable_by(|a, b| b.cmp(a));
    Ok(steps)
}

/// Makes a rename last through a loss of power; elsewhere than on Unix the system has no call for it.
fn sync_directory(dir: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(dir)?.sync_all() } else { Ok(()) }
}

/// Streams a checkpoint: header, numbers, hash.
fn write(out: &mut impl Write, state: &str, tensors: &[(String, &[f32])]) -> io::Result<()> {
    let mut hash = Sha256::new();
    let mut put = |bytes: &[u8]| {
        hash.update(bytes);
        out.write_all(bytes)
    };
    let header = header(state, tensors);
    put(&(header.len() as u64).to_le_bytes())?;
    put(header.as_bytes())?;
    let mut bytes = Vec::with_capacity(CHUNK);
    for values in tensors.iter().flat_map(|(_, values)| values.chunks(CHUNK / 4)) {
        bytes.clear();
        bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        put(&bytes)?;
    }
    out.write_all(&hash.finalize())
}

/// The header of safetensors, padded so that the numbers are aligned.
fn header(state: &str, tensors: &[(String, &[f32])]) -> String {
    let mut fields = Map::from_iter([("__metadata__".to_owned(), json!({ "state": state }))]);
    let mut end = 0;
    let mut field = |name: &str, dtype: &str, count: usize, bytes: usize| {
        fields.insert(name.to_owned(), json!({"dtype": dtype, "shape": [count], "data_offsets": [end, end + bytes]}));
        end += bytes;
    };
    tensors.iter().for_each(|(name, values)| field(name, "F32", values.len(), values.len() * 4));
    field("sha256", "U8", HASH, HASH);
    let mut text = Value::Object(fields).to_string();
    text.extend(std::iter::repeat_n(' ', text.len().next_multiple_of(8) - text.len()));
    text
}

/// A checkpoint whose checksum holds.
pub(super) struct Saved {
    /// What was written beside the tensors.
    pub(super) state: String,
    file: File,
    /// Where each tensor stands in the file.
    places: HashMap<String, (u64, u64)>,
}

impl Saved {
    /// Opens a checkpoint and compares its checksum.
    pub(super) fn open(path: &Path) -> Result<Self, Unread> {
        let mut file = File::open(path)?;
        let all = file.metadata()?.len();
        let Some(hashed) = all.checked_sub(HASH as u64) else { return Err(Unread::Damaged("it is cut off".into())) };
        let mut hash = Sha256::new();
        let mut left = BufReader::with_capacity(CHUNK, &file).take(hashed);
        let mut chunk = vec![0; CHUNK];
        loop {
            let count = left.read(&mut chunk)?;
            if count == 0 {
                break;
            }
            hash.update(&chunk[..count]);
        }
        let mut end = [0; HASH];
        file.seek(SeekFrom::Start(hashed))?;
        file.read_exact(&mut end)?;
        if hash.finalize()[..] != end {
            return Err(Unread::Damaged("its checksum does not hold".into()));
        }
        Self::header(file, all)
    }

    fn header(mut file: File, all: u64) -> Result<Self, Unread> {
        let damaged = |why: &dyn std::fmt::Display| Unread::Damaged(why.to_string());
        let mut bytes = vec![0; 8];
        file.rewind()?;
        file.read_exact(&mut bytes)?;
        let length = bytes.iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
        let start = length.checked_add(8).filter(|start| *start <= all).ok_or_else(|| damaged(&"it has no header"))?;
        bytes.resize(start as usize, 0);
        file.read_exact(&mut bytes[8..])?;
        let header: Metadata = serde_json::from_slice(&bytes[8..]).map_err(|e| damaged(&e))?;
        let state = header.metadata().as_ref().and_then(|m| m.get("state")).cloned();
        let place = |(name, info): (String, &TensorInfo)| {
            let (from, to) = info.data_offsets;
            (name, (start.saturating_add(from as u64), to.saturating_sub(from) as u64))
        };
        let places = header.tensors().into_iter().map(place).collect();
        Ok(Saved { state: state.ok_or_else(|| damaged(&"it has no state"))?, file, places })
    }

    /// Fills `into` with the numbers of a tensor; false where there is none of this length.
    pub(super) fn read(&mut self, name: &str, into: &mut [f32]) -> io::Result<bool> {
        let Some(&(from, bytes)) = self.places.get(name) else { return Ok(false) };
        if bytes != into.len() as u64 * 4 {
            return Ok(false);
        }
        self.file.seek(SeekFrom::Start(from))?;
        let mut chunk = vec![0; CHUNK];
        for part in into.chunks_mut(CHUNK / 4) {
            let bytes = &mut chunk[..part.len() * 4];
            self.file.read_exact(bytes)?;
            for (to, from) in part.iter_mut().zip(bytes.chunks_exact(4)) {
                *to = f32::from_le_bytes([from[0], from[1], from[2], from[3]]);
            }
        }
        Ok(true)
    }
}

/// The first field in which two descriptions of a run differ, in words; `None` where they are the same.
pub(super) fn difference(was: &Map<String, Value>, is: &Map<String, Value>) -> Option<String> {
    let names = is.keys().chain(was.keys().filter(|name| !is.contains_key(*name)));
    for name in names {
        let told = match (was.get(name), is.get(name)) {
            (was, is) if was == is => continue,
            (Some(Value::Object(was)), Some(Value::Object(is))) => {
                difference(was, is).map(|inner| format!("{name}.{inner}"))
            }
            (was, is) => Some(match (short(was), short(is)) {
                (Some(was), Some(is)) => format!("{name} was {was} and is now {is}"),
                _ => format!("{name} is another one now"),
            }),
        };
        return told;
    }
    None
}

/// A value as it can be shown: hashes and long lists say nothing to a reader.
fn short(value: Option<&Value>) -> Option<String> {
    let text = value.map_or_else(|| "unset".to_owned(), Value::to_string);
    (text.len() <= 60).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A disk with room for so many bytes.
    struct Disk(usize);

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let room = bytes.len().min(self.0);
            self.0 -= room;
            if room == 0 && !bytes.is_empty() { Err(io::ErrorKind::StorageFull.into()) } else { Ok(room) }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_disk_that_fills_up_anywhere_is_an_error() {
        let values = vec![1.5f32; 50_000];
        let tensors = [("params.0".to_owned(), values.as_slice())];
        let mut whole = Vec::new();
        write(&mut whole, "{}", &tensors).unwrap();
        for room in [0, 1, 7, 8, 100, 5_000, whole.len() - HASH, whole.len() - 1] {
            let error = write(&mut Disk(room), "{}", &tensors).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::StorageFull, "{room}");
        }
        write(&mut Disk(whole.len()), "{}", &tensors).unwrap();
        // Other programs read it as what it is.
        let read = safetensors::SafeTensors::deserialize(&whole).unwrap();
        assert_eq!(read.tensor("params.0").unwrap().data()[..4], 1.5f32.to_le_bytes());
    }

    #[test]
    fn every_changed_or_missing_byte_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("checkpoint");
        let mut whole = Vec::new();
        write(&mut whole, r#"{"a":1}"#, &[("params.0".to_owned(), &[1.0, 2.0])]).unwrap();
        let damaged = |bytes: &[u8]| {
            fs::write(&path, bytes).unwrap();
            matches!(Saved::open(&path), Err(Unread::Damaged(_)))
        };
        assert!(!damaged(&whole));
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x10;
            assert!(damaged(&bytes), "byte {at} is not covered");
            assert!(damaged(&whole[..at]), "cut off at {at}");
        }
        // A header of any size with a checksum that holds allocates no more than the file has.
        let mut bomb = u64::MAX.to_le_bytes().to_vec();
        let hash = Sha256::digest(&bomb);
        bomb.extend_from_slice(&hash);
        assert!(damaged(&bomb));
    }

    /// Bytes of a field of this process's status.
    #[cfg(target_os = "linux")]
    fn memory(field: &str) -> usize {
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find(|line| line.starts_with(field)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() << 10
    }

    #[test]
    #[cfg(target_os = "linux")]
    #[ignore = "measures the whole process, so nothing may run beside it"]
    fn soak_the_state_of_ten_million_numbers_needs_no_second_copy() {
        let dir = tempfile::tempdir().unwrap();
        let settings = Checkpoint { dir: dir.path().to_owned(), save_steps: 1, save_total_limit: 2, key: Map::new() };
        let store = Store::open(&settings).ok().unwrap();
        let vectors = vec![vec![0.5f32; 10_000_000 / 40]; 160];
        let tensors: Vec<_> = vectors.iter().enumerate().map(|(i, v)| (format!("v.{i}"), v.as_slice())).collect();
        let (before, began) = (memory("VmRSS:"), std::time::Instant::now());
        store.write(1, "{}", &tensors).unwrap();
        let wrote = began.elapsed();
        let mut into = vec![0.0; vectors[0].len()];
        let mut saved = Saved::open(&store.path(1)).ok().unwrap();
        assert!(saved.read("v.159", &mut into).unwrap() && into == vectors[159]);
        let more = memory("VmHWM:").saturating_sub(before);
        println!(
            "160 MB written and synced in {wrote:?}, verified in {:?}, {more} bytes more",
            began.elapsed() - wrote
        );
        assert!(more < 4 << 20, "{more}");
    }

    #[test]
    fn the_first_difference_is_named() {
        let map = |value: Value| value.as_object().cloned().unwrap();
        let was = map(json!({"base_sha256": "a".repeat(64), "lora": {"r": 8}, "epochs": 3}));
        let against = |is: Value| difference(&was, &map(is));
        assert_eq!(against(Value::Object(was.clone())), None);
        assert_eq!(
            against(json!({"base_sha256": "b".repeat(64), "lora": {"r": 8}, "epochs": 3})).unwrap(),
            "base_sha256 is another one now"
        );
        assert_eq!(
            against(json!({"base_sha256": "a".repeat(64), "lora": {"r": 16}, "epochs": 3})).unwrap(),
            "lora.r was 8 and is now 16"
        );
        assert_eq!(
            against(json!({"base_sha256": "a".repeat(64), "lora": {"r": 8}})).unwrap(),
            "epochs was 3 and is now unset"
        );
    }
}
