//! What may be decided: steps, and the reasons for taking or not taking them.
//!
//! Pure. `decide` makes a [`Decision`], `act` carries its steps out in order and stops at the first surprise. A reason
//! becomes the condition's reason, the event's reason and the metric's label: add new ones to [`Reason`].

use std::collections::BTreeSet;

use crate::mysql::gtid::GtidSet;
use crate::pair::record::Record;
use crate::reasons::reasons;

/// One action, complete: `act` makes no choice.
#[allow(missing_docs, reason = "members are named by what they are")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Write the record, against the resourceVersion that was read.
    WriteRecord(Box<Record>),
    /// Stop the member's receiver, and see it stopped (invariant 4).
    StopReceiver { member: String },
    /// Start the member's applier, to drain what it received (invariant 5).
    StartApplier { member: String },
    /// Make the member writable and open it to clients; with `ack` its commits wait for an acknowledgement before it is.
    /// `linked`: its channel leads to the other pair of a split, and goes on.
    OpenPrimary { member: String, ack: bool, linked: bool },
    /// Make commits wait for the acker.
    RequireAcks { member: String },
    /// Let commits go on alone: only when Solo is recorded (invariant 2).
    RelaxAcks { member: String },
    /// A commit that waited for its acknowledgement, begun now, and everything executed before it is on the standby.
    ProveSync { primary: String, standby: String },
    /// Read-only, semi-sync source side off, open to privileged sessions' needs: a member in its standby role.
    CloseStandby { member: String },
    /// Replicate from the other member; as the acker or, on the primary, as the idle reverse channel.
    Attach { member: String, source: String, acker: bool },
    /// Forget the member's channel with what it received and hasn't applied, at most `left`: the primary holds it.
    DropRelayLog { member: String, left: GtidSet },
    /// Point the VIP at the member: one write of the slice (invariant 10).
    PointVip { member: String },
    /// End the member's mysqld by SIGKILL: its pod is deleted, the entry script does the rest.
    KillProcess { member: String, pod_uid: String },
    /// End a standby's mysqld cleanly, as an upgrade needs it. Never a primary: it would release commits that wait.
    ShutDown { member: String },
    /// Keep the transactions as a readable file before they are undone (invariant 8).
    SaveTail { member: String, tail: GtidSet },
    /// Undo the tail from the member's own binlog; where that can't be, write `otherwise` and change nothing else.
    Rewind { member: String, tail: GtidSet, keep: GtidSet, mark: i64, otherwise: Box<Record> },
    /// Compare the rows that the tail touched with the primary's, and take the mark away; if they differ, write `otherwise`.
    CompareRows { member: String, primary: String, otherwise: Box<Record> },
    /// Mark the member's data as not yet replaced.
    PlaceMarker { member: String },
    /// Replace the member's data by a copy of the donor's. Runs in the background.
    Clone { member: String, donor: String },
    /// The whole planned move, from closing the old primary to its attachment as the new acker.
    SwitchOver { from: String, to: String, record: Box<Record> },
    /// Create our schema, the databases and the application's account on the primary.
    Provision { member: String },
    /// Apply changed my.cnf entries at run time, as far as MySQL can, and note in the record what became of them.
    ApplySettings { member: String, hash: String },
    /// Enable the EVENTs that replication disabled (primary only).
    EnableEvents { member: String },
    /// Make the pair's spec name these members.
    SetMembers { members: Vec<String> },
    /// Take a request's annotation away, done or refused.
    ClearRequest { annotation: &'static str },
    /// Place the guard of a split, unlogged, or set its rows: the member accepts these key classes and no others.
    /// `epoch`: of the map that says where the others are. `ddl`, `unsharded`: it also accepts DDL, and writes to tables of no shard.
    /// `opens`: the member is opened next, so that what was lifted for this needn't be put back.
    Guard { member: String, owned: BTreeSet<u32>, epoch: i64, ddl: bool, unsharded: bool, opens: bool },
    /// End the application's sessions that are older than the guard (what a REVOKE takes, a session with a chosen database keeps), or
    /// than the flip: idle ones now, those at work after a while. `at_once`: all of them, or what comes next isn't done.
    RetireSessions { member: String, at_once: bool },
    /// Take the guard away.
    RemoveGuard { member: String },
    /// Read-only, without anything that would release waiting commits: the primary of a pair that follows another.
    CloseFollower { member: String },
    /// Forget the channel, after everything received was applied; without `drain` also if it can't be.
    Detach { member: String, drain: bool },
    /// The flip: fence the moving class, everything executed on the child's members, the record. Undone if it fails before.
    Cede { primary: String, to: String, acker: Option<String>, moves: u32, stays: u32, record: Box<Record> },
    /// The flip backwards: close the child's primary, everything executed on the parent's (waited for that long), the record.
    GiveBack { primary: String, to: String, patience_ms: u64, record: Box<Record> },
}

