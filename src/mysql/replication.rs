//! Verbs on a member's replication channel: receiver, applier, waiting, attaching.
//!
//! Each is idempotent and verifies what it did. Invariant 4: a receiver is stopped only when it is seen OFF; "connecting"
//! is not stopped. Invariant 5: CHANGE REPLICATION SOURCE with stopped threads deletes the relay log (seen, whatever the
//! option), so it comes only after received and executed were compared with both threads stopped. The replication
//! password is given at every START and stored nowhere: MySQL keeps it in memory, and shows `<secret>` (seen).

use std::time::{Duration, Instant};

use super::error::Error;
use super::facts::gtids;
use super::gtid::GtidSet;
use super::sessions::commits_waiting;
use super::session::{Credentials, Row, Session, quote};
use crate::pair::facts::ReceiverState;

/// How often a condition is looked at.
const POLL: Duration = Duration::from_millis(5);
/// One wait inside the server; after it the applier is looked at.
const WAIT_SLICE: Duration = Duration::from_millis(250);

/// Where a member replicates from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Host or IP.
    pub host: String,
    /// Port.
    pub port: u16,
}

/// The channel as the server shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelState {
    /// None: no channel is configured.
    pub source: Option<Source>,
    /// Receiver.
    pub receiver: ReceiverState,
    /// Applier.
    pub applier_running: bool,
    /// Its last error; empty: none.
    pub applier_error: String,
    /// All that was received.
    pub received: GtidSet,
    /// All that was executed.
    pub executed: GtidSet,
}

impl ChannelState {
    /// Received and not applied.
    pub fn undrained(&self) -> GtidSet {
        self.received.subtract(&self.executed)
    }
}

const STATE: &str = "SELECT c.host AS host, c.port AS port, s.service_state AS receiver, a.service_state AS applier,
    s.received_transaction_set AS received, @@global.gtid_executed AS executed,
    (SELECT concat(last_error_number, ': ', last_error_message) FROM performance_schema.replication_applier_status_by_worker
      WHERE channel_name='' AND last_error_number<>0 LIMIT 1) AS worker_error,
    (SELECT concat(last_error_number, ': ', last_error_message) FROM performance_schema.replication_applier_status_by_coordinator
      WHERE channel_name='' AND last_error_number<>0 LIMIT 1) AS coordinator_error
  FROM (SELECT 1) AS one
  LEFT JOIN performance_schema.replication_connection_configuration c ON c.channel_name=''
  LEFT JOIN performance_schema.replication_connection_status s ON s.channel_name=''
  LEFT JOIN performance_schema.replication_applier_status a ON a.channel_name=''";

/// The channel now.
pub async fn state(session: &mut Session, deadline: Duration) -> Result<ChannelState, Error> {
    let row = session.rows(STATE, deadline).await?.into_iter().next().unwrap_or_default();
    parse(session.member(), &row)
}

fn parse(member: &str, row: &Row) -> Result<ChannelState, Error> {
    let port = row.get("port").and_then(|p| p.parse().ok()).unwrap_or(0);
    let host = row.get("host").filter(|h| !h.is_empty());
    Ok(ChannelState {
        source: host.map(|host| Source { host: host.to_owned(), port }),
        receiver: match row.get("receiver") {
            Some("ON") => ReceiverState::On,
            Some("CONNECTING") => ReceiverState::Connecting,
            _ => ReceiverState::Off,
        },
        applier_running: row.get("applier") == Some("ON"),
        applier_error: row.get("worker_error").or(row.get("coordinator_error")).unwrap_or_default().to_owned(),
        received: gtids(member, "received", row.get("received").unwrap_or_default())?,
        executed: gtids(member, "executed", row.get("executed").unwrap_or_default())?,
    })
}

