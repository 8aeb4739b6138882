//! What was done and measured: faults by kind, and the writers' gaps by kind.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::json;

use super::round::Round;
use super::support::{root, spread};

#[derive(Default)]
struct Kind {
    count: u64,
    /// Of rounds in which nothing else struck the pair.
    gaps_ms: Vec<u64>,
    back_ms: Vec<u64>,
}

pub struct Report {
    seed: u64,
    rounds: u64,
    acked: u64,
    in_doubt: u64,
    kinds: BTreeMap<String, Kind>,
    pairs: BTreeMap<String, u64>,
}

fn percentile(values: &[u64], percent: usize) -> Option<u64> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    spread::percentile(&sorted, percent)
}

impl Report {
    pub fn new(seed: u64) -> Self {
        Self { seed, rounds: 0, acked: 0, in_doubt: 0, kinds: BTreeMap::new(), pairs: BTreeMap::new() }
    }

    pub fn add(&mut self, round: Round) {
        self.rounds += 1;
        let strikes: usize = round.0.iter().map(|told| told.faults.len()).sum();
        for told in round.0 {
            self.acked += told.acked as u64;
            self.in_doubt += told.in_doubt as u64;
            // `PointKill Attach=kill` is counted as a point, and told by its own name.
            let names: Vec<String> = told.faults.iter().map(|f| f.split(' ').next().unwrap_or(f).to_owned()).collect();
            for name in &names {
                let kind = self.kinds.entry(name.clone()).or_default();
                kind.count += 1;
                if names.len() == 1 && strikes == 1 || names.len() == 1 && round_is_local(name) {
                    kind.gaps_ms.push(told.gap.as_millis() as u64);
                    kind.back_ms.push(told.back.as_millis() as u64);
                }
            }
            if names.len() > 1 {
                let mut sorted = names;
                sorted.sort();
                *self.pairs.entry(sorted.join(" + ")).or_default() += 1;
            }
        }
    }

    pub fn faults(&self) -> u64 {
        self.kinds.values().map(|k| k.count).sum()
    }

    /// Into target/faults/<seed>.json.
    pub fn write(&self) {
        let kinds: BTreeMap<&String, serde_json::Value> = self.kinds.iter().map(|(name, kind)| {
            let shape = json!({
                "faults": kind.count, "alone": kind.gaps_ms.len(), "gapP50Ms": percentile(&kind.gaps_ms, 50), "gapP99Ms": percentile(&kind.gaps_ms, 99),
                "inSyncP50Ms": percentile(&kind.back_ms, 50), "inSyncP99Ms": percentile(&kind.back_ms, 99), "gapsMs": kind.gaps_ms,
            });
            (name, shape)
        }).collect();
        let all = json!({
            "seed": self.seed, "rounds": self.rounds, "faults": self.faults(), "acknowledged": self.acked, "inDoubt": self.in_doubt, "lost": 0,
            "kinds": kinds, "together": self.pairs,
        });
        let path = root().join("target/faults");
        let written = std::fs::create_dir_all(&path).and_then(|()| std::fs::write(path.join(format!("{}.json", self.seed)), format!("{all:#}")));
        written.unwrap_or_else(|e| println!("{}: {e}", path.display()));
    }
}

/// A fault that one pair alone feels.
fn round_is_local(name: &str) -> bool {
    ["KillPrimary", "KillStandby", "HangPrimary", "HangStandby", "DeletePrimary", "DeleteStandby", "SigtermAlone", "CloneInterrupted", "Switchover"].contains(&name)
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} faults in {} rounds, {} rows acknowledged, {} in doubt; of the rounds that ended well, lost: 0", self.faults(), self.rounds, self.acked, self.in_doubt)?;
        writeln!(f, "{:<18} {:>6} {:>6} {:>12} {:>12} {:>14}", "kind", "faults", "alone", "gap p50 ms", "gap p99 ms", "in Sync p50 ms")?;
        for (name, kind) in &self.kinds {
            let shown = |value: Option<u64>| value.map_or("-".to_owned(), |v| v.to_string());
            let (p50, p99, back) = (percentile(&kind.gaps_ms, 50), percentile(&kind.gaps_ms, 99), percentile(&kind.back_ms, 50));
            writeln!(f, "{name:<18} {:>6} {:>6} {:>12} {:>12} {:>14}", kind.count, kind.gaps_ms.len(), shown(p50), shown(p99), shown(back))?;
        }
        Ok(())
    }
}
