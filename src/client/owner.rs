//! Does the server that a connection leads to own what is read there? Asked while a split runs.
//!
//! Keys move without a new map: both VIPs of a shard that is split lead to where its keys are. A connection that was made through the
//! new shard's VIP before its keys moved leads to the old shard's server ever after, and so does one that was routed by an older map.
//! Writes there are refused by the guard; what is read there is what the link brings, late. So a read looks at the guard's rows
//! first, and takes "not mine" as a write would. A key that the primary owns when the read has begun was written nowhere else before.
//! (A standby's rows follow its primary's a moment later.)
//!
//! The account may read those rows while a guard stands (`mysql::guard::revoke_ddl`), and sessions that are older than that end before a
//! key moves. So a connection that was seen without a guard needs no second look for as long as it lives.

use std::time::Duration;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Error, ServerError};

use super::calls::At;
use super::pools::Slot;
use crate::routing::refusal::Kind;
use crate::routing::{Function, Keys, Map, Shard, Strategy};

/// Nothing of a guard is to be seen: there is none, or this account may not look.
const UNSEEN: [u16; 4] = [1044, 1049, 1142, 1146];
/// A connection's number may come again, on another server: it is asked again after this. Shorter than an idle connection lives in its pool.
pub(super) const ASKED: Duration = Duration::from_secs(60);

/// What is read, and where.
#[derive(Clone, Copy)]
pub(super) struct Read<'a> {
    pub(super) slot: &'a Slot,
    /// Of the slot's pool.
    pub(super) number: u64,
    pub(super) map: &'a Map,
    pub(super) shard: &'a Shard,
    pub(super) at: At<'a>,
}

impl Read<'_> {
    /// An error as the guard's own: the key has moved.
    pub(super) async fn is_owned(&self, conn: &mut Conn) -> Result<(), Error> {
        if self.slot.is_unguarded(self.number, conn.id()) {
            return Ok(());
        }
        let rows: Vec<(u32, bool, i64)> = match conn.query("SELECT class, owned, epoch FROM shardpair.guard ORDER BY class").await {
            Err(Error::Server(e)) if UNSEEN.contains(&e.code) => {
                self.slot.note_unguarded(self.number, conn.id());
                return Ok(());
            }
            other => other?,
        };
        // The row after these two is that of tables without a shard.
        let [(stays, _, epoch), (moves, _, _), ..] = rows[..] else { return Ok(()) };
        let Some(class) = self.class(stays, moves, epoch) else { return Ok(()) };
        match rows.iter().find(|row| row.0 == class) {
            Some((_, false, epoch)) => {
                let (word, table) = (Kind::Moved.word(), if let At::Row(table, _) = self.at { table } else { "none" });
                let message = format!("shardpair {word} epoch={epoch} class={class} table={table}");
                Err(Error::Server(ServerError { code: Kind::Moved.code(), message, state: "45000".to_owned() }))
            }
            _ => Ok(()),
        }
    }

    /// The class of what is read, under the guard of these two; None: this map can't tell.
    fn class(&self, stays: u32, moves: u32, epoch: i64) -> Option<u32> {
        let function = if self.map.strategy == Strategy::Table { Function::Crc32 } else { self.map.function };
        match (self.shard.keys, &self.at) {
            // Also by a map from before the split.
            (Keys::Residue { .. } | Keys::Route { .. }, At::Row(_, key)) => key.residue(function, moves.checked_sub(stays)? * 2).ok(),
            (Keys::Residue { residue, .. } | Keys::Route { residue, .. }, At::Shard(_)) => Some(residue),
            // The bound is in the map that has the new shards; they are its second half.
            (Keys::Range { .. }, _) => (self.map.epoch >= epoch).then(|| u32::from(self.shard.id as usize >= self.map.shards.len() / 2)),
        }
    }
}
