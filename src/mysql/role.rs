//! Verbs that give a member its role: writable primary, standby, and who waits for whom.
//!
//! The order inside each verb is the point. Invariant 1: the source side is on, and seen to be on, before the member is
//! writable. Turning it off answers every waiting commit with OK (seen: 8 of 8 lost), so only [`relax_acks`], which the
//! record permits (invariant 2), does so while commits wait. A member lets clients in (`offline_mode`) last.

use std::time::Duration;

use super::error::Error;
use super::replication::{not_seen, refuse_waiting, stop_drained, timed_out};
use super::session::{Session, identifier};

/// No time-out in practice: 49 days, and it is not what ends a wait.
const NO_TIMEOUT: u64 = 4_294_967_295;
/// More events than this are enabled in several calls.
const EVENTS_LIMIT: usize = 500;

/// How a member becomes writable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenAs {
    /// Its commits wait for an acknowledgement.
    pub ack: bool,
    /// `auto_increment_increment` and `auto_increment_offset`; None: 1 and 1.
    pub interleave: Option<(u16, u16)>,
    /// Stop the channel first (proven drained). False: whatever runs goes on running.
    pub stop_channel: bool,
}

/// Sets which ids AUTO_INCREMENT gives here (increment and offset), and ends the sessions that still have others, but those of
/// `keep_users`; returns how many. Before the member opens.
///
/// A session keeps what was set when its connection was accepted. One that was let in while a server boots and logs in once it
/// is open would give ids of the other side of a split, and so would one that read on a standby (seen: `tests/faults --splits`).
/// Nothing is ended where the numbers were right already.
pub async fn number_ids(session: &mut Session, numbers: (u16, u16), keep_users: &[&str], deadline: Duration) -> Result<usize, Error> {
    let (increment, offset) = numbers;
    let seen = session.scalar("SELECT concat_ws(' ', @@global.auto_increment_increment, @@global.auto_increment_offset)", deadline).await?;
    if seen.as_deref() == Some(&format!("{increment} {offset}")) {
        return Ok(0);
    }
    session.exec(&format!("SET GLOBAL auto_increment_increment={increment}, GLOBAL auto_increment_offset={offset}"), deadline).await?;
    super::sessions::end_present_sessions(session, keep_users, deadline).await
}

/// Makes the member a writable primary. Its applier has been drained and its receiver fenced before.
pub async fn open_primary(session: &mut Session, how: OpenAs, deadline: Duration) -> Result<(), Error> {
    if how.stop_channel {
        stop_drained(session, deadline).await?;
    }
    // Few round trips: keys wait, in a failover and in a flip.
    let (increment, offset) = how.interleave.unwrap_or((1, 1));
    let sql = format!("SET GLOBAL rpl_semi_sync_replica_enabled=0, GLOBAL auto_increment_increment={increment}, GLOBAL auto_increment_offset={offset}");
    session.exec(&sql, deadline).await?;
    if how.ack {
        require_acks(session, deadline).await?;
    } else {
        relax_acks(session, deadline).await?;
    }
    session.exec("SET GLOBAL super_read_only=OFF, GLOBAL read_only=OFF", deadline).await?;
    session.exec("SET GLOBAL event_scheduler=ON", deadline).await?;
    session.exec("SET GLOBAL offline_mode=OFF", deadline).await?;
    let expected = format!("0 0 {} 0 ON 0", u8::from(how.ack));
    verify(session, "opening as primary", &expected, deadline).await
}

/// Stops new writes while the standby still acknowledges. A commit that waits holds this up: after `budget` (counted in
/// whole seconds by MySQL, at least one) it is given up with `TimedOut`, and the member is as writable as before.
pub async fn close_writes(session: &mut Session, budget: Duration) -> Result<(), Error> {
    close(session, "0 0", budget).await
}

/// `before`: super_read_only and read_only, as they are if it is given up.
async fn close(session: &mut Session, before: &str, budget: Duration) -> Result<(), Error> {
    let seconds = budget.as_millis().div_ceil(1000).max(1);
    let deadline = Duration::from_millis(seconds as u64 * 1000 + 2000);
    session.exec(&format!("SET SESSION lock_wait_timeout={seconds}"), deadline).await?;
    let closed = session.exec("SET GLOBAL super_read_only=ON", deadline).await;
    if session.is_usable() {
        session.exec("SET SESSION lock_wait_timeout=2", deadline).await?;
    }
    match closed {
        Ok(()) => verify_read_only(session, "closing writes", "1 1", deadline).await,
        Err(error) if error.code() == Some(1205) => {
            verify_read_only(session, "giving up closing writes", before, deadline).await?;
            Err(timed_out(session, "closing writes", budget, "a commit waits, or a lock is held; open as before".to_owned()))
        }
        Err(error) => Err(error),
    }
}

