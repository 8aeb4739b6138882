//! The guard of a split on one simulated member: an unlogged table, so that it is the member's own. A restart and a power
//! cut leave it, a clone brings the donor's, an empty volume has none (`mysql::guard` in small).

use std::collections::BTreeSet;

use crate::pair::facts::GuardSeen;

/// The class of keys that stays with the parent.
pub const STAYS: u32 = 0;
/// The class that moves to the child.
pub const MOVES: u32 = 1;
/// Names the one guard that there is here.
pub const HASH: &str = "g";

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Guard {
    /// A bit for each class that the application may write.
    pub owned: u8,
    /// The application may change its tables.
    pub ddl: bool,
    /// It may write tables of no shard.
    pub unsharded: bool,
    /// The process in which sessions were noted as old.
    pub noted: u8,
    /// How many of those were there at the last look.
    pub old: Option<u8>,
}

impl Guard {
    /// One that has just been placed.
    pub fn new(owned: u8) -> Self {
        Self { owned, ddl: true, unsharded: true, noted: 0, old: None }
    }

    /// May the application write keys of this class?
    pub fn accepts(&self, class: u32) -> bool {
        self.owned >> class & 1 == 1
    }

    /// Every session of now counts as old.
    pub fn note(&mut self, process: u8) {
        (self.noted, self.old) = (process, None);
    }

    /// As an operator reads it in this process.
    pub fn seen(&self, process: u8) -> GuardSeen {
        let old_sessions = if self.noted == process { self.old.map(u32::from) } else { Some(0) };
        let owned = [STAYS, MOVES].into_iter().filter(|class| self.accepts(*class)).collect();
        GuardSeen { hash: HASH.to_owned(), owned, ddl_revoked: !self.ddl, unsharded_refused: !self.unsharded, old_sessions }
    }
}

/// Classes as bits.
pub fn bits(owned: &BTreeSet<u32>) -> u8 {
    owned.iter().fold(0, |bits, class| bits | 1 << class)
}
