//! Opening a text file: decompressed, and in UTF-8 whatever it was written in.

use std::{
    fs::File,
    io::{self, BufReader, Read},
    mem,
    ops::Range,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use chardetng::{EncodingDetector, Iso2022JpDetection, Utf8Detection};
use encoding_rs::{DecoderResult, Encoding, UTF_8, UTF_16BE, UTF_16LE};

use super::{Compression, Problem};

/// Bytes from which encoding and format are told.
pub(super) const HEAD: usize = 1 << 20;
/// Bytes read at once.
pub(super) const PIECE: usize = 1 << 18;
/// What stands in decoded text where the file is not in its encoding: no UTF-8, so that the row is found to be bad.
const DAMAGE: u8 = 0xff;

/// The bytes of a file, decompressed, and how many bytes of the file itself they took.
pub(super) struct Bytes {
    from: Box<dyn Read + Send>,
    taken: Arc<AtomicU64>,
}

struct Counted(File, Arc<AtomicU64>);

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.0.read(buffer)?;
        self.1.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

impl Bytes {
    /// Opens a file and sees from its first bytes whether it is compressed.
    pub fn open(path: &Path) -> Result<(Bytes, Compression), Problem> {
        let mut file = File::open(path).map_err(io_problem)?;
        let mut magic = Vec::new();
        file.by_ref().take(4).read_to_end(&mut magic).map_err(Problem::Io)?;
        io::Seek::rewind(&mut file).map_err(Problem::Io)?;
        let taken = Arc::new(AtomicU64::new(0));
        let file = Counted(file, taken.clone());
        let (from, compression): (Box<dyn Read + Send>, _) = if magic.starts_with(b"\x1f\x8b") {
            (Box::new(flate2::read::MultiGzDecoder::new(BufReader::with_capacity(PIECE, file))), Compression::Gzip)
        } else if magic.starts_with(b"\x28\xb5\x2f\xfd") {
            (Box::new(zstd::Decoder::new(file).map_err(Problem::Io)?), Compression::Zstd)
        } else {
            (Box::new(file), Compression::None)
        };
        Ok((Bytes { from, taken }, compression))
    }

    /// Appends up to `most` bytes; fewer only at the end of the file.
    pub fn read(&mut self, into: &mut Vec<u8>, most: usize) -> Result<usize, Problem> {
        let compressed = |e: io::Error| match e.kind() {
            io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => {
                Problem::Compressed(e.to_string())
            }
            _ => Problem::Io(e),
        };
        self.from.by_ref().take(most as u64).read_to_end(into).map_err(compressed)
    }
}

pub(super) fn io_problem(error: io::Error) -> Problem {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Problem::Missing,
        _ => Problem::Io(error),
    }
}

/// A file as UTF-8, from its start on.
pub(super) struct Text {
    bytes: Bytes,
    decoder: Option<encoding_rs::Decoder>,
    raw: Vec<u8>,
    begun: bool,
    ended: bool,
    /// Bytes before the part that is read, and bytes of that part, as far as they have not come yet.
    part: Option<(u64, u64)>,
}

impl Text {
    /// Opens a file whose encoding is known.
    pub fn open(path: &Path, encoding: &'static Encoding) -> Result<Text, Problem> {
        let (bytes, _) = Bytes::open(path)?;
        let decoder = (encoding != UTF_8).then(|| encoding.new_decoder_with_bom_removal());
        Ok(Text { bytes, decoder, raw: Vec::new(), begun: false, ended: false, part: None })
    }

    /// Only this part of it, in bytes of UTF-8.
    pub fn part(self, at: &Range<u64>) -> Text {
        Text { part: Some((at.start, at.end.saturating_sub(at.start))), ..self }
    }

    /// Bytes of the file itself that were taken so far.
    pub fn taken(&self) -> u64 {
        self.bytes.taken.load(Ordering::Relaxed)
    }

    /// Appends the next piece; `false` at the end. What is not in the file's encoding becomes a byte that is no UTF-8.
    pub fn read(&mut self, into: &mut Vec<u8>) -> Result<bool, Problem> {
        let from = into.len();
        let more = self.piece(into)?;
        if let Some((before, left)) = &mut self.part {
            let skipped = (*before).min((into.len() - from) as u64) as usize;
            into.drain(from..from + skipped);
            *before -= skipped as u64;
            let kept = (*left).min((into.len() - from) as u64) as usize;
            into.truncate(from + kept);
            *left -= kept as u64;
            self.ended |= *left == 0;
        }
        Ok(more)
    }

