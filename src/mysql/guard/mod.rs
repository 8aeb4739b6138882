//! The guard on one member: a local table with one row per key class, and triggers that look at it (invariant 12).
//!
//! Everything is unlogged: each member has its own guard, whose rows its pair's runner keeps equal to the record, and
//! sets *before* the member becomes writable. The row-based applier fires no triggers (seen), so a link between two
//! guarded members carries every row. Each class has a row of its own: with one row for all, a fence that waits for a
//! long transaction would stall everybody (seen).

mod blockers;
mod quick;
mod rights;
mod triggers;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::audit::Start;
use super::error::Error;
use super::facts::gtids;
use super::replication::{not_seen, timed_out};
use super::session::{Session, quote};
use super::unlogged::{self, SHORT};
use crate::routing::{Guard, KeyKind};
pub use quick::{fence, give};
pub(in crate::mysql) use rights::is_revoked;
pub use rights::{note_sessions, restore_ddl, retire_sessions, revoke_ddl};
use triggers::{PREFIX, Trigger, UNSHARDED};

/// No such database, no such table: no guard.
const NO_SCHEMA: [u16; 2] = [1049, 1146];
/// A lock wasn't free in time; a dead-lock was ended here; the statement ran out of time.
const LOCKED: [u16; 3] = [1205, 1213, 3024];
/// How long [`remove`] and the like wait for open transactions.
const PATIENCE: Duration = Duration::from_secs(10);
/// A transaction that is open for longer makes a CREATE TRIGGER wait, and all writers of the table behind it.
const QUIET: &str = "0.25";
/// `innodb_trx` is a snapshot that is made anew only when nobody has read it for 100 ms (seen): asked more often, it stands still.
const TRX_POLL: Duration = Duration::from_millis(150);

/// What a member's guard says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GuardState {
    /// [`Guard::hash`] of the guard whose triggers are all there; empty: of none (yet).
    pub hash: String,
    /// The epoch that was set last.
    pub epoch: i64,
    /// Classes that the application may write.
    pub owned: BTreeSet<u32>,
    /// Reference and Local tables are refused.
    pub unsharded_refused: bool,
    /// The application's DDL rights are revoked.
    pub ddl_revoked: bool,
    /// Sessions of the application from before (see [`retire_sessions`]) that were there at the last look; None: not looked yet.
    pub old_sessions: Option<u32>,
}

/// The guard's state; None: there is none. Cheap: it reads two tables with a few rows, never the dictionary.
pub async fn read(s: &mut Session) -> Result<Option<GuardState>, Error> {
    let sql = "SELECT s.hash AS hash, s.epoch AS epoch, s.ddl_revoked AS ddl,
                 IF(s.process<>@@report_user, 0, s.old_left) AS old_left, g.class AS class, g.owned AS owned
               FROM shardpair.guard_state s LEFT JOIN shardpair.guard g ON TRUE WHERE s.id = 1";
    let rows = match s.rows(sql, SHORT).await {
        Err(error) if error.code().is_some_and(|code| NO_SCHEMA.contains(&code)) => return Ok(None),
        other => other?,
    };
    let Some(first) = rows.first() else { return Ok(None) };
    let mut state = GuardState {
        hash: first.get("hash").unwrap_or_default().to_owned(),
        epoch: first.get("epoch").and_then(|e| e.parse().ok()).unwrap_or(0),
        ddl_revoked: first.get("ddl") == Some("1"),
        old_sessions: first.get("old_left").and_then(|n| n.parse().ok()),
        ..GuardState::default()
    };
    for row in &rows {
        let owned = row.get("owned") == Some("1");
        match row.get("class").and_then(|c| c.parse().ok()) {
            Some(UNSHARDED) => state.unsharded_refused = !owned,
            Some(class) if owned => drop(state.owned.insert(class)),
            _ => {}
        }
    }
    Ok(Some(state))
}

