//! Reads what one mysqld process says of itself, in one answer.
//!
//! It runs twice a second on every member, also when commits wait for an acknowledgement, so it must touch nothing that
//! such a commit holds: `information_schema` and per-database privileges are behind the lock of the account cache, which
//! a waiting account statement holds (seen: `information_schema.schemata` hangs then, `mysql.user` doesn't). Hence one
//! SELECT over variables, the replication tables of `performance_schema` (they work with performance_schema=OFF, seen on
//! 9.7) and our own tables, by an account with global SELECT. Only on a writable member without waiting commits a second
//! one counts the events. Nothing here decides.

use std::time::Duration;

use super::error::Error;
use super::gtid::GtidSet;
use super::session::{Row, Session};
use super::guard;
use crate::pair::facts::{Channel, Facts, GuardSeen, ReceiverState, SourceSide};

/// The account whose existence marks a member whose data is to be replaced by a clone.
pub const REBUILD_MARKER: &str = "shardpair_rebuild";

/// Column by column; `{heartbeat}` is the part that fails as long as the schema doesn't exist.
const FACTS: &str = "SELECT @@server_uuid AS server_uuid, @@version AS version, @@report_user AS process,
  @@super_read_only AS super_read_only, @@offline_mode AS offline_mode,
  @@global.gtid_executed AS executed, @@global.gtid_purged AS purged, @@event_scheduler AS event_scheduler,
  @@rpl_semi_sync_source_enabled AS source_enabled, @@rpl_semi_sync_source_wait_for_replica_count AS wait_count,
  @@rpl_semi_sync_source_timeout<>4294967295 OR NOT @@rpl_semi_sync_source_wait_no_replica OR @@rpl_semi_sync_source_wait_point<>'AFTER_SYNC' AS altered,
  @@rpl_semi_sync_replica_enabled AS replica_enabled,
  (SELECT count(*) FROM performance_schema.replication_applier_filters WHERE filter_rule<>'')
    + (SELECT count(*) FROM performance_schema.replication_applier_global_filters WHERE filter_rule<>'') AS filters,
  (SELECT count(*) FROM performance_schema.replication_connection_configuration WHERE channel_name<>'') AS foreign_channels,
  (SELECT variable_value FROM performance_schema.global_status WHERE variable_name='Rpl_semi_sync_source_status') AS source_status,
  (SELECT variable_value FROM performance_schema.global_status WHERE variable_name='Rpl_semi_sync_source_clients') AS clients,
  (SELECT variable_value FROM performance_schema.global_status WHERE variable_name='Rpl_semi_sync_source_wait_sessions') AS waiting,
  (SELECT count(*) FROM mysql.user WHERE user='shardpair_rebuild') AS marker,
  c.host AS source_host, s.service_state AS receiver, s.source_uuid AS source_uuid,
  s.received_transaction_set AS received, s.queueing_transaction AS queueing,
  s.last_error_number AS receiver_errno, s.last_error_message AS receiver_error,
  timestampdiff(microsecond, greatest(s.last_heartbeat_timestamp, s.last_queued_transaction_end_queue_timestamp,
    if(@@performance_schema, s.last_heartbeat_timestamp, s.last_queued_transaction_immediate_commit_timestamp)), now(6)) AS silent_us,
  a.service_state AS applier, w.last_error_number AS coordinator_errno, w.last_error_message AS coordinator_error,
  (SELECT concat(last_error_number, ': ', last_error_message) FROM performance_schema.replication_applier_status_by_worker
    WHERE channel_name='' AND last_error_number<>0 LIMIT 1) AS worker_error,
  (SELECT state FROM performance_schema.clone_status LIMIT 1) AS clone_state,
  (SELECT sum(data) FROM performance_schema.clone_progress) AS clone_done,
  (SELECT sum(estimate) FROM performance_schema.clone_progress) AS clone_estimate
  {heartbeat}
FROM (SELECT 1) AS one
LEFT JOIN performance_schema.replication_connection_configuration c ON c.channel_name=''
LEFT JOIN performance_schema.replication_connection_status s ON s.channel_name=''
LEFT JOIN performance_schema.replication_applier_status a ON a.channel_name=''
LEFT JOIN performance_schema.replication_applier_status_by_coordinator w ON w.channel_name=''";

const HEARTBEAT: &str = ", (SELECT epoch FROM shardpair.heartbeat WHERE id={row}) AS epoch,
  (SELECT timestampdiff(second, at, now(6)) FROM shardpair.heartbeat WHERE id={lag}) AS lag_seconds,
  (SELECT epoch FROM shardpair.heartbeat WHERE id=2) AS rewound";

/// What is asked beside what every member can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The heartbeat row of the member's pair: whose epoch is told.
    pub row: u16,
    /// The heartbeat row that tells the lag: another pair's, where the member's pair follows that.
    pub lag: u16,
    /// Also the guard of a split.
    pub guard: bool,
}

impl Default for Asked {
    fn default() -> Self {
        Self { row: 1, lag: 1, guard: false }
    }
}

/// No such database, no such table: not provisioned yet, or in the middle of a clone.
const NO_SCHEMA: [u16; 2] = [1049, 1146];

/// Everything that the member says of itself now, of a pair whose heartbeat has the first row.
pub async fn read(session: &mut Session, deadline: Duration) -> Result<Facts, Error> {
    ask(session, Asked::default(), deadline).await
}

