//! Who looks over the shoulder of a life: further laws, and, in tests, mistakes that the laws must catch.

use super::script::Command;
use super::world::World;
use crate::pair::facts::Observation;
use crate::pair::record::Record;
use crate::pair::settings::Settings;
use crate::pair::step::{Decision, Step};

/// Does nothing unless it is told otherwise.
pub trait Watcher {
    /// Further laws: of a record, what was seen and the decision on it, everything that is wrong.
    fn broken(&self, _record: &Record, _settings: &Settings, _seen: &Observation, _now: jiff::Timestamp, _decision: &Decision) -> Vec<String> {
        Vec::new()
    }

    /// A mistake in what the decision is told, …
    fn tells(&self, _record: &mut Record, _seen: &mut Observation) {}

    /// … in what it says, …
    fn decides(&self, _record: &Record, _seen: &Observation, _decision: &mut Decision) {}

    /// … in how a step is carried out, …
    fn scripts(&self, _step: &Step, _commands: &mut Vec<Command>) {}

    /// … in how a record is written: what is there afterwards, whatever version was read; None: as it should be, …
    fn writes(&self, _there: &Record, _new: &Record) -> Option<Record> {
        None
    }

    /// … or in the world itself, after whatever happened.
    fn meddles(&self, _world: &mut World) {}
}

/// Nobody.
pub struct Nobody;

impl Watcher for Nobody {}
