//! What a member's mysqld counts: for metrics only, nothing is decided from it.
//!
//! Read at leisure in a session of its own (`controller::measure`), so that no answer that comes late is taken for a member's
//! silence. Only variables and tables that a commit waiting for its acknowledgement doesn't hold; SHOW BINARY LOGS can
//! wait behind two such commits, so [`disk`] is asked only when none waits.

use std::collections::BTreeMap;
use std::time::Duration;

use super::error::Error;
use super::session::Session;

/// How a value is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// As it is now.
    Gauge,
    /// Since the process started.
    Counter,
}

/// One value of MySQL's and its name as a metric.
#[derive(Clone, Copy, Debug)]
pub struct Value {
    /// MySQL's name: a status variable, or one of `innodb_metrics`, or a system variable.
    pub of: &'static str,
    /// `shardpair_member_<name>`
    pub name: &'static str,
    /// Gauge or counter.
    pub kind: Kind,
    /// MySQL's unit in ours (milliseconds: 0.001).
    pub scale: f64,
    /// What it says.
    pub help: &'static str,
}

const fn gauge(of: &'static str, name: &'static str, help: &'static str) -> Value {
    Value { of, name, kind: Kind::Gauge, scale: 1.0, help }
}

const fn counter(of: &'static str, name: &'static str, help: &'static str) -> Value {
    Value { of, name, kind: Kind::Counter, scale: 1.0, help }
}

/// Every value that is read.
pub const VALUES: &[Value] = &[
    gauge("max_connections", "connections_max", "Connections that the member allows (max_connections)"),
    gauge("Threads_connected", "connections_used", "Connections that are open now, the operator's own among them"),
    gauge("Threads_running", "connections_running", "Connections that are running a statement now"),
    counter("Connections", "connections", "Connection attempts since the process started"),
    counter("Connection_errors_max_connections", "connections_refused", "Connections refused because all were in use"),
    counter("Aborted_clients", "aborted_clients", "Connections that ended without a word"),
    counter("Aborted_connects", "aborted_connects", "Connection attempts that failed"),
    counter("Questions", "queries", "Statements that clients sent"),
    counter("Slow_queries", "slow_queries", "Statements that took longer than long_query_time"),
    counter("Com_commit", "commits", "COMMIT statements"),
    counter("Com_rollback", "rollbacks", "ROLLBACK statements"),
    counter("lock_deadlocks", "deadlocks", "InnoDB deadlocks"),
    counter("lock_timeouts", "lock_timeouts", "InnoDB lock waits that timed out"),
    counter("Innodb_row_lock_waits", "innodb_row_lock_waits", "Waits for a row lock"),
    Value { of: "Innodb_row_lock_time", name: "innodb_row_lock_wait_seconds", kind: Kind::Counter, scale: 0.001, help: "Time spent in waits for row locks" },
    gauge("Innodb_row_lock_current_waits", "innodb_row_lock_waiting", "Sessions that wait for a row lock now"),
    counter("Innodb_log_waits", "innodb_log_waits", "Waits for room in the log buffer"),
    counter("Innodb_buffer_pool_wait_free", "innodb_buffer_pool_waits", "Waits for a free page of the buffer pool"),
    counter("Innodb_buffer_pool_read_requests", "innodb_buffer_pool_read_requests", "Logical reads"),
    counter("Innodb_buffer_pool_reads", "innodb_buffer_pool_reads", "Logical reads that had to go to the disk"),
    gauge("Rpl_semi_sync_source_clients", "semisync_ackers", "Semi-sync replicas that are connected"),
    gauge("Rpl_semi_sync_source_wait_sessions", "semisync_waiting", "Commits that wait for an acknowledgement now"),
    counter("Rpl_semi_sync_source_yes_tx", "semisync_acknowledged", "Commits that were acknowledged"),
    counter("Rpl_semi_sync_source_no_tx", "semisync_unacknowledged", "Commits that nobody acknowledged"),
    counter("Rpl_semi_sync_source_tx_waits", "semisync_waits", "Waits of commits for their acknowledgement"),
    Value { of: "Rpl_semi_sync_source_tx_wait_time", name: "semisync_wait_seconds", kind: Kind::Counter, scale: 0.000_001, help: "Time that commits waited for their acknowledgement" },
    gauge("Uptime", "uptime_seconds", "Age of the mysqld process"),
];

/// Values in the order of [`VALUES`]; None: the member doesn't tell it.
pub type Status = Vec<Option<f64>>;

/// All of [`VALUES`], in two round trips.
pub async fn read(session: &mut Session, deadline: Duration) -> Result<Status, Error> {
    let names = VALUES.iter().map(|v| format!("'{}'", v.of)).collect::<Vec<_>>().join(",");
    // SHOW, because performance_schema.global_status leaves the Com_ variables out (seen).
    let mut rows = session.rows(&format!("SHOW GLOBAL STATUS WHERE Variable_name IN ({names})"), deadline).await?;
    let sql = "SELECT name, `count` FROM information_schema.innodb_metrics WHERE name IN ('lock_deadlocks', 'lock_timeouts') \
        UNION ALL SELECT 'max_connections', @@max_connections";
    rows.extend(session.rows(sql, deadline).await?);
    let told: BTreeMap<String, f64> = rows.iter().filter_map(|r| Some((r.at(0)?.to_lowercase(), r.at(1)?.parse().ok()?))).collect();
    Ok(VALUES.iter().map(|v| told.get(&v.of.to_lowercase()).map(|n| n * v.scale)).collect())
}

/// What a member's files take, bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Disk {
    /// Tables, indexes, undo and temporary tablespaces.
    pub data: u64,
    /// Binary logs.
    pub binlogs: u64,
    /// Redo log.
    pub redo: u64,
}

/// Asks for the sizes of all files: dearer than [`read`], so less often.
pub async fn disk(session: &mut Session, deadline: Duration) -> Result<Disk, Error> {
    let sql = "SELECT coalesce(sum(file_size), 0), @@innodb_redo_log_capacity FROM information_schema.innodb_tablespaces";
    let rows = session.rows(sql, deadline).await?;
    let number = |at: usize| rows.first().and_then(|r| r.at(at)).and_then(|v| v.parse::<f64>().ok()).unwrap_or(0.0) as u64;
    let logs = session.rows("SHOW BINARY LOGS", deadline).await?;
    let binlogs = logs.iter().filter_map(|r| r.get("File_size")?.parse::<u64>().ok()).sum();
    Ok(Disk { data: number(0), redo: number(1), binlogs })
}
