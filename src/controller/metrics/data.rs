//! What is known of each pair and member, as plain values: one small struct each, so that a thousand pairs cost little.

use std::collections::BTreeMap;

use crate::controller::measure::Measured;
use crate::pair::facts::{Member, Observation};
use crate::pair::record::{Mode, MoveKind, Record};
use crate::pair::step::Reason;

/// Upper bounds of the write gap's buckets, seconds: a failover is a quarter of one.
pub const GAP_BUCKETS: [f64; 12] = [0.025, 0.05, 0.1, 0.15, 0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 30.0];

/// A histogram over [`GAP_BUCKETS`] and beyond.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Gaps {
    /// Observations in each bucket alone; the last: beyond all.
    pub counts: [u64; GAP_BUCKETS.len() + 1],
    /// Sum of all.
    pub sum: f64,
}

impl Gaps {
    /// One more.
    pub fn observe(&mut self, seconds: f64) {
        let at = GAP_BUCKETS.iter().position(|b| seconds <= *b).unwrap_or(GAP_BUCKETS.len());
        self.counts[at] += 1;
        self.sum += seconds;
    }

    /// How many.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Bounds with the observations in each bucket alone, as the encoder wants them.
    pub fn buckets(&self) -> Vec<(f64, u64)> {
        let bounds = GAP_BUCKETS.iter().copied().chain([f64::MAX]);
        bounds.zip(self.counts).collect()
    }
}

/// One member.
#[derive(Clone, Debug, Default)]
pub struct MemberData {
    /// `primary`, `standby` or `none`.
    pub role: &'static str,
    /// It answers.
    pub up: bool,
    /// Seconds since it did last; 0: now.
    pub silent_seconds: f64,
    /// Seconds behind; standby only.
    pub lag_seconds: Option<f64>,
    /// Transactions behind; standby only.
    pub lag_transactions: Option<f64>,
    /// Transactions that it has executed, ever.
    pub executed: Option<f64>,
    /// Size of its volume, bytes.
    pub volume_bytes: Option<f64>,
    /// Its counters.
    pub measured: Measured,
}

impl MemberData {
    /// What this pass saw of it.
    pub fn of(record: &Record, seen: &Observation, name: &str, member: &Member, volume_bytes: Option<f64>, measured: Measured) -> Self {
        let facts = member.answer();
        let standby = record.standby.as_deref() == Some(name);
        let all = seen.members.get(&record.primary).and_then(Member::answer).map(|p| &p.executed);
        let behind = facts.zip(all).filter(|_| standby).map(|(f, all)| all.subtract(&f.executed).count() as f64);
        Self {
            role: if record.primary == name { "primary" } else if standby { "standby" } else { "none" },
            up: facts.is_some(),
            silent_seconds: member.away_ms() as f64 / 1000.0,
            lag_seconds: facts.and_then(|f| f.lag_seconds).filter(|_| standby).map(|s| s as f64),
            lag_transactions: behind,
            executed: facts.map(|f| f.executed.count() as f64),
            volume_bytes,
            measured,
        }
    }

    /// What its files take, bytes.
    pub fn disk_used(&self) -> Option<f64> {
        self.measured.disk.map(|d| (d.data + d.binlogs + d.redo) as f64)
    }

    /// What its volume has left for them, bytes.
    pub fn disk_free(&self) -> Option<f64> {
        Some((self.volume_bytes? - self.disk_used()?).max(0.0))
    }
}

/// One pair.
#[derive(Clone, Debug, Default)]
pub struct PairData {
    /// Its record.
    pub record: Record,
    /// Reason of the last decision.
    pub reason: Option<Reason>,
    /// The conditions as told last: Ready, Available, Redundant.
    pub conditions: [Option<bool>; 3],
    /// Nothing is changed.
    pub paused: bool,
    /// Moves done, by kind and reason.
    pub moves: BTreeMap<(&'static str, &'static str), u64>,
    /// Decisions that refused a move, by reason.
    pub refusals: BTreeMap<&'static str, u64>,
    /// Time without writes, of each move.
    pub gaps: Gaps,
    /// By name.
    pub members: BTreeMap<String, MemberData>,
}

impl PairData {
    /// Every acknowledged write is on both, as recorded.
    pub fn sync(&self) -> bool {
        self.record.mode == Mode::Sync
    }
}

/// As the label says it.
pub fn kind(kind: MoveKind) -> &'static str {
    match kind {
        MoveKind::Failover => "Failover",
        MoveKind::Switchover => "Switchover",
        MoveKind::PromoteWithDataLoss => "PromoteWithDataLoss",
    }
}

/// One shard of an expansion.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SplitData {
    /// 0 … 5: phases wholly done.
    pub phase: f64,
    /// How long keys that moved paused.
    pub pause_seconds: Option<f64>,
    /// Rows written on the wrong side.
    pub misrouted: Option<f64>,
    /// Rows looked at.
    pub scanned: Option<f64>,
    /// Rows deleted.
    pub deleted: Option<f64>,
    /// Rows to look at.
    pub estimated: Option<f64>,
    /// Why the purge holds back now.
    pub throttled: Option<String>,
}

/// One expansion.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PlanData {
    /// The cluster that grows.
    pub cluster: String,
    /// 0 … 5: phases wholly done.
    pub phase: f64,
    /// Nothing goes on without a person.
    pub stalled: bool,
    /// By shard.
    pub shards: BTreeMap<i32, SplitData>,
}
