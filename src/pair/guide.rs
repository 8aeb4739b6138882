//! What each reason means for the person who reads it: how bad it is, and what to do. Pure.
//!
//! One exhaustive `match`: a new [`Reason`] doesn't compile without its line. The plugin's `explain`, the table in
//! `docs/events.md` and the metric of refusals are made from it.

use super::step::Reason;
use crate::api::events;

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
        Reason::AwaitingTurn => (Wait, "Nothing at first; if it lasts, look at the pair that is named: its update doesn't succeed, or it has no second copy. While it is paused the others don't wait for it."),
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
        Reason::EndingOldSessions => (Wait, "Nothing: clients connect again. What is still at work after 10 s is ended too."),
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

/// What to do about an event. None: not one of `api::events`.
pub fn event(name: &str) -> Option<&'static str> {
    Some(match name {
        events::CREATED | events::CHANGED | events::DELETED | events::VOLUME_GROWS | events::PROVISIONED => "Nothing.",
        events::REFUSED => "Change the spec as the message says.",
        events::MANAGED_ELSEWHERE => "Leave it to that installation, or uninstall it: this one takes over when its Lease is gone.",
        events::TAKEN_OVER => "Nothing, if the other installation was removed on purpose.",
        events::MOVE_STARTED => "Nothing: FailedOver, SwitchedOver or MoveAbandoned follows.",
        events::FAILED_OVER => "Look at why the old primary went: `kubectl shardpair events PAIR`, its pod, its node.",
        events::SWITCHED_OVER | events::SYNC | events::REWOUND | events::REBUILT => "Nothing.",
        events::PROMOTED_WITH_DATA_LOSS => "Take what you need from the old primary, then discard its tail or replace it.",
        events::MOVE_ABANDONED => "Nothing: the old primary goes on. Look at why the standby couldn't take over.",
        events::SOLO => "Bring the standby back: until then there is no second copy.",
        events::REQUEST_REFUSED => "The message says why: `kubectl shardpair explain PAIR`.",
        events::TAIL_SAVED => "Read the Secret that is named: nobody was told that these writes are safe.",
        events::REWIND_REFUSED => "Nothing: it is cloned instead, which takes as long as the data is large.",
        events::REBUILD_STARTED => "Nothing: it takes as long as the data is large; until then there is no second copy.",
        events::REPLACED => "Delete the old member's volume when you are sure that you don't need it.",
        events::NO_SAFE_MOVE => "`kubectl shardpair explain PAIR`: bring the primary back, or promote with the loss that is named.",
        events::ALARM => "Touch nothing before you have read it: docs/operations.md, ShardpairNeedsAPerson.",
        events::KEYS_CEDED => "Nothing: clients that still use the old map are refused at these keys until they take the new one.",
        events::KEYS_TAKEN | events::KEYS_GIVEN_BACK | events::KEYS_TAKEN_BACK | events::LINK_DISSOLVED => "Nothing.",
        events::FLIP_GIVEN_UP => "Nothing: it is tried again, at growing distance. If it happens again and again, end the transaction that the message names.",
        events::LINK_BROKEN => "Nothing is lost, but this shard can't roll back any more: let the plan go on.",
        events::PHASE_DONE | events::FLIPPED | events::ROLLED_BACK => "Nothing; `kubectl shardpair approve PLAN` goes on, if it waits for that.",
        events::ROLLING_BACK => "Nothing: it ends by itself.",
        events::WAITING => "The message says for what: `kubectl shardpair expand CLUSTER`.",
        events::DELETION_REFUSED => "Let the plan end, or roll it back while that is possible.",
        _ => return None,
    })
}
