//! What the real Xet client has stored in a local directory, read back by the real Xet client.

use std::{fs, path::Path};

use sha2::{Digest, Sha256};
use xet::xet_session::{XetFileInfo, XetSessionBuilder};

use super::store::{Blob, hex};

/// Bytes of an entry in a shard: a hash and four numbers.
const ENTRY: usize = 48;

/// The file of this SHA-256, once it is whole there.
pub fn stored(cas: &Path, sha256: &str) -> Option<Blob> {
    let (hash, size) = find(cas, sha256)?;
    // A copy, because the client that has just written there still holds the store's lock.
    let copy = tempfile::tempdir().unwrap();
    let store = copy.path().join("cas");
    copied(cas, &store);
    let address = format!("local://{}", store.display());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let read = runtime.block_on(async {
        let session = XetSessionBuilder::new().with_cache_dir(copy.path().join("cache")).build()?;
        let group = session.new_download_stream_group()?.with_endpoint(address).with_token_info("xet", 4_102_444_800);
        group.build().await?.download_to_bytes(XetFileInfo::new(hash.clone(), size), None).await
    });
    let bytes = read.expect("the store reads");
    (hex(&Sha256::digest(&bytes)) == sha256).then_some(Blob { bytes, lfs: true, xet: Some(hash) })
}

/// Xet's name and the size of a file: the store's shards list both beside its SHA-256.
fn find(cas: &Path, sha256: &str) -> Option<(String, u64)> {
    let shards = fs::read_dir(cas.join("xet/xorbs/shards")).ok()?;
    shards.filter_map(|entry| fs::read(entry.ok()?.path()).ok()).find_map(|shard| in_shard(&shard, sha256))
}

/// A header of one entry's size, and then for each file a header, its parts, as many proofs, and its SHA-256.
fn in_shard(shard: &[u8], sha256: &str) -> Option<(String, u64)> {
    let mut entries = shard.chunks_exact(ENTRY).skip(1);
    loop {
        let head = entries.next()?;
        if head[..32].iter().all(|byte| *byte == 0xff) {
            return None;
        }
        let (flags, parts) = (number(&head[32..36]), number(&head[36..40]));
        let size = entries.by_ref().take(parts as usize).map(|part| u64::from(number(&part[36..40]))).sum();
        if flags & (1 << 31) != 0 {
            entries.by_ref().take(parts as usize).for_each(drop);
        }
        if flags & (1 << 30) != 0 && name(&entries.next()?[..32]) == sha256 {
            return Some((name(&head[..32]), size));
        }
    }
}

fn number(bytes: &[u8]) -> u32 {
    u32::from_le_bytes(bytes.try_into().unwrap())
}

/// A hash as Xet writes it: four numbers.
fn name(hash: &[u8]) -> String {
    hash.chunks(8).map(|part| format!("{:016x}", u64::from_le_bytes(part.try_into().unwrap()))).collect()
}

fn copied(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().flatten() {
        let (path, to) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() {
            copied(&path, &to);
        } else {
            let _ = fs::copy(&path, &to);
        }
    }
}
