//! What a process takes from its start to its end.

use std::{
    path::Path,
    process::{Command, Stdio},
    time::Instant,
};

/// One process's figures.
pub struct Sample {
    /// From its start to its end.
    pub seconds: f64,
    /// Largest resident memory, pages of mapped files included.
    pub peak_bytes: f64,
    /// What it wrote, 0 for a directory.
    pub file_bytes: f64,
}

/// Starts this program again as a child whose words are `words` and `paths`, the last of which it writes.
pub fn again(words: &[&str], paths: &[&Path], threads: usize) -> Result<Sample, String> {
    let program = std::env::current_exe().map_err(|e| e.to_string())?;
    let mut command = Command::new(program);
    command.arg("--child").args(words).args(paths).env("RAYON_NUM_THREADS", threads.to_string());
    measure(&mut command, paths[paths.len() - 1])
}

/// Runs a command that writes `out`, after what is still to be written to the disk was: neither side pays for the other.
pub fn measure(command: &mut Command, out: &Path) -> Result<Sample, String> {
    let fail = |e: std::io::Error| format!("{command:?}: {e}");
    let _ = std::fs::remove_file(out);
    Command::new("sync").status().map_err(fail)?;
    let fail = |e: std::io::Error| e.to_string();
    let began = Instant::now();
    let child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().map_err(fail)?;
    let (status, peak_bytes, said) = wait(child)?;
    let seconds = began.elapsed().as_secs_f64();
    if status != 0 {
        return Err(format!("{command:?} failed ({status}): {}", said.lines().last().unwrap_or_default()));
    }
    let file_bytes = std::fs::metadata(out).map_or(0.0, |meta| if meta.is_file() { meta.len() as f64 } else { 0.0 });
    Ok(Sample { seconds, peak_bytes, file_bytes })
}

/// Waits for a child: how it ended, its peak memory, and what it said.
fn wait(mut child: std::process::Child) -> Result<(i32, f64, String), String> {
    let mut said = Vec::new();
    if let Some(mut stderr) = child.stderr.take() {
        std::io::Read::read_to_end(&mut stderr, &mut said).map_err(|e| e.to_string())?;
    }
    let mut status = 0;
    // SAFETY: a rusage of zeros is a valid one; the call fills it and `status`, and both live as long as the call. The child
    // has been waited for by nobody else, so that its id is still its own.
    #[allow(unsafe_code)]
    let (waited, usage) = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        (libc::wait4(child.id() as libc::pid_t, &mut status, 0, &mut usage), usage)
    };
    if waited < 0 {
        return Err(std::io::Error::last_os_error().to_string());
    }
    // Linux counts it in KiB.
    Ok((status, usage.ru_maxrss as f64 * 1024.0, String::from_utf8_lossy(&said).into_owned()))
}
