//! What may never be of two pairs, whatever happens. Numbers are the invariants of docs/failover.md.

use super::guard::{MOVES, STAYS};
use super::pairs::Glance;
use crate::pair::record::Record;
use crate::simulation::script::{index, name};
use crate::simulation::set::Set;
use crate::simulation::world::World;

impl World {
    /// Transactions with keys of the classes that a pair owns by its record; of one pair alone, all.
    pub fn due(&self, pair: &Glance, of: Set) -> Set {
        let class = |class, set| if pair.owns(class, self.over) { set } else { Set::EMPTY };
        class(STAYS, of.without(self.moving)).union(class(MOVES, of.and(self.moving)))
    }

    /// Clients were told OK there: may that be?
    pub fn trespassed(&mut self, member: u8, told: Set) {
        let pair = self.pair_of(member);
        let foreign = told.without(self.due(&pair, told));
        if self.parked.is_some() && !foreign.is_empty() {
            let what = format!("{} says OK to {}, keys that {} doesn't own (12)", name(member), self.log.words(foreign), pair.name);
            self.broken = self.broken.take().or(Some(what));
        }
    }

    /// Does the member accept keys of this class from an application?
    pub fn accepts(&self, member: u8, class: u32) -> bool {
        let known = !self.over || self.pair_of(member).owns(class, true);
        known && self.hosts[&member].server.guard.is_none_or(|g| g.accepts(class))
    }

    /// The pair on the stage writes this record: may it?
    pub fn recorded(&mut self, new: &Record) {
        let (Some(theirs), old) = (self.parked.as_deref().map(|s| &s.record), &self.record) else { return };
        let mut wrong = None;
        if let (Some(ceded), None) = (&old.ceded, &new.ceded) {
            let back = theirs.follows.as_ref().is_some_and(|f| f.given_back >= Some(ceded.epoch));
            let over = self.settings.split.is_none() && old.severed.as_ref().is_some_and(|s| s.proven);
            if !back && !over {
                wrong = Some("a cession is undone, and the child gave nothing back (12)".to_owned());
            }
        }
        if let (Some(follows), None) = (&old.follows, &new.follows)
            && theirs.ceded.as_ref().is_none_or(|c| Some(c.epoch) <= follows.given_back)
        {
            wrong = Some("the child takes what wasn't ceded (12)".to_owned());
        }
        let proven = |r: &Record| r.severed.as_ref().is_some_and(|s| s.proven);
        if proven(new) && !proven(old) {
            let leads = |m: &&String| self.hosts.get(&index(m)).and_then(|h| h.server.source).is_some_and(|s| !self.of_one_pair(index(m), s));
            if let Some(member) = std::iter::once(&new.primary).chain(&new.standby).find(leads) {
                wrong = Some(format!("the link is said to be gone, and {member} follows the other pair (9)"));
            }
        }
        self.broken = self.broken.take().or(wrong);
    }

    /// A pair that follows another is closed.
    pub(in crate::simulation) fn opened(&self) -> Option<String> {
        let child = self.glances().into_iter().find(|g| g.record.follows.is_some())?;
        let deposed = child.record.deposed.as_ref().map(|d| d.member.as_str());
        let members = std::iter::once(&child.record.primary).chain(&child.record.standby);
        let open = members.filter(|m| deposed != Some(m)).find(|m| self.hosts.get(&index(m)).is_some_and(|h| h.server.open()))?;
        Some(format!("{open} is open, and its pair follows (12)"))
    }
}
