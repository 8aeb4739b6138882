//! What each reason means for the person who reads it: how bad it is, and what to do. Pure.
//!
//! One exhaustive `match`: a new [`Reason`] doesn't compile without its line. The plugin's `explain`, the table in
//! `docs/events.md` and the metric of refusals are made from it.

use super::step::Reason;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// All is well.
    Rest,
    /// The operator is doing something.
    Work,
    /// Something is awaited that comes by itself.
    Wait,
    /// A move is refused: while it lasts, a loss of the primary (or of what is named) is not covered.
    Refusal,
    /// A person has to look.
    Alarm,
}

impl Class {
    /// As the docs and `-o json` write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rest => "rest",
            Self::Work => "work",
            Self::Wait => "wait",
            Self::Refusal => "refusal",
            Self::Alarm => "alarm",
        }
    }
}

/// The reason of that name.
pub fn reason(name: &str) -> Option<Reason> {
    Reason::ALL.iter().copied().find(|r| r.as_str() == name)
}

/// How bad a reason is, and what to do about it.
pub fn guide(reason: Reason) -> (Class, &'static str) {
    use Class::{Alarm, Refusal, Rest, Wait, Work};
    match reason {
        Reason::InSync => (Rest, "Nothing."),
        Reason::Paused => (Refusal, "`kubectl shardpair resume` when you are done: nothing fails over until then."),
        Reason::Provisioning => (Wait, "Wait; if it lasts, look at the pods: `kubectl describe pod -l shardpair.io/cluster=NAME`."),
        Reason::UnclearOrigin => (Alarm, "Decide which member's data counts and remove the other's volume; or restore from a backup."),
        Reason::ProcessGone => (Work, "Nothing: the standby takes over. Afterwards look at why the process ended: `kubectl logs POD --previous`."),
        Reason::Silent => (Work, "Nothing: the standby takes over. Afterwards look at the node."),
        Reason::WriteStuck => (Work, "Nothing: the standby takes over. Afterwards look at the disk of the old primary."),
        Reason::VolumeLost => (Work, "Nothing: the standby takes over. Find out who replaced the volume."),
        Reason::OperatorBlind => (Wait, "Look at the network between the operator and the primary: clients may be cut off as well."),
        Reason::AwaitingEvidence => (Wait, "Nothing at first; if it lasts, neither the operator nor the standby can tell: look at the nodes."),
        Reason::HeldByLock => (Wait, "End the session that holds the lock (`SELECT * FROM performance_schema.metadata_locks`), or wait for it."),
        Reason::CredentialsRefused => (Alarm, "Restore the Secret `<cluster>-operator`, or the account's password on the member."),
        Reason::NotInSync => (Refusal, "Wait until the standby has caught up. If the primary is lost for good: `kubectl shardpair promote`."),
        Reason::NoStandby => (Refusal, "Wait for the replacement; if none comes, look at the events of the ShardCluster."),
        Reason::StandbyUnreachable => (Refusal, "Look at the standby's pod and node; `kubectl shardpair replace` if it is gone for good."),
        Reason::StandbyRebooted => (Refusal, "Wait: it is proven complete as soon as the primary answers. `failover.ack: Flushed` avoids this."),
        Reason::StandbyTerminating => (Refusal, "Wait for its new pod."),
        Reason::ApplierError => (Refusal, "Read the error: repair the row on the standby, or `kubectl shardpair rebuild` to copy the primary's data anew."),
        Reason::ForeignMember => (Alarm, "Put the recorded volume back, or `kubectl shardpair replace` the member."),
        Reason::FailoverLimit => (Refusal, "Find the query or fault that kills each primary; the limit is over after two minutes without a failover."),
        Reason::Draining => (Work, "Nothing: it takes as long as the standby was behind."),
        Reason::FailingOver => (Work, "Nothing."),
        Reason::Abandoned => (Work, "Nothing: the old primary goes on. Look at why the standby couldn't take over."),
        Reason::Promoted => (Work, "Nothing."),
        Reason::SwitchingOver => (Work, "Nothing."),
        Reason::SwitchoverGivenUp => (Wait, "Ask again when no long transaction runs: the message says what was in the way."),
        Reason::Contradiction => (Alarm, "Touch nothing; compare the record with the members (docs/operations.md, Contradiction): was etcd restored? Nobody is promoted until then."),
        Reason::Resuming => (Work, "Nothing."),
        Reason::AwaitingStandby => (Wait, "Bring the standby back: with `durability: Required`, or before it holds all, the primary stays closed."),
        Reason::MovingVip => (Work, "Nothing."),
        Reason::ForeignEndpointSlice => (Alarm, "Delete the EndpointSlice that is named: clients may be sent where it points."),
        Reason::StandbyLost => (Work, "Nothing now; bring the standby back: until then there is no second copy."),
        Reason::WritesStalled => (Refusal, "Bring the standby back or replace it: writes wait for it (`durability: Required`)."),
        Reason::AcksSwitchedOff => (Alarm, "Find out who did it: what was committed meanwhile may be on one member only."),
        Reason::ReplicationAltered => (Alarm, "Take away what was configured by hand (RESET REPLICA ALL FOR CHANNEL '…'); a member with filters is cloned: `shardpair.io/rebuild`."),
        Reason::UnknownAcker => (Alarm, "End the replica that isn't the pair's own: it can acknowledge writes that the standby lacks."),
        Reason::EndingDeposed => (Work, "Nothing."),
        Reason::AwaitingOldPrimary => (Wait, "Bring its pod or node back, or `kubectl shardpair replace` it: until then there is no second copy."),
        Reason::TailFound => (Work, "Nothing now; the Secret `<member>-tail-<epoch>` holds what nobody was told is safe: read it when you have time."),
        Reason::ReturnedClean => (Work, "Nothing."),
        Reason::AbandonedTail => (Alarm, "Take what you need from the member, then annotate shardpair.io/discard-tail, or replace it."),
        Reason::ErrantTransactions => (Alarm, "Find out who wrote on the standby; then annotate shardpair.io/discard-tail: saved, then undone."),
        Reason::BinlogsPurged => (Work, "Nothing: it is rebuilt. Keep binary logs longer than a standby may be away (binlog_expire_logs_seconds)."),
        Reason::Rebuilding => (Work, "Nothing: it takes as long as the data is large; until then there is no second copy."),
        Reason::Rewinding => (Work, "Nothing: what was never acknowledged is undone; until then there is no second copy."),
        Reason::Attaching => (Work, "Nothing."),
        Reason::CatchingUp => (Wait, "Nothing; if the lag grows, the standby is too slow for the writes."),
        Reason::ProvingSync => (Work, "Nothing."),
        Reason::BadSetting => (Alarm, "Take the entry out of spec.mysql.config: with it MySQL would not start again."),
        Reason::Updating => (Work, "Nothing."),
        Reason::Drain => (Wait, "Nothing; if it lasts, the message says what is in the way."),
        Reason::Requested => (Work, "Nothing."),
        Reason::RequestRefused => (Refusal, "The message says why; ask again when that is over."),
        Reason::RequestDone => (Work, "Nothing."),
        Reason::Replacing => (Work, "Nothing; delete the old member's volume when you are sure that you don't need it."),
        Reason::RestartingHung => (Work, "Nothing; look at the node's disk and memory afterwards."),
        Reason::Upkeep => (Work, "Nothing."),
        Reason::Following => (Rest, "Nothing: it takes its keys when the plan goes on to Flipped."),
        Reason::AwaitingParent => (Wait, "Nothing at first; if it lasts, look at the parent pair: its primary must be open."),
        Reason::AwaitingChild => (Wait, "Nothing: the child is cloned and catches up; if it lasts, look at the child pair."),
        Reason::PlacingGuards => (Wait, "Nothing at first; if it lasts, the message names the table: end the transaction that stays open on it."),
        Reason::Linking => (Wait, "Nothing at first; if it lasts, the message has the error of the applier: repair the row, or go on to Dissolved."),
        Reason::LinkBroken => (Work, "Nothing: the plan goes forward. Rolling this shard back is not possible any more."),
        Reason::Flipping => (Wait, "Nothing at first; if it lasts, the message says what the flip needs."),
        Reason::FlipGivenUp => (Wait, "End the long transaction that the log names, or wait: it is tried again at growing distances."),
        Reason::Taking => (Work, "Nothing."),
        Reason::GivingBack => (Work, "Nothing."),
        Reason::TakenBack => (Work, "Nothing."),
        Reason::Dissolving => (Wait, "Nothing at first; if it lasts, bring the standbys of both pairs back: only then the link is proven gone."),
        Reason::ReleasingStandby => (Work, "Nothing; until the flip there is no second copy. With `durability: Required` use `standbys: Before`."),
    }
}
