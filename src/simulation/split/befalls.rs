//! What befalls two pairs of a split beside all that befalls any: the plan's words, clients that hold up a fence or don't
//! end, and keys written in the middle of anything.

use super::guard::{MOVES, STAYS};
use crate::pair::record::Mode;
use crate::pair::settings::Ack;
use crate::simulation::life::Life;
use crate::simulation::script::{Command, index, name};
use crate::simulation::world::World;

impl Life<'_> {
    /// Something befalls them.
    pub(super) fn befalls_a_split(&mut self) -> Result<(), String> {
        let members: Vec<u8> = self.world.hosts.keys().copied().collect();
        let member = self.dice.of(&members);
        let m = name(member);
        match self.dice.roll(14) {
            0..=2 => self.plans(),
            3 => {
                let host = self.world.host(member);
                host.held = !host.held;
                let what = if host.held { "a transaction with moving keys stays open on" } else { "no transaction with moving keys is open on" };
                self.world.tell(format!("{what} {m}"));
            }
            // A write that is on its way meets a failover, and comes to its end.
            12 | 13 if self.world.a_record_is_late() => {
                let primary = index(&self.world.record.primary);
                if self.dice.once(2) {
                    self.world.die(primary);
                    self.world.power_cut(primary);
                    self.world.tell(format!("the node of {} loses power", name(primary)));
                } else {
                    self.late();
                }
            }
            4 => {
                self.world.host(member).at_work = true;
                self.world.tell(format!("an old session on {m} stays at work"));
            }
            _ => {
                if self.dice.once(2) {
                    self.world.swap();
                }
                self.befalls();
                self.world.stage("parent");
            }
        }
        self.lawful()
    }

    /// A pair that is one of two: between any two commands clients write.
    pub(in crate::simulation) fn clients_go_on(&mut self) -> Result<(), String> {
        if self.dice_of_a_split(3) {
            let class = self.dice.of(&[STAYS, MOVES]);
            self.world.write_key(class);
            self.lawful()?;
        }
        Ok(())
    }

    /// An operator is interrupted once in so many commands; at the commit point of a split far more often.
    pub(in crate::simulation) fn odds_of_an_interruption(&self, next: &Command, undone: bool) -> u64 {
        let commits = matches!(next, Command::Write(record) if record.ceded != self.world.record.ceded || record.follows != self.world.record.follows);
        if self.world.parked.is_some() && (commits || undone) { 8 } else { 40 }
    }

    /// Once in `n`, while things may still happen to a split; of one pair alone no die is cast.
    pub(in crate::simulation) fn dice_of_a_split(&mut self, n: u64) -> bool {
        self.world.parked.is_some() && !self.healing && self.dice.once(n)
    }

    /// One volume a life. In a split only one whose loss the pair can bear, whatever comes after it: its data is on the
    /// other member, flushed, or it owns nothing.
    pub(in crate::simulation) fn may_be_emptied(&self, member: u8) -> bool {
        let pair = self.world.pair_of(member);
        let primary = pair.record.primary == name(member) && pair.record.follows.is_none();
        let promised = || pair.record.transition.is_none() && pair.record.standby.as_ref().is_some_and(|s| self.world.complete(&pair, s));
        let writing = self.writing || self.world.a_record_is_late();
        // While Solo may be on its way to the record, it is a primary lost in Solo.
        let in_sync = pair.record.mode == Mode::Sync && !writing;
        // Open (docs/verification.md): around the parent's record and before the child's, a child that loses this volume needs a person.
        if pair.record.follows.is_some() && (self.world.called() || writing) {
            return false;
        }
        !self.emptied && (self.world.parked.is_none() || if primary { in_sync && promised() && self.world.settings.ack == Ack::Flushed } else { pair.record.transition.is_none() })
    }

    /// The stage is this member's pair's.
    pub(in crate::simulation) fn stage_of(&mut self, member: u8) {
        let pair = self.world.pair_of(member).name;
        self.world.stage(pair);
    }
}

impl World {
    /// Has the parent ceded, and the child not taken yet?
    fn called(&self) -> bool {
        let glances = self.glances();
        let ceded = glances.iter().find_map(|g| g.record.ceded.as_ref()).map(|c| c.epoch);
        glances.iter().filter_map(|g| g.record.follows.as_ref()).any(|f| ceded > f.given_back)
    }

    /// Was a write of the record on the stage sent by one who has heard no answer?
    fn a_record_is_late(&self) -> bool {
        self.operators.iter().filter_map(|o| o.late.as_ref()).any(|late| matches!(late.commands.first(), Some(Command::Write(_))))
    }
}
