//! From watched objects to the plain values that decisions are made of.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use kube::ResourceExt;

use super::{Runner, version, work};
use crate::api::cluster::{Durability, ShardCluster, Strategy};
use crate::api::expansion::{CloneProgress, ExpansionPlan, Phase};
use crate::api::valid::Valid;
use crate::api::{ShardPair, conditions, names, parse};
use crate::controller::pair::write::ours;
use crate::controller::stores::Stores;
use crate::expansion::facts::{Asked, Cluster, Level, Observation, Pair, Plan};
use crate::pair::record::Mode;
use crate::pair::split::{LinkState, SplitState, SplitUntil};

/// Faster looks make no better rate. Milliseconds.
const RATE_MS: u128 = 1_500;

pub(super) fn level(until: SplitUntil) -> Level {
    match until {
        SplitUntil::Prepared => Level::Prepared,
        SplitUntil::Flipped => Level::Flipped,
        SplitUntil::Dissolved => Level::Dissolved,
        SplitUntil::Purged => Level::Purged,
    }
}

impl Runner {
    /// None: the cluster is another installation's to look after, or nobody's yet.
    pub(super) fn observe(&mut self) -> Option<(Plan, Observation)> {
        let plan = self.read_plan();
        let Some(cluster) = self.cluster() else {
            // Unreadable, or absent.
            let there = Stores::get(&self.ctx.stores.clusters, &self.namespace, &self.plan.spec.cluster_ref.name).is_some();
            let unreadable = Cluster { invalid: Some("this operator can't read it".to_owned()), ..Cluster::default() };
            return Some((plan, Observation { cluster: there.then_some(unreadable), ..Observation::default() }));
        };
        if !ours(&cluster, &self.ctx.identity) {
            return None;
        }
        let pairs = self.pairs(&cluster);
        let facts = Cluster {
            shards: cluster.status.as_ref().and_then(|s| s.shards).unwrap_or(cluster.spec.shards).max(1) as u32,
            invalid: Valid::parse(&cluster).err().map(|invalid| invalid.message),
            paused: cluster.spec.paused,
            deleting: cluster.metadata.deletion_timestamp.is_some(),
            by_range: cluster.spec.sharding.strategy == Strategy::Range,
            required: cluster.spec.failover.durability == Durability::Required,
        };
        let mut seen = Observation { before: self.before(&facts, &pairs), cluster: Some(facts), ..Observation::default() };
        for pair in pairs.values() {
            let mut facts = pair_facts(pair);
            self.clone_rate(pair.spec.shard as u32, &mut facts);
            seen.pairs.insert(pair.spec.shard as u32, facts);
        }
        self.work.results(&mut seen, self.plan.metadata.generation);
        // What was found of an earlier flip is over.
        let ceded = |shard: &u32| pairs.get(shard).and_then(|p| Some(p.status.as_ref()?.record.ceded.as_ref()?.epoch));
        seen.audits.retain(|shard, audit| audit.ceded == 0 || Some(audit.ceded) == ceded(shard));
        Some((plan, seen))
    }

    fn read_plan(&self) -> Plan {
        let (spec, status) = (&self.plan.spec, self.status());
        let shards = || status.shards.iter();
        Plan {
            name: self.plan.name_any(),
            to_shards: spec.to_shards.max(2) as u32,
            standbys: spec.standbys,
            until: spec.until,
            reverse_window_ms: parse::duration_ms(&spec.reverse_window).unwrap_or(600_000) as i64,
            clients_ms: parse::duration_ms(&spec.wait_for_clients).unwrap_or(30_000) as i64,
            split_at: spec.split_at.clone(),
            deleting: self.plan.metadata.deletion_timestamp.is_some(),
            held: self.plan.finalizers().iter().any(|f| f == names::PLAN_FINALIZER),
            paused: names::paused(self.plan.annotations()),
            phase: status.phase,
            phases: shards().filter_map(|s| Some((s.shard as u32, s.phase?))).collect(),
            chosen: shards().filter_map(|s| Some((s.shard as u32, s.split_at?))).collect(),
            flipped_at: status.flipped_at.as_ref().map(|t| t.0),
            announced_at: status.announced_at.as_ref().map(|t| t.0),
        }
    }

    /// The ShardCluster, if it can be read.
    pub(super) fn cluster(&self) -> Option<ShardCluster> {
        let watched = Stores::get(&self.ctx.stores.clusters, &self.namespace, &self.plan.spec.cluster_ref.name)?;
        let watched = watched.0.as_ref().ok()?;
        let written = self.memory.written.cluster.as_ref().filter(|w| w.uid() == watched.uid() && version(*w) > version(watched));
        Some(written.unwrap_or(watched).clone())
    }

    /// The cluster's pairs, by shard.
    pub(super) fn pairs(&self, cluster: &ShardCluster) -> BTreeMap<u32, ShardPair> {
        let uid = cluster.uid().unwrap_or_default();
        let own = |p: &Arc<ShardPair>| {
            let owner = p.metadata.owner_references.iter().flatten().any(|o| o.uid == uid);
            p.namespace().as_deref() == Some(&self.namespace) && owner && p.metadata.deletion_timestamp.is_none()
        };
        let newer = |watched: Arc<ShardPair>| {
            let written = self.memory.written.pairs.get(&watched.name_any()).filter(|w| version(*w) > version(&*watched));
            written.cloned().unwrap_or_else(|| (*watched).clone())
        };
        self.ctx.stores.pairs.state().into_iter().filter(own).map(newer).map(|p| (p.spec.shard as u32, p)).collect()
    }

