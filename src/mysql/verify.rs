//! Is the purge's work done, and are primary and standby equal? Reads only, chunk by chunk, while writes go on.
//!
//! A chunk is equal when the standby, holding all that the primary had executed after its sum was taken, has the same sum
//! as the primary before or after. One that seems different is looked at again: real differences stay, and writes
//! in flight don't. A chunk that is written all the time is held still for a moment (FOR SHARE) in the last attempts.

use std::time::Duration;

use super::error::Error;
use super::replication;
use super::session::Session;
use super::walk::{Place, Walk};
use crate::routing::Guard;

const SHORT: Duration = Duration::from_secs(5);
const LONG: Duration = Duration::from_secs(60);
/// Rows of a chunk.
const ROWS: u32 = 2_000;
/// Looks at a chunk that seems different; from the second half on it is held still.
const LOOKS: u32 = 8;

/// What a member's tables hold, by whose keys they are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Rows in all.
    pub rows: u64,
    /// Rows of the class that should be gone.
    pub foreign: u64,
    /// Rows of neither side: they never belonged to this shard, and nothing deletes them.
    pub stray: u64,
    /// The first foreign row, `table (key)`.
    pub example: Option<String>,
}

/// Counts rows on any member.
pub async fn count(s: &mut Session, guard: &Guard, foreign: u32) -> Result<Count, Error> {
    let mut count = Count::default();
    for table in &guard.tables {
        let walk = Walk::of(s, guard, table, SHORT).await?;
        let mut place: Option<Place> = None;
        loop {
            let rows = walk.next(s, place.as_ref(), ROWS, LONG).await?;
            count.rows += rows.len() as u64;
            for row in &rows {
                match row.class {
                    Some(class) if class == foreign => {
                        count.foreign += 1;
                        count.example.get_or_insert_with(|| format!("{} ({})", walk.name, row.place.join(", ")));
                    }
                    Some(class) if guard.both().contains(&class) => {}
                    _ => count.stray += 1,
                }
            }
            if (rows.len() as u32) < ROWS {
                break;
            }
            place = rows.last().map(|row| row.place.clone());
        }
    }
    Ok(count)
}

/// Chunks that differ, `table after (place)`; at most `limit`. Empty: primary and standby hold the same rows.
pub async fn differences(primary: &mut Session, standby: &mut Session, guard: &Guard, limit: usize) -> Result<Vec<String>, Error> {
    let mut found = Vec::new();
    for table in &guard.tables {
        let walk = Walk::of(primary, guard, table, SHORT).await?;
        let mut place: Option<Place> = None;
        while found.len() < limit {
            let rows = walk.next(primary, place.as_ref(), ROWS, LONG).await?;
            let last = (rows.len() as u32) < ROWS;
            // The last chunk has no end: what was inserted since belongs to it.
            let range = match rows.last() {
                Some(row) if !last => walk.between(place.as_ref(), &row.place),
                _ => walk.after(place.as_ref()),
            };
            if !equal(primary, standby, &walk, &range).await? {
                let after = place.as_ref().map_or("the beginning".to_owned(), |place| place.join(", "));
                found.push(format!("{} after {after}", walk.name));
            }
            if last {
                break;
            }
            place = rows.last().map(|row| row.place.clone());
        }
    }
    Ok(found)
}

async fn equal(primary: &mut Session, standby: &mut Session, walk: &Walk, range: &str) -> Result<bool, Error> {
    for look in 0..LOOKS {
        let hold = look >= LOOKS / 2;
        if hold {
            // Gaps are locked only at this level.
            primary.exec("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ", SHORT).await?;
            primary.exec("BEGIN", SHORT).await?;
        }
        let looked = look_once(primary, standby, walk, range, hold).await;
        if hold && primary.is_usable() {
            primary.exec("ROLLBACK", SHORT).await?;
        }
        match looked {
            Ok(true) => return Ok(true),
            Ok(false) => {}
            // Someone else holds a row: again.
            Err(error) if matches!(error.code(), Some(1205 | 1213)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(false)
}

async fn look_once(primary: &mut Session, standby: &mut Session, walk: &Walk, range: &str, hold: bool) -> Result<bool, Error> {
    let before = sum(primary, walk, range, hold).await?;
    let executed = replication::state(primary, SHORT).await?.executed;
    replication::wait_executed(standby, &executed, if hold { Duration::from_secs(2) } else { LONG }).await.or_else(|error| match error {
        Error::TimedOut { .. } if hold => Ok(()),
        other => Err(other),
    })?;
    let there = sum(standby, walk, range, false).await?;
    Ok(there == before || (!hold && there == sum(primary, walk, range, false).await?))
}

async fn sum(s: &mut Session, walk: &Walk, range: &str, hold: bool) -> Result<String, Error> {
    let nulls = walk.columns.iter().map(|c| format!("ISNULL({c})")).collect::<Vec<_>>().join(", ");
    let row = format!("CONCAT_WS('#', {}, CONCAT({nulls}))", walk.columns.join(", "));
    let sql = format!(
        "SELECT CONCAT(COUNT(*), ' ', COALESCE(BIT_XOR(CRC32({row})), 0), ' ', COALESCE(SUM(CRC32(CONCAT('~', {row}))), 0)) FROM {} FORCE INDEX (PRIMARY) WHERE {range}{}",
        walk.table, if hold { " FOR SHARE" } else { "" }
    );
    Ok(s.scalar(&sql, LONG).await?.unwrap_or_default())
}
