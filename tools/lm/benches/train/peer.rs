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

/// MKL, PyTorch's matrix product, takes its AVX-512 path only where this function says that the processor is Intel's.
/// Other processors have AVX-512 too, and the fastest PyTorch is the fair opponent.
const MKL_SHIM: &str = "int mkl_serv_intel_cpu_true(void) { return 1; }";

/// How PyTorch is run.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Setting {
    /// As it comes.
    Default,
    /// With an allocator that keeps what is freed.
    Tuned,
    /// The same, and MKL told that the processor is Intel's.
    TunedWide,
    /// As [`Setting::Tuned`], through `torch.compile`.
    Compiled,
    /// As [`Setting::Tuned`], model and arithmetic in bfloat16.
    Bfloat16,
}

impl Setting {
    /// How it is called here.
    pub fn name(self) -> &'static str {
        match self {
            Setting::Default => "PyTorch + PEFT, default allocator",
            Setting::Tuned => "the same, tuned allocator",
            Setting::TunedWide => "the same, and MKL's AVX-512 path",
            Setting::Compiled => "tuned allocator and torch.compile",
            Setting::Bfloat16 => "tuned allocator, in bfloat16",
        }
    }

    /// Whether it is what ours is compared with: the same precision, ready as quickly.
    pub fn compared(self) -> bool {
        !matches!(self, Setting::Compiled | Setting::Bfloat16)
    }
}

/// A Python with torch, transformers and PEFT.
pub struct Peer {
    python: PathBuf,
    script: PathBuf,
    /// A library that makes MKL take its AVX-512 path, where it would not by itself.
    shim: Option<PathBuf>,
}

impl Peer {
    /// The Python that `TUNESMITH_PEER_PYTHON` names, else an environment below `target/`, made at first use.
    pub fn find() -> Result<Self, String> {
        let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/train");
        let (script, shim) = (here.join("peer.py"), shim());
        if let Some(python) = std::env::var_os("TUNESMITH_PEER_PYTHON").filter(|python| !python.is_empty()) {
            return Ok(Peer { python: python.into(), script, shim });
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
        Ok(Peer { python, script, shim })
    }

    /// The settings that make sense on this machine; those that are compared come first.
    pub fn settings(&self, all: bool) -> Vec<Setting> {
        let mut settings = vec![Setting::Default, Setting::Tuned];
        settings.extend(self.shim.is_some().then_some(Setting::TunedWide));
        settings.extend([Setting::Compiled, Setting::Bfloat16].into_iter().filter(|_| all));
        settings
    }

    /// Trains `steps` steps on random rows in a process of its own.
    pub fn measure(&self, shape: &Shape, steps: usize, threads: usize, setting: Setting) -> Result<Sample, String> {
        let mut command = Command::new(&self.python);
        command.arg("-Wignore").arg(&self.script).arg(shape.json);
        command.args([steps, threads, ROWS, LENGTH, RANK].map(|n| n.to_string()));
        command.arg(if setting == Setting::Bfloat16 { "bfloat16" } else { "float32" });
        command.arg(if setting == Setting::Compiled { "compiled" } else { "eager" });
        for (name, value) in TUNED {
            command.env_remove(name);
            if setting != Setting::Default {
                command.env(name, value);
            }
        }
        if let (Setting::TunedWide, Some(shim)) = (setting, &self.shim) {
            command.env("LD_PRELOAD", shim);
        }
        Sample::parse(&output(&mut command)?)
    }
}

/// Compiles [`MKL_SHIM`]; `None` on Intel's processors, without AVX-512 and without a C compiler.
fn shim() -> Option<PathBuf> {
    let processor = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    if processor.contains("GenuineIntel") || !processor.contains("avx512f") {
        return None;
    }
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let (source, library) = (dir.join("mkl_shim.c"), dir.join("mkl_shim.so"));
    std::fs::write(&source, MKL_SHIM).ok()?;
    let compiled = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source).status();
    compiled.ok()?.success().then_some(library)
}
