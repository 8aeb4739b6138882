//! Who holds a row of the guard. `data_locks` is asked only when somebody does: it is dear on a busy server.

use std::time::Duration;

use super::super::error::Error;
use super::super::session::{Row, Session};
use super::super::sessions;
use super::super::unlogged::SHORT;

const COLUMNS: &str = "t.trx_mysql_thread_id AS id, p.user AS user, p.host AS host, p.command AS command,
  round(timestampdiff(microsecond, t.trx_started, now(6)) / 1000000, 1) AS seconds";

/// Sessions that hold a lock on the class's row, the oldest transaction first. (A lock's data is the primary key.)
/// With performance_schema=OFF MySQL doesn't tell whose locks they are: then all who hold any row's, and `true`.
async fn holders(s: &mut Session, class: u32) -> Result<(Vec<Row>, bool), Error> {
    let unknown = s.scalar("SELECT @@performance_schema", SHORT).await?.as_deref() == Some("0");
    let of_locks = "FROM performance_schema.data_locks l JOIN information_schema.innodb_trx t ON t.trx_id = l.engine_transaction_id";
    let (from, which) = if unknown {
        ("FROM information_schema.innodb_trx t", "t.trx_rows_locked > 0".to_owned())
    } else {
        let row = "l.object_schema='shardpair' AND l.object_name='guard' AND l.lock_type='RECORD' AND l.lock_status='GRANTED'";
        (of_locks, format!("{row} AND l.lock_data='{class}'"))
    };
    let sql = format!(
        "SELECT {COLUMNS} {from} LEFT JOIN information_schema.processlist p ON p.id = t.trx_mysql_thread_id
         WHERE {which} AND t.trx_state <> 'LOCK WAIT' AND t.trx_mysql_thread_id NOT IN (0, connection_id()) ORDER BY t.trx_started LIMIT 100"
    );
    Ok((s.rows(&sql, SHORT).await?, unknown))
}

/// For an error: the oldest of them.
pub(super) async fn describe(s: &mut Session, class: u32) -> Result<String, Error> {
    let (holders, unknown) = holders(s, class).await?;
    let Some(oldest) = holders.first() else { return Ok("its writers come without a pause".to_owned()) };
    let part = |name| oldest.get(name).unwrap_or("?");
    Ok(format!(
        "{} transactions{} are open, the oldest is session {} ({}@{}), for {} s",
        holders.len(), if unknown { "" } else { " with such keys" }, part("id"), part("user"), part("host"), part("seconds")
    ))
}

/// Ends them: the class isn't owned, so each of them was refused. Where MySQL doesn't tell whose locks they are, those that
/// sit in a transaction and do nothing.
pub(super) async fn end(s: &mut Session, class: u32) -> Result<(), Error> {
    let (holders, unknown) = holders(s, class).await?;
    for holder in holders.iter().filter(|h| !unknown || h.get("command") == Some("Sleep")) {
        if let Some(id) = holder.get("id").and_then(|id| id.parse().ok()) {
            sessions::end_session(s, id, Duration::from_secs(2)).await?;
        }
    }
    Ok(())
}
