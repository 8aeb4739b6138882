//! What one pass sees: plain values, each with its age. Unknown is a value.
//!
//! Pure. `controller::prober` and `controller::pair` fill these in, `decide` reads them, nobody else does. A member that
//! can't be reached is not a dead member: `Contact` says what is known, and the age of the last answer goes with it.

use std::collections::{BTreeMap, BTreeSet};

use super::record::Record;
use crate::mysql::gtid::GtidSet;

/// State of a member's receiver (MySQL's replication I/O thread).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReceiverState {
    /// Connected and receiving.
    On,
    /// Trying to connect. Not stopped: it receives again as soon as it can (invariant 4).
    Connecting,
    /// Stopped.
    Off,
}

/// A member's replication channel (the default channel; its source is the other member).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Channel {
    /// Receiver thread.
    pub receiver: ReceiverState,
    /// `SOURCE_HOST`
    pub source_host: String,
    /// `server_uuid` of the source, as told at the last connection; empty if never connected.
    pub source_uuid: String,
    /// Everything received through this channel (`RECEIVED_TRANSACTION_SET`).
    pub received: GtidSet,
    /// Milliseconds, on the member's own clock, since the receiver last heard anything (event or heartbeat). None: never.
    pub silent_ms: Option<u64>,
    /// Last receiver error: number and text. Empty text: none.
    pub receiver_error: String,
    /// Is the applier (SQL thread or its coordinator) running?
    pub applier_running: bool,
    /// Last applier error with its number; empty: none.
    pub applier_error: String,
}

/// The semi-sync source side of a member.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SourceSide {
    /// `rpl_semi_sync_source_enabled`
    pub enabled: bool,
    /// `Rpl_semi_sync_source_status`
    pub on: bool,
    /// Connected semi-sync replicas.
    pub clients: u32,
    /// Sessions that wait for an acknowledgement now.
    pub waiting: u32,
    /// `rpl_semi_sync_source_wait_for_replica_count`
    pub wait_count: u32,
    /// Time-out, wait point or `wait_no_replica` aren't what this pair rests on: somebody changed them.
    pub altered: bool,
}

/// What a mysqld process says of itself in one answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// `@@server_uuid`
    pub server_uuid: String,
    /// `@@version`
    pub version: String,
    /// Names this mysqld process: made anew by the entry script at each start,
    /// `<first 8 of the kernel's boot id>-<random>-<first 16 of my.cnf's SHA-256>`.
    pub process: String,
    /// `@@super_read_only`
    pub super_read_only: bool,
    /// `@@offline_mode`
    pub offline_mode: bool,
    /// `@@gtid_executed`. Transactions that wait for an acknowledgement are not in it.
    pub executed: GtidSet,
    /// `@@gtid_purged`
    pub purged: GtidSet,
    /// Semi-sync, source side.
    pub source: SourceSide,
    /// `rpl_semi_sync_replica_enabled`
    pub replica_enabled: bool,
    /// The channel to the other member; None: not configured.
    pub channel: Option<Channel>,
    /// `@@event_scheduler` is ON.
    pub events_on: bool,
    /// Events that replication disabled here and that a primary must enable.
    pub events_disabled: u32,
    /// The mark of a rebuild is on this member: its data has not been replaced by a clone yet.
    pub rebuild_marker: bool,
    /// The heartbeat row's epoch; None: no row yet.
    pub epoch: Option<i64>,
    /// Seconds since the heartbeat row that this member has applied last was written; None: no row yet.
    pub lag_seconds: Option<i64>,
    /// The guard of a split as it is here; asked only during a split.
    pub guard: Option<GuardSeen>,
    /// A CLONE runs on this member now, in any session: (bytes done, bytes estimated).
    pub cloning: Option<(u64, u64)>,
    /// The mark of a rewind is on this member: the inverse of the tail that this epoch recorded is committed here.
    pub rewound: Option<i64>,
    /// Replication filters in effect: with any, this member doesn't apply everything.
    pub filters: u32,
    /// Replication channels beside the default one.
    pub foreign_channels: u32,
}

/// A guard as a member has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GuardSeen {
    /// Names the guard.
    pub hash: String,
    /// Key classes that the member accepts.
    pub owned: BTreeSet<u32>,
    /// The application may not change its tables.
    pub ddl_revoked: bool,
    /// The application may not write Reference and Local tables.
    pub unsharded_refused: bool,
    /// The application's sessions from before its rights were taken (or from before the flip), at the last look; None: not looked yet.
    pub old_sessions: Option<u32>,
}

impl GuardSeen {
    /// The application's rights are taken, and nobody is left from before?
    pub fn retired(&self) -> bool {
        self.ddl_revoked && self.old_sessions == Some(0)
    }
}

impl Facts {
    /// Everything this member holds: executed, or received and waiting to be applied.
    pub fn holds(&self) -> GtidSet {
        match &self.channel {
            Some(c) => self.executed.union(&c.received),
            None => self.executed.clone(),
        }
    }
}

/// What is known of the way to a member's mysqld.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Contact {
    /// No answer yet since this operator began to look.
    #[default]
    Never,
    /// The last probe was answered.
    Answering,
    /// The connection broke, and no new one has been made since: process or pod is gone, or the way to it.
    Broken {
        /// Milliseconds since the break.
        for_ms: u64,
        /// A new connection was refused since (nobody listens), or there is no pod to connect to.
        refused: bool,
    },
    /// A connection is open, or being made, and nothing comes.
    Silent {
        /// Milliseconds since the last answer.
        for_ms: u64,
    },
    /// It answers and refuses us (wrong password, wrong server): the error.
    Refused(String),
}

