//! The record: the pair's truth, kept in the status of its `ShardPair`.
//!
//! Pure. The record changes only by a write that names the resourceVersion it read; everything that may be promoted,
//! acknowledged or undone follows from it (invariants 1-6, 8). `epoch` counts its changes of role and mode.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Whether the primary's commits wait for the standby's acknowledgement.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Mode {
    /// The standby holds everything that was acknowledged: it may be promoted.
    Sync,
    /// Nobody else is known to hold what the primary acknowledges: no promotion without a person's word.
    #[default]
    Solo,
}

/// What became of changed my.cnf entries on a running member.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct AppliedSettings {
    /// The mysqld process that they were applied to.
    pub process: String,
    /// Hash of the my.cnf that they come from.
    pub hash: String,
    /// Entries that only a restart changes: the member is restarted, standby first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub restart_for: Vec<String>,
    /// Entries that this MySQL doesn't know or refuses: with them it would not start again.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub refused: Vec<String>,
}

impl AppliedSettings {
    /// Does an entry wait for a restart that is going to succeed?
    pub fn wants_restart(&self) -> bool {
        self.refused.is_empty() && !self.restart_for.is_empty()
    }
}

/// Who a member is: a pod of the right name with another volume or `server_uuid` has no role (invariant 6).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Member {
    /// `<cluster>-m<K>`
    pub name: String,
    /// uid of its PersistentVolumeClaim; empty until seen.
    pub volume: String,
    /// MySQL's `server_uuid`; empty until seen.
    #[serde(rename = "serverUUID")]
    pub server_uuid: String,
    /// Where its pod was last seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// Seconds behind the primary, in coarse steps (so that a pair at rest writes nothing); shown, decides nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lag_seconds: Option<i64>,
    /// Transactions that the primary has executed and this member hasn't, in coarse steps; shown, decides nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub behind_transactions: Option<i64>,
    /// my.cnf entries that changed since its process started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub settings: Option<AppliedSettings>,
}

/// What kind of move is under way, or was the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum MoveKind {
    /// The primary is gone; its standby takes over.
    Failover,
    /// Both are there; they change roles.
    Switchover,
    /// A person accepted the loss.
    PromoteWithDataLoss,
}

/// A move that has begun and is not yet recorded as done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Transition {
    /// What is being done.
    pub kind: MoveKind,
    /// The member that becomes primary.
    pub to: String,
    /// When it was recorded.
    pub started_at: MicroTime,
    /// Why.
    pub reason: String,
}

/// A primary that lost its role while its process may still hold commits nobody acknowledged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Deposed {
    /// Its name.
    pub member: String,
    /// The mysqld process that was serving; its tail can be read only from a later process (invariant 9).
    /// Absent while that process has not been identified.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub process: Option<String>,
    /// The record's epoch that deposed it.
    pub epoch: i64,
}

/// How far the rebuilding of a standby by CLONE has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RebuildPhase {
    /// The marker is to be placed on the member: as long as it is seen there, its data is not the clone's.
    Marking,
    /// The marker was seen; CLONE runs, or is to be run again. The marker's absence proves that the data was replaced.
    Cloning,
}

/// A standby that has no role until its data has been replaced by a copy of the primary's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Rebuild {
    /// Its name.
    pub member: String,
    /// How far it has come.
    pub phase: RebuildPhase,
    /// Why its own data can't be used.
    pub reason: String,
}

/// How far the undoing of a tail has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RewindPhase {
    /// The tail is to be undone on the member; with the mark seen there it is, all but the GTID sets.
    Undoing,
    /// Undone: it may follow the primary, and is not in Sync before the rows that the tail touched were compared.
    Comparing,
}

/// A standby whose tail is undone from its own binlog (`mysql::rewind`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Rewind {
    /// Its name.
    pub member: String,
    /// How far it has come.
    pub phase: RewindPhase,
    /// The GTIDs to be undone.
    pub tail: String,
    /// The GTIDs that stay.
    pub keep: String,
    /// Names this rewind on the member: the epoch that recorded it.
    pub mark: i64,
}

/// A member whose acknowledged writes were given up by a person (promote-with-data-loss): nothing undoes them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Abandoned {
    /// Its name.
    pub member: String,
    /// The record's epoch that gave it up.
    pub epoch: i64,
}