/// Places the guard with `owned`, or makes another guard this one; returns when all its triggers are there. A trigger
/// waits for open transactions on its table, in slices of a second, at most until `wait` is over: `TimedOut`, and the
/// next call goes on where this one ended.
pub async fn place(s: &mut Session, guard: &Guard, owned: &BTreeSet<u32>, epoch: i64, wait: Duration) -> Result<(), Error> {
    let wanted = sharded_triggers(s, guard).await?;
    unlogged::begin(s).await?;
    let done = place_unlogged(s, guard, &wanted, owned, epoch, wait).await;
    unlogged::end(s, done).await?;
    match read(s).await? {
        Some(state) if state.hash == guard.hash() && state.owned == *owned => Ok(()),
        other => Err(not_seen(s, "placing the guard", format!("{other:?}"))),
    }
}

async fn place_unlogged(s: &mut Session, guard: &Guard, wanted: &[Trigger], owned: &BTreeSet<u32>, epoch: i64, wait: Duration) -> Result<(), Error> {
    let begun = Instant::now();
    make_tables(s).await?;
    let hash = guard.hash();
    // As long as it isn't whole, it says so.
    s.exec(&format!("UPDATE shardpair.guard_state SET hash='' WHERE id=1 AND hash<>'{hash}'"), SHORT).await?;
    for class in guard.both() {
        let sql = format!("INSERT IGNORE INTO shardpair.guard VALUES ({class}, {}, {epoch})", u8::from(owned.contains(&class)));
        s.exec(&sql, SHORT).await?;
    }
    set_rows(s, owned, epoch).await?;
    let present = present(s).await?;
    let names = wanted.iter().map(|t| t.name.as_str()).collect::<BTreeSet<_>>();
    // First the new ones, then the old ones go: at no time is a guarded table open.
    create(s, wanted.iter().filter(|t| !present.iter().any(|(_, name, _)| name == &t.name)), wait).await?;
    let unsharded = |table: &(String, String)| guard.unsharded.contains(table);
    for (database, name, table) in present.iter().filter(|(d, name, t)| !names.contains(name.as_str()) && !unsharded(&(d.clone(), t.clone()))) {
        drop_trigger(s, database, name, table, wait.saturating_sub(begun.elapsed())).await?;
    }
    let classes = guard.both().iter().map(u32::to_string).collect::<Vec<_>>().join(",");
    s.exec(&format!("DELETE FROM shardpair.guard WHERE class NOT IN ({classes},{UNSHARDED})"), SHORT).await?;
    s.exec(&format!("UPDATE shardpair.guard_state SET hash='{hash}' WHERE id=1"), SHORT).await
}

async fn make_tables(s: &mut Session) -> Result<(), Error> {
    s.exec("CREATE DATABASE IF NOT EXISTS shardpair", SHORT).await?;
    let guard = "CREATE TABLE IF NOT EXISTS shardpair.guard
                 (class INT UNSIGNED PRIMARY KEY, owned TINYINT NOT NULL, epoch BIGINT NOT NULL) ENGINE=InnoDB";
    s.exec(guard, SHORT).await?;
    let state = "CREATE TABLE IF NOT EXISTS shardpair.guard_state
                 (id TINYINT PRIMARY KEY, hash VARCHAR(64) NOT NULL, epoch BIGINT NOT NULL, ddl_revoked TINYINT NOT NULL,
                  last_old BIGINT UNSIGNED NOT NULL, process VARCHAR(255) NOT NULL, noted DATETIME(6), old_left INT UNSIGNED,
                  since MEDIUMTEXT, since_us BIGINT UNSIGNED NOT NULL) ENGINE=InnoDB";
    s.exec(state, SHORT).await?;
    s.exec("INSERT IGNORE INTO shardpair.guard_state VALUES (1, '', 0, 0, 0, '', NULL, NULL, NULL, 0)", SHORT).await
}

/// Sets which classes the application may write here. A class that is opened waits for no one (who was refused and sits
/// in its transaction is ended); one that is closed waits for its writers: use [`fence`] where they may be there.
pub async fn set_owned(s: &mut Session, owned: &BTreeSet<u32>, epoch: i64) -> Result<(), Error> {
    unlogged::begin(s).await?;
    let done = set_rows(s, owned, epoch).await;
    unlogged::end(s, done).await?;
    match read(s).await? {
        Some(state) if state.owned == *owned && state.epoch == epoch => Ok(()),
        other => Err(not_seen(s, "setting the guard's rows", format!("{other:?}"))),
    }
}

