//! TensorBoard's event files: scalars by step, as records with masked CRC-32C around protobuf messages.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::Path,
};

/// One event file. Events are telemetry: no result depends on them, and their times are the caller's.
#[derive(Debug)]
pub struct Events {
    out: File,
}

impl Events {
    /// Begins a new file in `dir`, the next one by name. Scalars of `step` and later in the files before it are void, as
    /// TensorBoard reads it: a run that was interrupted takes these steps again.
    pub fn create(dir: &Path, wall_time: f64, step: usize) -> io::Result<Self> {
        fs::create_dir_all(dir)?;
        let (mut number, mut opened) = (0, Self::open(dir, 0));
        while matches!(&opened, Err(error) if error.kind() == io::ErrorKind::AlreadyExists) {
            number += 1;
            opened = Self::open(dir, number);
        }
        let mut events = Events { out: opened? };
        // file_version = 3
        events.write(wall_time, 0, &bytes(3, b"brain.Event:2"))?;
        if number > 0 {
            // session_log = 7 { status = 1: START = 1 }
            events.write(wall_time, step, &bytes(7, &[1 << 3, 1]))?;
        }
        Ok(events)
    }

    fn open(dir: &Path, number: usize) -> io::Result<File> {
        File::create_new(dir.join(format!("events.out.tfevents.{number:05}.tunesmith")))
    }

    /// Writes the scalars of one step at a Unix time in seconds.
    pub fn scalars(&mut self, wall_time: f64, step: usize, values: &[(&str, f64)]) -> io::Result<()> {
        let value = |(tag, value): &(&str, f64)| {
            // Summary.value = 1 { tag = 1, simple_value = 2 (float) }
            let mut fields = bytes(1, tag.as_bytes());
            fields.push(2 << 3 | 5);
            fields.extend((*value as f32).to_le_bytes());
            bytes(1, &fields)
        };
        let summary: Vec<u8> = values.iter().flat_map(value).collect();
        // summary = 5
        self.write(wall_time, step, &bytes(5, &summary))
    }

    /// One event in one record in one call, so that a killed writer leaves at most one record torn.
    fn write(&mut self, wall_time: f64, step: usize, what: &[u8]) -> io::Result<()> {
        // wall_time = 1 (double), step = 2 (varint; zero is left out, as protobuf has it)
        let mut event = vec![1 << 3 | 1];
        event.extend(wall_time.to_le_bytes());
        if step > 0 {
            event.push(2 << 3);
            varint(&mut event, step as u64);
        }
        event.extend_from_slice(what);
        let length = (event.len() as u64).to_le_bytes();
        let mut record = length.to_vec();
        record.extend(masked(&length).to_le_bytes());
        record.extend_from_slice(&event);
        record.extend(masked(&event).to_le_bytes());
        self.out.write_all(&record)
    }
}

/// A field of bytes, text or a message.
fn bytes(field: u8, value: &[u8]) -> Vec<u8> {
    let mut out = vec![field << 3 | 2];
    varint(&mut out, value.len() as u64);
    out.extend_from_slice(value);
    out
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// The checksum of a record, masked as TensorFlow does so that a checksum of checksums means something.
fn masked(bytes: &[u8]) -> u32 {
    crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

/// CRC-32C (Castagnoli). Records have a few hundred bytes, so that no table is needed.
fn crc32c(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| crc >> 1 ^ if crc & 1 == 1 { 0x82f6_3b78 } else { 0 };
    !bytes.iter().fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), step))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_those_of_rfc_3720() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
    }
}
