//! What is sent: the first message of a stream is everything, each other one only what changed since. Pure.

use std::collections::BTreeMap;

use serde::Serialize;

use super::plan::Plan;
use super::snapshot::{Cluster, Moved, Pair, Snapshot};

/// Moves that are remembered, over all pairs.
const MOVES: usize = 200;

/// A message to the page; a key without a value is gone.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Change {
    /// Forget all that was sent before.
    pub reset: bool,
    /// The operator's clock, in ms since 1970: ages are told by it.
    pub now: i64,
    /// This process.
    pub operator: String,
    /// It acts; else it only watches.
    pub leads: bool,
    /// Changed clusters.
    pub clusters: BTreeMap<String, Option<Cluster>>,
    /// Changed pairs.
    pub pairs: BTreeMap<String, Option<Pair>>,
    /// Changed plans.
    pub plans: BTreeMap<String, Option<Plan>>,
    /// Moves that came, or are forgotten.
    pub moves: BTreeMap<String, Option<Moved>>,
}

/// What all pages are shown now.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Told {
    /// This process.
    pub operator: String,
    /// It acts.
    pub leads: bool,
    /// Everything.
    pub all: Snapshot,
}

impl Told {
    /// Takes a newer look; moves of before are remembered while there is room. Did anything change?
    pub fn take(&mut self, mut newer: Snapshot, leads: bool) -> bool {
        newer.moves.extend(self.all.moves.clone());
        while newer.moves.len() > MOVES {
            newer.moves.pop_first();
        }
        let changed = self.all != newer || self.leads != leads;
        self.all = newer;
        self.leads = leads;
        changed
    }

    /// The message that brings a page from `before` (None: it knows nothing) to this.
    pub fn since(&self, before: Option<&Told>, now: i64) -> Change {
        let nothing = Snapshot::default();
        let old = before.map_or(&nothing, |b| &b.all);
        Change {
            reset: before.is_none(),
            now,
            operator: self.operator.clone(),
            leads: self.leads,
            clusters: difference(&old.clusters, &self.all.clusters),
            pairs: difference(&old.pairs, &self.all.pairs),
            plans: difference(&old.plans, &self.all.plans),
            moves: difference(&old.moves, &self.all.moves),
        }
    }
}

fn difference<T: Clone + PartialEq>(old: &BTreeMap<String, T>, new: &BTreeMap<String, T>) -> BTreeMap<String, Option<T>> {
    let changed = new.iter().filter(|(k, v)| old.get(*k) != Some(v)).map(|(k, v)| (k.clone(), Some(v.clone())));
    let gone = old.keys().filter(|k| !new.contains_key(*k)).map(|k| (k.clone(), None));
    changed.chain(gone).collect()
}
