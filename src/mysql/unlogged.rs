//! Statements that stay on one member: no binlog, and on a read-only member too.
//!
//! A member with a role that is read-only is `super_read_only`, which binds the operator as well. It is lifted for the
//! time of the statements (`read_only` stays, and binds the application), and put back by the rule that a read-only
//! member is super-read-only: so what an interrupted run left open is closed by the next one.

use std::time::Duration;

use super::error::Error;
use super::replication::{none_waits, not_seen};
use super::session::Session;
use super::sessions::any_stuck;

/// For one command.
pub(super) const SHORT: Duration = Duration::from_secs(5);
/// `SET GLOBAL super_read_only=ON` waits for statements in flight, the applier's among them.
const CLOSING_TRIES: u32 = 5;

/// Begins: what is executed until [`end`] is unlogged. Not inside a transaction.
pub(super) async fn begin(session: &mut Session) -> Result<(), Error> {
    session.exec("SET SESSION sql_log_bin=0", SHORT).await?;
    if session.scalar("SELECT @@super_read_only", SHORT).await?.as_deref() == Some("1") {
        // Nor would it be had back behind a commit that nobody acknowledges; one that has waited for a moment is no hindrance.
        let waiting = any_stuck(session, SHORT).await?;
        none_waits(session, "lifting super_read_only", waiting)?;
        session.exec("SET GLOBAL super_read_only=OFF", SHORT).await?;
    }
    Ok(())
}

/// Ends, whatever came of the statements between; their error comes first.
pub(super) async fn end<T>(session: &mut Session, done: Result<T, Error>) -> Result<T, Error> {
    if !session.is_usable() {
        return done;
    }
    let ended = put_back(session).await;
    let done = done?;
    ended.map(|()| done)
}

async fn put_back(session: &mut Session) -> Result<(), Error> {
    for attempt in 1.. {
        let seen = session.scalar("SELECT concat(@@read_only, @@super_read_only)", SHORT).await?.unwrap_or_default();
        if seen != "10" {
            break;
        }
        match session.exec("SET GLOBAL super_read_only=ON", SHORT).await {
            Err(error) if error.code() != Some(1205) || attempt == CLOSING_TRIES => return Err(error),
            _ if attempt > CLOSING_TRIES => return Err(not_seen(session, "closing a read-only member", seen)),
            _ => {}
        }
    }
    session.exec("SET SESSION sql_log_bin=1", SHORT).await
}
