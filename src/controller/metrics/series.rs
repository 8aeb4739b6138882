//! Every series that the operator tells: name, kind, labels, meaning. `docs/metrics.md` is made from this table, and the
//! alerts and the dashboard may ask for nothing else (`tests/pure/metrics.rs`).

use super::data::{MemberData, PairData, PlanData, SplitData};
use crate::mysql::status::{self, VALUES};

/// As Prometheus knows them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// As it is now.
    Gauge,
    /// Only grows; its name ends in `_total`.
    Counter,
    /// Buckets, sum, count.
    Histogram,
}

/// One series.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Series {
    /// Without `shardpair_`, and without `_total`.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// Its labels.
    pub labels: &'static [&'static str],
    /// What it says.
    pub help: String,
}

impl Series {
    fn new(name: &str, kind: Kind, labels: &'static [&'static str], help: &str) -> Self {
        Self { name: name.to_owned(), kind, labels, help: help.to_owned() }
    }

    /// As a query names it; a histogram by its count.
    pub fn queried(&self) -> String {
        let end = match self.kind {
            Kind::Gauge => "",
            Kind::Counter => "_total",
            Kind::Histogram => "_count",
        };
        format!("shardpair_{}{end}", self.name)
    }
}

/// One value of a `T`.
pub struct Of<T: 'static> {
    /// Without its prefix.
    pub name: &'static str,
    /// Gauge or counter.
    pub kind: Kind,
    /// What it says.
    pub help: &'static str,
    /// Takes it out.
    pub value: fn(&T) -> Option<f64>,
}

const fn gauge<T>(name: &'static str, help: &'static str, value: fn(&T) -> Option<f64>) -> Of<T> {
    Of { name, kind: Kind::Gauge, help, value }
}

const fn counter<T>(name: &'static str, help: &'static str, value: fn(&T) -> Option<f64>) -> Of<T> {
    Of { name, kind: Kind::Counter, help, value }
}

fn one(holds: bool) -> Option<f64> {
    Some(f64::from(u8::from(holds)))
}

/// `shardpair_pair_…`, labels namespace, pair.
pub const PAIR: &[Of<PairData>] = &[
    gauge("epoch", "Epoch of the pair's record: grows with each change of role or mode", |p| Some(p.record.epoch as f64)),
    gauge("sync", "1: every acknowledged write is on both members; 0: Solo", |p| one(p.sync())),
    gauge("ready", "1: everything is as the spec wants it (condition Ready)", |p| one(p.conditions[0]?)),
    gauge("available", "1: writes are possible (condition Available)", |p| one(p.conditions[1]?)),
    gauge("redundant", "1: the standby could take over without loss (condition Redundant)", |p| one(p.conditions[2]?)),
    gauge("paused", "1: nothing is changed, nothing fails over", |p| one(p.paused)),
    gauge("moving", "1: a move of the primary's role is under way", |p| one(p.record.transition.is_some())),
    gauge("abandoned_members", "Members that hold acknowledged writes which a person gave up", |p| Some(p.record.abandoned.len() as f64)),
];

/// `shardpair_member_…`, labels namespace, pair, member.
pub const MEMBER: &[Of<MemberData>] = &[
    gauge("up", "1: the member answers the operator", |m| one(m.up)),
    gauge("silent_seconds", "Time since its last answer; 0: it answers", |m| Some(m.silent_seconds)),
    gauge("lag_seconds", "Standby: age of the last heartbeat that it has applied", |m| m.lag_seconds),
    gauge("lag_transactions", "Standby: transactions that the primary has executed and it hasn't", |m| m.lag_transactions),
    counter("transactions", "Transactions that the member has executed (GTIDs): its rate is the write TPS", |m| m.executed),
    gauge("disk_used_bytes", "What tables, binary logs and redo log take", MemberData::disk_used),
    gauge("disk_free_bytes", "What the volume has left for them: its size less disk_used_bytes", MemberData::disk_free),
    gauge("volume_bytes", "Size of the member's volume", |m| m.volume_bytes),
    gauge("binlog_bytes", "What its binary logs take", |m| m.measured.disk.map(|d| d.binlogs as f64)),
];

/// `shardpair_expansion_…`, labels namespace, plan, cluster.
pub const PLAN: &[Of<PlanData>] = &[
    gauge("phase", "Phases wholly done: 0 none, 1 Preflight, 2 Prepared, 3 Flipped, 4 Dissolved, 5 Complete", |p| Some(p.phase)),
    gauge("stalled", "1: nothing goes on without a person", |p| one(p.stalled)),
];

