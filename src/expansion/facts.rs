//! Everything that is seen of a plan and its cluster in one pass, as plain values. Pure.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::api::expansion::{CloneProgress, Finding, Phase, Severity, Standbys, Throttled};

/// How far a pair is asked to go (its `spec.split.until`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// The child follows, guards are there.
    Prepared,
    /// The child owns its keys.
    Flipped,
    /// The link between the two is gone.
    Dissolved,
    /// Foreign rows are gone.
    Purged,
}

/// The plan: what its spec asks, and what its status remembers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Its name.
    pub name: String,
    /// Twice the shards.
    pub to_shards: u32,
    /// When the new pairs get their standbys.
    pub standbys: Standbys,
    /// How far to go.
    pub until: Phase,
    /// How long the way back stays open, milliseconds.
    pub reverse_window_ms: i64,
    /// Range: one bound per shard, or none.
    pub split_at: Vec<i64>,
    /// It is to be deleted.
    pub deleting: bool,
    /// It can't vanish before we say so.
    pub held: bool,
    /// A person asked it to stand still.
    pub paused: bool,
    /// The last phase that was wholly done.
    pub phase: Option<Phase>,
    /// The same, by shard.
    pub phases: BTreeMap<u32, Phase>,
    /// Range: the bounds that were chosen, by shard.
    pub chosen: BTreeMap<u32, i64>,
    /// When the last shard had flipped.
    pub flipped_at: Option<Timestamp>,
    /// When this plan changed the map last.
    pub announced_at: Option<Timestamp>,
    /// How long clients with an older map are waited for before the first flip, milliseconds.
    pub clients_ms: i64,
}

impl Plan {
    /// Shards that are split: 0, 1, … up to this.
    pub fn parents(&self) -> std::ops::Range<u32> {
        0..self.to_shards / 2
    }

    /// The shard that comes out of `shard`.
    pub fn child(&self, shard: u32) -> u32 {
        shard + self.to_shards / 2
    }
}

/// The applications' clients, as the routing service knows them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Clients {
    /// Heard of lately.
    pub known: u64,
    /// Of these, those whose map is older than the cluster's.
    pub behind: u64,
    /// Some of them, with their epochs.
    pub names: Vec<String>,
    /// Why not all were asked.
    pub error: Option<String>,
}

/// The ShardCluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cluster {
    /// Shards as the map has them.
    pub shards: u32,
    /// Its spec can't be carried out: why.
    pub invalid: Option<String>,
    /// Nothing is to be changed.
    pub paused: bool,
    /// It is to be deleted.
    pub deleting: bool,
    /// Keys belong to shards by bounds.
    pub by_range: bool,
    /// No pair may be without a standby.
    pub required: bool,
}

/// What the plan wrote into a pair's spec.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// By which plan.
    pub plan: String,
    /// How far.
    pub until: Level,
}

/// One pair.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pair {
    /// What was asked of it.
    pub asked: Option<Asked>,
    /// Why it isn't in Sync and at rest; None: it is.
    pub unwell: Option<String>,
    /// It is at rest without a standby, and nobody is to be one yet (`standbys: After`).
    pub alone: bool,
    /// It has its first roles.
    pub provisioned: bool,
    /// Its primary follows the primary of another pair: it owns no key.
    pub follows: bool,
    /// It gave its moving keys to the pair of this plan.
    pub ceded: bool,
    /// It is prepared: it follows, complete, with guards; or (a parent) has its guards.
    pub prepared: bool,
    /// It has done all of the flip, its VIP included.
    pub flipped: bool,
    /// No channel leads to or from the other pair: proven.
    pub parted: bool,
    /// Nothing of a split is left on its members.
    pub clean: bool,
    /// What it waits for, in words.
    pub says: Option<String>,
    /// A person must see to it.
    pub stuck: bool,
    /// How long keys that move paused, in seconds.
    pub pause_seconds: Option<f64>,
    /// A member that is being cloned.
    pub clone: Option<CloneProgress>,
}

/// What the preflight said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Preflight {
    /// All of it.
    pub findings: Vec<Finding>,
    /// Range: the median keys, by shard.
    pub medians: BTreeMap<u32, i64>,
}

impl Preflight {
    /// The findings that forbid to go on.
    pub fn refusals(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(|f| f.severity == Severity::Refused)
    }
}

/// What the audit of a split shard's binary logs has found since its flip.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Audit {
    /// Rows written on the wrong side.
    pub misrouted: i64,
    /// An example.
    pub example: Option<String>,
    /// Statements that changed the form of guarded tables, on either side.
    pub ddl: Vec<String>,
    /// What of the binary logs is gone or can't be read: it may hide a misrouted row.
    pub blind: Option<String>,
    /// The flip that this is about: the parent's epoch that ceded; 0: not known.
    pub ceded: i64,
    /// Everything that both had executed at this moment has been read.
    pub until: Option<Timestamp>,
    /// Why it could not look.
    pub error: Option<String>,
}

/// How the purge of a split shard, both sides, goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Purge {
    /// Rows looked at.
    pub scanned: i64,
    /// Rows deleted.
    pub deleted: i64,
    /// Rows to look at.
    pub estimated: i64,
    /// Why it holds back.
    pub throttled: Option<Throttled>,
    /// Every foreign row is gone and a second look found none; members are equal.
    pub verified: bool,
    /// What went wrong; it is tried again.
    pub error: Option<String>,
}

/// All that was seen.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observation {
    /// None: there is no such cluster.
    pub cluster: Option<Cluster>,
    /// By shard.
    pub pairs: BTreeMap<u32, Pair>,
    /// Another plan that goes first.
    pub before: Option<String>,
    /// A preflight that is recent; absent: none is.
    pub preflight: Option<Preflight>,
    /// Why the last one could not look.
    pub preflight_error: Option<String>,
    /// None: there is no routing service to ask, or it wasn't asked yet.
    pub clients: Option<Clients>,
    /// By split shard.
    pub audits: BTreeMap<u32, Audit>,
    /// By split shard.
    pub purges: BTreeMap<u32, Purge>,
}
