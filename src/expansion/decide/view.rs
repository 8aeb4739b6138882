//! The plan and what is seen, with the questions that rules ask of them.

use jiff::Timestamp;

use crate::api::expansion::{Phase, Standbys};
use crate::expansion::facts::{Cluster, Level, Observation, Pair, Plan};

pub(super) struct View<'a> {
    pub(super) plan: &'a Plan,
    pub(super) seen: &'a Observation,
    pub(super) now: Timestamp,
}

impl<'a> View<'a> {
    pub(super) fn cluster(&self) -> Option<&'a Cluster> {
        self.seen.cluster.as_ref()
    }

    pub(super) fn pair(&self, shard: u32) -> Option<&'a Pair> {
        self.seen.pairs.get(&shard)
    }

    /// What this plan asked of the pair of a shard.
    pub(super) fn asked(&self, shard: u32) -> Option<Level> {
        self.pair(shard)?.asked.as_ref().filter(|a| a.plan == self.plan.name).map(|a| a.until)
    }

    /// The pair that `shard` is split into, if this plan made it (and hasn't let it go).
    pub(super) fn made(&self, shard: u32) -> Option<&'a Pair> {
        let child = self.plan.child(shard);
        self.asked(child).and_then(|_| self.pair(child))
    }

    fn recorded(&self, shard: u32) -> Option<Phase> {
        self.plan.phases.get(&shard).copied()
    }

    /// Is anything there that this plan made or asked for?
    pub(super) fn in_flight(&self) -> bool {
        let began = self.plan.phase >= Some(Phase::Prepared) || self.plan.phases.values().any(|p| *p >= Phase::Prepared);
        let marked = self.plan.parents().any(|s| self.asked(s).is_some() || self.made(s).is_some());
        marked || began && self.announced()
    }

    /// Does the map have the new shards?
    pub(super) fn announced(&self) -> bool {
        self.cluster().is_some_and(|c| c.shards == self.plan.to_shards)
    }

    /// Is it too late to go back?
    pub(super) fn past(&self) -> bool {
        self.plan.parents().any(|s| self.asked(s) >= Some(Level::Dissolved) || self.recorded(s) >= Some(Phase::Dissolved))
    }

    /// How far to go; None: undo everything.
    pub(super) fn aim(&self) -> Option<Phase> {
        if self.past() {
            return Some(self.plan.until.max(Phase::Dissolved));
        }
        (!self.plan.deleting).then_some(self.plan.until)
    }

    /// The last phase that is wholly done for a shard.
    pub(super) fn reached(&self, shard: u32) -> Option<Phase> {
        let (recorded, asked) = (self.recorded(shard), self.asked(shard));
        if recorded >= Some(Phase::Dissolved) {
            return if recorded == Some(Phase::Complete) || self.let_go(shard) { Some(Phase::Complete) } else { Some(Phase::Dissolved) };
        }
        let (parent, child) = (self.pair(shard)?, self.made(shard)?);
        asked?;
        if asked >= Some(Level::Dissolved) && parent.parted && child.parted && !child.follows {
            return Some(Phase::Dissolved);
        }
        if asked >= Some(Level::Flipped) && parent.ceded && !child.follows && (parent.flipped && child.flipped || recorded >= Some(Phase::Flipped)) {
            return Some(Phase::Flipped);
        }
        // On the way back it is flipped until the keys are where they were.
        if asked == Some(Level::Prepared) && recorded == Some(Phase::Flipped) && (parent.ceded || !child.follows) {
            return Some(Phase::Flipped);
        }
        let ready = child.follows && child.prepared && parent.prepared && !parent.ceded;
        (ready || recorded >= Some(Phase::Prepared)).then_some(Phase::Prepared)
    }

    /// Has the whole split of a shard been cleaned up?
    fn let_go(&self, shard: u32) -> bool {
        let gone = |shard: u32| self.pair(shard).is_some_and(|p| p.asked.as_ref().is_none_or(|a| a.plan != self.plan.name) && p.clean);
        gone(shard) && gone(self.plan.child(shard))
    }

    pub(super) fn is_flipped(&self, shard: u32) -> bool {
        self.reached(shard) == Some(Phase::Flipped) && self.asked(shard) >= Some(Level::Flipped)
    }

    /// The first shard that hasn't come this far.
    pub(super) fn first_below(&self, phase: Phase) -> Option<u32> {
        self.plan.parents().find(|s| self.reached(*s) < Some(phase))
    }

    /// The last phase that is wholly done for all.
    pub(super) fn phase(&self) -> Option<Phase> {
        let least = self.plan.parents().map(|s| self.reached(s)).min().flatten();
        match least {
            Some(phase) if self.announced() || phase >= Phase::Dissolved => Some(phase),
            _ if self.in_flight() => Some(Phase::Preflight),
            _ => match &self.seen.preflight {
                Some(preflight) => preflight.refusals().next().is_none().then_some(Phase::Preflight),
                None => self.plan.phase.map(|_| Phase::Preflight),
            },
        }
    }

    /// When the reverse window ends; None: it has not begun.
    pub(super) fn window_ends(&self) -> Option<Timestamp> {
        let ends = self.plan.flipped_at?.as_millisecond().saturating_add(self.plan.reverse_window_ms);
        Timestamp::from_millisecond(ends).ok()
    }

    /// The same for a flip: with `standbys: After` both pairs are alone then.
    pub(super) fn unfit(&self, shard: u32) -> Option<String> {
        let alone = self.plan.standbys == Standbys::After && self.pair(shard).is_some_and(|p| p.alone);
        if alone { None } else { self.unwell(shard) }
    }

    /// Why a pair isn't fit for what is next; None: it is.
    pub(super) fn unwell(&self, shard: u32) -> Option<String> {
        match self.pair(shard) {
            None => Some(format!("the pair of shard {shard} isn't there")),
            Some(pair) => pair.unwell.as_ref().map(|why| format!("the pair of shard {shard}: {why}")),
        }
    }
}
