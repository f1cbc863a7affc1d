//! `debunk scan` of a million spans: spans a second and peak memory of the process.

use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::traffic;

const SPANS: usize = 1_000_000;

pub(crate) fn run() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("traces.jsonl");
    let (spans, bytes) = generate(&path);
    let begun = Instant::now();
    let mut child = Command::new(env!("CARGO_BIN_EXE_debunk"))
        .args(["scan", "--format", "json"])
        .arg(&path)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let status = format!("/proc/{}/status", child.id());
    let mut peak_kib = 0;
    while child.try_wait().unwrap().is_none() {
        // The process may end between the two.
        peak_kib = peak_kib.max(fs::read_to_string(&status).map_or(0, |text| high_water_kib(&text)));
        std::thread::sleep(Duration::from_millis(20));
    }
    let took = begun.elapsed();
    assert!(child.wait().unwrap().success());
    println!(
        "scan: {spans} spans, {} MB of JSON lines in {:.1} s: {:.0} spans/s, {:.0} MB/s, peak {} MiB",
        bytes / 1_000_000,
        took.as_secs_f64(),
        spans as f64 / took.as_secs_f64(),
        bytes as f64 / 1e6 / took.as_secs_f64(),
        peak_kib / 1024
    );
}

fn generate(path: &Path) -> (usize, usize) {
    let mut file = BufWriter::new(File::create(path).unwrap());
    let stamps = traffic::json();
    let (mut spans, mut bytes) = (0, 0);
    for stamp in stamps.iter().cycle() {
        if SPANS <= spans {
            break;
        }
        let line = stamp.fresh();
        file.write_all(&line).unwrap();
        spans += stamp.spans;
        bytes += line.len();
    }
    file.flush().unwrap();
    (spans, bytes)
}

fn high_water_kib(status: &str) -> usize {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok()).unwrap_or(0)
}
