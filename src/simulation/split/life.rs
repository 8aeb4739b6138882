//! One life of a split, from a seed. It begins before the child is made, when the child follows, or after the flip; the
//! plan goes forward and back, all befalls both pairs that befalls one; in the end everything heals, and the pairs must come
//! back to Sync and to what the plan says last.

use super::guard::{MOVES, STAYS};
use super::plan::Goal;
use crate::api::expansion::Standbys;
use crate::pair::step::Next;
use crate::simulation::life::{HASTE, Life, Told};
use crate::simulation::watch::Watcher;

/// Lives one life of a split of so many turns.
pub fn live_split(seed: u64, turns: u32, watcher: &dyn Watcher) -> Told {
    let mut life = Life::begin(seed, watcher);
    let wrong = life.split_begins().and_then(|()| life.split_turns(turns)).and_then(|()| life.split_heals()).err();
    life.ends(wrong)
}

impl Life<'_> {
    fn split_begins(&mut self) -> Result<(), String> {
        let begun = self.dice.of(&[None, Some(Goal::Prepared), Some(Goal::Prepared), Some(Goal::Flipped)]);
        self.world.begin_split(Standbys::Before);
        let Some(goal) = begun else { return Ok(()) };
        // Nothing befalls them on the way there.
        self.healing = true;
        self.comes_to(goal)?;
        self.healing = false;
        self.world.stage("parent");
        Ok(())
    }

    fn split_turns(&mut self, turns: u32) -> Result<(), String> {
        for _ in 0..turns {
            for _ in 0..self.dice.roll(3) {
                self.befalls_a_split()?;
            }
            for _ in 0..self.dice.roll(4) {
                let class = self.dice.of(&[STAYS, MOVES]);
                self.world.write_key(class);
                self.lawful()?;
            }
            let ms = self.dice.of(&[10, 70, 300, 1_600, 4_000, 35_000]);
            self.time(ms)?;
        }
        Ok(())
    }

    fn split_heals(&mut self) -> Result<(), String> {
        self.all_heals();
        let goal = self.goal();
        self.comes_to(goal)
    }

    /// Passes of both until neither has anything to do at once. The watch of the other's record may be behind, and a runner
    /// may be slower than the other.
    pub(in crate::simulation) fn both_look(&mut self) -> Result<(), String> {
        // Probers don't wait for their runner.
        for _ in 0..2 {
            if !self.dice_of_a_split(3) {
                self.world.probe();
            }
            self.world.swap();
        }
        for _ in 0..HASTE {
            let mut soonest = Next::Tick;
            for _ in 0..2 {
                if self.dice_of_a_split(4) {
                    soonest = if soonest == Next::Now { Next::Now } else { Next::Soon };
                } else {
                    if !self.dice_of_a_split(3) {
                        self.world.hear();
                    }
                    soonest = match (soonest, self.pass()?) {
                        (Next::Now, _) | (_, Next::Now) => Next::Now,
                        (Next::Soon, _) | (_, Next::Soon) => Next::Soon,
                        _ => Next::Tick,
                    };
                }
                self.world.swap();
            }
            match soonest {
                Next::Now => self.world.pass_time(1),
                Next::Soon => self.world.pass_time(5),
                Next::Tick => break,
            }
        }
        Ok(())
    }
}
