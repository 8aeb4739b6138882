//! Rewind: a tail is undone from the member's own binlog, in a time that grows with the tail and not with the data.
//!
//! Invariant 8: the tail was saved before. Its row events are inverted ([`event`], pure) and applied in reverse order in
//! one transaction that no binlog sees, together with a mark and the keys of all rows that the tail touched. So a death
//! between that commit and the correction of the GTID sets is recognised, and nothing is ever undone twice. What can't be
//! undone that way is a [`Refusal`]: the member is cloned. [`check`] compares the touched rows with the primary's, before
//! the pair may be called Sync.

pub mod check;
pub mod event;
mod key;
mod read;
mod refusal;

use std::time::Duration;

pub use refusal::Refusal;

use super::error::Error;
use super::gtid::GtidSet;
use super::replication::{self, not_seen, refuse_waiting, stop_applier, stop_receiver};
use super::session::{Session, quote};
use read::{Inverse, Trouble};

/// A statement that MySQL answers soon.
const SHORT: Duration = Duration::from_secs(10);
/// Keys written by one statement.
const KEYS: usize = 500;
/// The row of the heartbeat table that says: the inverse is committed. Its `epoch` is the mark.
pub const MARK_ID: u32 = 2;
/// Where the keys of the touched rows are kept until they have been compared; on this member only.
const JOURNAL: &str = "shardpair.rewound";

/// What is to be undone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// The transactions.
    pub tail: GtidSet,
    /// What the member has executed without them.
    pub keep: GtidSet,
    /// Names this rewind: the record's epoch.
    pub mark: i64,
}

/// How a rewind ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The rows are as they were before the tail, and the GTID sets say so.
    Undone {
        /// Rows events that were inverted; 0 if an earlier call had done it.
        events: usize,
        /// Rows whose keys are kept for the comparison.
        rows: usize,
    },
    /// Nothing was changed.
    Refused(Refusal),
}

/// Undoes the tail on a member that has no role, in a process that was started after its deposition (invariant 9).
/// `stream` is used up for reading the binlogs. Idempotent: after an interruption it goes on where it was.
pub async fn undo(session: &mut Session, stream: Session, order: &Order, deadline: Duration) -> Result<Outcome, Error> {
    refuse_waiting(session, "rewinding", SHORT).await?;
    stop_receiver(session, SHORT).await?;
    stop_applier(session, SHORT).await?;
    let mut undone = Outcome::Undone { events: 0, rows: 0 };
    if mark(session).await? != Some(order.mark) {
        let executed = executed(session).await?;
        if executed.subtract(&order.tail) != order.keep || !executed.contains(&order.tail) {
            return Err(not_seen(session, "rewinding", format!("{executed:#}: not what was recorded with the tail {}", order.tail)));
        }
        let member = session.member().to_owned();
        let late = || Error::NoAnswer { member, doing: "reading its binlogs".to_owned(), deadline, session: 0 };
        let read = tokio::time::timeout(deadline, read::read(stream, session, &order.tail)).await.map_err(|_| late())?;
        undone = match read {
            Ok(inverse) => match obstacle(session, &inverse).await? {
                None => apply(session, &inverse, order, deadline).await?,
                Some(refusal) => Outcome::Refused(refusal),
            },
            Err(Trouble::Refused(refusal)) => Outcome::Refused(refusal),
            Err(Trouble::Failed(error)) => return Err(error),
        };
    }
    if matches!(undone, Outcome::Undone { .. }) {
        correct(session, order).await?;
    }
    Ok(undone)
}

/// The mark on the member; None: there is none, or no schema of ours.
async fn mark(session: &mut Session) -> Result<Option<i64>, Error> {
    match session.scalar(&format!("SELECT epoch FROM shardpair.heartbeat WHERE id={MARK_ID}"), SHORT).await {
        Ok(epoch) => Ok(epoch.and_then(|e| e.parse().ok())),
        Err(error) if matches!(error.code(), Some(1049 | 1146)) => Ok(None),
        Err(error) => Err(error),
    }
}

async fn executed(session: &mut Session) -> Result<GtidSet, Error> {
    replication::global(session, "gtid_executed", SHORT).await
}

