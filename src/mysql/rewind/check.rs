//! Compares the rows that a tail touched with the primary's.
//!
//! The rows are read on the primary; then the member has to apply all that the primary had executed; then they are read
//! there. Equal rows are proven: row images are full, so a row that was wrong stays wrong until the primary changes it, and
//! is right from then on. Rows that differ may just be changing: they are read again, at last under a lock on the primary.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{JOURNAL, MARK_ID, SHORT, executed};
use crate::mysql::error::Error;
use crate::mysql::gtid::GtidSet;
use crate::mysql::replication::wait_executed;
use crate::mysql::session::{Row, Session, identifier, quote};

/// Rows read by one statement.
const ROWS: usize = 200;
/// Looks without a lock, before one with it.
const LOOKS: u32 = 3;
/// More rows than this are not locked; they differ.
const LOCKED: usize = 1_000;
/// How long the member may take to apply what the primary has, also while rows are locked there.
const APPLIED: Duration = Duration::from_secs(3);

/// What became of a comparison.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// All are equal.
    Equal {
        /// How many were compared.
        rows: usize,
    },
    /// Some differ.
    Differs {
        /// How many.
        rows: usize,
        /// One of them, `table key`.
        first: String,
    },
    /// The list of touched rows isn't there.
    NoJournal,
}

/// One touched row: table and condition, both quoted.
type Place = (String, String);

/// A comparison under way: what the primary's rows were, and up to where the member must apply before its own are read. Kept
/// from pass to pass: under load the member may be many seconds behind, and a position taken anew each time would run away from it.
#[derive(Clone, Debug)]
pub struct Look {
    left: Vec<Place>,
    there: Vec<Option<String>>,
    position: GtidSet,
    /// How many were before this one.
    before: u32,
    /// How many rows it began with.
    rows: usize,
}

/// How far a comparison has come.
#[derive(Debug)]
pub enum Progress {
    /// To its end.
    Done(Verdict),
    /// The member has to apply more first.
    Behind(Box<Look>),
}

/// Begins a comparison, or goes on with one; changes nothing. The member follows the primary.
pub async fn compare(member: &mut Session, primary: &mut Session, begun: Option<Look>) -> Result<Progress, Error> {
    let mut look = match begun {
        Some(look) => look,
        None => match places(member).await {
            Ok(places) => look_at(primary, places.len(), places, 0).await?,
            Err(error) if matches!(error.code(), Some(1049 | 1146)) => return Ok(Progress::Done(Verdict::NoJournal)),
            Err(error) => return Err(error),
        },
    };
    let rows = look.rows;
    while look.before < LOOKS {
        match wait_executed(member, &look.position, APPLIED).await {
            Err(Error::TimedOut { .. }) => return Ok(Progress::Behind(Box::new(look))),
            waited => waited?,
        }
        let here = digests(member, &look.left, "").await?;
        let left = differing(look.left, &here, &look.there);
        if left.is_empty() {
            return Ok(Progress::Done(Verdict::Equal { rows }));
        }
        look = look_at(primary, rows, left, look.before + 1).await?;
    }
    let mut left = look.left;
    if left.len() <= LOCKED {
        primary.exec("BEGIN", SHORT).await?;
        let looked = under_lock(member, primary, &left).await;
        if primary.is_usable() {
            primary.exec("ROLLBACK", SHORT).await?;
        }
        left = match looked {
            // Rows that change all the time, on a member that is far behind: they can't be proven equal.
            Err(Error::TimedOut { .. }) => left,
            looked => looked?,
        };
    }
    Ok(Progress::Done(match left.first() {
        None => Verdict::Equal { rows },
        Some((table, key)) => Verdict::Differs { rows: left.len(), first: format!("{table} {key}") },
    }))
}

async fn look_at(primary: &mut Session, rows: usize, left: Vec<Place>, before: u32) -> Result<Look, Error> {
    let there = digests(primary, &left, "").await?;
    let position = executed(primary).await?;
    Ok(Look { left, there, position, before, rows })
}