impl Step {
    /// One word, for logs.
    pub fn name(&self) -> &'static str {
        match self {
            Self::WriteRecord(_) => "WriteRecord",
            Self::StopReceiver { .. } => "StopReceiver",
            Self::StartApplier { .. } => "StartApplier",
            Self::OpenPrimary { .. } => "OpenPrimary",
            Self::RequireAcks { .. } => "RequireAcks",
            Self::RelaxAcks { .. } => "RelaxAcks",
            Self::ProveSync { .. } => "ProveSync",
            Self::CloseStandby { .. } => "CloseStandby",
            Self::Attach { .. } => "Attach",
            Self::PointVip { .. } => "PointVip",
            Self::KillProcess { .. } => "KillProcess",
            Self::ShutDown { .. } => "ShutDown",
            Self::SaveTail { .. } => "SaveTail",
            Self::Rewind { .. } => "Rewind",
            Self::CompareRows { .. } => "CompareRows",
            Self::PlaceMarker { .. } => "PlaceMarker",
            Self::Clone { .. } => "Clone",
            Self::SwitchOver { .. } => "SwitchOver",
            Self::Provision { .. } => "Provision",
            Self::ApplySettings { .. } => "ApplySettings",
            Self::EnableEvents { .. } => "EnableEvents",
            Self::SetMembers { .. } => "SetMembers",
            Self::ClearRequest { .. } => "ClearRequest",
            Self::Guard { .. } => "Guard",
            Self::RetireSessions { .. } => "RetireSessions",
            Self::RemoveGuard { .. } => "RemoveGuard",
            Self::CloseFollower { .. } => "CloseFollower",
            Self::Detach { .. } => "Detach",
            Self::DropRelayLog { .. } => "DropRelayLog",
            Self::Cede { .. } => "Cede",
            Self::GiveBack { .. } => "GiveBack",
        }
    }
}

