//! The application's rights on the form of its tables, taken while a plan runs: a TRUNCATE, DROP or ALTER would go around
//! the guard, or differ between the two sides of a split.
//!
//! Unlogged, on each member for itself. That they are taken is kept in the guard's state, so that the accounts' upkeep
//! (`accounts::bootstrap_primary`) doesn't give them back meanwhile. A session that had chosen its database before keeps
//! its rights on it until it chooses again or ends (seen): so sessions older than the revocation have to end.

use std::collections::BTreeSet;
use std::time::Duration;

use super::super::accounts::pattern;
use super::super::error::Error;
use super::super::replication::not_seen;
use super::super::session::{Session, identifier, quote};
use super::super::sessions;
use super::super::unlogged::{self, SHORT};
use super::make_tables;

/// TRUNCATE needs DROP, RENAME needs ALTER.
const RIGHTS: &str = "DROP, ALTER, CREATE, INDEX, TRIGGER";

/// All sessions of now are old ones.
const NOTE: &str = "UPDATE shardpair.guard_state SET process=@@report_user, noted=NOW(6), old_left=NULL,
  last_old=(SELECT max(id) FROM information_schema.processlist) WHERE id=1";
/// How long sessions that were ended may take to be gone, in one round.
const ENDING: Duration = Duration::from_millis(500);

/// Takes the application account's rights to change its tables, and lets it read the guard's rows: a client that reads here must
/// know whether the key has moved.
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
        if !may_look(s, user).await? {
            s.exec(&format!("GRANT SELECT ON shardpair.guard TO {}@'%'", quote(user)), SHORT).await?;
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
        if may_look(s, user).await? {
            s.exec(&format!("REVOKE SELECT ON shardpair.guard FROM {}@'%'", quote(user)), SHORT).await?;
        }
        s.exec("UPDATE shardpair.guard_state SET ddl_revoked=0, last_old=0, old_left=NULL WHERE id=1", SHORT).await
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

/// One round of ending the application's sessions that are older than the revocation, or than [`note_sessions`]: those that are
/// idle outside of a transaction, and when `grace` has passed since then, all of them. Returns how many are left, which
/// [`GuardState::old_sessions`](super::GuardState) keeps. Nothing if rights aren't revoked. One whose commit waits for its acknowledgement and
/// that was ended can run nothing any more.
pub async fn retire_sessions(s: &mut Session, user: &str, grace: Duration) -> Result<u32, Error> {
    let sql = "SELECT IF(process=@@report_user, last_old, 0) AS last_old, timestampdiff(microsecond, noted, now(6)) DIV 1000 AS age_ms
               FROM shardpair.guard_state WHERE id=1 AND ddl_revoked=1";
    if !is_revoked(s).await? {
        return Ok(0);
    }
    let rows = s.rows(sql, SHORT).await?;
    let number = |name: &str| rows.first().and_then(|row| row.get(name)?.parse::<u64>().ok()).unwrap_or(0);
    let (last_old, over) = (number("last_old"), u128::from(number("age_ms")) >= grace.as_millis());
    let old = async |s: &mut Session| Ok::<_, Error>(sessions::of_user(s, user, SHORT).await?.into_iter().filter(|old| u64::from(old.id) <= last_old).collect::<Vec<_>>());
    if !over && !old(s).await?.is_empty() {
        // A look of a moment ago, whoever's, is what would be shown.
        tokio::time::sleep(super::TRX_POLL).await;
    }
    let busy = s.rows("SELECT trx_mysql_thread_id FROM information_schema.innodb_trx", SHORT).await?;
    let busy = busy.iter().filter_map(|row| row.at(0)?.parse().ok()).collect::<BTreeSet<u32>>();
    // Right after: who runs nothing now and had no transaction a moment ago has none.
    let ending = old(s).await?.iter().filter(|old| over || old.idle && !busy.contains(&old.id)).map(|old| old.id).collect();
    match sessions::end_sessions(s, &ending, ENDING).await {
        Ok(_) | Err(Error::TimedOut { .. }) => {}
        Err(error) => return Err(error),
    }
    let left = old(s).await?.len();
    unlogged::begin(s).await?;
    let done = s.exec(&format!("UPDATE shardpair.guard_state SET old_left={left} WHERE id=1"), SHORT).await;
    unlogged::end(s, done).await?;
    Ok(u32::try_from(left).unwrap_or(u32::MAX))
}

/// Are they taken here?
pub(in crate::mysql) async fn is_revoked(s: &mut Session) -> Result<bool, Error> {
    Ok(super::read(s).await?.is_some_and(|state| state.ddl_revoked))
}

/// Does the account see the guard's rows?
async fn may_look(s: &mut Session, user: &str) -> Result<bool, Error> {
    let sql = format!("SELECT count(*) FROM mysql.tables_priv WHERE user={} AND host='%' AND db='shardpair' AND table_name='guard'", quote(user));
    Ok(s.scalar(&sql, SHORT).await?.as_deref() == Some("1"))
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
