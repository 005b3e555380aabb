//! Server-sent events as servers really send them, brought into the one form that async-openai reads well.
//!
//! Its reader panics at a byte order mark, and keeps in memory, without bound, a line that does not end and all that
//! follows a byte that is no UTF-8.

use super::{ModelError, transport};

/// The stream as far as it has been read.
#[derive(Default)]
pub struct Events {
    line: Vec<u8>,
    data: Vec<u8>,
    /// Whether the last byte was a carriage return, so that a line feed ends no second line.
    returned: bool,
    began: bool,
}

/// What a piece of the stream completed.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// The events, each as one line of data and an empty line.
    pub text: String,
    /// Whether the last event of all was among them.
    pub done: bool,
}

impl Events {
    /// Takes the next bytes. Events that no empty line has ended are kept for later, and lost with the stream.
    pub fn take(&mut self, bytes: &[u8]) -> Result<Taken, ModelError> {
        let mut taken = Taken::default();
        for &byte in bytes {
            match byte {
                b'\n' if self.returned => {}
                b'\n' | b'\r' => self.end_line(&mut taken),
                _ => self.line.push(byte),
            }
            self.returned = byte == b'\r';
            if self.line.len() + self.data.len() > transport::MOST_BYTES {
                return Err(transport::too_large());
            }
        }
        Ok(taken)
    }

    fn end_line(&mut self, taken: &mut Taken) {
        let line = std::mem::take(&mut self.line);
        let line = if self.began { &line[..] } else { line.strip_prefix("\u{feff}".as_bytes()).unwrap_or(&line) };
        self.began = true;
        if let Some(value) = line.strip_prefix(b"data:") {
            // JSON may be broken over lines wherever it has white space.
            self.data.push(b' ');
            self.data.extend_from_slice(value);
        } else if line.is_empty() && !self.data.is_empty() {
            let data = std::mem::take(&mut self.data);
            let data = String::from_utf8_lossy(&data);
            taken.done |= data.trim() == "[DONE]";
            taken.text.push_str(&format!("data: {}\n\n", data.trim()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(bytes: &[u8], size: usize) -> Taken {
        let mut events = Events::default();
        bytes.chunks(size).fold(Taken::default(), |mut all, piece| {
            let Taken { text, done } = events.take(piece).unwrap();
            all.text.push_str(&text);
            all.done |= done;
            all
        })
    }

    #[test]
    fn every_spelling_of_events_comes_to_one_however_it_is_cut() {
        let spellings: [&[u8]; 5] = [
            b"data: {\"a\": 1}\n\ndata: [DONE]\n\n",
            b"data:{\"a\": 1}\r\n\r\ndata:[DONE]\r\n\r\n",
            b"\xef\xbb\xbfdata: {\"a\": 1}\r\rdata: [DONE]\r\r",
            b": comment\n\nid: 1\nevent: x\ndata: {\"a\": 1}\n\nretry: 5\n\n\n\ndata\ndata: [DONE]\n\ndata: lost",
            b"data: {\"a\":\ndata: 1}\n\ndata: [DONE]\n\n",
        ];
        for spelling in spellings {
            for size in [1, 2, 7, 1000] {
                let text = "data: {\"a\": 1}\n\ndata: [DONE]\n\n".to_owned();
                let Taken { text: got, done } = taken(spelling, size);
                assert_eq!((got.replace(":  1", ": 1"), done), (text, true), "{spelling:?}");
            }
        }
        assert_eq!(taken(b"data: a\xffb\n\n", 1).text, "data: a\u{fffd}b\n\n");
        assert_eq!(taken("data: ü\n\n".as_bytes(), 1).text, "data: ü\n\n");
        assert_eq!(taken(b"data: {}\n", 1), Taken::default());
        // A text that talks of the end is not the end.
        assert!(!taken(b"data: {\"a\": \"data: [DONE]\"}\n\n", 1000).done);
    }

    #[test]
    fn a_line_or_an_event_without_end_is_refused() {
        for line in [&b"xxxxxxx"[..], b"data: x\n"] {
            let mut events = Events::default();
            let refused = (0..2_000_000).find_map(|_| events.take(line).err());
            assert_eq!(refused, Some(transport::too_large()));
            assert!(events.line.len() + events.data.len() < transport::MOST_BYTES + 10);
        }
    }
}