/// The heartbeat row, written on the primary all the time: the probe that counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Beat {
    /// Milliseconds that the write under way has taken so far; None: none is under way.
    pub pending_ms: Option<u64>,
    /// The pending write waits for a lock that a person holds (FLUSH TABLES WITH READ LOCK and the like).
    pub held_by_lock: bool,
    /// Error of the last write, since when the primary has not accepted one: (text, milliseconds).
    pub failing: Option<(String, u64)>,
}

/// A member's pod and node, as the API server tells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pod {
    /// Pod uid.
    pub uid: String,
    /// Pod IP.
    pub ip: Option<String>,
    /// Node name.
    pub node: Option<String>,
    /// The node's boot id (`status.nodeInfo.bootID`).
    pub node_boot: Option<String>,
    /// Node condition Ready.
    pub node_ready: bool,
    /// The node is being drained (`spec.unschedulable`).
    pub node_cordoned: bool,
    /// The pod is being deleted.
    pub terminating: bool,
    /// The pod runs an older template than its StatefulSet has (another image, other resources, …).
    pub outdated: bool,
    /// The container can't run: waiting reason and message (`ImagePullBackOff`, `CrashLoopBackOff`, …); empty otherwise.
    pub waiting: String,
}

/// One member.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Member {
    /// Its pod, if there is one.
    pub pod: Option<Pod>,
    /// uid of its PersistentVolumeClaim, if there is one.
    pub volume: Option<String>,
    /// Hash of the my.cnf that it should run with; None: not known now.
    pub config_hash: Option<String>,
    /// Cluster IP of the member's own Service: the address that its peer replicates from.
    pub address: Option<String>,
    /// The way to its mysqld.
    pub contact: Contact,
    /// Its last answer.
    pub facts: Option<Facts>,
    /// Milliseconds since that answer.
    pub facts_age_ms: u64,
    /// The heartbeat write (on the primary only).
    pub beat: Beat,
    /// Milliseconds since this member was last of use as a standby (`decide::of_use`: answering, receiving, holding what a closed primary
    /// waits for); 0: it is now.
    pub not_serving_ms: u64,
}

/// The VIP: where the pair's own EndpointSlice points.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Vip {
    /// The addresses in our own slice; None: there is no slice.
    pub points_to: Option<String>,
    /// Names of slices on the Service that are not ours.
    pub foreign: Vec<String>,
}

/// What people ask for, by annotation on the pair.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Requests {
    /// `shardpair.io/switchover-to`
    pub switchover_to: Option<String>,
    /// `shardpair.io/promote-with-data-loss`
    pub promote_with_data_loss: Option<String>,
    /// `shardpair.io/replace`
    pub replace: Option<String>,
    /// `shardpair.io/rebuild`
    pub rebuild: Option<String>,
    /// `shardpair.io/discard-tail`
    pub discard_tail: Option<String>,
}

/// Everything seen in one pass.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observation {
    /// By name: the members of the pair's spec and of its record.
    pub members: BTreeMap<String, Member>,
    /// The VIP.
    pub vip: Vip,
    /// What people ask for.
    pub requests: Requests,
    /// Databases or the application's account differ from what was made last.
    pub unprovisioned: bool,
    /// The next free member name of the cluster, for a replacement.
    pub next_member: String,
    /// A rollout goes pair by pair: the one of a lower shard whose turn it is. Looked for only while a member here is outdated.
    pub turn_of: Option<String>,
    /// The pair of the other side of a split; None: no split, or not seen yet.
    pub other: Option<Other>,
}

/// The other pair of a split. Its record comes from a watch: it may be older than what its own runner knows, so whatever
/// follows from it must be true of all later records too, or be checked by a write or by the members themselves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Other {
    /// Its name.
    pub name: String,
    /// Its record.
    pub record: Record,
    /// The members that its record names.
    pub members: BTreeMap<String, Member>,
    /// How old the newest seen position of this pair's primary is that the other primary has reached in applying, milliseconds at
    /// its last answer. None: it has reached none that was seen lately, or this pair has nothing to cede.
    pub behind_ms: Option<u64>,
}

/// A pair of a lower shard, as one that is outdated sees it: must it wait for that one (`decide::holds`)?
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lower {
    /// Its record, from the watch.
    pub record: Record,
    /// The members of its record.
    pub members: BTreeMap<String, Member>,
    /// Its members' StatefulSets say what ours say: it knows what it is to become.
    pub told: bool,
    /// Nobody looks after it: a person paused it, or it is being deleted.
    pub excused: bool,
}

impl Member {
    /// Its last answer, if it answers now.
    pub fn answer(&self) -> Option<&Facts> {
        match self.contact {
            Contact::Answering => self.facts.as_ref(),
            _ => None,
        }
    }

    /// Milliseconds of silence or since the connection broke; 0 while it answers.
    pub fn away_ms(&self) -> u64 {
        match self.contact {
            Contact::Broken { for_ms, .. } | Contact::Silent { for_ms } => for_ms,
            Contact::Answering | Contact::Never | Contact::Refused(_) => 0,
        }
    }
}
