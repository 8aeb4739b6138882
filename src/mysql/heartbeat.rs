//! The heartbeat row: a small write on the primary, all the time. It is the probe that counts, it carries the record's
//! epoch (to notice an etcd that was rolled back), it measures lag, and it makes up for a lost acknowledgement.
//!
//! What it meets is classified, because only some of it is evidence against the primary: a lock that a person holds is
//! not, a write that never ends is.

use std::time::Duration;

use super::error::Error;
use super::replication::refuse_waiting;
use super::session::Session;

/// What became of one heartbeat write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Written, and acknowledged where acknowledgements are required.
    Written,
    /// No answer in time: the session is closed. Look with [`super::sessions::waits_for_lock`] what it waits for.
    NoAnswer(Error),
    /// The member is read-only.
    ReadOnly,
    /// A lock was held for longer than MySQL's time-out.
    Locked(Error),
    /// The disk is full, by the server's own word. (A full disk may also show as no answer.)
    DiskFull(Error),
    /// The schema isn't there yet.
    NoSchema,
    /// The connection is gone.
    Gone(Error),
    /// Anything else the server says.
    Failed(Error),
}

/// Makes schema and table, if they aren't there. Logged: for the primary. Refused while commits wait (DDL hangs then).
pub async fn create_schema(session: &mut Session, deadline: Duration) -> Result<(), Error> {
    match session.rows("SELECT 1 FROM shardpair.heartbeat LIMIT 0", deadline).await {
        Ok(_) => return Ok(()),
        Err(error) if matches!(error.code(), Some(1049 | 1146)) => {}
        Err(error) => return Err(error),
    }
    refuse_waiting(session, "creating the heartbeat table", deadline).await?;
    session.exec("CREATE DATABASE IF NOT EXISTS shardpair", deadline).await?;
    let sql = "CREATE TABLE IF NOT EXISTS shardpair.heartbeat
               (id SMALLINT UNSIGNED PRIMARY KEY, epoch BIGINT NOT NULL, at TIMESTAMP(6) NOT NULL) ENGINE=InnoDB";
    session.exec(sql, deadline).await
}

/// Writes the pair's row. Each pair has its own: the rows of two linked primaries would otherwise go around.
pub async fn beat(session: &mut Session, row: u16, epoch: i64, deadline: Duration) -> Outcome {
    let sql = format!(
        "INSERT INTO shardpair.heartbeat (id, epoch, at) VALUES ({row}, {epoch}, now(6)) AS new \
         ON DUPLICATE KEY UPDATE epoch=new.epoch, at=new.at"
    );
    match session.exec(&sql, deadline).await {
        Ok(()) => Outcome::Written,
        Err(error) => classify(error),
    }
}

fn classify(error: Error) -> Outcome {
    match error.code() {
        Some(1290 | 1836) => Outcome::ReadOnly,
        Some(1049 | 1146) => Outcome::NoSchema,
        Some(1205) => Outcome::Locked(error),
        Some(1021 | 1114 | 3675) => Outcome::DiskFull(error),
        Some(3 | 1026 | 1030 | 1598) if error.to_string().contains("28") => Outcome::DiskFull(error),
        Some(_) => Outcome::Failed(error),
        None if matches!(error, Error::NoAnswer { .. }) => Outcome::NoAnswer(error),
        None if error.is_connection() => Outcome::Gone(error),
        None => Outcome::Failed(error),
    }
}
