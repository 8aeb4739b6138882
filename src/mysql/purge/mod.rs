//! Deletes rows of the other side's keys, after the two sides of a split are parted.
//!
//! In primary-key order, in small transactions with tagged GTIDs ([`TAG`]), so that readers of the binlog can pass over
//! them. How far it came is in a table that is written by the same transactions, and so replicated: whoever comes next,
//! also on a promoted standby, goes on there. Rows are found without locks and deleted by their primary keys: only rows
//! that no one may write any more are ever locked. Before each run it is proven that nobody else's channel would carry
//! the deletes to live rows.

pub mod policy;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::error::Error;
use super::replication::{self, not_seen};
use super::session::{Row, Session, quote};
use super::tail::READER_IDS;
use super::walk::{Place, Walk};
use super::{guard, heartbeat};
use crate::mysql::gtid::GtidSet;
use crate::routing::Guard;
use policy::{Limits, Pace, Seen, Throttle};

/// Of the GTIDs of its transactions: `uuid:shardpair_purge:1-1000`.
pub const TAG: &str = "shardpair_purge";
const SHORT: Duration = Duration::from_secs(5);
/// For one transaction's statements.
const LONG: Duration = Duration::from_secs(30);
/// The probe is sent this often.
const PROBE_EVERY: Duration = Duration::from_millis(200);
/// The standby is asked for what was executed at such moments: its lag is known as well as that.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// So many probes make the baseline.
const BASELINE_PROBES: u32 = 7;

/// How far it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Rows looked at.
    pub scanned: u64,
    /// Rows deleted.
    pub deleted: u64,
    /// Rows to look at, as MySQL estimated.
    pub estimated: u64,
    /// The table it is at; empty: none is left.
    pub table: String,
    /// Why it holds back.
    pub throttled: Option<Throttle>,
    /// All tables are walked.
    pub done: bool,
}

/// A purge on one pair.
pub struct Purge<'a> {
    primary: &'a mut Session,
    standby: &'a mut Session,
    probe: &'a mut Session,
    foreign: u32,
    limits: Limits,
    row: u16,
    epoch: i64,
    pace: Pace,
    baseline: Duration,
    latest: Duration,
    probed: Option<Instant>,
    unseen: VecDeque<(Instant, GtidSet)>,
    tables: Vec<Table>,
}

struct Table {
    walk: Walk,
    place: Option<Place>,
    scanned: u64,
    deleted: u64,
    estimated: u64,
    done: bool,
}

