//! The pair as a model: two members, two operators of which one may be stale, the API server, clients, faults; every
//! interleaving of a few events. The decision is the operator's own (`pair::decide`), carried out command by command.
//!
//! docs/verification.md says what is modelled and what isn't. `MODEL=deep` goes further, `MODEL=<mutant>` tells one.

mod heal;
mod mutants;
mod next;
mod operator;
mod scenes;
mod state;
mod story;
mod tables;

use std::sync::Arc;

pub use mutants::Mutant;
use stateright::{Model, Property};

use heal::Healed;
use next::Event;
use scenes::Scene;
use state::{State, Wrong};
use tables::Tables;

/// One world to be searched.
#[derive(Clone)]
pub struct Pair {
    pub scene: Scene,
    pub mutant: Option<Mutant>,
    pub tables: Arc<Tables>,
    pub healed: Arc<Healed>,
}

/// Names of the properties, which are also the explanations.
pub const NO_LOSS: &str = "no acknowledged write is lost (the open primary has all of them)";
pub const SYNC_HOLDS: &str = "in Sync the acker holds everything that was acknowledged (1, 2)";
pub const ONE_ACKER: &str = "never two members that can both acknowledge (1, 4)";
pub const NO_TAIL: &str = "no tail flows back (8, 9)";
pub const FROM_SYNC: &str = "no promotion from Solo (3)";
pub const LAWFUL: &str = "every decision keeps the laws of decisions::law";
pub const HEALS: &str = "when all faults heal, the pair comes back to Sync by itself";

impl Model for Pair {
    type State = State;
    type Action = Event;

    fn init_states(&self) -> Vec<State> {
        vec![self.scene.begin(self)]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Event>) {
        self.events(state, actions);
    }

    fn next_state(&self, state: &State, event: Event) -> Option<State> {
        self.follow(state, event)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut all = vec![
            Property::always(SYNC_HOLDS, |_, s: &State| sync_holds(s)),
            Property::always(NO_LOSS, |_, s: &State| no_loss(s)),
            Property::always(ONE_ACKER, |_, s: &State| !(s.can_acknowledge(0) && s.can_acknowledge(1))),
            Property::always(NO_TAIL, |_, s: &State| no_tail(s)),
            Property::always(FROM_SYNC, |_, s: &State| s.wrong != Some(Wrong::PromotedFromSolo)),
            Property::always(LAWFUL, |_, s: &State| s.wrong != Some(Wrong::Law)),
            Property::always(HEALS, |m: &Self, s: &State| m.heals(s).is_ok()),
        ];
        if self.mutant.is_none() {
            all.extend(self.scene.reached());
        }
        all
    }
}

fn no_loss(s: &State) -> bool {
    let primary = s.member(s.record.primary);
    s.record.moving || !primary.open() || primary.rows().contains(s.acked)
}

fn sync_holds(s: &State) -> bool {
    let r = &s.record;
    if !r.sync || r.standby > 1 {
        return true;
    }
    let standby = s.member(r.standby);
    let promotable = standby.volume == r.volumes[r.standby as usize] && standby.kernel == r.boot;
    !promotable || standby.keeps().contains(s.acked)
}

/// What was never acknowledged and was cut off by a promotion stays away from the primary, and nobody is told OK of it.
fn no_tail(s: &State) -> bool {
    s.member(s.record.primary).keeps().and(s.dead).is_empty() && s.acked.and(s.dead).is_empty()
}
