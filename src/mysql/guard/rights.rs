//! The application's rights on the form of its tables, taken while a plan runs: a TRUNCATE, DROP or ALTER would go around
//! the guard, or differ between the two sides of a split.
//!
//! Unlogged, on each member for itself. That they are taken is kept in the guard's state, so that the accounts' upkeep
//! (`accounts::bootstrap_primary`) doesn't give them back meanwhile. A session that had chosen its database before keeps
//! its rights on it until it chooses again or ends (seen): so sessions older than the revocation have to end.

use std::time::{Duration, Instant};

use super::super::accounts::pattern;
use super::super::error::Error;
use super::super::replication::not_seen;
use super::super::session::{Session, identifier, quote};
use super::super::{replication::timed_out, sessions};
use super::super::unlogged::{self, SHORT};
use super::make_tables;

/// TRUNCATE needs DROP, RENAME needs ALTER.
const RIGHTS: &str = "DROP, ALTER, CREATE, INDEX, TRIGGER";

/// All sessions of now are old ones.
const NOTE: &str = "UPDATE shardpair.guard_state SET process=@@report_user, last_old=(SELECT max(id) FROM information_schema.processlist) WHERE id=1";

/// Takes the application account's rights to change its tables.
pub async fn revoke_ddl(s: &mut Session, user: &str, databases: &[String]) -> Result<(), Error> {
    unlogged::begin(s).await?;
    let done = async {
        make_tables(s).await?;
        // First the mark: what is interrupted is then put right by whoever restores.
        s.exec("UPDATE shardpair.guard_state SET ddl_revoked=1 WHERE id=1", SHORT).await?;
        for database in held(s, user, databases, "Y").await? {
            let sql = format!("REVOKE {RIGHTS} ON {}.* FROM {}@'%'", identifier(&pattern(&database)), quote(user));
            s.exec(&sql, SHORT).await?;
        }
        let left = held(s, user, databases, "Y").await?;
        if !left.is_empty() {
            return Err(not_seen(s, "revoking the application's DDL rights", format!("it still has them on {}", left.join(", "))));
        }
        // Whoever connects from now on has a higher number, and another process begins anew. Kept from the first time on.
        s.exec(&format!("{NOTE} AND (last_old=0 OR process<>@@report_user)"), SHORT).await
    }
    .await;
    unlogged::end(s, done).await
}

/// Gives them back; nothing if they weren't taken here.
pub async fn restore_ddl(s: &mut Session, user: &str, databases: &[String]) -> Result<(), Error> {
    if !is_revoked(s).await? {
        return Ok(());
    }
    unlogged::begin(s).await?;
    let done = async {
        for database in held(s, user, databases, "N").await? {
            let sql = format!("GRANT {RIGHTS} ON {}.* TO {}@'%'", identifier(&pattern(&database)), quote(user));
            s.exec(&sql, SHORT).await?;
        }
        s.exec("UPDATE shardpair.guard_state SET ddl_revoked=0, last_old=0 WHERE id=1", SHORT).await
    }
    .await;
    unlogged::end(s, done).await
}

/// Counts every session of now as old for [`retire_sessions`]: one that came through the child's VIP before the flip is still
/// here, and when the guard goes nothing else would keep it from writing keys that live elsewhere now.
pub async fn note_sessions(s: &mut Session) -> Result<(), Error> {
    if !is_revoked(s).await? {
        return Ok(());
    }
    unlogged::begin(s).await?;
    let done = s.exec(NOTE, SHORT).await;
    unlogged::end(s, done).await
}

/// Ends the application's sessions that are older than the revocation, or than [`note_sessions`], each as soon as it is idle outside of a
/// transaction, and returns how many; `TimedOut` when some are still at work after `wait`. Nothing if rights aren't revoked.
pub async fn retire_sessions(s: &mut Session, user: &str, wait: Duration) -> Result<usize, Error> {
    let begun = Instant::now();
    let sql = format!(
        "SELECT p.id AS id, p.command = 'Sleep' AND NOT EXISTS (SELECT 1 FROM information_schema.innodb_trx t WHERE t.trx_mysql_thread_id = p.id) AS idle
         FROM information_schema.processlist p JOIN shardpair.guard_state g ON g.id=1 AND g.ddl_revoked=1 AND g.process=@@report_user
         WHERE p.user={} AND p.id <= g.last_old AND p.command <> 'Killed'",
        quote(user)
    );
    if !is_revoked(s).await? {
        return Ok(0);
    }
    let mut ended = 0;
    loop {
        let old = s.rows(&sql, SHORT).await?;
        if old.is_empty() {
            return Ok(ended);
        }
        for row in old.iter().filter(|row| row.get("idle") == Some("1")) {
            let id = row.get("id").and_then(|id| id.parse().ok()).unwrap_or(0);
            ended += sessions::end_session(s, id, Duration::from_secs(2)).await?;
        }
        if begun.elapsed() >= wait {
            let state = format!("{} sessions of {user} are never idle", old.len());
            return Err(timed_out(s, "ending sessions that still have DDL rights", wait, state));
        }
        tokio::time::sleep(super::TRX_POLL).await;
    }
}

/// Are they taken here?
pub(in crate::mysql) async fn is_revoked(s: &mut Session) -> Result<bool, Error> {
    Ok(super::read(s).await?.is_some_and(|state| state.ddl_revoked))
}

/// Databases on which the account has (`Y`) or lacks (`N`) at least one of them.
async fn held(s: &mut Session, user: &str, databases: &[String], has: &str) -> Result<Vec<String>, Error> {
    let sql = format!(
        "SELECT db FROM mysql.db WHERE user={} AND host='%' AND '{has}' IN (Drop_priv, Alter_priv, Create_priv, Index_priv, Trigger_priv)",
        quote(user)
    );
    let rows = s.rows(&sql, SHORT).await?;
    let named = |database: &&String| rows.iter().any(|row| row.at(0) == Some(&pattern(database)));
    Ok(databases.iter().filter(named).cloned().collect())
}
