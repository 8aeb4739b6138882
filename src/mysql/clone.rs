//! CLONE: a member's data is replaced by a copy of another one's.
//!
//! A marker (an unlogged role) is placed first: as long as it is seen, the data is not the clone's, and when it is gone,
//! the data was replaced as a whole (the record's `rebuild`). The statement ends by a lost connection, as mysqld restarts
//! under our entry script; whether it succeeded is read from the marker and `clone_status`, never from that error.

use std::time::Duration;

use super::error::Error;
use super::facts::REBUILD_MARKER;
use super::replication::{Source, not_seen, refuse_waiting, stop_applier, stop_receiver};
use super::session::{Credentials, Session, quote};

/// What `performance_schema.clone_status` says of the last clone on this member.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// `Not Started`, `In Progress`, `Completed`, `Failed`; empty: there was none.
    pub state: String,
    /// Its error; empty: none.
    pub error: String,
    /// Bytes done.
    pub done: u64,
    /// Bytes estimated.
    pub estimate: u64,
}

/// Marks the member as one whose data is to be replaced; unlogged, so it never reaches another member. Read-only is
/// lifted only for whom it never binds (this session), and put back.
pub async fn mark(session: &mut Session, deadline: Duration) -> Result<(), Error> {
    refuse_waiting(session, "marking for a rebuild", deadline).await?;
    if !is_marked(session, deadline).await? {
        let was = session.scalar("SELECT @@super_read_only", deadline).await?;
        session.exec("SET SESSION sql_log_bin=0", deadline).await?;
        session.exec("SET GLOBAL super_read_only=OFF", deadline).await?;
        let made = session.exec(&format!("CREATE ROLE IF NOT EXISTS {REBUILD_MARKER}"), deadline).await;
        if was.as_deref() == Some("1") {
            session.exec("SET GLOBAL super_read_only=ON", deadline).await?;
        }
        session.exec("SET SESSION sql_log_bin=1", deadline).await?;
        made?;
    }
    if is_marked(session, deadline).await? {
        Ok(())
    } else {
        Err(not_seen(session, "marking for a rebuild", "no marker".to_owned()))
    }
}

/// Is the marker there?
pub async fn is_marked(session: &mut Session, deadline: Duration) -> Result<bool, Error> {
    let sql = format!("SELECT count(*) FROM mysql.user WHERE user={}", quote(REBUILD_MARKER));
    Ok(session.scalar(&sql, deadline).await?.as_deref() != Some("0"))
}

/// Replaces this member's data by a copy of the donor's; returns when the statement has ended, within `deadline`.
/// The caller makes sure that the member has no role, and is marked.
pub async fn clone_from(
    session: &mut Session,
    donor: &Source,
    replication: &Credentials,
    deadline: Duration,
) -> Result<(), Error> {
    let short = Duration::from_secs(5);
    if !is_marked(session, short).await? {
        return Err(not_seen(session, "cloning", "no marker: mark the member first".to_owned()));
    }
    stop_receiver(session, short).await?;
    stop_applier(session, short).await?;
    let address = format!("{}:{}", donor.host, donor.port);
    session.exec(&format!("SET GLOBAL clone_valid_donor_list={}", quote(&address)), short).await?;
    // CLONE doesn't change what it finds read-only.
    session.exec("SET GLOBAL super_read_only=OFF", short).await?;
    let sql = format!(
        "CLONE INSTANCE FROM {}@{}:{} IDENTIFIED BY {} REQUIRE NO SSL",
        quote(&replication.user),
        quote(&donor.host),
        donor.port,
        quote(&replication.password)
    );
    match session.exec_secret("CLONE INSTANCE", &sql, deadline).await {
        // It restarts under our supervision, and may end the connection before or after it says OK.
        Ok(()) | Err(Error::Broken { .. }) => Ok(()),
        // 3707: it can't restart itself; it shuts down, and the entry script starts it. 1053, 2013: the same, cut short.
        Err(Error::Server { code: 3707 | 1053, .. }) => Ok(()),
        Err(error) => {
            if session.is_usable() {
                session.exec("SET GLOBAL super_read_only=ON", short).await?;
            }
            Err(error)
        }
    }
}

/// How the clone on this member goes, or ended.
pub async fn status(session: &mut Session, deadline: Duration) -> Result<Status, Error> {
    let sql = "SELECT state, concat_ws(': ', nullif(error_no, 0), nullif(error_message, '')) AS error,
                 (SELECT sum(data) FROM performance_schema.clone_progress) AS done,
                 (SELECT sum(estimate) FROM performance_schema.clone_progress) AS estimate
               FROM performance_schema.clone_status";
    let row = session.rows(sql, deadline).await?.into_iter().next().unwrap_or_default();
    let bytes = |name: &str| row.get(name).and_then(|v| v.parse().ok()).unwrap_or(0);
    Ok(Status {
        state: row.get("state").unwrap_or_default().to_owned(),
        error: row.get("error").unwrap_or_default().to_owned(),
        done: bytes("done"),
        estimate: bytes("estimate"),
    })
}
