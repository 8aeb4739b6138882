//! A split as one pair sees it: how far to go, how far it is. Pure types; what is done about it is `decide::split`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How far the plan lets a pair go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum SplitUntil {
    /// The child follows in Sync; guards are in place; the link back stands.
    Prepared,
    /// The child owns its half. The link stands: the way back.
    Flipped,
    /// The link is gone.
    Dissolved,
    /// The plan deletes foreign rows; nothing is done for it here beyond keeping the guards.
    Purged,
}

/// How far a pair is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SplitState {
    /// Cloning, following, guards, the link back.
    #[default]
    Preparing,
    /// All that the flip needs stands. Of the child: it follows in Sync, with guards.
    Prepared,
    /// Parent: the flip is being tried (`reason` says why it hasn't succeeded yet).
    Flipping,
    /// Parent: ceded, and seen that the child's VIP leads to it. Child: it is open for its half, and its VIP leads to it.
    Flipped,
    /// Child: it gives its half back. Parent: it takes it again.
    GivingBack,
    /// The link is being taken away.
    Dissolving,
    /// The link is gone, seen on this side. Foreign rows may be deleted when both sides say so.
    Dissolved,
}

/// The channels between the two primaries, as this side sees its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum LinkState {
    /// Not set up yet, or being set up again after a failover.
    #[default]
    Absent,
    /// This side's primary receives from the other's, and applies.
    Standing,
    /// It receives and can't apply: `message` has the error.
    Failing,
    /// Cut for good after a failover: no way back for this shard; forward goes on.
    Broken,
    /// Proven gone on this side: no member's channel leads to the other pair.
    Gone,
}

/// How far the split has come on this side.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct SplitStatus {
    /// How far this pair is.
    pub state: SplitState,
    /// This side's channel to the other pair.
    pub link: LinkState,
    /// Why it isn't further: one word, as in the conditions.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// The same in a sentence.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// Members on which the guard was seen, with the rows that the record asks for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub guarded: Vec<String>,
    /// Classes of the new rule that this pair owns, as recorded.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub owns: Vec<u32>,
    /// How long the keys that move paused at the last flip (or way back), from the fence to the write of the VIP's slice.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pause_seconds: Option<f64>,
    /// Flips that were given up so far, each undone by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub given_up: Option<u32>,
    /// Clone under way: bytes done, in steps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cloned_bytes: Option<i64>,
    /// Clone under way: bytes to do, as MySQL estimates.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clone_bytes: Option<i64>,
}

impl SplitStatus {
    /// May this side's foreign rows be deleted, as far as this side can tell? Both must say so.
    pub fn may_purge(&self) -> bool {
        self.state == SplitState::Dissolved && self.link == LinkState::Gone
    }
}
