//! What a decision consists of: steps, and the typed reason for them or for waiting. Pure.

use crate::api::expansion::Phase;
use crate::expansion::facts::Level;
use crate::reasons::reasons;

/// One thing to do. Each is idempotent, and guarded by the resourceVersion of what was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// From now on the plan can't vanish before what it made is undone.
    Hold,
    /// It may.
    Release,
    /// Range: note the bounds that were chosen, by shard.
    Choose(Vec<(u32, i64)>),
    /// Make the pair `child`, which is to follow the pair `parent`.
    MakePair {
        /// Whose keys it will get half of.
        parent: u32,
        /// Its number.
        child: u32,
    },
    /// Ask both pairs of a split to go this far, or back to it; the child first on the way forward.
    Ask {
        /// The pair that is split.
        parent: u32,
        /// How far.
        until: Level,
    },
    /// Take what was asked from the pair of this shard: it goes on as an ordinary one.
    Unask(u32),
    /// Delete the pair of this shard, which owns no key, with the objects of its members. Its volumes stay.
    DropPair(u32),
    /// Change the map to this many shards, at a new epoch.
    Announce(u32),
}

/// What is to run in the background; what no longer is wanted is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Work {
    /// Look at schema, pairs and disks.
    Preflight,
    /// Read on in the binary logs of a split shard: was anything written on the wrong side?
    Audit(u32),
    /// Delete foreign rows on both sides of a split shard, and verify.
    Purge(u32),
}

impl Step {
    /// Its name, for spans.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Hold => "Hold",
            Self::Release => "Release",
            Self::Choose(_) => "Choose",
            Self::MakePair { .. } => "MakePair",
            Self::Ask { .. } => "Ask",
            Self::Unask(_) => "Unask",
            Self::DropPair(_) => "DropPair",
            Self::Announce(_) => "Announce",
        }
    }
}

reasons! {
    "Why: the reason of the condition Progressing (or Stalled), of events, of the metric.";
    /// Done.
    Complete,
    /// Asked for no more than this: `until` is reached.
    Approval,
    /// Clients of the routing service still use a map without the new shards.
    AwaitingClients,
    /// There is no such ShardCluster.
    NoCluster,
    /// Its spec can't be carried out.
    ClusterInvalid,
    /// It is being deleted.
    ClusterDeleted,
    /// `toShards` isn't twice the cluster's shards.
    NotDouble,
    /// Such a plan can't be carried out on this cluster.
    NotPossible,
    /// A person asked it to stand still.
    Paused,
    /// Another plan goes first.
    AnotherPlan,
    /// A pair isn't in Sync and at rest.
    Degraded,
    /// The preflight is under way.
    Preflight,
    /// It found something that forbids to go on.
    Refused,
    /// New pairs are made and filled.
    Preparing,
    /// Something is changed in the map.
    Announcing,
    /// Keys move.
    Flipping,
    /// The way back is open.
    ReverseWindow,
    /// Rows were written on the wrong side.
    Misrouted,
    /// A statement changed the form of guarded tables since the flip: it may have gone around the guard, or collide on the link.
    SchemaChanged,
    /// Binary logs since the flip are gone or unreadable: nobody can tell that nothing was misrouted.
    AuditBlind,
    /// The binary logs can't be read to their end yet.
    Auditing,
    /// Links between old and new pairs are taken away.
    Dissolving,
    /// Foreign rows are deleted.
    Purging,
    /// Guards are taken away.
    CleaningUp,
    /// It goes back.
    RollingBack,
    /// Clients get the time to read the map.
    Grace,
    /// Lowered or deleted too late.
    TooLate,
    /// A pair needs a person.
    PairStuck,
}

impl Reason {
    /// Does nothing go on without a person?
    pub fn needs_a_person(self) -> bool {
        matches!(
            self,
            Self::NoCluster | Self::ClusterInvalid | Self::NotDouble | Self::NotPossible | Self::Refused | Self::Misrouted | Self::SchemaChanged | Self::AuditBlind | Self::TooLate | Self::PairStuck
        )
    }

    /// What a person may do about it.
    pub fn remedy(self) -> &'static str {
        match self {
            Self::Complete => "Nothing.",
            Self::Approval => "`kubectl shardpair approve PLAN` goes on; `kubectl shardpair rollback PLAN` undoes it, until it is dissolved.",
            Self::AwaitingClients => "Nothing: keys move when the clients that are named have the new map, or after `spec.waitForClients`, which may be changed.",
            Self::NoCluster => "Correct `spec.clusterRef` by a new plan, or create the cluster: a plan works in its own namespace only.",
            Self::ClusterInvalid => "Mend the ShardCluster as its own condition Stalled says.",
            Self::ClusterDeleted => "Nothing: the plan ends with the cluster.",
            Self::NotDouble => "Delete the plan; make one to exactly twice the shards: `kubectl shardpair expand CLUSTER`.",
            Self::NotPossible => "The message says which setting of the cluster forbids it.",
            Self::Paused => "`kubectl shardpair resume CLUSTER` when you are done.",
            Self::AnotherPlan => "Wait for the plan that is named, or delete one of the two.",
            Self::Degraded => "`kubectl shardpair status` shows the pair: it goes on when every pair is in Sync and at rest.",
            Self::Refused => "Do what each finding says (`kubectl shardpair expand CLUSTER`): the preflight looks again by itself.",
            Self::Misrouted => "An account that the guards exempt has written on the wrong side: find it by the row that is named. `kubectl shardpair rollback PLAN` goes back.",
            Self::TooLate => "Raise `until` again: links are gone, so there is no way back; the plan can only be completed.",
            Self::PairStuck => "`kubectl shardpair explain PAIR` of the pair that is named.",
            Self::SchemaChanged => "The message names the statement. `kubectl shardpair rollback PLAN` goes back; then plan anew.",
            Self::AuditBlind => "`kubectl shardpair rollback PLAN` goes back. Keep binary logs for longer than the reverse window, then plan anew.",
            Self::ReverseWindow => "Nothing: it ends after `spec.reverseWindow`. Until then `kubectl shardpair rollback PLAN` costs nothing.",
            Self::Auditing => "Nothing: it is tried again. If it lasts, look at the free disk of the members and at `binlog_expire_logs_seconds`.",
            Self::Preflight | Self::Preparing | Self::Announcing | Self::Flipping | Self::Dissolving | Self::Purging | Self::CleaningUp | Self::RollingBack | Self::Grace => "Nothing: it is under way.",
        }
    }

    /// Does it stand still, waiting to be told or for others?
    pub fn rests(self) -> bool {
        self.needs_a_person() || matches!(self, Self::Complete | Self::Approval | Self::Paused | Self::AnotherPlan | Self::ClusterDeleted)
    }
}

/// A reason with its sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// One word.
    pub reason: Reason,
    /// What is so; for a refusal, what to do.
    pub message: String,
}

/// What is to be done now, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// In this order; after them the world is looked at anew.
    pub steps: Vec<Step>,
    /// Beside them.
    pub work: Vec<Work>,
    /// Why.
    pub note: Note,
    /// Said beside it: `until` lowered too late, while it goes on.
    pub beside: Option<Note>,
    /// The last phase that is wholly done.
    pub phase: Option<Phase>,
    /// The same, by shard.
    pub phases: Vec<(u32, Option<Phase>)>,
    /// When to look again at the latest, if nothing changes, milliseconds.
    pub again_ms: u64,
}
