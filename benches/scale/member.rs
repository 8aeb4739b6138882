//! A member's mysqld, as far as the operator can see it: its variables, its GTIDs, its channel, its sessions.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::time::Instant;

use tokio_util::sync::CancellationToken;

/// Transactions, as the highest number of each source: nothing here ever has a hole.
pub type Gtids = BTreeMap<String, u64>;

/// Where it replicates from.
#[derive(Clone)]
pub struct Channel {
    /// Cluster IP of the source's Service.
    pub host: String,
    /// The receiver was started.
    pub receiver: bool,
    /// The applier was started.
    pub applier: bool,
    /// It acknowledges: decided when the receiver connects.
    pub acker: bool,
    /// Since when its source is gone, or was never there.
    pub silent_since: Instant,
}

/// A client's connection.
pub struct Session {
    /// Its account.
    pub user: String,
    /// Ends it.
    pub end: CancellationToken,
}

/// See the module.
pub struct Member {
    /// `server_uuid`
    pub uuid: String,
    /// Where it listens, or did last.
    pub ip: Option<IpAddr>,
    /// The process lives.
    pub alive: bool,
    /// Ends with the process.
    pub process_end: CancellationToken,
    /// `report_user`: names the process.
    pub process: String,
    /// The part of it that tells which my.cnf it was started with.
    pub config_hash: String,
    /// Global variables; those that are switches as 0 and 1.
    pub variables: HashMap<String, String>,
    /// Committed.
    pub executed: Gtids,
    /// Its replication.
    pub channel: Option<Channel>,
    /// Heartbeat rows; None: no schema yet.
    pub heartbeat: Option<BTreeMap<u16, (i64, Instant)>>,
    /// Databases that were made.
    pub databases: BTreeSet<String>,
    /// The accounts that were made, and their rights.
    pub grants: BTreeMap<String, Vec<String>>,
    /// Clients.
    pub sessions: BTreeMap<u32, Session>,
    /// Commits that wait for an acknowledgement.
    pub waiting: u32,
    processes: u32,
}

impl Member {
    /// An empty server that has not been started. `number` makes its uuid.
    pub fn new(number: usize) -> Self {
        Self {
            uuid: format!("00000000-0000-4000-8000-{number:012}"),
            ip: None,
            alive: false,
            process_end: CancellationToken::new(),
            process: String::new(),
            config_hash: String::new(),
            variables: HashMap::new(),
            executed: Gtids::new(),
            channel: None,
            heartbeat: None,
            databases: BTreeSet::new(),
            grants: BTreeMap::new(),
            sessions: BTreeMap::new(),
            waiting: 0,
            processes: 0,
        }
    }

    /// Starts mysqld: closed to everybody, no role.
    pub fn boot(&mut self, ip: IpAddr) {
        self.ip = Some(ip);
        self.processes += 1;
        self.process = format!("b0070000-{:08x}-{}", self.processes, self.config_hash);
        self.process_end = CancellationToken::new();
        self.alive = true;
        let switches = [("super_read_only", "1"), ("read_only", "1"), ("offline_mode", "1"), ("event_scheduler", "OFF")];
        let acks = [("rpl_semi_sync_source_enabled", "0"), ("rpl_semi_sync_replica_enabled", "0"), ("rpl_semi_sync_source_wait_for_replica_count", "1")];
        let waits = [("rpl_semi_sync_source_timeout", "4294967295"), ("rpl_semi_sync_source_wait_no_replica", "1")];
        self.variables = switches.into_iter().chain(acks).chain(waits).map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        if let Some(channel) = &mut self.channel {
            (channel.receiver, channel.applier) = (false, false);
        }
    }

    /// Its process dies: connections break at once.
    pub fn die(&mut self) {
        self.alive = false;
        self.process_end.cancel();
        self.sessions.clear();
        self.waiting = 0;
    }

    /// A variable as `SELECT @@name` tells it.
    pub fn variable(&self, name: &str) -> String {
        match name {
            "server_uuid" => self.uuid.clone(),
            "version" => "9.7.0".to_owned(),
            "report_user" => self.process.clone(),
            _ => self.variables.get(name).cloned().unwrap_or_default(),
        }
    }

    /// Is a switch on?
    pub fn is(&self, name: &str) -> bool {
        self.variables.get(name).is_some_and(|value| value == "1")
    }

    /// `SET GLOBAL name=value`, with what follows from it.
    pub fn set(&mut self, name: &str, value: &str) {
        let value = match value.trim_matches('\'') {
            value if name == "event_scheduler" => value,
            "ON" => "1",
            "OFF" => "0",
            value => value,
        };
        self.variables.insert(name.to_owned(), value.to_owned());
        match (name, value) {
            ("super_read_only", "1") => drop(self.variables.insert("read_only".to_owned(), "1".to_owned())),
            ("read_only", "0") => drop(self.variables.insert("super_read_only".to_owned(), "0".to_owned())),
            _ => {}
        }
    }
}

/// As MySQL writes a GTID set.
pub fn told(set: &Gtids) -> String {
    set.iter().map(|(uuid, last)| format!("{uuid}:1-{last}")).collect::<Vec<_>>().join(",")
}

/// `into` holds `more`, too.
pub fn unite(into: &mut Gtids, more: &Gtids) {
    for (uuid, last) in more {
        let known = into.entry(uuid.clone()).or_insert(0);
        *known = (*known).max(*last);
    }
}