/// Row by row, and only those that change: the rows of other classes are held by writers who must not wait.
async fn set_rows(s: &mut Session, owned: &BTreeSet<u32>, epoch: i64) -> Result<(), Error> {
    let rows = s.rows(&format!("SELECT class, owned FROM shardpair.guard WHERE class <> {UNSHARDED}"), SHORT).await?;
    for row in rows {
        let class: u32 = row.at(0).and_then(|c| c.parse().ok()).unwrap_or(UNSHARDED);
        let (is, should) = (row.at(1) == Some("1"), owned.contains(&class));
        if is != should {
            set_row(s, class, should, epoch, PATIENCE / 2).await?;
        }
    }
    s.exec(&format!("UPDATE shardpair.guard_state SET epoch={epoch} WHERE id=1"), SHORT).await
}

/// Locks the row, for at most `wait`, then sets it. Opening ends the sessions that hold a class which nobody may write.
async fn set_row(s: &mut Session, class: u32, owned: bool, epoch: i64, wait: Duration) -> Result<(), Error> {
    let begun = Instant::now();
    loop {
        let left = wait.saturating_sub(begun.elapsed()).max(Duration::from_millis(1));
        let slice = if owned { left.min(Duration::from_millis(200)) } else { left };
        let changed = try_set_row(s, class, owned, epoch, slice).await;
        match changed {
            Ok(()) => return Ok(()),
            Err(error) if !error.code().is_some_and(|code| LOCKED.contains(&code)) => return Err(error),
            Err(_) if begun.elapsed() >= wait => {
                let state = blockers::describe(s, class).await?;
                return Err(timed_out(s, &format!("changing the guard of key class {class}"), wait, state));
            }
            Err(_) if owned => blockers::end(s, class).await?,
            Err(_) => {}
        }
    }
}

async fn try_set_row(s: &mut Session, class: u32, owned: bool, epoch: i64, wait: Duration) -> Result<(), Error> {
    let deadline = wait + SHORT;
    // The hint ends it in milliseconds; this one, in seconds, must not come before.
    s.exec(&format!("SET SESSION innodb_lock_wait_timeout={}", (wait.as_secs() + 1).max(2)), SHORT).await?;
    s.exec("BEGIN", SHORT).await?;
    let changed = async {
        let sql = format!("SELECT /*+ MAX_EXECUTION_TIME({}) */ owned FROM shardpair.guard WHERE class={class} FOR UPDATE", wait.as_millis().max(1));
        let found = s.rows(&sql, deadline).await?;
        if found.is_empty() {
            return Err(not_seen(s, "changing the guard", format!("no row of key class {class}")));
        }
        let since = if owned || class == UNSHARDED { String::new() } else { format!(", s.since=IF(@@read_only, NULL, {EXECUTED}), s.since_us={NOW_US}") };
        // One statement: behind a fence each round trip counts.
        let sql = format!(
            "UPDATE shardpair.guard g JOIN shardpair.guard_state s ON s.id=1 SET g.owned={}, g.epoch={epoch}, s.epoch={epoch}{since} WHERE g.class={class}",
            u8::from(owned)
        );
        s.exec(&sql, SHORT).await?;
        s.exec("COMMIT", SHORT).await
    }
    .await;
    if changed.is_err() && s.is_usable() {
        s.exec("ROLLBACK", SHORT).await?;
    }
    changed
}

const EXECUTED: &str = "@@global.gtid_executed";
const NOW_US: &str = "CAST(UNIX_TIMESTAMP(NOW(6)) * 1000000 AS UNSIGNED)";

