//! Reasons of events: each a named constant, none written anywhere else. Pure.

macro_rules! events {
    ($(#[doc = $doc:literal] $name:ident = $text:literal;)*) => {
        $(#[doc = $doc] pub const $name: &str = $text;)*
        /// All of them, for the documentation and its test.
        pub const ALL: &[&str] = &[$($text),*];
        /// What each says, in the order of [`ALL`]: `<kind>: <meaning>`.
        pub const MEANINGS: &[&str] = &[$($doc),*];
    };
}

events! {
    /// ShardCluster: an object was made.
    CREATED = "Created";
    /// ShardCluster: an object was changed.
    CHANGED = "Changed";
    /// ShardCluster: an object of a member no longer listed was deleted.
    DELETED = "Deleted";
    /// ShardCluster: the spec can't be carried out; the message says what to do.
    REFUSED = "Refused";
    /// ShardCluster: another operator installation manages it.
    MANAGED_ELSEWHERE = "ManagedElsewhere";
    /// ShardCluster: this installation took over from one that is gone.
    TAKEN_OVER = "TakenOver";
    /// ShardCluster: a volume grows.
    VOLUME_GROWS = "VolumeGrows";

    /// ShardPair: the first roles were given.
    PROVISIONED = "Provisioned";
    /// ShardPair: a move has begun.
    MOVE_STARTED = "MoveStarted";
    /// ShardPair: a failover is done.
    FAILED_OVER = "FailedOver";
    /// ShardPair: a switchover is done.
    SWITCHED_OVER = "SwitchedOver";
    /// ShardPair: a promotion with data loss is done.
    PROMOTED_WITH_DATA_LOSS = "PromotedWithDataLoss";
    /// ShardPair: a move was given up.
    MOVE_ABANDONED = "MoveAbandoned";
    /// ShardPair: the pair runs without a standby.
    SOLO = "Solo";
    /// ShardPair: the standby acknowledges again.
    SYNC = "Sync";
    /// ShardPair: a request by annotation was refused.
    REQUEST_REFUSED = "RequestRefused";
    /// ShardPair: what a returning member had beyond the primary was saved.
    TAIL_SAVED = "TailSaved";
    /// ShardPair: a returned member's tail was undone from its own binlog.
    REWOUND = "Rewound";
    /// ShardPair: a tail can't be undone so, or rows differ afterwards: the member is cloned.
    REWIND_REFUSED = "RewindRefused";
    /// ShardPair: a standby is being rebuilt from the primary.
    REBUILD_STARTED = "RebuildStarted";
    /// ShardPair: a standby was rebuilt.
    REBUILT = "Rebuilt";
    /// ShardPair: a member is replaced by a new one.
    REPLACED = "Replaced";
    /// ShardPair: half of the keys were handed to the other side of a split.
    KEYS_CEDED = "KeysCeded";
    /// ShardPair: the other side's keys were taken.
    KEYS_TAKEN = "KeysTaken";
    /// ShardPair: the keys were given back.
    KEYS_GIVEN_BACK = "KeysGivenBack";
    /// ShardPair: the keys that were handed over are here again.
    KEYS_TAKEN_BACK = "KeysTakenBack";
    /// ShardPair: a flip, or the way back, was undone and will be tried again.
    FLIP_GIVEN_UP = "FlipGivenUp";
    /// ShardPair: the link between the two sides of a split was cut for good.
    LINK_BROKEN = "LinkBroken";
    /// ShardPair: the link between the two sides of a split was taken away as planned.
    LINK_DISSOLVED = "LinkDissolved";
    /// ShardPair: no safe move is left.
    NO_SAFE_MOVE = "NoSafeMove";
    /// ShardPair: the facts contradict the record; nothing is touched.
    ALARM = "Alarm";

    /// ExpansionPlan: a phase is wholly done.
    PHASE_DONE = "PhaseDone";
    /// ExpansionPlan: a shard flipped.
    FLIPPED = "Flipped";
    /// ExpansionPlan: it rolls back.
    ROLLING_BACK = "RollingBack";
    /// ExpansionPlan: what it had made or moved is undone.
    ROLLED_BACK = "RolledBack";
    /// ExpansionPlan: it waits for something that it can't bring about itself.
    WAITING = "Waiting";
    /// ExpansionPlan: it can't be deleted now.
    DELETION_REFUSED = "DeletionRefused";
}