/// Everything that the member says of itself now.
pub async fn ask(session: &mut Session, asked: Asked, deadline: Duration) -> Result<Facts, Error> {
    let heartbeat = HEARTBEAT.replace("{row}", &asked.row.to_string()).replace("{lag}", &asked.lag.to_string());
    let rows = match session.rows(&FACTS.replace("{heartbeat}", &heartbeat), deadline).await {
        Err(error) if error.code().is_some_and(|code| NO_SCHEMA.contains(&code)) => {
            session.rows(&FACTS.replace("{heartbeat}", ""), deadline).await?
        }
        other => other?,
    };
    let row = rows.into_iter().next().unwrap_or_default();
    let mut facts = parse(session.member(), &row)?;
    if !facts.super_read_only && facts.source.waiting == 0 {
        facts.events_disabled = events_disabled(session, deadline).await?;
    }
    if asked.guard {
        facts.guard = guard::read(session).await?.map(|g| GuardSeen {
            hash: g.hash,
            owned: g.owned,
            ddl_revoked: g.ddl_revoked,
            unsharded_refused: g.unsharded_refused,
            old_sessions: g.old_sessions,
        });
    }
    Ok(facts)
}

/// Behind the account cache's lock: asked only where the answer matters, and when no commit waits.
async fn events_disabled(session: &mut Session, deadline: Duration) -> Result<u32, Error> {
    let sql = "SELECT count(*) FROM information_schema.events WHERE status IN ('REPLICA_SIDE_DISABLED', 'SLAVESIDE_DISABLED')";
    Ok(session.scalar(sql, deadline).await?.and_then(|n| n.parse().ok()).unwrap_or(0))
}

fn parse(member: &str, row: &Row) -> Result<Facts, Error> {
    let text = |name: &str| row.get(name).unwrap_or_default().to_owned();
    let number = |name: &str| row.get(name).and_then(|v| v.parse().ok()).unwrap_or(0u32);
    let on = |name: &str| matches!(row.get(name), Some("1" | "ON"));
    let set = |name: &str| gtids(member, name, row.get(name).unwrap_or_default());
    Ok(Facts {
        server_uuid: text("server_uuid"),
        version: text("version"),
        process: text("process"),
        super_read_only: on("super_read_only"),
        offline_mode: on("offline_mode"),
        executed: set("executed")?,
        purged: set("purged")?,
        source: SourceSide {
            enabled: on("source_enabled"),
            on: on("source_status"),
            clients: number("clients"),
            waiting: number("waiting"),
            wait_count: number("wait_count"),
            altered: on("altered"),
        },
        replica_enabled: on("replica_enabled"),
        channel: channel(member, row)?,
        events_on: on("event_scheduler"),
        events_disabled: 0,
        rebuild_marker: number("marker") > 0,
        epoch: row.get("epoch").and_then(|v| v.parse().ok()),
        lag_seconds: row.get("lag_seconds").and_then(|v| v.parse().ok()),
        guard: None,
        cloning: cloning(row),
        filters: number("filters"),
        foreign_channels: number("foreign_channels"),
        rewound: row.get("rewound").and_then(|v| v.parse().ok()),
    })
}

/// With performance_schema=OFF both tables are empty (seen): a clone is then known only to the session that runs it.
fn cloning(row: &Row) -> Option<(u64, u64)> {
    let bytes = |name: &str| row.get(name).and_then(|v| v.parse().ok()).unwrap_or(0);
    (row.get("clone_state") == Some("In Progress")).then(|| (bytes("clone_done"), bytes("clone_estimate")))
}

/// None: no channel, or one without a source (as `RESET REPLICA ALL` leaves it).
fn channel(member: &str, row: &Row) -> Result<Option<Channel>, Error> {
    let host = row.get("source_host").unwrap_or_default();
    if host.is_empty() {
        return Ok(None);
    }
    let receiver = match row.get("receiver") {
        Some("ON") => ReceiverState::On,
        Some("CONNECTING") => ReceiverState::Connecting,
        _ => ReceiverState::Off,
    };
    // While a transaction comes in, nothing says how lately; a silence then ends the connection after replica_net_timeout.
    let receives = receiver == ReceiverState::On && row.get("queueing").is_some_and(|gtid| !gtid.is_empty());
    // With performance_schema=OFF nothing says when a transaction was queued, only when it was committed, by the source's
    // clock (seen): there silence is wrong by as much as the clocks differ, and replica_net_timeout is what bounds it.
    let silent_ms = row.get("silent_us").and_then(|v| v.parse::<i64>().ok()).map(|us| us.max(0) as u64 / 1000);
    let coordinator = with_number(row.get("coordinator_errno"), row.get("coordinator_error"));
    let worker = row.get("worker_error").unwrap_or_default().to_owned();
    Ok(Some(Channel {
        receiver,
        source_host: host.to_owned(),
        source_uuid: row.get("source_uuid").unwrap_or_default().to_owned(),
        received: gtids(member, "received", row.get("received").unwrap_or_default())?,
        silent_ms: if receives { Some(0) } else { silent_ms },
        receiver_error: with_number(row.get("receiver_errno"), row.get("receiver_error")),
        applier_running: row.get("applier") == Some("ON"),
        // The worker's text names transaction and table, the coordinator's only points to it.
        applier_error: if worker.is_empty() { coordinator } else { worker },
    }))
}

fn with_number(number: Option<&str>, text: Option<&str>) -> String {
    match (number, text) {
        (None | Some("0"), _) => String::new(),
        (Some(number), text) => format!("{number}: {}", text.unwrap_or_default()),
    }
}

pub(super) fn gtids(member: &str, what: &str, text: &str) -> Result<GtidSet, Error> {
    GtidSet::parse(text).map_err(|error| Error::Malformed {
        member: member.to_owned(),
        doing: format!("reading {what}"),
        why: error.to_string(),
    })
}