/// What had been executed when a class was closed here, while this member was the primary; where that isn't known, what is
/// executed now, which is kept.
pub(in crate::mysql) async fn since(s: &mut Session) -> Result<Start, Error> {
    let sql = "SELECT since, since_us FROM shardpair.guard_state WHERE id=1 AND since IS NOT NULL";
    let mut rows = s.rows(sql, SHORT).await?;
    if rows.is_empty() {
        unlogged::begin(s).await?;
        let done = s.exec(&format!("UPDATE shardpair.guard_state SET since={EXECUTED}, since_us={NOW_US} WHERE id=1"), SHORT).await;
        unlogged::end(s, done).await?;
        rows = s.rows(sql, SHORT).await?;
    }
    let text = |at| rows.first().and_then(|row| row.at(at)).unwrap_or_default();
    Ok(Start { since: gtids(s.member(), "the guard's beginning", text(0))?, since_us: text(1).parse().unwrap_or(0) })
}

/// Refuses the application's writes to the guard's Reference and Local tables here, until [`allow_unsharded`].
pub async fn refuse_unsharded(s: &mut Session, guard: &Guard, epoch: i64, wait: Duration) -> Result<(), Error> {
    let operator = operator(s).await?;
    let wanted = guard.unsharded.iter().flat_map(|(database, table)| triggers::unsharded(database, table, &operator)).collect::<Vec<_>>();
    unlogged::begin(s).await?;
    let done = async {
        make_tables(s).await?;
        s.exec(&format!("INSERT IGNORE INTO shardpair.guard VALUES ({UNSHARDED}, 0, {epoch})"), SHORT).await?;
        set_row(s, UNSHARDED, false, epoch, wait).await?;
        let present = present(s).await?;
        create(s, wanted.iter().filter(|t| !present.iter().any(|(_, name, _)| name == &t.name)), wait).await
    }
    .await;
    unlogged::end(s, done).await
}

/// Lets the application write them; nothing if they were never refused.
pub async fn allow_unsharded(s: &mut Session, epoch: i64) -> Result<(), Error> {
    if !read(s).await?.is_some_and(|state| state.unsharded_refused) {
        return Ok(());
    }
    unlogged::begin(s).await?;
    let done = set_row(s, UNSHARDED, true, epoch, PATIENCE / 2).await;
    unlogged::end(s, done).await
}

/// Takes triggers and tables away; refused while the application's DDL rights are revoked ([`restore_ddl`] first).
pub async fn remove(s: &mut Session) -> Result<(), Error> {
    let state = read(s).await?;
    if state.as_ref().is_some_and(|state| state.ddl_revoked) {
        return Err(not_seen(s, "removing the guard", "the application's DDL rights are still revoked: restore them first".to_owned()));
    }
    let present = present(s).await?;
    if state.is_none() && present.is_empty() {
        return Ok(());
    }
    unlogged::begin(s).await?;
    let done = async {
        if state.is_some() {
            s.exec("UPDATE shardpair.guard_state SET hash='' WHERE id=1", SHORT).await?;
        }
        for (database, name, table) in &present {
            drop_trigger(s, database, name, table, PATIENCE).await?;
        }
        patiently(s, "DROP TABLE IF EXISTS shardpair.guard, shardpair.guard_state", "removing the guard's tables", PATIENCE).await
    }
    .await;
    unlogged::end(s, done).await
}

/// The account of this session, which is the operator's.
async fn operator(s: &mut Session) -> Result<String, Error> {
    let user = s.scalar("SELECT CURRENT_USER()", SHORT).await?.unwrap_or_default();
    Ok(user.rsplit_once('@').map_or(user.clone(), |(name, _)| name.to_owned()))
}

/// What should be there, by this server's own columns.
async fn sharded_triggers(s: &mut Session, guard: &Guard) -> Result<Vec<Trigger>, Error> {
    let operator = operator(s).await?;
    let mut all = Vec::new();
    for table in &guard.tables {
        let sql = format!(
            "SELECT data_type AS data_type, column_type AS column_type FROM information_schema.columns
             WHERE table_schema={} AND table_name={} AND column_name={}",
            quote(&table.database), quote(&table.table), quote(&table.key)
        );
        let rows = s.rows(&sql, SHORT).await?;
        let refuse = |why: &str| Error::Malformed {
            member: s.member().to_owned(),
            doing: format!("placing the guard on {}.{}", table.database, table.table),
            why: format!("its shard key {} {why}: see the preflight's findings", table.key),
        };
        let column = rows.first().ok_or_else(|| refuse("does not exist"))?;
        let kind = KeyKind::of_column(column.get("data_type").unwrap_or_default(), column.get("column_type").unwrap_or_default());
        let kind = kind.ok_or_else(|| refuse("is of a type that can't be one"))?;
        let made = triggers::sharded(table, |column| guard.class_sql(column, kind), &operator);
        all.extend(made.ok_or_else(|| refuse("is of a type that the strategy doesn't take"))?);
    }
    Ok(all)
}

