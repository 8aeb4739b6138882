//! The operator's process, and what the kernel and the API server's audit log tell of it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// The operator, as it runs in its pod; it ends with this.
pub struct Operator {
    child: Child,
    audit: PathBuf,
}

/// Memory now and at its highest, MiB.
#[derive(Clone, Copy)]
pub struct Memory {
    /// Resident.
    pub resident: f64,
    /// Of that, its own (not the program's file).
    pub anonymous: f64,
    /// The most that was resident.
    pub highest: f64,
}

impl Operator {
    /// Starts it. `dir`: where the run's files are; its kubeconfig is there.
    pub fn start(program: &str, dir: &Path) -> Self {
        let log = fs::File::create(dir.join("operator.log")).expect("a log");
        let child = Command::new(program)
            .args(["run", "--namespace", super::kubelet::NAMESPACE, "--identity", "bench", "--listen", "127.0.0.1:8080"])
            .env("KUBECONFIG", dir.join("pki/operator.conf"))
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("the operator starts");
        Self { child, audit: dir.join("audit.log") }
    }

    fn file(&self, name: &str) -> String {
        fs::read_to_string(format!("/proc/{}/{name}", self.child.id())).expect("the operator lives")
    }

    /// What it holds.
    pub fn memory(&self) -> Memory {
        let status = self.file("status");
        let mib = |key: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_default();
            line.split_whitespace().next().and_then(|kib| kib.parse::<f64>().ok()).unwrap_or(0.0) / 1024.0
        };
        Memory { resident: mib("VmRSS:"), anonymous: mib("RssAnon:"), highest: mib("VmHWM:") }
    }

    /// Processor time so far, seconds.
    pub fn cpu(&self) -> f64 {
        let stat = self.file("stat");
        // After the name in brackets: state is the first, utime the twelfth, stime the thirteenth; in hundredths of a second.
        let after = stat.rsplit(')').next().unwrap_or_default();
        after.split_whitespace().skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / 100.0
    }

    /// Requests that it has made so far, by verb and kind.
    pub fn requests(&self) -> BTreeMap<String, u64> {
        let mut told = BTreeMap::new();
        for line in fs::read_to_string(&self.audit).expect("an audit log").lines() {
            let Ok(event) = serde_json::from_str::<serde_json::Value>(line) else { continue };
            let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
            let object = &event["objectRef"];
            let sub = object["subresource"].as_str().map(|sub| format!("/{sub}")).unwrap_or_default();
            *told.entry(format!("{} {}{sub}", text(&event["verb"]), text(&object["resource"]))).or_default() += 1;
        }
        told
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What was counted between two looks.
pub fn between(before: &BTreeMap<String, u64>, after: &BTreeMap<String, u64>) -> BTreeMap<String, u64> {
    let more = |(what, count): (&String, &u64)| (what.clone(), count - before.get(what).copied().unwrap_or(0));
    after.iter().map(more).filter(|(_, count)| *count > 0).collect()
}
