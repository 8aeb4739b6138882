//! The ExpansionPlan in a simulated life: its words come at random, forward and back; in the end one of them is to be reached.

use crate::pair::decide::{View, split_status};
use crate::pair::facts::Observation;
use crate::pair::record::{Mode, Record};
use crate::pair::settings::Settings;
use crate::pair::split::{SplitState, SplitStatus, SplitUntil};
use crate::pair::step::{Decision, Reason};
use crate::simulation::life::{Life, PATIENCE};
use crate::simulation::script::index;
use crate::simulation::set::Set;
use crate::simulation::world::World;

/// What a life of a split is to come to, once everything has healed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Goal {
    /// The child is deleted, nothing is left of the plan.
    Undone,
    /// The child follows.
    Prepared,
    /// Each has its half, and the link stands, or is cut for good.
    Flipped,
    /// Both have seen the link gone.
    Dissolved,
    /// Two ordinary pairs.
    Over,
}

impl World {
    /// How far the plan lets them go; None: it is over, or was taken back.
    pub(super) fn until(&self) -> Option<SplitUntil> {
        self.settings.split.as_ref().map(|s| s.until)
    }

    /// The plan's word to both.
    pub(super) fn let_them(&mut self, until: SplitUntil) {
        self.tell(format!("until {until:?}"));
        for _ in 0..2 {
            self.settings.split.iter_mut().for_each(|s| s.until = until);
            self.swap();
        }
    }

    /// The plan is done: clients have the new map, and the pairs are told of no split any more.
    fn plan_ends(&mut self) {
        self.over = true;
        for _ in 0..2 {
            self.settings.split = None;
            self.swap();
        }
        self.tell("the plan is over");
    }

    /// The plan is taken back: the child is deleted, its members go.
    fn drop_child(&mut self) {
        self.stage("parent");
        (self.parked, self.settings.split) = (None, None);
        self.tell("the plan is taken back, the child is deleted");
        self.settle();
    }

    /// Nothing of a split is left with the pair on the stage.
    fn clean(&self) -> bool {
        let r = &self.record;
        let guarded = self.named().iter().any(|m| self.hosts.get(m).is_none_or(|h| h.server.guard.is_some()));
        r.follows.is_none() && r.ceded.is_none() && r.linked.is_none() && r.severed.is_none() && r.flip.is_none() && !guarded
    }
}

impl Life<'_> {
    /// The plan's next word: forward, or back while that is possible.
    pub(super) fn plans(&mut self) {
        let next = match self.world.until() {
            Some(SplitUntil::Prepared) => SplitUntil::Flipped,
            Some(SplitUntil::Flipped) => self.dice.of(&[SplitUntil::Prepared, SplitUntil::Prepared, SplitUntil::Dissolved]),
            _ => return,
        };
        self.world.let_them(next);
    }

    /// One that can still be reached.
    pub(super) fn goal(&mut self) -> Goal {
        match self.world.until() {
            Some(SplitUntil::Prepared | SplitUntil::Flipped) => self.dice.of(&[Goal::Undone, Goal::Prepared, Goal::Flipped, Goal::Dissolved, Goal::Over, Goal::Over]),
            _ => self.dice.of(&[Goal::Dissolved, Goal::Over]),
        }
    }

    /// Word by word to the end; each must be reached.
    pub(super) fn comes_to(&mut self, goal: Goal) -> Result<(), String> {
        self.world.tell(format!("everything heals; it shall be {goal:?}"));
        if goal <= Goal::Prepared {
            self.world.let_them(SplitUntil::Prepared);
            if !self.waits(|life| life.are(SplitState::Prepared))? {
                // No way back for this shard, as it was said; forward goes on.
                return if self.cut_for_good() { self.comes_to(Goal::Over) } else { Err(self.stuck("Prepared")) };
            }
            if goal == Goal::Prepared {
                return Ok(());
            }
            self.world.drop_child();
            return self.reaches("taken back", |life| life.world.clean() && life.well());
        }
        if self.world.until() < Some(SplitUntil::Flipped) {
            self.world.let_them(SplitUntil::Flipped);
        }
        if self.world.until() == Some(SplitUntil::Flipped) {
            self.reaches("Flipped", |life| life.are(SplitState::Flipped) || life.cut_for_good())?;
        }
        if goal == Goal::Flipped {
            return Ok(());
        }
        self.world.let_them(SplitUntil::Dissolved);
        self.reaches("Dissolved", |life| life.of_each(|s| s.may_purge()))?;
        if goal == Goal::Over {
            self.world.let_them(SplitUntil::Purged);
            self.world.plan_ends();
            self.reaches("over", |life| life.both(|life| life.world.clean() && life.well()))?;
        }
        Ok(())
    }

    fn reaches(&mut self, what: &str, there: impl Fn(&mut Self) -> bool) -> Result<(), String> {
        if self.waits(there)? { Ok(()) } else { Err(self.stuck(what)) }
    }

    fn stuck(&self, what: &str) -> String {
        format!("they don't come to be {what}: {:?}", self.last)
    }

    fn waits(&mut self, there: impl Fn(&mut Self) -> bool) -> Result<bool, String> {
        for _ in 0..PATIENCE {
            self.time(500)?;
            if there(self) {
                self.world.tell("there");
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Does it hold of each, on the stage?
    fn both(&mut self, holds: impl Fn(&mut Self) -> bool) -> bool {
        let mut all = true;
        for _ in 0..2 {
            all &= holds(self);
            self.world.swap();
        }
        all
    }

    /// Both are well, and say so.
    fn are(&mut self, state: SplitState) -> bool {
        self.of_each(|status| status.state == state)
    }

    fn of_each(&mut self, says: impl Fn(&SplitStatus) -> bool) -> bool {
        self.both(|life| life.is_well() && life.status().is_some_and(|status| says(&status)))
    }

    /// A failover broke the link: no way back, and both are well with their halves.
    fn cut_for_good(&mut self) -> bool {
        self.both(|life| life.is_well() && life.world.record.severed.as_ref().is_some_and(|s| s.proven))
    }

    /// What the pair on the stage tells the plan.
    fn status(&mut self) -> Option<SplitStatus> {
        let seen: Observation = self.world.observe();
        let (record, settings): (&Record, &Settings) = (&self.world.record, &self.world.settings);
        let view = View { record, settings, seen: &seen, now: self.world.clock() };
        split_status(&view, &Decision::wait(Reason::InSync, ""), None)
    }

    /// In Sync and at rest; one that follows has nothing of its own to be open for.
    fn is_well(&mut self) -> bool {
        if self.world.record.follows.is_none() {
            return self.well();
        }
        let (record, hosts) = (&self.world.record, &self.world.hosts);
        let rows = |m: &str| hosts.get(&index(m)).map_or(Set::EMPTY, |h| h.server.rows());
        let same = record.standby.as_ref().is_none_or(|s| rows(s) == rows(&record.primary));
        let parents = self.world.parked.as_deref().is_some_and(|p| rows(&p.record.primary) == rows(&record.primary));
        let alone = record.standby.is_none() && self.world.settings.split.as_ref().is_some_and(|s| s.standbys == crate::api::expansion::Standbys::After);
        (record.mode == Mode::Sync || alone) && record.rebuild.is_none() && same && parents && self.last_said(Reason::Following)
    }
}
