//! Whose turn it is in a rollout: read from the watches and the other pairs' probers, without asking anybody.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::StatefulSet;
use kube::ResourceExt;

use super::Runner;
use crate::api::names;
use crate::api::pair::ShardPair;
use crate::controller::stores::Stores;
use crate::pair::decide::{View, holds};
use crate::pair::facts::{Lower, Observation};
use crate::pair::record::Record;

/// A pair that held us is believed to do so for this long: with many pairs each looks at many.
const HOLDS: Duration = Duration::from_secs(2);

impl Runner {
    /// The first pair of a lower shard that must be renewed before this one, if a member here is outdated.
    pub(super) fn turn_of(&mut self, record: &Record, seen: &Observation) -> Option<String> {
        let view = View { record, settings: &self.settings, seen, now: Timestamp::now() };
        let outdated = record.standby.iter().chain([&record.primary]).find(|name| view.outdated(name))?;
        if let Some((pair, _)) = self.memory.turn_of.as_ref().filter(|(_, at)| at.elapsed() < HOLDS) {
            return Some(pair.clone());
        }
        let wanted = self.set(outdated).and_then(|s| s.annotations().get(names::WANTED_HASH).cloned());
        let mut lower = (0..self.pair.spec.shard).filter_map(|shard| {
            let name = names::pair(&self.pair.spec.cluster, u32::try_from(shard).ok()?);
            Stores::get(&self.ctx.stores.pairs, &self.namespace, &name)
        });
        let first = lower.find(|pair| holds(&self.lower(pair, wanted.as_ref()))).map(|pair| pair.name_any());
        self.memory.turn_of = first.clone().map(|pair| (pair, Instant::now()));
        first
    }

    fn lower(&self, pair: &ShardPair, wanted: Option<&String>) -> Lower {
        let record = pair.status.as_ref().map(|s| s.record.clone()).unwrap_or_default();
        let roles: Vec<String> = [record.primary.clone()].into_iter().chain(record.standby.clone()).collect();
        Lower {
            excused: names::paused(pair.annotations()) || pair.metadata.deletion_timestamp.is_some(),
            told: roles.iter().all(|name| self.set(name).is_some_and(|set| seen_by_its_controller(&set) && set.annotations().get(names::WANTED_HASH) == wanted)),
            members: roles.into_iter().map(|name| (name.clone(), self.elsewhere(&name))).collect(),
            record,
        }
    }

    fn set(&self, member: &str) -> Option<Arc<StatefulSet>> {
        Stores::get(&self.ctx.stores.sets, &self.namespace, member)
    }
}

/// Which revision it wants is known only then.
fn seen_by_its_controller(set: &StatefulSet) -> bool {
    set.status.as_ref().and_then(|s| s.observed_generation) >= set.metadata.generation
}
