//! The user's choices that the pair protocol depends on, already parsed and checked. Pure.

use super::split::SplitUntil;
use crate::api::expansion::Standbys;
use crate::api::pair::SplitRole;

/// What to do without a standby.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Go Solo after `solo_after_ms`.
    Preferred,
    /// Stall rather than run without a standby.
    Required,
}

/// What an acknowledgement survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ack {
    /// The death of mysqld.
    Received,
    /// Also a power cut (`sync_relay_log=1`).
    Flushed,
}

/// Per pair.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// See [`Durability`].
    pub durability: Durability,
    /// See [`Ack`].
    pub ack: Ack,
    /// How long a standby may be away before the pair goes Solo, milliseconds.
    pub solo_after_ms: u64,
    /// Silence that counts as gone, milliseconds.
    pub detect_after_ms: u64,
    /// Replace a member that is gone for this long, milliseconds; None: never by itself.
    pub replace_after_ms: Option<u64>,
    /// Observe and report, change nothing.
    pub paused: bool,
    /// AUTO_INCREMENT step 2 with the side's offset.
    pub interleave_ids: bool,
    /// A Service leads to the standby while it is behind by at most so many milliseconds; None: there is no such Service.
    pub reads_max_lag_ms: Option<u64>,
    /// The members that the pair's spec names, in order.
    pub members: Vec<String>,
    /// What an ExpansionPlan asks.
    pub split: Option<SplitWanted>,
}

/// What an ExpansionPlan asks of the pair.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SplitWanted {
    /// This pair's name.
    pub name: String,
    /// Which side it is.
    pub role: SplitRole,
    /// The pair of the other side.
    pub other: String,
    /// How far to go.
    pub until: SplitUntil,
    /// When the child gets its standby.
    pub standbys: Standbys,
    /// The epoch of the map with the new shards.
    pub map_epoch: i64,
    /// What the guard has to be; Err: why there can be none.
    pub guard: Result<GuardWanted, String>,
}

/// What is to be seen of the guard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuardWanted {
    /// Names the guard.
    pub hash: String,
    /// The class that stays with the parent.
    pub stays: u32,
    /// The class that moves to the child.
    pub moves: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            durability: Durability::Preferred,
            ack: Ack::Received,
            solo_after_ms: 3_000,
            detect_after_ms: 1_500,
            replace_after_ms: None,
            paused: false,
            interleave_ids: true,
            reads_max_lag_ms: None,
            members: Vec::new(),
            split: None,
        }
    }
}