/// A child that owns nothing yet, or nothing any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Follows {
    /// The parent.
    pub pair: String,
    /// The cession (its epoch) that was given back: only a later one makes it open again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub given_back: Option<i64>,
}

/// The parent's half of the keys that is another pair's. Undone only by that pair's own record, which gives it back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Ceded {
    /// The child.
    pub pair: String,
    /// The parent's epoch that ceded it: names this cession.
    pub epoch: i64,
    /// When the keys that move began to pause.
    pub fenced_at: MicroTime,
    /// What the parent's primary had executed then: everything later is written for its own half.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub executed: String,
}

/// The dual-master link after a flip.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Linked {
    /// The other pair.
    pub pair: String,
}

/// Why a link ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Cut {
    /// As planned.
    Dissolved,
    /// After a failover it couldn't be made again without letting a tail through.
    LinkBroken,
}

/// A link that has ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Severed {
    /// The other pair.
    pub pair: String,
    /// Why.
    pub reason: Cut,
    /// Seen on this side: no member's channel leads to the other pair any more.
    pub proven: bool,
}

/// Tries of a flip: each stops the moving keys for a moment, so they come at growing distances.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Flip {
    /// Tries that were given up.
    pub given_up: u32,
    /// When the last one was given up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub given_up_at: Option<MicroTime>,
    /// One is under way since.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub begun_at: Option<MicroTime>,
}

/// The pair's truth. `epoch` 0 means: not provisioned yet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Record {
    /// Grows by one with every recorded change of role or mode.
    pub epoch: i64,
    /// The member behind the VIP.
    pub primary: String,
    /// The other one; absent while a replacement is awaited.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub standby: Option<String>,
    /// Sync: the standby is the acker. Solo: there is none.
    pub mode: Mode,
    /// Who the members are.
    pub members: Vec<Member>,
    /// Boot of the standby's node when Sync was recorded (`failover.ack: Received`): after another boot the standby
    /// is not promotable until it is proven complete again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub standby_boot: Option<String>,
    /// Absent at rest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transition: Option<Transition>,
    /// The old primary, until its tail is known and gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deposed: Option<Deposed>,
    /// The standby that is being rebuilt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rebuild: Option<Rebuild>,
    /// The standby whose tail is undone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rewind: Option<Rewind>,
    /// Members whose acknowledged writes a person gave up.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub abandoned: Vec<Abandoned>,
    /// When a switchover was given up last: each try stops the writes, so the operator's own next one waits a while.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub given_up_at: Option<MicroTime>,
    /// `auto_increment_offset` of its side (with `ids: Interleave`); absent: 1. It stays with the pair when the split is over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offset: Option<u16>,
    /// Child of a split: its primary is read-only and follows the primary of that pair.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub follows: Option<Follows>,
    /// Parent of a split: half of the keys are another pair's from here on. Written once a flip: its commit point.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ceded: Option<Ceded>,
    /// After the flip: the primary's channel leads to the other pair's primary instead of to its standby.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub linked: Option<Linked>,
    /// The link has ended: there is no way back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub severed: Option<Severed>,
    /// Tries of the flip, or of the way back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flip: Option<Flip>,
    /// Times of the last automatic failovers (at most 10), for the limit on failovers per time.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub recent_failovers: Vec<MicroTime>,
}

impl Record {
    /// Has the pair been given its first roles?
    pub fn provisioned(&self) -> bool {
        self.epoch > 0
    }

    /// The identity of `name`, if the record knows it.
    pub fn member(&self, name: &str) -> Option<&Member> {
        self.members.iter().find(|m| m.name == name)
    }

    /// The identity of `name`, made if absent.
    pub fn member_mut(&mut self, name: &str) -> &mut Member {
        let at = self.members.iter().position(|m| m.name == name).unwrap_or_else(|| {
            self.members.push(Member { name: name.to_owned(), ..Member::default() });
            self.members.len() - 1
        });
        &mut self.members[at]
    }

    /// Failovers recorded within `window_ms` before `now`.
    pub fn failovers_since(&self, now: Timestamp, window_ms: i64) -> usize {
        self.recent_failovers.iter().filter(|t| now.as_millisecond() - t.0.as_millisecond() < window_ms).count()
    }
}
