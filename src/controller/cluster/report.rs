//! From what was seen and planned to the ShardCluster's status. Pure: the time comes from the caller.

use std::collections::BTreeSet;

use jiff::Timestamp;
use kube::ResourceExt;

use super::plan::{Kind, Live, Plan, Seen};
use crate::api::cluster::{PairSummary, ShardCluster, ShardClusterStatus};
use crate::api::conditions::{self, AVAILABLE, READY, RECONCILING, REDUNDANT, STALLED, Said};
use crate::api::{ShardPair, names};
use crate::pair::record::AppliedSettings;

/// The status after this pass.
pub fn status(cluster: &ShardCluster, seen: &Seen, plan: &Plan, now: Timestamp) -> ShardClusterStatus {
    let mut status = cluster.status.clone().unwrap_or_default();
    let all: Vec<ShardPair> = seen.pairs(&cluster.uid().unwrap_or_default()).into_values().collect();
    if plan.refused.is_none() && !cluster.spec.paused {
        status.shards.get_or_insert(cluster.spec.shards);
        status.epoch.get_or_insert(1);
    }
    let shards = status.shards.unwrap_or(cluster.spec.shards);
    status.observed_generation = cluster.metadata.generation;
    status.redis_secret = redis_secret(cluster);
    status.pairs = all.iter().map(summary).collect();
    // A pair that an ExpansionPlan prepares owns no key: nothing is missing while it isn't ready.
    let prepares = |p: &ShardPair| p.spec.shard >= shards || p.status.as_ref().is_some_and(|s| s.record.follows.is_some());
    let made = all.iter().filter(|p| p.spec.shard < shards).count();
    let pairs: Vec<ShardPair> = all.into_iter().filter(|p| !prepares(p)).collect();
    let shards = pairs.len() as i32 + shards - made as i32;
    let generation = cluster.metadata.generation;
    let ready = ready(cluster, shards, &pairs, seen, plan);
    let reconciling = (ready.status == conditions::Status::False && plan.stalled().is_none() && !cluster.spec.paused)
        .then(|| Said::new(RECONCILING, true, ready.reason.clone(), ready.message.clone()));
    let stalled = plan.stalled().map(|i| Said::new(STALLED, true, i.reason, i.message.clone()));
    conditions::upsert(&mut status.conditions, ready, generation, now);
    conditions::upsert(&mut status.conditions, every(AVAILABLE, "writes", shards, &pairs), generation, now);
    conditions::upsert(&mut status.conditions, every(REDUNDANT, "a second copy of every acknowledged write", shards, &pairs), generation, now);
    for (type_, said) in [(RECONCILING, reconciling), (STALLED, stalled)] {
        match said {
            Some(said) => conditions::upsert(&mut status.conditions, said, generation, now),
            None => conditions::remove(&mut status.conditions, type_),
        }
    }
    status
}

fn summary(pair: &ShardPair) -> PairSummary {
    let status = pair.status.clone().unwrap_or_default();
    let ready = conditions::find(&status.conditions, READY).map(|c| c.reason.clone());
    PairSummary {
        name: pair.name_any(),
        shard: pair.spec.shard,
        mode: status.record.provisioned().then_some(status.record.mode),
        primary: status.record.primary,
        standby: status.record.standby,
        ready: ready.unwrap_or_default(),
    }
}

/// Where clients find the cluster's Redis.
fn redis_secret(cluster: &ShardCluster) -> Option<String> {
    let redis = cluster.spec.cache.redis.as_ref()?;
    Some(redis.secret_name.clone().unwrap_or_else(|| names::redis(&cluster.name_any())))
}

/// Does the cluster's own Redis, if there shall be one, answer its probe?
fn answers(cluster: &ShardCluster, seen: &Seen) -> bool {
    let own = cluster.spec.cache.redis.as_ref().is_some_and(|r| r.secret_name.is_none());
    let set = seen.get(Kind::StatefulSet, &names::redis(&cluster.name_any()));
    !own || set.is_some_and(|set| set.value["status"]["readyReplicas"].as_i64().unwrap_or(0) > 0)
}