/// Gives a member its writes back.
pub async fn reopen_writes(session: &mut Session, deadline: Duration) -> Result<(), Error> {
    session.exec("SET GLOBAL super_read_only=OFF", deadline).await?;
    session.exec("SET GLOBAL read_only=OFF", deadline).await?;
    verify_read_only(session, "opening writes", "0 0", deadline).await
}

/// Makes the member a standby: read-only, no events, readable, and nothing that would hang its applier. Refused while a
/// client's commit waits here for an acknowledgement.
pub async fn become_standby(session: &mut Session, deadline: Duration) -> Result<(), Error> {
    session.exec("SET GLOBAL super_read_only=ON", deadline).await?;
    session.exec("SET GLOBAL event_scheduler=OFF", deadline).await?;
    session.exec("SET GLOBAL offline_mode=OFF", deadline).await?;
    if source_enabled(session, deadline).await? {
        refuse_waiting(session, "becoming standby", deadline).await?;
        relax_acks(session, deadline).await?;
    }
    verify(session, "becoming standby", "1 1 0 _ OFF 0", deadline).await
}

/// Makes the member the primary of a pair that follows another: read-only, without events, readable; its source side and
/// its channel stay as they are. Given up after `budget` if a commit holds it up.
pub async fn become_follower(session: &mut Session, budget: Duration, deadline: Duration) -> Result<(), Error> {
    // Where only `super_read_only` was lifted, for the operator's own statements, `read_only` stays as it is.
    let before = read_only(session, deadline).await?;
    close(session, &before, budget).await?;
    session.exec("SET GLOBAL event_scheduler=OFF", deadline).await?;
    session.exec("SET GLOBAL offline_mode=OFF", deadline).await?;
    verify(session, "becoming a follower", "1 1 _ _ OFF 0", deadline).await
}