    /// The plan that goes first: one that has begun, else the oldest that could begin.
    fn before(&self, cluster: &Cluster, pairs: &BTreeMap<u32, ShardPair>) -> Option<String> {
        let own = self.plan.name_any();
        let begun = pairs.values().filter_map(|p| p.spec.split.as_ref()).map(|s| s.plan.clone()).find(|plan| *plan != own);
        let older = || {
            let plans = self.ctx.stores.plans.state();
            let rival = |p: &ExpansionPlan| {
                let phase = p.status.as_ref().and_then(|s| s.phase);
                let could = p.spec.until >= Phase::Prepared && p.spec.to_shards.max(0) as u32 == cluster.shards * 2 || phase >= Some(Phase::Prepared);
                let open = phase != Some(Phase::Complete) && p.metadata.deletion_timestamp.is_none();
                p.namespace() == self.plan.namespace() && p.spec.cluster_ref == self.plan.spec.cluster_ref && could && open
            };
            let age = |p: &ExpansionPlan| (p.metadata.creation_timestamp.as_ref().map(|t| t.0), p.name_any());
            let first = plans.iter().filter_map(|p| p.0.as_ref().ok()).filter(|p| rival(p)).min_by_key(|p| age(p))?;
            (age(first) < age(&self.plan) && first.name_any() != own).then(|| first.name_any())
        };
        begun.or_else(older)
    }

    /// What runs beside needs to know this of the plan.
    pub(super) fn errand(&self, plan: &Plan) -> work::Errand {
        work::Errand {
            plan: plan.name.clone(),
            to_shards: plan.to_shards,
            standbys: plan.standbys,
            split_at: plan.split_at.clone(),
            max_standby_lag_ms: parse::duration_ms(&self.plan.spec.purge.max_standby_lag).unwrap_or(1_000),
            chunk_rows: self.plan.spec.purge.chunk_rows.max(1) as u32,
            generation: self.plan.metadata.generation,
        }
    }

    /// Rate and rest, from two looks at a clone.
    fn clone_rate(&mut self, shard: u32, facts: &mut Pair) {
        let Some(clone) = facts.clone.as_mut() else {
            self.memory.clones.remove(&shard);
            return;
        };
        let (now, last) = (Instant::now(), self.memory.clones.get(&shard).copied());
        let rate = match last {
            Some((bytes, at, rate)) if now.duration_since(at).as_millis() < RATE_MS || bytes > clone.bytes_done => rate,
            Some((bytes, at, _)) => Some(((clone.bytes_done - bytes) as f64 / now.duration_since(at).as_secs_f64()) as i64),
            None => None,
        };
        if last.is_none_or(|(bytes, at, _)| now.duration_since(at).as_millis() >= RATE_MS || bytes > clone.bytes_done) {
            self.memory.clones.insert(shard, (clone.bytes_done, now, rate));
        }
        clone.bytes_per_second = rate;
        clone.eta_seconds = rate.filter(|r| *r > 0).map(|r| (clone.bytes_estimated - clone.bytes_done).max(0) / r);
    }
}

/// What a pair's spec and status say of a split.
fn pair_facts(pair: &ShardPair) -> Pair {
    let status = pair.status.clone().unwrap_or_default();
    let (record, asked) = (&status.record, pair.spec.split.as_ref());
    let said = status.split.unwrap_or_default();
    let told = asked.is_some() && pair.status.as_ref().is_some_and(|s| s.split.is_some());
    let is = |states: &[SplitState]| told && states.contains(&said.state);
    let later = [SplitState::Dissolving, SplitState::Dissolved];
    let ceded = record.ceded.as_ref().is_some_and(|c| asked.is_some_and(|a| a.other == c.pair));
    let clone = said.clone_bytes.map(|estimated| CloneProgress {
        member: record.rebuild.as_ref().map(|r| r.member.clone()).unwrap_or_default(),
        bytes_done: said.cloned_bytes.unwrap_or(0),
        bytes_estimated: estimated,
        ..CloneProgress::default()
    });
    Pair {
        asked: asked.map(|s| Asked { plan: s.plan.clone(), until: level(s.until) }),
        unwell: unwell(pair),
        alone: record.provisioned() && record.standby.is_none() && record.transition.is_none() && record.deposed.is_none(),
        provisioned: record.provisioned(),
        follows: record.follows.is_some(),
        ceded,
        prepared: is(&[SplitState::Prepared]),
        flipped: is(&[SplitState::Flipped]) || is(&later),
        parted: told && said.state == SplitState::Dissolved && said.link == LinkState::Gone,
        clean: asked.is_none() && pair.status.as_ref().is_some_and(|s| s.split.is_none()) && record.linked.is_none() && record.follows.is_none(),
        says: (told && !said.message.is_empty()).then(|| format!("{}: {}", pair.name_any(), said.message)),
        stuck: told && said.link == LinkState::Failing,
        pause_seconds: said.pause_seconds,
        clone,
    }
}

/// Why it isn't in Sync and at rest.
fn unwell(pair: &ShardPair) -> Option<String> {
    let status = pair.status.clone().unwrap_or_default();
    let record = &status.record;
    if !record.provisioned() {
        return Some("it is being provisioned".to_owned());
    }
    let ready = conditions::find(&status.conditions, conditions::READY);
    let at_rest = record.transition.is_none() && record.rebuild.is_none() && record.deposed.is_none();
    if record.mode == Mode::Sync && at_rest && ready.is_some_and(|c| c.status == "True") {
        return None;
    }
    Some(match ready {
        Some(ready) if ready.status != "True" => format!("{}: {}", ready.reason, ready.message),
        _ if record.mode != Mode::Sync => "it runs without a standby".to_owned(),
        _ => "it is being changed".to_owned(),
    })
}