/// Database, name and table of every trigger of a guard, whichever.
async fn present(s: &mut Session) -> Result<Vec<(String, String, String)>, Error> {
    let sql = format!(
        "SELECT trigger_schema, trigger_name, event_object_table FROM information_schema.triggers WHERE trigger_name LIKE '{}%'",
        PREFIX.replace('_', "\\_")
    );
    let text = |row: &super::session::Row, at| row.at(at).unwrap_or_default().to_owned();
    Ok(s.rows(&sql, SHORT).await?.iter().map(|row| (text(row, 0), text(row, 1), text(row, 2))).collect())
}

/// With a binlog, MySQL lets only SUPER make triggers, unless this is on; rows are logged, so it protects nothing here.
async fn create<'a>(s: &mut Session, missing: impl Iterator<Item = &'a Trigger>, wait: Duration) -> Result<(), Error> {
    let missing = missing.collect::<Vec<_>>();
    if missing.is_empty() {
        return Ok(());
    }
    let begun = Instant::now();
    let trusted = s.scalar("SELECT @@log_bin_trust_function_creators", SHORT).await?.as_deref() == Some("1");
    if !trusted {
        s.exec("SET GLOBAL log_bin_trust_function_creators=1", SHORT).await?;
    }
    let mut done = Ok(());
    for trigger in missing {
        let doing = format!("placing the guard on {}.{}", trigger.database, trigger.table);
        done = quiet(s, wait.saturating_sub(begun.elapsed()) / 2).await;
        if done.is_ok() {
            done = patiently(s, &trigger.create(), &doing, wait.saturating_sub(begun.elapsed())).await;
        }
        if done.is_err() {
            break;
        }
    }
    if !trusted && s.is_usable() {
        s.exec("SET GLOBAL log_bin_trust_function_creators=0", SHORT).await?;
    }
    done
}

async fn drop_trigger(s: &mut Session, database: &str, name: &str, table: &str, wait: Duration) -> Result<(), Error> {
    let sql = format!("DROP TRIGGER IF EXISTS {}.{}", super::session::identifier(database), super::session::identifier(name));
    patiently(s, &sql, &format!("taking the guard from {database}.{table}"), wait).await
}

/// Waits for a moment without long transactions, for at most `wait`: behind a DDL that waits, all writers of its table wait.
async fn quiet(s: &mut Session, wait: Duration) -> Result<(), Error> {
    let begun = Instant::now();
    let sql = format!(
        "SELECT count(*) FROM information_schema.innodb_trx WHERE trx_mysql_thread_id NOT IN (0, connection_id())
           AND timestampdiff(microsecond, trx_started, now(6)) > {QUIET} * 1000000"
    );
    while s.scalar(&sql, SHORT).await?.as_deref() != Some("0") && begun.elapsed() < wait {
        tokio::time::sleep(TRX_POLL).await;
    }
    Ok(())
}

/// A DDL statement that waits for open transactions in slices of a second, so that writers get their turns between.
async fn patiently(s: &mut Session, sql: &str, doing: &str, wait: Duration) -> Result<(), Error> {
    let begun = Instant::now();
    s.exec("SET SESSION lock_wait_timeout=1", SHORT).await?;
    let done = loop {
        match s.exec(sql, SHORT).await {
            Err(error) if error.code() == Some(1205) && begun.elapsed() < wait => tokio::time::sleep(Duration::from_millis(100)).await,
            Err(error) if error.code() == Some(1205) => break Err(timed_out(s, doing, wait, "a transaction on the table stays open".to_owned())),
            done => break done,
        }
    };
    if s.is_usable() {
        s.exec("SET SESSION lock_wait_timeout=2", SHORT).await?;
    }
    done
}
