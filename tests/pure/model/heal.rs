//! Progress: from any state, when every fault heals and nothing new happens, the pair comes back to Sync by itself.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Mutex;

use shardpair::simulation::server::{Receiver, Server};

use super::Pair;
use super::next::Event;
use super::state::{Budget, State};

/// States that are known to come back.
#[derive(Default)]
pub struct Healed(Mutex<HashSet<u64>>);

/// Passes after which a pair that still finds something to do is said never to rest.
const MANY: usize = 120;

/// A state's fingerprint.
pub fn print(state: &State) -> u64 {
    let mut hasher = DefaultHasher::new();
    state.hash(&mut hasher);
    hasher.finish()
}

/// The primary's volume is lost, and nobody else is known to have all that it acknowledged (Solo, or the standby's node has
/// rebooted, or its volume is lost too): a person decides.
fn a_persons(now: &State) -> bool {
    let r = &now.record;
    let other = |member: u8| now.member(member).volume != r.volumes[member as usize];
    other(r.primary) && (!r.sync || other(r.standby) || now.member(r.standby).kernel != r.boot)
}

impl Pair {
    /// Err: how it ended instead.
    pub fn heals(&self, state: &State) -> Result<(), String> {
        if state.member(2).acker {
            // A stranger that acknowledges is a person's matter.
            return Ok(());
        }
        let mut now = state.clone();
        (now.cut, now.blind, now.peek, now.left) = (false, [false; 2], None, Budget::default());
        now.servers.iter_mut().for_each(|s| s.hung = false);
        now.operators.iter_mut().for_each(|o| (o.late, o.last) = (None, [None; 2]));
        let mut seen = Vec::new();
        for _ in 0..MANY {
            self.settle(&mut now);
            let this = print(&now);
            if self.healed.0.lock().expect("never poisoned").contains(&this) {
                return self.remember(seen);
            }
            seen.push(this);
            match self.goes_on(&now) {
                Some(next) => now = next,
                None if self.well(&now) || a_persons(&now) => return self.remember(seen),
                None => return Err(format!("{}; {}", self.decision_words(&now, 2), now.words())),
            }
        }
        Err(format!("it never rests: {}; {}", self.decision_words(&now, 2), now.words()))
    }

    fn remember(&self, seen: Vec<u64>) -> Result<(), String> {
        self.healed.0.lock().expect("never poisoned").extend(seen);
        Ok(())
    }

    /// States from which it was tried.
    pub fn healed_count(&self) -> usize {
        self.healed.0.lock().expect("never poisoned").len()
    }

    fn well(&self, now: &State) -> bool {
        let (primary, standby) = (now.member(now.record.primary), now.member(now.record.standby));
        let carried = self.carried(now, 2);
        now.record.sync && !now.record.moving && primary.open() && primary.acks && primary.pending.is_empty() && standby.executed == primary.executed && carried.reason == "InSync"
    }

    /// The operator's next act; None: it has nothing to do, however long it looks.
    fn goes_on(&self, now: &State) -> Option<State> {
        if now.lead().plan.is_some() {
            return self.carry_on(now);
        }
        if now.lead().must_claim {
            return Some(self.claimed(now));
        }
        (0..=2).find_map(|patience| self.pass(now, patience))
    }

    /// All that members do by themselves.
    pub fn settle(&self, now: &mut State) {
        loop {
            let mut moved = false;
            for member in now.names() {
                moved |= self.settle_member(now, member);
            }
            if !moved {
                return;
            }
        }
    }

    fn settle_member(&self, now: &mut State, member: u8) -> bool {
        let server = *now.member(member);
        let linked = server.source.is_some_and(|s| now.linked(member, s));
        let news = server.source.is_some_and(|s| !server.news(now.member(s)).is_empty());
        let event = match server {
            Server { alive: false, .. } => Event::Boot(member),
            Server { cloning: Some(_), .. } if now.linked(0, 1) => Event::CloneDone(member),
            Server { receiver: Receiver::Connecting, .. } if linked => Event::Connect(member),
            Server { receiver: Receiver::On, .. } if !linked => Event::Notice(member),
            Server { receiver: Receiver::On, .. } if news => Event::Receive(member),
            _ if server.applies() && !server.undrained().is_empty() => Event::Apply(member),
            _ if !server.pending.is_empty() && !now.ackers(member).is_empty() => Event::Acknowledge(member),
            _ => return false,
        };
        match self.follow(now, event) {
            Some(next) => {
                *now = next;
                true
            }
            None => false,
        }
    }
}
