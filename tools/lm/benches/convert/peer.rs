//! The other side: llama.cpp's converter and llama-quantize.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use tunesmith_lm::gguf::Quant;

use crate::{
    process::{Sample, measure},
    shared::peer,
};

/// What is there of llama.cpp.
pub struct Peers {
    /// A Python, and the converter's script.
    converter: Option<(PathBuf, PathBuf)>,
    /// The folder of programs.
    programs: Option<PathBuf>,
}

impl Peers {
    /// What the environment names.
    pub fn find() -> Self {
        let converter = peer("TUNESMITH_PEER_PYTHON").zip(peer("TUNESMITH_PEER_CONVERTER"));
        Peers { converter, programs: peer("TUNESMITH_PEER_LLAMA") }
    }

    /// Makes `out` of the model `from` in a process of its own; `None` where that peer is not there.
    pub fn convert(&self, quant: Quant, from: &Path, out: &Path, threads: usize) -> Result<Option<Sample>, String> {
        let mut command = match (quant, &self.converter, &self.programs) {
            (Quant::F16, Some((python, script)), _) => {
                let mut command = Command::new(python);
                command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/convert/peer.py")).arg(script);
                command.arg(from).arg("--outfile").arg(out).args(["--outtype", "f16"]);
                command.env("OMP_NUM_THREADS", threads.to_string());
                command
            }
            (Quant::Q8_0 | Quant::Q4KM, _, Some(programs)) => {
                let mut command = Command::new(programs.join("llama-quantize"));
                command.args([from, out]).arg(quant.name().to_uppercase()).arg(threads.to_string());
                command.env("LD_LIBRARY_PATH", programs);
                command
            }
            _ => return Ok(None),
        };
        measure(&mut command, out).map(Some)
    }
}