impl<'a> Purge<'a> {
    /// Begins, or goes on. `foreign` is the class to delete: `guard.moves` on the parent, `guard.stays` on the child. `probe`
    /// is another session on the primary; `epoch` is the record's, for the probe's row. Refused unless the guard is in
    /// place, doesn't own the class, and no channel but the standby's is there.
    pub async fn begin(
        (primary, standby, probe): (&'a mut Session, &'a mut Session, &'a mut Session),
        guard: &Guard,
        foreign: u32,
        limits: Limits,
        (row, epoch): (u16, i64),
    ) -> Result<Self, Error> {
        check(primary, standby, guard, foreign).await?;
        make_table(primary).await?;
        let mut tables = Vec::new();
        for table in &guard.tables {
            let walk = Walk::of(primary, guard, table, SHORT).await?;
            tables.push(resume(primary, walk, &guard.hash(), foreign).await?);
        }
        primary.exec(&format!("SET SESSION gtid_next='AUTOMATIC:{TAG}', foreign_key_checks=0"), SHORT).await?;
        let pace = Pace::first(&limits);
        let mut purge = Self {
            primary, standby, probe, foreign, limits, row, epoch, pace, tables,
            baseline: Duration::ZERO,
            latest: Duration::ZERO,
            probed: None,
            unseen: VecDeque::new(),
        };
        purge.measure_baseline().await?;
        Ok(purge)
    }

    /// The median of some probes, while nothing is deleted.
    async fn measure_baseline(&mut self) -> Result<(), Error> {
        let mut took = Vec::new();
        for _ in 0..BASELINE_PROBES {
            took.push(self.probe_once().await?);
        }
        took.sort();
        self.baseline = took[took.len() / 2];
        self.latest = self.baseline;
        Ok(())
    }

    async fn probe_once(&mut self) -> Result<Duration, Error> {
        let begun = Instant::now();
        match heartbeat::beat(self.probe, self.row, self.epoch, LONG).await {
            heartbeat::Outcome::Written => Ok(begun.elapsed()),
            other => Err(not_seen(self.probe, "probing", format!("{other:?}"))),
        }
    }

    /// Now.
    pub fn progress(&self) -> Progress {
        let sum = |of: fn(&Table) -> u64| self.tables.iter().map(of).sum();
        let at = self.tables.iter().find(|t| !t.done);
        Progress {
            scanned: sum(|t| t.scanned),
            deleted: sum(|t| t.deleted),
            estimated: sum(|t| t.estimated),
            table: at.map(|t| t.walk.name.clone()).unwrap_or_default(),
            throttled: None,
            done: at.is_none(),
        }
    }

    /// One transaction, and the rest after it. Until [`Progress::done`].
    pub async fn step(&mut self) -> Result<Progress, Error> {
        let standby = self.standby_lag().await?;
        if self.probed.is_none_or(|at| at.elapsed() >= PROBE_EVERY) {
            self.latest = self.probe_once().await?;
            self.probed = Some(Instant::now());
        }
        let seen = Seen { baseline: self.baseline, probe: self.latest, standby };
        let (pace, throttled) = self.pace.next(&self.limits, &seen);
        self.pace = pace;
        tokio::time::sleep(pace.pause).await;
        if standby.is_some() {
            self.transaction().await?;
        }
        Ok(Progress { throttled, ..self.progress() })
    }

    /// The age of the oldest transaction that the standby doesn't hold; None: it is more than allowed, and was waited for.
    async fn standby_lag(&mut self) -> Result<Option<Duration>, Error> {
        while let Some((at, set)) = self.unseen.front() {
            let sql = format!("SELECT GTID_SUBSET('{set:#}', @@global.gtid_executed)");
            if self.standby.scalar(&sql, SHORT).await?.as_deref() == Some("1") {
                self.unseen.pop_front();
                continue;
            }
            if at.elapsed() <= self.limits.standby_lag {
                return Ok(Some(at.elapsed()));
            }
            return match replication::wait_executed(self.standby, set, self.limits.standby_lag).await {
                Ok(()) | Err(Error::TimedOut { .. }) => Ok(None),
                Err(error) => Err(error),
            };
        }
        Ok(Some(Duration::ZERO))
    }

    async fn transaction(&mut self) -> Result<(), Error> {
        let Some(table) = self.tables.iter_mut().find(|t| !t.done) else { return Ok(()) };
        let window = window(self.pace.rows, table.scanned, table.deleted);
        let rows = table.walk.next(self.primary, table.place.as_ref(), window, LONG).await?;
        let last = (rows.len() as u32) < window;
        let places: Vec<&Place> = rows.iter().filter(|row| row.class == Some(self.foreign)).map(|row| &row.place).collect();
        let place = rows.last().map(|row| row.place.clone()).or(table.place.clone());
        let (scanned, any) = (table.scanned + rows.len() as u64, !places.is_empty());
        let doomed = table.walk.at(places.into_iter());
        if any || last {
            self.primary.exec("BEGIN", SHORT).await?;
            let mut deleted = table.deleted;
            if any {
                let sql = format!("DELETE FROM {} WHERE {} AND {} = {}", table.walk.table, doomed, table.walk.class, self.foreign);
                self.primary.exec(&sql, LONG).await?;
                deleted += self.primary.scalar("SELECT ROW_COUNT()", SHORT).await?.and_then(|n| n.parse().ok()).unwrap_or(0);
            }
            let sql = format!(
                "UPDATE shardpair.purge SET place={}, scanned={scanned}, deleted={deleted}, done={} WHERE name={}",
                place.as_ref().map_or("NULL".to_owned(), |place| quote(&serde_json::json!(place).to_string())), u8::from(last), quote(&table.walk.name)
            );
            self.primary.exec(&sql, SHORT).await?;
            self.primary.exec("COMMIT", LONG).await?;
            table.deleted = deleted;
            if self.unseen.back().is_none_or(|(at, _)| at.elapsed() >= LOOK_EVERY) {
                let executed = replication::global(self.primary, "gtid_executed", SHORT).await?;
                self.unseen.push_back((Instant::now(), executed));
            }
        }
        (table.place, table.scanned, table.done) = (place, scanned, last);
        Ok(())
    }
}

/// How many rows to look at, so that about `rows` of them are foreign, by what the table has shown so far (half, at first).
fn window(rows: u32, scanned: u64, deleted: u64) -> u32 {
    let factor = ((scanned + 2_000) as f64 / (deleted + 1_000) as f64).clamp(1.0, 10.0);
    (f64::from(rows) * factor) as u32
}

/// Would a delete go where it must not?
async fn check(primary: &mut Session, standby: &mut Session, guard: &Guard, foreign: u32) -> Result<(), Error> {
    let doing = "purging";
    let state = guard::read(primary).await?.unwrap_or_default();
    if state.hash != guard.hash() || state.owned.contains(&foreign) || !guard.both().contains(&foreign) {
        return Err(not_seen(primary, doing, format!("the guard must be in place and not own key class {foreign}: {state:?}")));
    }
    let own = standby.scalar("SELECT @@server_uuid", SHORT).await?.unwrap_or_default();
    // The pair's own reverse channel, which idles, is no link.
    if let Some(source) = replication::state(primary, SHORT).await?.source {
        let from = primary.scalar("SELECT source_uuid FROM performance_schema.replication_connection_status WHERE channel_name=''", SHORT).await?;
        if from.as_deref() != Some(&own) {
            return Err(not_seen(primary, doing, format!("a channel from {}:{}: dissolve the link first", source.host, source.port)));
        }
    }
    let replicas = primary.rows("SHOW REPLICAS", SHORT).await?;
    if let Some(other) = replicas.iter().filter(|row| !only_reads(row)).filter_map(|row| row.get("Replica_UUID")).find(|uuid| *uuid != own) {
        return Err(not_seen(primary, doing, format!("a replica {other} that is not the pair's standby: the deletes would follow it to live rows")));
    }
    Ok(())
}

/// A reader of ours, such as an invalidator, applies nothing anywhere. It is no server: it names none.
fn only_reads(replica: &Row) -> bool {
    let id = replica.get("Server_Id").and_then(|id| id.parse().ok());
    replica.get("Replica_UUID").is_none_or(str::is_empty) && id.is_some_and(|id: u32| READER_IDS.contains(&id))
}

async fn make_table(primary: &mut Session) -> Result<(), Error> {
    match primary.rows("SELECT 1 FROM shardpair.purge LIMIT 0", SHORT).await {
        Ok(_) => return Ok(()),
        Err(error) if matches!(error.code(), Some(1049 | 1146)) => {}
        Err(error) => return Err(error),
    }
    let sql = "CREATE TABLE IF NOT EXISTS shardpair.purge
               (name VARCHAR(191) PRIMARY KEY, guard VARCHAR(64) NOT NULL, class INT UNSIGNED NOT NULL, place MEDIUMTEXT, scanned BIGINT NOT NULL,
                deleted BIGINT NOT NULL, estimated BIGINT NOT NULL, done TINYINT NOT NULL) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4";
    primary.exec(sql, LONG).await
}

/// Where it ended for this guard and class; else from the beginning.
async fn resume(primary: &mut Session, walk: Walk, hash: &str, foreign: u32) -> Result<Table, Error> {
    let name = quote(&walk.name);
    let sql = format!("SELECT place, scanned, deleted, estimated, done FROM shardpair.purge WHERE name={name} AND guard='{hash}' AND class={foreign}");
    if let Some(row) = primary.rows(&sql, SHORT).await?.first() {
        let number = |at: usize| row.at(at).and_then(|n| n.parse().ok()).unwrap_or(0);
        let place = row.at(0).and_then(|place| serde_json::from_str(place).ok());
        return Ok(Table { walk, place, scanned: number(1), deleted: number(2), estimated: number(3), done: number(4) == 1 });
    }
    let (database, table) = walk.name.split_once('.').unwrap_or(("", &walk.name));
    primary.exec("SET SESSION information_schema_stats_expiry=0", SHORT).await?;
    let rows = format!("SELECT table_rows FROM information_schema.tables WHERE table_schema={} AND table_name={}", quote(database), quote(table));
    let estimated: u64 = primary.scalar(&rows, SHORT).await?.and_then(|n| n.parse().ok()).unwrap_or(0);
    let sql = format!("REPLACE INTO shardpair.purge VALUES ({name}, '{hash}', {foreign}, NULL, 0, 0, {estimated}, 0)");
    primary.exec(&sql, SHORT).await?;
    Ok(Table { walk, place: None, scanned: 0, deleted: 0, estimated, done: false })
}

/// Forgets how far purges came; logged: for the primary, when a plan is done.
pub async fn forget(primary: &mut Session) -> Result<(), Error> {
    primary.exec("DROP TABLE IF EXISTS shardpair.purge", LONG).await
}
