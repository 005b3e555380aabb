//! The other side: PyTorch + PEFT in a Python environment of its own.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    LENGTH, RANK, ROWS,
    sample::{Sample, output},
    shapes::Shape,
};

/// glibc keeps what is freed: PyTorch's fair setting, because faulting pages in anew costs more than the arithmetic.
const TUNED: [(&str, &str); 3] = [
    ("MALLOC_MMAP_THRESHOLD_", "4000000000"),
    ("MALLOC_TRIM_THRESHOLD_", "16000000000"),
    ("MALLOC_TOP_PAD_", "67108864"),
];

/// A Python with torch, transformers and PEFT.
pub struct Peer {
    python: PathBuf,
    script: PathBuf,
}

impl Peer {
    /// The Python that `TUNESMITH_BENCH_PYTHON` names, else an environment below `target/`, made at first use.
    pub fn find() -> Result<Self, String> {
        let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/train");
        let script = here.join("peer.py");
        if let Some(python) = std::env::var_os("TUNESMITH_BENCH_PYTHON").filter(|python| !python.is_empty()) {
            return Ok(Peer { python: python.into(), script });
        }
        let home = Path::new(env!("CARGO_TARGET_TMPDIR")).join("bench-python");
        let (python, done) = (home.join("bin/python"), home.join("complete"));
        if !done.exists() {
            eprintln!("making a Python environment in {}", home.display());
            output(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&home))?;
            let install = ["-m", "pip", "install", "--quiet", "--requirement"];
            output(Command::new(&python).args(install).arg(here.join("requirements.txt")))?;
            std::fs::write(&done, "").map_err(|e| format!("{}: {e}", done.display()))?;
        }
        Ok(Peer { python, script })
    }

    /// Trains `steps` steps on random rows in a process of its own.
    pub fn measure(&self, shape: &Shape, steps: usize, threads: usize, tuned: bool) -> Result<Sample, String> {
        let mut command = Command::new(&self.python);
        command.arg(&self.script).arg(shape.json);
        command.args([steps, threads, ROWS, LENGTH, RANK].map(|n| n.to_string()));
        for (name, value) in TUNED {
            command.env_remove(name);
            if tuned {
                command.env(name, value);
            }
        }
        Sample::parse(&output(&mut command)?)
    }
}