fn ready(cluster: &ShardCluster, shards: i32, pairs: &[ShardPair], seen: &Seen, plan: &Plan) -> Said {
    if let Some(invalid) = plan.stalled() {
        return Said::new(READY, false, invalid.reason, invalid.message.clone());
    }
    if plan.held_back {
        return Said::new(READY, false, "Paused", "spec.paused is true: the spec is not carried out; set it to false to go on");
    }
    let all = every(READY, "everything that the spec wants", shards, pairs);
    if all.status != conditions::Status::True {
        let provisioned = |p: &ShardPair| p.status.as_ref().is_some_and(|s| s.record.provisioned());
        let reason = if pairs.len() == shards.max(0) as usize && pairs.iter().all(provisioned) { "PairsNotReady" } else { "Provisioning" };
        return Said { reason: reason.to_owned(), ..all };
    }
    let behind = outdated(seen, pairs);
    match (behind.is_empty(), plan.actions.is_empty()) {
        (true, true) if !answers(cluster, seen) => Said::new(READY, false, "CacheNotReady", format!("Redis doesn't answer yet: kubectl describe pod {}-0", names::redis(&cluster.name_any()))),
        (true, true) => all,
        (true, false) => Said::new(READY, false, "Updating", "objects are being brought up to the spec"),
        (false, _) => Said::new(READY, false, "Updating", format!("members to be brought up to the spec, pair by pair and standbys first: {}", list(&behind))),
    }
}

/// Members whose pod runs an older template than the spec wants, or whose process settings that only a restart changes.
fn outdated(seen: &Seen, pairs: &[ShardPair]) -> Vec<String> {
    let behind = |live: &serde_json::Value| {
        let status = &live["status"];
        let observed = status["observedGeneration"].as_i64() >= live["metadata"]["generation"].as_i64();
        !observed || status["updatedReplicas"].as_i64().unwrap_or(0) < 1 && status["currentRevision"] != status["updateRevision"]
    };
    let member = |live: &Live| !live.label(names::LABEL_MEMBER).is_empty();
    let sets = seen.objects.iter().filter(|((kind, _), live)| *kind == Kind::StatefulSet && member(live) && behind(&live.value));
    let members = pairs.iter().flat_map(|p| p.status.iter().flat_map(|s| &s.record.members));
    let restarts = members.filter(|m| m.settings.as_ref().is_some_and(AppliedSettings::wants_restart));
    let all: BTreeSet<String> = sets.map(|((_, name), _)| name.clone()).chain(restarts.map(|m| m.name.clone())).collect();
    all.into_iter().collect()
}

/// One condition over all pairs.
fn every(type_: &'static str, what: &str, shards: i32, pairs: &[ShardPair]) -> Said {
    let holds = |p: &&ShardPair| p.status.as_ref().is_some_and(|s| conditions::is_true(&s.conditions, type_));
    let missing: Vec<String> = pairs.iter().filter(|p| !holds(p)).map(why(type_)).collect();
    let unmade = shards.max(0) as usize - pairs.len().min(shards.max(0) as usize);
    if missing.is_empty() && unmade == 0 {
        return Said::new(type_, true, "AllPairs", format!("all {} pairs have {what}", pairs.len()));
    }
    let mut message = format!("{} of {shards} pairs have {what}", pairs.len() - missing.len());
    if unmade > 0 {
        message.push_str(&format!("; {unmade} to be made"));
    }
    if !missing.is_empty() {
        message.push_str(&format!("; not yet: {}", list(&missing)));
    }
    Said::new(type_, false, "SomePairs", message)
}

fn why(type_: &'static str) -> impl Fn(&ShardPair) -> String {
    move |pair| {
        let said = pair.status.as_ref().and_then(|s| conditions::find(&s.conditions, type_));
        let why = match said {
            None => "not seen yet".to_owned(),
            Some(c) if c.message.is_empty() => c.reason.clone(),
            Some(c) => format!("{}: {}", c.reason, shorten(&c.message)),
        };
        format!("{} ({why})", pair.name_any())
    }
}

/// What a pair says, in a list of many: the pair itself has it whole.
fn shorten(message: &str) -> String {
    const LONGEST: usize = 240;
    match message.char_indices().nth(LONGEST) {
        Some((at, _)) => format!("{}…", &message[..at]),
        None => message.to_owned(),
    }
}

/// A few names of many.
fn list(names: &[String]) -> String {
    const SHOWN: usize = 8;
    let more = if names.len() > SHOWN { format!(" and {} more", names.len() - SHOWN) } else { String::new() };
    format!("{}{more}", names[..names.len().min(SHOWN)].join(", "))
}
