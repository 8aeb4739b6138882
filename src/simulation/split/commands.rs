//! What a split's commands do in the world, where a member alone can't tell.

use super::guard::{MOVES, STAYS};
use crate::simulation::script::name;
use crate::simulation::set::Set;
use crate::simulation::verb::Verb;
use crate::simulation::world::World;

impl World {
    /// Client transactions there that have passed the guard with keys of this class, and wait for their acknowledgement.
    fn writers(&self, member: u8, class: u32) -> Set {
        let Some(host) = self.hosts.get(&member) else { return Set::EMPTY };
        let waiting = host.server.pending.without(host.server.applied);
        match class {
            MOVES => waiting.and(self.moving),
            _ => waiting.without(self.moving),
        }
    }

    /// `guard::fence`: waits for those that have passed; after its time nothing has changed.
    pub fn fence(&mut self, member: u8, class: u32) -> Result<(), String> {
        self.settle();
        let Some(guard) = self.server(member).guard else { return Err(format!("{} has no guard", name(member))) };
        if self.host(member).held || !self.writers(member, class).is_empty() {
            return Err(format!("{}: a transaction with such keys stays open", name(member)));
        }
        self.server(member).guard.get_or_insert(guard).owned &= !(1 << class);
        Ok(())
    }

    /// `guard::set_owned`: a class that is closed waits for its writers.
    pub fn writers_pass(&mut self, member: u8, verb: Verb) -> Result<(), String> {
        let Verb::Own(owned) = verb else { return Ok(()) };
        let Some(guard) = self.server(member).guard else { return Ok(()) };
        let closed = [STAYS, MOVES].into_iter().filter(|class| guard.accepts(*class) && owned >> class & 1 == 0);
        let held = self.host(member).held && self.server(member).open();
        match closed.filter(|class| held || !self.writers(member, *class).is_empty()).count() {
            0 => Ok(()),
            _ => Err(format!("{}: a transaction with such keys stays open", name(member))),
        }
    }

    /// `guard::retire_sessions`
    pub fn retire(&mut self, member: u8, at_once: bool) -> Result<(), String> {
        let host = self.host(member);
        let process = host.server.process;
        let Some(guard) = host.server.guard.filter(|g| !g.ddl) else { return Ok(()) };
        host.at_work &= !at_once;
        let left = if host.at_work && guard.noted == process { 2 } else { 0 };
        host.server.obey(Verb::Retired(left)).map(drop).map_err(str::to_owned)
    }
}