/// Stops the receiver and sees it OFF: from then on this member acknowledges nothing (invariant 4).
pub async fn stop_receiver(session: &mut Session, deadline: Duration) -> Result<(), Error> {
    session.exec("STOP REPLICA IO_THREAD", deadline).await?;
    match state(session, deadline).await?.receiver {
        ReceiverState::Off => Ok(()),
        other => Err(not_seen(session, "stopping the receiver", format!("receiver {other:?}"))),
    }
}

/// Starts the receiver; it then connects by itself, however long that takes.
pub async fn start_receiver(session: &mut Session, replication: &Credentials, deadline: Duration) -> Result<(), Error> {
    if state(session, deadline).await?.receiver == ReceiverState::Off {
        let (user, password) = (quote(&replication.user), quote(&replication.password));
        let sql = format!("START REPLICA IO_THREAD USER={user} PASSWORD={password}");
        session.exec_secret("START REPLICA IO_THREAD", &sql, deadline).await?;
    }
    match state(session, deadline).await?.receiver {
        ReceiverState::On | ReceiverState::Connecting => Ok(()),
        ReceiverState::Off => Err(not_seen(session, "starting the receiver", "receiver Off".to_owned())),
    }
}

/// Starts the applier. That it goes on running is seen by [`wait_executed`] and in the facts.
pub async fn start_applier(session: &mut Session, deadline: Duration) -> Result<(), Error> {
    session.exec("START REPLICA SQL_THREAD", deadline).await?;
    let seen = state(session, deadline).await?;
    if seen.applier_running {
        Ok(())
    } else {
        Err(not_seen(session, "starting the applier", format!("applier stopped, {}", error_or_none(&seen))))
    }
}

/// Stops the applier and sees it OFF. It hangs while a worker waits for an acknowledgement: the source side of a
/// standby must be off first.
pub async fn stop_applier(session: &mut Session, deadline: Duration) -> Result<(), Error> {
    session.exec("STOP REPLICA SQL_THREAD", deadline).await?;
    if state(session, deadline).await?.applier_running {
        Err(not_seen(session, "stopping the applier", "applier running".to_owned()))
    } else {
        Ok(())
    }
}

/// A GTID set that a global variable holds: `gtid_executed`, `gtid_purged`.
pub async fn global(session: &mut Session, variable: &str, deadline: Duration) -> Result<GtidSet, Error> {
    let text = session.scalar(&format!("SELECT @@GLOBAL.{variable}"), deadline).await?.unwrap_or_default();
    gtids(session.member(), variable, &text)
}

/// Waits until all of `set` is executed here; ends early when the applier has stopped with an error.
pub async fn wait_executed(session: &mut Session, set: &GtidSet, timeout: Duration) -> Result<(), Error> {
    let begun = Instant::now();
    loop {
        let left = timeout.saturating_sub(begun.elapsed());
        let slice = left.min(WAIT_SLICE).as_secs_f64();
        // 0 would mean "without end".
        let sql = format!("SELECT WAIT_FOR_EXECUTED_GTID_SET('{set:#}', {:.3})", slice.max(0.001));
        if session.scalar(&sql, WAIT_SLICE + Duration::from_secs(2)).await?.as_deref() == Some("0") {
            return Ok(());
        }
        let seen = state(session, Duration::from_secs(2)).await?;
        let missing = set.subtract(&seen.executed);
        let stuck = !seen.applier_running && !seen.applier_error.is_empty();
        if begun.elapsed() >= timeout || stuck {
            let state = format!("missing {missing:#}; applier {}, {}", running(seen.applier_running), error_or_none(&seen));
            return Err(timed_out(session, "waiting for transactions to be applied", timeout, state));
        }
    }
}