/// What no row image shows.
async fn obstacle(session: &mut Session, inverse: &Inverse) -> Result<Option<Refusal>, Error> {
    if !session.rows("XA RECOVER", SHORT).await?.is_empty() {
        return Ok(Some(Refusal::Xa));
    }
    let sql = "SELECT unique_constraint_schema AS parent_schema, referenced_table_name AS parent
               FROM information_schema.referential_constraints
               WHERE delete_rule NOT IN ('NO ACTION', 'RESTRICT') OR update_rule NOT IN ('NO ACTION', 'RESTRICT')";
    let parents = session.rows(sql, SHORT).await?;
    let cascades = parents.iter().find(|row| {
        let parent = (row.get("parent_schema").unwrap_or_default(), row.get("parent").unwrap_or_default());
        inverse.changed.iter().any(|(schema, table)| parent == (schema, table))
    });
    Ok(cascades.map(|row| Refusal::Cascades { table: format!("{}.{}", row.at(0).unwrap_or_default(), row.at(1).unwrap_or_default()) }))
}

/// Read-only is lifted only for whom it never binds, as `clone::mark` does, and put back.
async fn apply(session: &mut Session, inverse: &Inverse, order: &Order, deadline: Duration) -> Result<Outcome, Error> {
    session.exec("SET GLOBAL super_read_only=OFF", SHORT).await?;
    let applied = match prepare(session).await {
        Ok(()) => transact(session, inverse, order, deadline).await,
        Err(error) => Err(error),
    };
    if session.is_usable() {
        session.exec("SET GLOBAL super_read_only=ON", SHORT).await?;
    }
    applied
}

async fn prepare(session: &mut Session) -> Result<(), Error> {
    // NO_AUTO_VALUE_ON_ZERO and ALLOW_INVALID_DATES: what was there comes back as it was.
    let sql = "SET SESSION sql_log_bin=0, foreign_key_checks=0, sql_mode='STRICT_TRANS_TABLES,NO_AUTO_VALUE_ON_ZERO,ALLOW_INVALID_DATES'";
    session.exec(sql, SHORT).await?;
    // Of an earlier try.
    session.exec(&format!("DROP TABLE IF EXISTS {JOURNAL}"), SHORT).await?;
    let sql = format!(
        "CREATE TABLE {JOURNAL} (id INT AUTO_INCREMENT PRIMARY KEY, tbl VARCHAR(300) NOT NULL, row_key MEDIUMTEXT NOT NULL)
         ENGINE=InnoDB CHARACTER SET utf8mb4"
    );
    session.exec(&sql, SHORT).await
}

/// The inverse, the keys and the mark, or nothing.
async fn transact(session: &mut Session, inverse: &Inverse, order: &Order, deadline: Duration) -> Result<Outcome, Error> {
    let format = event::base64(&inverse.format);
    session.exec(&format!("BINLOG '{format}'"), SHORT).await?;
    // After a format description MySQL expects a GTID event.
    session.exec("SET SESSION gtid_next='AUTOMATIC'", SHORT).await?;
    session.exec("BEGIN", SHORT).await?;
    for events in &inverse.events {
        match session.exec(&format!("BINLOG '{}'", event::base64(events)), deadline).await {
            Ok(()) => {}
            Err(Error::Server { code, message, .. }) if session.is_usable() => {
                session.exec("ROLLBACK", deadline).await?;
                return Ok(Outcome::Refused(Refusal::Differs(format!("{code}: {message}"))));
            }
            Err(error) => return Err(error),
        }
    }
    let touched = inverse.touched.iter().collect::<Vec<_>>();
    for some in touched.chunks(KEYS) {
        let values = some.iter().map(|(table, key)| format!("({}, {})", quote(table), quote(key))).collect::<Vec<_>>();
        session.exec(&format!("INSERT INTO {JOURNAL} (tbl, row_key) VALUES {}", values.join(", ")), SHORT).await?;
    }
    let sql = format!("REPLACE INTO shardpair.heartbeat (id, epoch, at) VALUES ({MARK_ID}, {}, now(6))", order.mark);
    session.exec(&sql, SHORT).await?;
    session.exec("COMMIT", deadline).await?;
    Ok(Outcome::Undone { events: inverse.events.len(), rows: touched.len() })
}

/// The GTID sets follow: as if the tail had never been.
async fn correct(session: &mut Session, order: &Order) -> Result<(), Error> {
    let now = executed(session).await?;
    if !now.is_empty() && now != order.keep {
        if now.subtract(&order.tail) != order.keep {
            return Err(not_seen(session, "rewinding", format!("{now:#}: not what was recorded with the tail {}", order.tail)));
        }
        session.exec("RESET BINARY LOGS AND GTIDS", SHORT).await?;
    }
    if now != order.keep {
        session.exec(&format!("SET GLOBAL gtid_purged='{:#}'", order.keep), SHORT).await?;
    }
    let seen = executed(session).await?;
    if seen == order.keep { Ok(()) } else { Err(not_seen(session, "rewinding", format!("{seen:#}"))) }
}