/// Ends the process cleanly: of a standby only, whose source side is off. Returns when nothing listens there any more.
pub async fn shut_down(session: &mut Session, deadline: Duration) -> Result<(), Error> {
    if source_enabled(session, deadline).await? {
        let waiting = super::sessions::commits_waiting(session, deadline).await?;
        return Err(Error::CommitsWait { member: session.member().to_owned(), doing: "shutting down a semi-sync source".to_owned(), waiting });
    }
    session.exec("SET GLOBAL innodb_fast_shutdown=1", deadline).await?;
    match session.exec("SHUTDOWN", deadline).await {
        Ok(()) | Err(Error::Broken { .. }) => {}
        Err(error) => return Err(error),
    }
    let begun = std::time::Instant::now();
    // The listener closes early; this session ends with the process.
    while begun.elapsed() < deadline {
        match session.scalar("SELECT 1", deadline.saturating_sub(begun.elapsed())).await {
            Err(error) if error.is_connection() => return Ok(()),
            _ => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
    Err(timed_out(session, "shutting down", deadline, "it still answers".to_owned()))
}

/// From now on this member's commits wait for one acknowledgement; seen to be so.
pub async fn require_acks(session: &mut Session, deadline: Duration) -> Result<(), Error> {
    let sql = format!(
        "SET GLOBAL rpl_semi_sync_source_timeout={NO_TIMEOUT}, GLOBAL rpl_semi_sync_source_wait_no_replica=ON, \
         GLOBAL rpl_semi_sync_source_wait_point='AFTER_SYNC'"
    );
    session.exec(&sql, deadline).await?;
    // Never lowered while it is on: that releases waiting commits.
    if !source_enabled(session, deadline).await? {
        set_count(session, 1, deadline).await?;
        session.exec("SET GLOBAL rpl_semi_sync_source_enabled=1", deadline).await?;
    }
    let seen = session
        .scalar(
            "SELECT concat_ws(' ', @@rpl_semi_sync_source_enabled, @@rpl_semi_sync_source_timeout,
               @@rpl_semi_sync_source_wait_no_replica, @@rpl_semi_sync_source_wait_for_replica_count >= 1,
               (SELECT variable_value FROM performance_schema.global_status WHERE variable_name='Rpl_semi_sync_source_status'))",
            deadline,
        )
        .await?
        .unwrap_or_default();
    if seen == format!("1 {NO_TIMEOUT} 1 1 ON") { Ok(()) } else { Err(not_seen(session, "requiring acknowledgements", seen)) }
}

/// This member's commits no longer wait, and those that wait get their OK now: only after Solo is recorded (invariant 2),
/// or where no commit can wait. Takes up to 1 s.
pub async fn relax_acks(session: &mut Session, deadline: Duration) -> Result<(), Error> {
    let deadline = deadline.max(Duration::from_secs(3));
    session.exec("SET GLOBAL rpl_semi_sync_source_enabled=0", deadline).await?;
    if source_enabled(session, deadline).await? {
        Err(not_seen(session, "relaxing acknowledgements", "source side ON".to_owned()))
    } else {
        Ok(())
    }
}

/// How many acknowledgements a commit waits for. Lowering it releases waiting commits.
pub async fn set_count(session: &mut Session, count: u32, deadline: Duration) -> Result<(), Error> {
    let sql = format!("SET GLOBAL rpl_semi_sync_source_wait_for_replica_count={count}");
    session.exec(&sql, deadline).await?;
    let seen = session.scalar("SELECT @@rpl_semi_sync_source_wait_for_replica_count", deadline).await?;
    if seen.as_deref() == Some(&count.to_string()) { Ok(()) } else { Err(not_seen(session, "setting the wait count", seen.unwrap_or_default())) }
}

/// Enables the events that replication disabled here, keeping their definers; returns how many. Logged: for the primary.
/// Refused while commits wait (DDL hangs then). At most 500 a call.
pub async fn enable_events(session: &mut Session, deadline: Duration) -> Result<usize, Error> {
    refuse_waiting(session, "enabling events", deadline).await?;
    let sql = format!(
        "SELECT event_schema, event_name, definer FROM information_schema.events
         WHERE status IN ('REPLICA_SIDE_DISABLED', 'SLAVESIDE_DISABLED') ORDER BY 1, 2 LIMIT {EVENTS_LIMIT}"
    );
    let events = session.rows(&sql, deadline).await?;
    for event in &events {
        let part = |place| event.at(place).unwrap_or_default();
        // A user name may contain an @, a host can't.
        let (user, host) = part(2).rsplit_once('@').unwrap_or((part(2), "%"));
        let (definer, name) = (format!("{}@{}", identifier(user), identifier(host)), format!("{}.{}", identifier(part(0)), identifier(part(1))));
        session.exec(&format!("ALTER DEFINER={definer} EVENT {name} ENABLE"), deadline).await?;
    }
    Ok(events.len())
}

async fn source_enabled(session: &mut Session, deadline: Duration) -> Result<bool, Error> {
    Ok(session.scalar("SELECT @@rpl_semi_sync_source_enabled", deadline).await?.as_deref() == Some("1"))
}

/// super_read_only and read_only.
async fn read_only(session: &mut Session, deadline: Duration) -> Result<String, Error> {
    Ok(session.scalar("SELECT concat_ws(' ', @@super_read_only, @@read_only)", deadline).await?.unwrap_or_default())
}

async fn verify_read_only(session: &mut Session, doing: &str, expected: &str, deadline: Duration) -> Result<(), Error> {
    let seen = read_only(session, deadline).await?;
    if seen == expected { Ok(()) } else { Err(not_seen(session, doing, format!("super_read_only, read_only = {seen}"))) }
}

/// `expected`: super_read_only, read_only, source, replica side, events, offline; `_` is anything.
async fn verify(session: &mut Session, doing: &str, expected: &str, deadline: Duration) -> Result<(), Error> {
    let sql = "SELECT concat_ws(' ', @@super_read_only, @@read_only, @@rpl_semi_sync_source_enabled,
                 @@rpl_semi_sync_replica_enabled, @@event_scheduler, @@offline_mode)";
    let seen = session.scalar(sql, deadline).await?.unwrap_or_default();
    let same = seen.split(' ').zip(expected.split(' ')).all(|(s, e)| e == "_" || s == e);
    if same {
        Ok(())
    } else {
        let names = "super_read_only, read_only, source side, replica side, events, offline_mode";
        Err(not_seen(session, doing, format!("{names} = {seen}, expected {expected}")))
    }
}