/// Waits until all of `set` is here, in the relay log or applied.
pub async fn wait_received(session: &mut Session, set: &GtidSet, timeout: Duration) -> Result<(), Error> {
    let begun = Instant::now();
    loop {
        let seen = state(session, Duration::from_secs(2)).await?;
        let missing = set.subtract(&seen.received.union(&seen.executed));
        if missing.is_empty() {
            return Ok(());
        }
        if begun.elapsed() >= timeout {
            let state = format!("missing {missing:#}; receiver {:?}", seen.receiver);
            return Err(timed_out(session, "waiting for transactions to be received", timeout, state));
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Makes this member replicate from `source` as its acker.
///
/// It doesn't touch the member's own source side: in a switchover that goes off last (`role::become_standby`), since it
/// takes up to 1 s. A channel that already leads there is not changed, only started; if it ran without acknowledging, its
/// receiver is restarted (which stalls the source's commits for up to 1 s).
pub async fn attach(session: &mut Session, source: &Source, replication: &Credentials, deadline: Duration) -> Result<(), Error> {
    connect(session, source, replication, true, deadline).await
}

/// Makes this member replicate without acknowledging: an open primary from its standby (the reverse channel) or from the
/// other side of a split, and a primary that follows another pair. Refused while a commit is stuck here.
pub async fn follow(session: &mut Session, source: &Source, replication: &Credentials, deadline: Duration) -> Result<(), Error> {
    refuse_stuck(session, "following without acknowledging", deadline).await?;
    connect(session, source, replication, false, deadline).await
}

async fn connect(session: &mut Session, source: &Source, replication: &Credentials, as_acker: bool, deadline: Duration) -> Result<(), Error> {
    let acker_before = session.scalar("SELECT @@rpl_semi_sync_replica_enabled", deadline).await?.as_deref() == Some("1");
    let seen = state(session, deadline).await?;
    if acker_before != as_acker {
        // Whether it acknowledges is decided when the receiver connects: stopped first, so that one who is interrupted here
        // doesn't leave a receiver that runs otherwise than the variable says.
        if seen.receiver != ReceiverState::Off {
            stop_receiver(session, deadline).await?;
        }
        let sql = format!("SET GLOBAL rpl_semi_sync_replica_enabled={}", u8::from(as_acker));
        session.exec(&sql, deadline).await?;
    }
    // A relay log that is applied is begun anew: after a power cut its file may be missing, and an applier that is sent there
    // "runs", without an error, and applies nothing any more (tests/mysql/relay_log.rs).
    let stopped = seen.receiver == ReceiverState::Off && !seen.applier_running && seen.undrained().is_empty();
    if seen.source.as_ref() != Some(source) || stopped {
        change_source(session, source, deadline).await?;
    }
    start_receiver(session, replication, deadline).await?;
    if state(session, deadline).await?.applier_running { Ok(()) } else { start_applier(session, deadline).await }
}

async fn change_source(session: &mut Session, source: &Source, deadline: Duration) -> Result<(), Error> {
    stop_drained(session, deadline).await?;
    // Without TLS: a reconnect is measured in milliseconds and not in tens of them; the password goes over RSA.
    let sql = format!(
        "CHANGE REPLICATION SOURCE TO SOURCE_HOST={}, SOURCE_PORT={}, SOURCE_AUTO_POSITION=1, GET_SOURCE_PUBLIC_KEY=1, \
         SOURCE_SSL=0, SOURCE_HEARTBEAT_PERIOD=0.25, SOURCE_CONNECT_RETRY=1, SOURCE_RETRY_COUNT=4294967295",
        quote(&source.host),
        source.port
    );
    session.exec(&sql, deadline).await?;
    let seen = state(session, deadline).await?;
    if seen.source.as_ref() == Some(source) {
        Ok(())
    } else {
        Err(not_seen(session, "changing the source", format!("source {:?}", seen.source)))
    }
}

/// Stops both threads and proves that nothing received would be dropped (invariant 5).
pub async fn stop_drained(session: &mut Session, deadline: Duration) -> Result<(), Error> {
    stop_receiver(session, deadline).await?;
    let seen = state(session, deadline).await?;
    not_drained(session, &seen)?;
    stop_applier(session, deadline).await?;
    let seen = state(session, deadline).await?;
    not_drained(session, &seen)
}

/// Forgets the channel, after the drain; idempotent.
pub async fn detach(session: &mut Session, deadline: Duration) -> Result<(), Error> {
    stop_drained(session, deadline).await?;
    reset(session, deadline).await
}

/// Forgets the channel, as [`detach`] does, but waits for the applier first. Without `drain` also what was received and
/// can't be applied is dropped: only where another pair is the owner of all that came.
pub async fn forget(session: &mut Session, drain: bool, timeout: Duration, deadline: Duration) -> Result<(), Error> {
    stop_receiver(session, deadline).await?;
    let seen = state(session, deadline).await?;
    if drain && seen.source.is_some() {
        if !seen.undrained().is_empty() && !seen.applier_running {
            start_applier(session, deadline).await?;
        }
        wait_executed(session, &seen.received, timeout).await?;
        return detach(session, deadline).await;
    }
    stop_applier(session, deadline).await?;
    reset(session, deadline).await
}

/// Forgets the channel with what was received and isn't applied, if that is no more than `left`: the caller knows that the
/// primary holds it, and that nobody may promote this member as it is.
pub async fn drop_relay_log(session: &mut Session, left: &GtidSet, deadline: Duration) -> Result<(), Error> {
    stop_receiver(session, deadline).await?;
    stop_applier(session, deadline).await?;
    let missing = state(session, deadline).await?.undrained().subtract(left);
    if !missing.is_empty() {
        return Err(Error::NotDrained { member: session.member().to_owned(), missing });
    }
    reset(session, deadline).await
}

async fn reset(session: &mut Session, deadline: Duration) -> Result<(), Error> {
    session.exec("RESET REPLICA ALL", deadline).await?;
    match state(session, deadline).await?.source {
        None => Ok(()),
        Some(source) => Err(not_seen(session, "forgetting a channel", format!("source {source:?}"))),
    }
}

fn not_drained(session: &Session, seen: &ChannelState) -> Result<(), Error> {
    let missing = seen.undrained();
    if missing.is_empty() { Ok(()) } else { Err(Error::NotDrained { member: session.member().to_owned(), missing }) }
}

/// Refuses what would release waiting commits as if they had been acknowledged, or dead-lock behind them.
pub(super) async fn refuse_waiting(session: &mut Session, doing: &str, deadline: Duration) -> Result<(), Error> {
    let waiting = commits_waiting(session, deadline).await?;
    none_waits(session, doing, waiting)
}

/// Refuses what would hang behind a commit whose acknowledgement doesn't come; those that wait a moment are no hindrance.
async fn refuse_stuck(session: &mut Session, doing: &str, deadline: Duration) -> Result<(), Error> {
    let waiting = super::sessions::commits_stuck(session, deadline).await?;
    none_waits(session, doing, waiting)
}

/// Refused if commits wait.
pub(super) fn none_waits(session: &Session, doing: &str, waiting: u32) -> Result<(), Error> {
    match waiting {
        0 => Ok(()),
        waiting => Err(Error::CommitsWait { member: session.member().to_owned(), doing: doing.to_owned(), waiting }),
    }
}

pub(super) fn not_seen(session: &Session, doing: &str, seen: String) -> Error {
    Error::NotSeen { member: session.member().to_owned(), doing: doing.to_owned(), seen }
}

pub(super) fn timed_out(session: &Session, doing: &str, deadline: Duration, state: String) -> Error {
    Error::TimedOut { member: session.member().to_owned(), doing: doing.to_owned(), deadline, state }
}

fn running(yes: bool) -> &'static str {
    if yes { "running" } else { "stopped" }
}

fn error_or_none(seen: &ChannelState) -> String {
    if seen.applier_error.is_empty() { "no error".to_owned() } else { format!("error {}", seen.applier_error) }
}