    fn piece(&mut self, into: &mut Vec<u8>) -> Result<bool, Problem> {
        if self.ended {
            return Ok(false);
        }
        let Some(decoder) = &mut self.decoder else {
            self.ended = self.bytes.read(into, PIECE)? == 0;
            if !mem::replace(&mut self.begun, true) && into.starts_with(b"\xef\xbb\xbf") {
                into.drain(..3);
            }
            return Ok(!self.ended);
        };
        self.raw.clear();
        self.ended = self.bytes.read(&mut self.raw, PIECE)? == 0;
        decode(decoder, &self.raw, self.ended, into);
        // What a decoder held back may come with the end.
        Ok(true)
    }
}

fn decode(decoder: &mut encoding_rs::Decoder, mut raw: &[u8], last: bool, into: &mut Vec<u8>) {
    loop {
        let at = into.len();
        let room = decoder.max_utf8_buffer_length_without_replacement(raw.len()).unwrap_or(PIECE).max(16);
        into.resize(at + room, 0);
        let (result, read, written) = decoder.decode_to_utf8_without_replacement(raw, &mut into[at..], last);
        into.truncate(at + written);
        raw = &raw[read..];
        match result {
            DecoderResult::InputEmpty => return,
            DecoderResult::OutputFull => {}
            DecoderResult::Malformed(..) => into.push(DAMAGE),
        }
    }
}

/// The encoding of a text by its first bytes; `whole` if they are all of it. An error where they are no text at all.
pub(super) fn encoding(head: &[u8], whole: bool) -> Result<&'static Encoding, Problem> {
    if let Some((encoding, _)) = Encoding::for_bom(head) {
        return Ok(encoding);
    }
    if let Some(encoding) = without_mark(head) {
        return Ok(encoding);
    }
    binary(head)?;
    let (mut letters, mut damaged) = (0usize, 0usize);
    for part in head.utf8_chunks() {
        letters += part.valid().chars().filter(|c| !c.is_ascii()).count();
        damaged += usize::from(!part.invalid().is_empty());
    }
    // The last letter may be cut in two.
    let cut = usize::from(!whole && head.utf8_chunks().last().is_some_and(|part| !part.invalid().is_empty()));
    // A few broken places in a text of UTF-8 are damage, no other encoding.
    if damaged <= cut || letters >= damaged {
        return Ok(UTF_8);
    }
    let mut detector = EncodingDetector::new(Iso2022JpDetection::Deny);
    detector.feed(head, whole);
    Ok(detector.guess(None, Utf8Detection::Deny))
}

/// UTF-16 without a byte-order mark: nearly every second byte of a text in Latin letters is NUL.
fn without_mark(head: &[u8]) -> Option<&'static Encoding> {
    let head = &head[..head.len().min(4096)];
    let nuls = |odd: usize| head.iter().skip(odd).step_by(2).filter(|&&b| b == 0).count();
    let (even, odd) = (nuls(0), nuls(1));
    let many = head.len() / 5;
    match (even > many, odd > many) {
        (false, true) if even * 20 < odd => Some(UTF_16LE),
        (true, false) if odd * 20 < even => Some(UTF_16BE),
        _ => None,
    }
}

/// Refuses what is no text: more than one byte in a hundred is a control character that no text has.
fn binary(head: &[u8]) -> Result<(), Problem> {
    let control = |b: &u8| matches!(b, 0..=8 | 14..=26 | 28..=31);
    if head.iter().filter(|b| control(b)).count() * 100 <= head.len() {
        return Ok(());
    }
    let offset = memchr::memchr(0, head).or_else(|| head.iter().position(control)).unwrap_or(0);
    let line = 1 + memchr::memchr_iter(b'\n', &head[..offset]).count() as u64;
    Err(Problem::Nul { line, offset: offset as u64, byte: head.get(offset).copied().unwrap_or_default() })
}

#[cfg(test)]
mod tests;