/// Nobody changes the rows while they are compared. What changed them just before may show in the primary's
/// `gtid_executed` a moment after its locks are gone: the member is looked at more than once.
async fn under_lock(member: &mut Session, primary: &mut Session, places: &[Place]) -> Result<Vec<Place>, Error> {
    let there = digests(primary, places, "FOR SHARE").await?;
    let mut left = places.to_vec();
    for _ in 0..LOOKS {
        let position = executed(primary).await?;
        wait_executed(member, &position, APPLIED).await?;
        let here = digests(member, places, "").await?;
        left = differing(places.to_vec(), &here, &there);
        if left.is_empty() {
            break;
        }
    }
    Ok(left)
}

async fn places(member: &mut Session) -> Result<Vec<Place>, Error> {
    let rows = member.rows(&format!("SELECT tbl, row_key FROM {JOURNAL} ORDER BY tbl, id"), SHORT).await?;
    let place = |row: &Row| (row.at(0).unwrap_or_default().to_owned(), row.at(1).unwrap_or_default().to_owned());
    Ok(rows.iter().map(place).collect())
}

fn differing(places: Vec<Place>, here: &[Option<String>], there: &[Option<String>]) -> Vec<Place> {
    places.into_iter().zip(here.iter().zip(there)).filter(|(_, (here, there))| here != there).map(|(place, _)| place).collect()
}

/// A digest of each row; None: no such row, or no such table.
async fn digests(session: &mut Session, places: &[Place], lock: &str) -> Result<Vec<Option<String>>, Error> {
    let mut expressions: BTreeMap<&str, Option<String>> = BTreeMap::new();
    let mut found = vec![None; places.len()];
    for (chunk, some) in places.chunks(ROWS).enumerate() {
        let mut parts = Vec::new();
        for (at, (table, key)) in some.iter().enumerate() {
            if !expressions.contains_key(table.as_str()) {
                expressions.insert(table, expression(session, table).await?);
            }
            if let Some(digest) = &expressions[table.as_str()] {
                parts.push(format!("(SELECT {} AS place, {digest} AS digest FROM {table} WHERE {key} {lock})", chunk * ROWS + at));
            }
        }
        if parts.is_empty() {
            continue;
        }
        for row in session.rows(&parts.join(" UNION ALL "), SHORT).await? {
            let place = row.get("place").and_then(|p| p.parse::<usize>().ok()).filter(|p| *p < found.len());
            if let Some(place) = place {
                // Never NULL; and if it were, never equal.
                found[place] = Some(row.get("digest").map_or_else(|| format!("unreadable at {}", session.member()), str::to_owned));
            }
        }
    }
    Ok(found)
}

/// What stands for a whole row of a table: each column's own bytes, NULL told apart. None: no such table.
async fn expression(session: &mut Session, table: &str) -> Result<Option<String>, Error> {
    let bare = |name: &str| name.trim_matches('`').replace("``", "`");
    let (schema, name) = table.split_once("`.`").unwrap_or((table, ""));
    let sql = format!(
        "SELECT column_name AS name, data_type AS kind FROM information_schema.columns
         WHERE table_schema={} AND table_name={} ORDER BY ordinal_position",
        quote(&bare(schema)),
        quote(&bare(name))
    );
    let columns = session.rows(&sql, SHORT).await?;
    let digest = |row: &Row| {
        let name = identifier(row.get("name").unwrap_or_default());
        // As text a FLOAT is shown with six digits only.
        let value = if row.get("kind") == Some("float") { format!("CAST({name} AS DOUBLE)") } else { name };
        format!("IFNULL(SHA2({value}, 256), '-')")
    };
    let parts = columns.iter().map(digest).collect::<Vec<_>>();
    Ok((!parts.is_empty()).then(|| format!("CONCAT({})", parts.join(", "))))
}

/// The rows were compared: mark and journal go, unlogged. The mark first: a journal that is left behind harms nobody.
pub async fn finish(member: &mut Session) -> Result<(), Error> {
    member.exec("SET SESSION sql_log_bin=0", SHORT).await?;
    member.exec("SET GLOBAL super_read_only=OFF", SHORT).await?;
    let mut ended = member.exec(&format!("DELETE FROM shardpair.heartbeat WHERE id={MARK_ID}"), SHORT).await;
    if ended.is_ok() {
        ended = member.exec(&format!("DROP TABLE IF EXISTS {JOURNAL}"), SHORT).await;
    }
    if member.is_usable() {
        member.exec("SET GLOBAL super_read_only=ON", SHORT).await?;
        member.exec("SET SESSION sql_log_bin=1", SHORT).await?;
    }
    ended
}
