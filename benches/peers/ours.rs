//! shardpair itself, by benches/failover: the same writer, through its VIP, on the test cluster.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use serde::Deserialize;

use super::measure::Plan;
use super::results::{About, Fault, Measured, Run};

/// Of its rows.
pub const NAME: &str = "shardpair";

/// What benches/failover writes, as far as it is wanted here.
#[derive(Deserialize)]
pub struct Failovers {
    setting: serde_json::Value,
    runs: Vec<One>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct One {
    kind: String,
    gap_ms: f64,
    return_gap_ms: f64,
    to_sync_ms: f64,
    acked: u64,
    problems: Vec<String>,
}

/// Whether there is a cluster to measure it on.
pub fn possible() -> Result<(), String> {
    let asked = Command::new("kubectl").args(["--request-timeout=5s", "get", "nodes", "-o", "name"]).output();
    match asked {
        Ok(out) if out.status.success() && !out.stdout.is_empty() => Ok(()),
        _ => Err("no cluster answers kubectl: eval \"$(tests/cluster/up --nodes 3)\"".to_owned()),
    }
}

fn kind(fault: Fault) -> &'static str {
    match fault {
        Fault::Planned => "switchover",
        other => other.name(),
    }
}

/// Runs benches/failover to its end.
pub async fn measure(plan: &Plan, quick: bool, name: &str) -> Measured {
    let path = super::root().join("target/peers-ours.json");
    let _ = std::fs::remove_file(&path);
    let mut command = Command::new(super::root().join("benches/failover/run"));
    command.current_dir(super::root()).arg("--runs").arg(plan.runs.to_string()).arg("--json").arg(&path);
    command.args(["--pause", if quick { "2" } else { "5" }]);
    for fault in &plan.faults {
        command.args(["--kind", kind(*fault)]);
    }
    let ran = tokio::task::spawn_blocking(move || command.status()).await.expect("no panic");
    let mut measured = match read(&path) {
        Ok(found) => convert(found, name),
        Err(why) => Measured { name: name.to_owned(), about: About::default(), runs: Vec::new(), notes: vec![why] },
    };
    if let Err(error) = ran {
        measured.notes.push(format!("benches/failover/run: {error}"));
    }
    measured
}

fn read(path: &Path) -> Result<Failovers, String> {
    let text = std::fs::read_to_string(path).map_err(|e| format!("benches/failover left no results: {e}"))?;
    serde_json::from_str(&text).map_err(|e| format!("{}: {e}", path.display()))
}

/// The same columns as for the others.
pub fn convert(found: Failovers, name: &str) -> Measured {
    let faults: BTreeMap<&str, Fault> = Fault::ALL.into_iter().map(|fault| (kind(fault), fault)).collect();
    let run = |one: &One| {
        let lost = one.problems.iter().filter(|p| p.starts_with("LOST")).count();
        Some(Run {
            fault: *faults.get(one.kind.as_str())?,
            gap_ms: one.gap_ms,
            later_ms: one.return_gap_ms,
            redundant_ms: Some(one.to_sync_ms),
            acked: one.acked,
            lost: lost as u64,
            wrong: (one.problems.len() - lost) as u64,
            differing: 0,
            healed_first: false,
        })
    };
    let (mysql, kubernetes) = (&found.setting["mysql"]["version"], &found.setting["kubernetes"]);
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    Measured {
        name: name.to_owned(),
        about: About {
            title: "shardpair".to_owned(),
            engine: "MySQL".to_owned(),
            versions: format!("MySQL {}, Kubernetes {}, operator {}", text(mysql), text(kubernetes), text(&found.setting["commit"])),
            settings: format!("a pair in Sync, defaults; failover {}", found.setting["failover"]),
        },
        runs: found.runs.iter().filter_map(run).collect(),
        notes: Vec::new(),
    }
}