reasons! {
    "Why something is done, waited for or refused. Its name is the condition's and event's reason.";
    /// The pair is as it should be.
    InSync,
    /// `paused` is set: nothing is changed.
    Paused,
    /// Members are being created; the pair has no roles yet.
    Provisioning,
    /// The members hold data and neither holds all of the other's: a person must choose.
    UnclearOrigin,
    /// The primary's process is gone: its connections broke, for us and for the standby.
    ProcessGone,
    /// The primary is silent, for us and for the standby.
    Silent,
    /// The primary answers but accepts no write, and not for want of an acknowledgement.
    WriteStuck,
    /// The primary's volume was replaced: what it held is gone.
    VolumeLost,
    /// We can't reach the primary, the standby still hears it: not gone.
    OperatorBlind,
    /// The primary seems gone; a second witness is awaited.
    AwaitingEvidence,
    /// The primary's writes are held by a lock that a session took (FLUSH TABLES WITH READ LOCK, LOCK INSTANCE): not gone.
    HeldByLock,
    /// A member refuses the operator's password: restore the operator Secret.
    CredentialsRefused,
    /// The pair is Solo: nobody else is known to hold all acknowledged writes.
    NotInSync,
    /// There is no standby.
    NoStandby,
    /// The standby doesn't answer.
    StandbyUnreachable,
    /// The standby's node has rebooted since Sync was recorded: it may lack received transactions.
    StandbyRebooted,
    /// The standby's pod is being deleted.
    StandbyTerminating,
    /// The standby's applier has stopped with an error.
    ApplierError,
    /// The member's volume or server_uuid isn't the recorded one.
    ForeignMember,
    /// Too many failovers in a short time.
    FailoverLimit,
    /// The standby applies what it has received, before it is promoted.
    Draining,
    /// A failover is under way.
    FailingOver,
    /// A failover was given up before it was recorded as done.
    Abandoned,
    /// The standby was promoted.
    Promoted,
    /// Both members change roles.
    SwitchingOver,
    /// A planned move was given up: the old primary has its writes again.
    SwitchoverGivenUp,
    /// The facts contradict the record: nothing is touched.
    Contradiction,
    /// The recorded primary is back and takes its role again.
    Resuming,
    /// The primary waits for its standby to hold all it has, before it opens.
    AwaitingStandby,
    /// The VIP is pointed at the primary.
    MovingVip,
    /// An EndpointSlice that isn't ours is on the VIP: delete it.
    ForeignEndpointSlice,
    /// The standby is gone: the primary goes on alone.
    StandbyLost,
    /// The standby is gone and `durability: Required`: writes wait for it.
    WritesStalled,
    /// Somebody switched the primary's acknowledgements off.
    AcksSwitchedOff,
    /// Somebody reconfigured replication: filters, or channels that aren't ours.
    ReplicationAltered,
    /// More semi-sync clients than the record names.
    UnknownAcker,
    /// The old primary's process is ended, so that its tail can be read.
    EndingDeposed,
    /// The old primary isn't back yet.
    AwaitingOldPrimary,
    /// The old primary returned with transactions that were never acknowledged; they are saved, then undone.
    TailFound,
    /// The old primary's tail is undone from its own binlog, and the rows that it touched are compared.
    Rewinding,
    /// The old primary returned clean.
    ReturnedClean,
    /// Writes that a person gave up are still on the member: `shardpair.io/discard-tail` lets it be rebuilt.
    AbandonedTail,
    /// Transactions on the standby that the primary never had: somebody wrote there.
    ErrantTransactions,
    /// The primary no longer has the binary logs that the standby needs.
    BinlogsPurged,
    /// The member's data is replaced by a clone of the primary's.
    Rebuilding,
    /// The member is set up as the standby.
    Attaching,
    /// The standby receives what it missed.
    CatchingUp,
    /// The standby is proven complete; Sync is recorded.
    ProvingSync,
    /// Settings that this MySQL refuses: take them out of `spec.mysql.config`.
    BadSetting,
    /// A planned restart of the standby (new image or settings).
    Updating,
    /// A new image or settings go pair by pair: the restart waits for the pair of a lower shard that is named.
    AwaitingTurn,
    /// The primary's node is being drained.
    Drain,
    /// A person asked for it.
    Requested,
    /// A request was refused.
    RequestRefused,
    /// A request is done.
    RequestDone,
    /// A member is replaced by a new one.
    Replacing,
    /// A process that has hung for long is restarted.
    RestartingHung,
    /// Small corrections at rest.
    Upkeep,
    /// Child of a split: it follows the parent's primary and owns no key yet.
    Following,
    /// Child of a split: what it needs of the parent isn't there now.
    AwaitingParent,
    /// Parent of a split: the child isn't ready, or not yet made.
    AwaitingChild,
    /// The rules of a split are placed in the members' databases.
    PlacingGuards,
    /// Sessions of the application from before the guard, or from before the flip, are ended: they keep rights that were taken.
    EndingOldSessions,
    /// The link between the two primaries of a split is set up.
    Linking,
    /// The link was cut for good after a failover: no way back for this shard; forward goes on.
    LinkBroken,
    /// The keys that move are fenced, and handed to the child.
    Flipping,
    /// A flip, or the way back, was given up and undone: tried again later.
    FlipGivenUp,
    /// The child takes the keys that the parent ceded.
    Taking,
    /// The child gives its keys back.
    GivingBack,
    /// The parent has the keys again.
    TakenBack,
    /// The link is taken away as planned: from here on there is no way back.
    Dissolving,
    /// A split by `standbys: After`: the parent's standby becomes the child.
    ReleasingStandby,
}

/// A reason with its particulars.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// The typed reason.
    pub reason: Reason,
    /// What a person should know, and do.
    pub message: String,
}

/// When to look again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// At once, with fresh facts: something is under way.
    Now,
    /// In a few milliseconds: something is expected any moment.
    Soon,
    /// At the next tick or change.
    Tick,
}

/// What one pass decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// To be carried out in order.
    pub steps: Vec<Step>,
    /// Why these, or why none.
    pub note: Note,
    /// What was refused or is wrong beside it, with reasons.
    pub beside: Vec<Note>,
    /// When to look again.
    pub next: Next,
}

impl Note {
    /// A reason with its particulars.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into() }
    }
}

impl Decision {
    /// Nothing to do now.
    pub fn wait(reason: Reason, message: impl Into<String>) -> Self {
        Self { steps: Vec::new(), note: Note::new(reason, message), beside: Vec::new(), next: Next::Tick }
    }

    /// Nothing to do now, but any moment.
    pub fn soon(reason: Reason, message: impl Into<String>) -> Self {
        Self { next: Next::Soon, ..Self::wait(reason, message) }
    }

    /// Do this, then look again at once.
    pub fn act(steps: Vec<Step>, reason: Reason, message: impl Into<String>) -> Self {
        Self { steps, note: Note::new(reason, message), beside: Vec::new(), next: Next::Now }
    }

    /// With something else to say.
    pub fn with(mut self, note: Note) -> Self {
        self.beside.push(note);
        self
    }
}
