//! One file from the Hub: gone on with after a cut, held against its hash, under its name only when it is whole.

use std::{
    fs::{self, File, TryLockError},
    io::{Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use reqwest::{StatusCode, header::CONTENT_RANGE};
use sha1::Sha1;
use sha2::{Digest, Sha256};

use super::{Hub, HubError, Kind, RepoId, client::About, download::Source, info::RemoteFile};

/// Hears which file is on its way, and how many bytes of all are there.
pub type Transfer<'a> = dyn Fn(&str, u64) + Send + Sync + 'a;

/// How often a transfer may break without having brought anything.
const PATIENCE: u32 = 3;

impl Hub {
    /// Brings one file to `to`. A file that is there already is kept where its hash is right.
    pub(super) async fn fetch(
        &self,
        source: &Source,
        file: &RemoteFile,
        to: &Path,
        on: &(dyn Fn(u64) + Send + Sync),
    ) -> Result<(), HubError> {
        if File::open(to).is_ok_and(|mut there| Sum::read(file, &mut there).is_some_and(|sum| sum.fits(file).is_ok())) {
            on(file.size);
            return Ok(());
        }
        if let Some(parent) = to.parent() {
            fs::create_dir_all(parent).map_err(HubError::io(parent))?;
        }
        let half = beside(to, ".incomplete");
        let part = File::options().create(true).truncate(false).read(true).write(true).open(&half);
        let mut part = part.map_err(HubError::io(&half))?;
        match part.try_lock() {
            Err(TryLockError::WouldBlock) => return Err(HubError::Busy(half)),
            // A file system without locks has no second process that could tell either.
            Ok(()) | Err(TryLockError::Error(_)) => {}
        }
        let sum = self.fill(source, file, &mut part, &half, on).await?;
        if let Err((want, got)) = sum.fits(file) {
            let _ = fs::remove_file(&half);
            return Err(HubError::Damaged { path: file.path.clone(), want, got });
        }
        part.sync_all().map_err(HubError::io(&half))?;
        fs::rename(&half, to).map_err(HubError::io(to))
    }

    /// Brings what is missing, in as many requests as it takes.
    async fn fill(
        &self,
        source: &Source,
        file: &RemoteFile,
        part: &mut File,
        half: &Path,
        on: &(dyn Fn(u64) + Send + Sync),
    ) -> Result<Sum, HubError> {
        let failed = |error| HubError::io(half)(error);
        part.seek(SeekFrom::Start(0)).map_err(failed)?;
        let mut sum = match Sum::read(file, part) {
            Some(sum) => sum,
            None => restart(file, part).map_err(failed)?,
        };
        // A server that makes the transfer begin anew each time never brings more than before.
        let (mut patience, mut furthest) = (PATIENCE, sum.bytes);
        while sum.bytes < file.size {
            on(sum.bytes);
            self.request(source, file, part, &mut sum, (half, on)).await?;
            patience = if sum.bytes > furthest { PATIENCE } else { patience - 1 };
            furthest = furthest.max(sum.bytes);
            if patience == 0 {
                return Err(HubError::Cut { path: file.path.clone(), done: sum.bytes, size: file.size });
            }
        }
        Ok(sum)
    }

    /// One request; a transfer that breaks leaves what came.
    async fn request(
        &self,
        source: &Source,
        file: &RemoteFile,
        part: &mut File,
        sum: &mut Sum,
        (half, on): (&Path, &(dyn Fn(u64) + Send + Sync)),
    ) -> Result<(), HubError> {
        let failed = |error| HubError::io(half)(error);
        let (owner, name) = source.id.split_once('/').unwrap_or_default();
        let mut parts = if source.kind == Kind::Dataset { vec!["datasets"] } else { Vec::new() };
        parts.extend([owner, name, "resolve", &source.commit]);
        parts.extend(file.path.split('/'));
        let repo = RepoId { owner: owner.into(), name: name.into(), revision: Some(source.commit.clone()) };
        let about = About::File(source.kind, &repo, &file.path);
        let mut response = self.client.file(self.client.url(&parts), sum.bytes, about).await?;
        let begins = response
            .headers()
            .get(CONTENT_RANGE)
            .and_then(|range| range.to_str().ok()?.strip_prefix("bytes ")?.split_once('-')?.0.parse::<u64>().ok());
        let goes_on = response.status() == StatusCode::PARTIAL_CONTENT && begins == Some(sum.bytes);
        if sum.bytes > 0 && !goes_on {
            *sum = restart(file, part).map_err(failed)?;
        }
        if response.status() == StatusCode::RANGE_NOT_SATISFIABLE {
            return Ok(());
        }
        while let Ok(Some(bytes)) = response.chunk().await {
            if bytes.len() as u64 > file.size - sum.bytes {
                let _ = fs::remove_file(half);
                return Err(self.client.senseless(&format!("{} is longer than the Hub says", file.path)));
            }
            part.write_all(&bytes).map_err(failed)?;
            sum.add(&bytes);
            on(sum.bytes);
        }
        Ok(())
    }
}

/// Forgets what is there.
fn restart(file: &RemoteFile, part: &mut File) -> std::io::Result<Sum> {
    part.set_len(0)?;
    part.seek(SeekFrom::Start(0))?;
    Ok(Sum::new(file))
}

/// The hash of a file as far as it is there, of the kind that the Hub names.
struct Sum {
    bytes: u64,
    hash: Hash,
}

enum Hash {
    Sha256(Sha256),
    Git(Sha1),
}

impl Sum {
    fn new(file: &RemoteFile) -> Sum {
        let hash = match &file.sha256 {
            Some(_) => Hash::Sha256(Sha256::new()),
            None => Hash::Git(Sha1::new_with_prefix(format!("blob {}\0", file.size))),
        };
        Sum { bytes: 0, hash }
    }

    /// Of all that is there; `None` where that is more than the file has, or cannot be read.
    fn read(file: &RemoteFile, part: &mut File) -> Option<Sum> {
        let mut sum = Sum::new(file);
        let mut buffer = vec![0; 1 << 16];
        loop {
            match part.read(&mut buffer).ok()? {
                0 => return Some(sum),
                n if n as u64 > file.size - sum.bytes => return None,
                n => sum.add(&buffer[..n]),
            }
        }
    }

    fn add(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        match &mut self.hash {
            Hash::Sha256(hash) => hash.update(bytes),
            Hash::Git(hash) => hash.update(bytes),
        }
    }

    /// Whether it is the file; if not, what the Hub says and what it is.
    fn fits(self, file: &RemoteFile) -> Result<(), (String, String)> {
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let got = match self.hash {
            Hash::Sha256(hash) => hex(&hash.finalize()),
            Hash::Git(hash) => hex(&hash.finalize()),
        };
        let want = file.hash().to_owned();
        if want == got && self.bytes == file.size { Ok(()) } else { Err((want, got)) }
    }
}

/// Whether what is missing of these files has room.
pub fn room(place: &Path, files: &[RemoteFile], at: &dyn Fn(&RemoteFile) -> PathBuf) -> Result<(), HubError> {
    let there = |path: &Path| fs::metadata(path).map_or(0, |meta| meta.len());
    let missing = |file: &RemoteFile| {
        let to = at(file);
        file.size.saturating_sub(there(&to).max(there(&beside(&to, ".incomplete"))))
    };
    let need: u64 = files.iter().map(missing).sum();
    #[cfg(unix)]
    if let Ok(stat) = rustix::fs::statvfs(place) {
        let free = stat.f_bavail.saturating_mul(stat.f_frsize);
        if need > free {
            return Err(HubError::NoSpace { place: place.to_owned(), need, free });
        }
    }
    #[cfg(not(unix))]
    let _ = (place, need);
    Ok(())
}

/// A path with something behind its name.
pub fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.to_owned().into_os_string();
    name.push(ending);
    name.into()
}
