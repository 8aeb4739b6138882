//! What a figure is worth nothing without, and where the report goes.

use std::process::Command;

use jiff::Zoned;

use super::results::{Results, Setting};
use super::{plot, report};

const PAGE: &str = "docs/benchmarks.md";
const PLOT: &str = "docs/benchmarks.svg";

fn file(path: &str, key: &str) -> String {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let line = text.lines().find(|l| l.starts_with(key)).unwrap_or_default();
    line.split_once(':').map(|(_, v)| v.trim().to_owned()).unwrap_or_default()
}

/// As it is now.
pub fn describe() -> Setting {
    let git = Command::new("git").args(["describe", "--always", "--dirty"]).current_dir(super::root()).output();
    let first = |path: &str| std::fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    Setting {
        date: Zoned::now().strftime("%Y-%m-%d %H:%M").to_string(),
        cores: std::thread::available_parallelism().map_or(0, usize::from),
        cpu: file("/proc/cpuinfo", "model name"),
        memory: file("/proc/meminfo", "MemTotal"),
        kernel: first("/proc/sys/kernel/osrelease").split('-').next().unwrap_or_default().to_owned(),
        commit: git.map(|out| String::from_utf8_lossy(&out.stdout).trim().to_owned()).unwrap_or_default(),
        load_before: first("/proc/loadavg").split(' ').take(3).collect::<Vec<_>>().join(" "),
        command: std::env::args().skip(1).filter(|a| a != "--bench").collect::<Vec<_>>().join(" "),
        minutes: 0.0,
    }
}

/// Into the docs: between the markers, and the plot beside them.
pub fn publish(results: &Results) -> Result<(), String> {
    let (page, picture) = (super::root().join(PAGE), super::root().join(PLOT));
    let old = std::fs::read_to_string(&page).map_err(|e| format!("{PAGE}: {e}"))?;
    let new = report::between_markers(&old, "peers", &report::tables(results)).ok_or_else(|| format!("{PAGE}: its markers are gone"))?;
    std::fs::write(&picture, plot::svg(results)).map_err(|e| format!("{PLOT}: {e}"))?;
    std::fs::write(&page, new).map_err(|e| format!("{PAGE}: {e}"))?;
    println!("{PAGE} and {PLOT} are made");
    Ok(())
}