/// `shardpair_expansion_shard_…`, labels namespace, plan, cluster, shard.
pub const SPLIT: &[Of<SplitData>] = &[
    gauge("phase", "The same, of one shard", |s| Some(s.phase)),
    gauge("pause_seconds", "How long keys that moved paused at the flip", |s| s.pause_seconds),
    gauge("misrouted_rows", "Rows that were written on the wrong side", |s| s.misrouted),
    gauge("rows_scanned", "Purge: rows looked at", |s| s.scanned),
    gauge("rows_deleted", "Purge: rows deleted; its rate is the purge rate", |s| s.deleted),
    gauge("rows_estimated", "Purge: rows to look at, as MySQL estimates", |s| s.estimated),
];

/// Labels of each group.
pub const PAIR_LABELS: &[&str] = &["namespace", "pair"];
/// See [`PAIR_LABELS`].
pub const MEMBER_LABELS: &[&str] = &["namespace", "pair", "member"];
/// See [`PAIR_LABELS`].
pub const PLAN_LABELS: &[&str] = &["namespace", "plan", "cluster"];
/// See [`PAIR_LABELS`].
pub const SPLIT_LABELS: &[&str] = &["namespace", "plan", "cluster", "shard"];

/// Those with labels of their own, and the process's.
pub mod special {
    /// Pairs by the reason of their last decision.
    pub const STATE: (&str, &str) = ("pair_state", "1 for the reason that the pair's last decision gave");
    /// Moves.
    pub const MOVES: (&str, &str) = ("pair_moves", "Moves of the primary's role that were done, by kind and reason");
    /// Refusals.
    pub const REFUSALS: (&str, &str) = ("pair_refusals", "Times that a decision refused a move or raised an alarm, by reason (docs/events.md)");
    /// Write gap.
    pub const GAP: (&str, &str) = ("pair_write_gap_seconds", "From the first sign of trouble (or the closing of the old primary) to the write of the VIP's slice");
    /// Roles.
    pub const ROLE: (&str, &str) = ("member_role", "1 for the role that the record gives the member: primary, standby or none");
    /// Throttled.
    pub const THROTTLED: (&str, &str) = ("expansion_shard_throttled", "1 for the reason why the purge holds back now");
    /// Passes.
    pub const RECONCILE: (&str, &str) = ("reconcile_seconds", "Duration of one pass over one pair");
    /// Leader.
    pub const LEADING: (&str, &str) = ("leading", "1: this process leads");
    /// Version.
    pub const BUILD: (&str, &str) = ("build_info", "1, with the operator's version");
}

/// All of them, in the order of the documentation.
pub fn all() -> Vec<Series> {
    use special::{BUILD, GAP, LEADING, MOVES, RECONCILE, REFUSALS, ROLE, STATE, THROTTLED};
    let mut all = vec![
        Series::new(LEADING.0, Kind::Gauge, &[], LEADING.1),
        Series::new(BUILD.0, Kind::Gauge, &["version"], BUILD.1),
        Series::new(RECONCILE.0, Kind::Histogram, &[], RECONCILE.1),
    ];
    all.extend(PAIR.iter().map(|s| Series::new(&format!("pair_{}", s.name), s.kind, PAIR_LABELS, s.help)));
    all.push(Series::new(STATE.0, Kind::Gauge, &["namespace", "pair", "reason"], STATE.1));
    all.push(Series::new(MOVES.0, Kind::Counter, &["namespace", "pair", "kind", "reason"], MOVES.1));
    all.push(Series::new(REFUSALS.0, Kind::Counter, &["namespace", "pair", "reason"], REFUSALS.1));
    all.push(Series::new(GAP.0, Kind::Histogram, PAIR_LABELS, GAP.1));
    all.extend(MEMBER.iter().map(|s| Series::new(&format!("member_{}", s.name), s.kind, MEMBER_LABELS, s.help)));
    all.push(Series::new(ROLE.0, Kind::Gauge, &["namespace", "pair", "member", "role"], ROLE.1));
    all.extend(VALUES.iter().map(|v| Series::new(&format!("member_{}", v.name), kind(v.kind), MEMBER_LABELS, v.help)));
    all.extend(PLAN.iter().map(|s| Series::new(&format!("expansion_{}", s.name), s.kind, PLAN_LABELS, s.help)));
    all.extend(SPLIT.iter().map(|s| Series::new(&format!("expansion_shard_{}", s.name), s.kind, SPLIT_LABELS, s.help)));
    all.push(Series::new(THROTTLED.0, Kind::Gauge, &["namespace", "plan", "cluster", "shard", "reason"], THROTTLED.1));
    all
}

/// Ours for MySQL's.
pub fn kind(of: status::Kind) -> Kind {
    match of {
        status::Kind::Gauge => Kind::Gauge,
        status::Kind::Counter => Kind::Counter,
    }
}
