//! Other sessions on a member: ending them, and seeing what they wait for.
//!
//! Invariant 7: a new leader ends all older operator sessions before its first command, and its own after any command
//! without an answer. Invariant 10: application sessions end after the data plane has moved. A session marked Killed in
//! the wait for an acknowledgement stays there (seen) and can run nothing any more: it counts as ended. Bounded loops.
//! SHOW PROCESSLIST is used because it works with performance_schema=OFF and behind a waiting account statement.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::error::Error;
use super::replication::timed_out;
use super::session::{Row, Session};

const ACK_WAIT: &str = "Waiting for semi-sync ACK";
const POLL: Duration = Duration::from_millis(5);

/// Users of sessions that are the server's own, or have no account yet.
const SERVERS_OWN: [&str; 3] = ["system user", "event_scheduler", NOBODY_YET];
const NOBODY_YET: &str = "unauthenticated user";

async fn processlist(session: &mut Session, deadline: Duration) -> Result<Vec<Row>, Error> {
    session.rows("SHOW PROCESSLIST", deadline).await
}

fn column<'a>(row: &'a Row, name: &str) -> &'a str {
    row.get(name).unwrap_or_default()
}

fn id_of(row: &Row) -> u32 {
    column(row, "Id").parse().unwrap_or(0)
}

/// Clients' commits that wait for an acknowledgement now (the applier's own, on a standby, don't count).
pub async fn commits_waiting(session: &mut Session, deadline: Duration) -> Result<u32, Error> {
    let list = processlist(session, deadline).await?;
    let waits = |row: &&Row| column(row, "State").starts_with(ACK_WAIT) && column(row, "User") != "system user";
    Ok(list.iter().filter(waits).count() as u32)
}

/// Those of them that have waited for a second at least.
pub async fn commits_stuck(session: &mut Session, deadline: Duration) -> Result<u32, Error> {
    let list = processlist(session, deadline).await?;
    let waits = |row: &&Row| stuck(row) && column(row, "User") != "system user";
    Ok(list.iter().filter(waits).count() as u32)
}

/// The same, the applier's own among them.
pub async fn any_stuck(session: &mut Session, deadline: Duration) -> Result<u32, Error> {
    let list = processlist(session, deadline).await?;
    Ok(list.iter().filter(|row| stuck(row)).count() as u32)
}

fn stuck(row: &Row) -> bool {
    let long = column(row, "Time").parse::<u64>().is_ok_and(|seconds| seconds >= 1);
    column(row, "State").starts_with(ACK_WAIT) && long
}

/// The lock that session `id` waits for (FLUSH TABLES WITH READ LOCK, LOCK INSTANCE FOR BACKUP, a table's), in MySQL's
/// words; None: it waits for none, or is gone. A wait for an acknowledgement or for the disk is no lock.
pub async fn waits_for_lock(session: &mut Session, id: u32, deadline: Duration) -> Result<Option<String>, Error> {
    let list = processlist(session, deadline).await?;
    let state = list.iter().find(|row| id_of(row) == id).map(|row| column(row, "State").to_owned());
    Ok(state.filter(|state| state.starts_with("Waiting for") && state.ends_with("lock")))
}

/// Ends every session that came over the network, but those of `keep_users` (the operator and replication), and sees
/// them gone; returns how many. A person on the member's own socket stays: it may be the last way in.
pub async fn end_application_sessions(session: &mut Session, keep_users: &[&str], deadline: Duration) -> Result<usize, Error> {
    end(session, "ending application sessions", |row| applications(row, keep_users), deadline).await
}

fn applications(row: &Row, keep_users: &[&str]) -> bool {
    let user = column(row, "User");
    !keep_users.contains(&user) && !SERVERS_OWN.contains(&user) && column(row, "Host") != "localhost"
}

/// The same of those that are there now, connections that haven't logged in yet among them; who comes later stays.
pub async fn end_present_sessions(session: &mut Session, keep_users: &[&str], deadline: Duration) -> Result<usize, Error> {
    let ends = |row: &&Row| column(row, "User") == NOBODY_YET || applications(row, keep_users);
    let ids = processlist(session, deadline).await?.iter().filter(ends).map(id_of).collect();
    end_sessions(session, &ids, deadline).await
}

/// Ends all other sessions of `user` (the operator's account) but `keep_ids` and this one, and sees them gone; returns
/// how many.
pub async fn end_older_sessions(session: &mut Session, user: &str, keep_ids: &[u32], deadline: Duration) -> Result<usize, Error> {
    let (user, keep) = (user.to_owned(), keep_ids.to_vec());
    let ends = move |row: &Row| column(row, "User") == user && !keep.contains(&id_of(row));
    end(session, "ending older sessions", ends, deadline).await
}

/// A client's session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Its number.
    pub id: u32,
    /// It runs nothing.
    pub idle: bool,
}

/// The sessions of an account, but those that were ended in the wait for an acknowledgement.
pub async fn of_user(session: &mut Session, user: &str, deadline: Duration) -> Result<Vec<Seen>, Error> {
    let list = processlist(session, deadline).await?;
    let ended = |row: &Row| column(row, "Command") == "Killed" && column(row, "State").starts_with(ACK_WAIT);
    let theirs = list.iter().filter(|row| column(row, "User") == user && !ended(row));
    Ok(theirs.map(|row| Seen { id: id_of(row), idle: column(row, "Command") == "Sleep" }).collect())
}

/// Ends one session, and sees it gone.
pub async fn end_session(session: &mut Session, id: u32, deadline: Duration) -> Result<usize, Error> {
    end(session, "ending a session", move |row| id_of(row) == id, deadline).await
}

/// Ends these sessions, and sees them gone.
pub async fn end_sessions(session: &mut Session, ids: &BTreeSet<u32>, deadline: Duration) -> Result<usize, Error> {
    let ids = ids.clone();
    end(session, "ending sessions", move |row| ids.contains(&id_of(row)), deadline).await
}

async fn end(session: &mut Session, doing: &str, ends: impl Fn(&Row) -> bool, timeout: Duration) -> Result<usize, Error> {
    let begun = Instant::now();
    let mut ended = BTreeSet::new();
    loop {
        let own = session.id();
        let mut left = Vec::new();
        for row in processlist(session, timeout).await? {
            let killed = column(&row, "Command") == "Killed";
            let ended_in_wait = killed && column(&row, "State").starts_with(ACK_WAIT);
            if id_of(&row) != own && ends(&row) && !ended_in_wait {
                left.push((id_of(&row), killed, column(&row, "State").to_owned()));
            }
        }
        if left.is_empty() {
            return Ok(ended.len());
        }
        for (id, _, _) in left.iter().filter(|(_, killed, _)| !killed) {
            match session.exec(&format!("KILL {id}"), timeout).await {
                // 1094: it has ended by itself.
                Err(error) if error.code() != Some(1094) => return Err(error),
                _ => ended.insert(*id),
            };
        }
        if begun.elapsed() >= timeout {
            let first = left.iter().take(5).map(|(id, _, state)| format!("{id} ({state})")).collect::<Vec<_>>().join(", ");
            return Err(timed_out(session, doing, timeout, format!("{} left: {first}", left.len())));
        }
        tokio::time::sleep(POLL).await;
    }
}
