//! What the page shows, as one value. Pure: from the objects as the watches have them.

use std::collections::BTreeMap;

use jiff::Timestamp;
use kube::ResourceExt;
use serde::Serialize;

use crate::api::conditions::{self, AVAILABLE, READY, REDUNDANT};
use crate::api::pair::ShardPairStatus;
use crate::api::{ExpansionPlan, ShardCluster, ShardPair, names};
use crate::pair::guide;
use crate::pair::record::{Mode, Record};

use super::plan::{Plan, plan};

/// Everything, by `<namespace>/<name>`.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Snapshot {
    /// The clusters.
    pub clusters: BTreeMap<String, Cluster>,
    /// Their pairs.
    pub pairs: BTreeMap<String, Pair>,
    /// Their plans, complete ones as well.
    pub plans: BTreeMap<String, Plan>,
    /// Completed moves, as many as are remembered, by time and pair.
    pub moves: BTreeMap<String, Moved>,
}

/// One ShardCluster.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Cluster {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Everything as it should be.
    pub ready: bool,
    /// One word.
    pub reason: String,
    /// What is wrong, or empty.
    pub message: String,
    /// How keys are divided.
    pub strategy: String,
}

/// How a pair is, in one word: what a person must know first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// Nothing to do.
    Well,
    /// Something is under way, or wanted; both copies are there.
    Busy,
    /// Writes are possible; a second copy isn't, or couldn't take over.
    Single,
    /// No writes.
    Down,
    /// It is being made.
    New,
}

/// One pair.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Pair {
    /// Its namespace.
    pub namespace: String,
    /// Its cluster.
    pub cluster: String,
    /// Its name, and its VIP's.
    pub name: String,
    /// Its shard.
    pub shard: i32,
    /// How it is.
    pub health: Health,
    /// `rest`, `work`, `wait`, `refusal`, `alarm`.
    pub class: &'static str,
    /// One word.
    pub reason: String,
    /// A sentence, or empty.
    pub message: String,
    /// What to do, if anything.
    pub remedy: &'static str,
    /// Since when it is Ready, or isn't.
    pub since: Option<Timestamp>,
    /// Of the record.
    pub epoch: i64,
    /// Sync, Solo; empty: not provisioned.
    pub mode: &'static str,
    /// Writes are possible.
    pub available: bool,
    /// The standby could take over.
    pub redundant: bool,
    /// Hands off, by the pair's annotation or the cluster's spec.
    pub paused: bool,
    /// The member behind the VIP; empty: none yet.
    pub primary: String,
    /// The other one.
    pub standby: Option<String>,
    /// In order of their side.
    pub members: Vec<Member>,
    /// A move under way.
    pub moving: Option<Moving>,
    /// The standby is made anew.
    pub repair: Option<String>,
    /// Its part in a split.
    pub split: Option<Side>,
}

/// A member.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Member {
    /// Its name.
    pub name: String,
    /// Where it was seen last.
    pub node: Option<String>,
    /// Seconds behind, in coarse steps.
    pub lag_seconds: Option<i64>,
    /// Transactions behind, in coarse steps.
    pub behind: Option<i64>,
}

/// A move under way.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Moving {
    /// Failover, …
    pub kind: String,
    /// The member that becomes primary.
    pub to: String,
    /// When it was recorded.
    pub since: Timestamp,
    /// Why.
    pub reason: String,
}

/// A pair's part in a split.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Side {
    /// The ExpansionPlan.
    pub plan: String,
    /// Parent, Child.
    pub role: String,
    /// The pair of the other side.
    pub other: String,
    /// How far this side is.
    pub state: String,
    /// `follows`: the child copies the parent; `linked`: each copies the other; `cut`: neither.
    pub tie: &'static str,
    /// Why it isn't further, or empty.
    pub message: String,
    /// How long the keys that moved paused.
    pub pause_seconds: Option<f64>,
}

/// A completed move.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Moved {
    /// The pair's namespace.
    pub namespace: String,
    /// The pair.
    pub pair: String,
    /// Failover, …
    pub kind: String,
    /// The old primary.
    pub from: String,
    /// The new one.
    pub to: String,
    /// When it was done.
    pub at: Timestamp,
    /// Without writes.
    pub seconds: f64,
    /// Why.
    pub reason: String,
}

/// Of the objects that can be read. `moves` has only each pair's last: [`super::change::Told`] remembers more.
pub fn snapshot<'a>(clusters: impl Iterator<Item = &'a ShardCluster>, pairs: &[&ShardPair], plans: &[&ExpansionPlan]) -> Snapshot {
    let mut all = Snapshot::default();
    let mut paused = Vec::new();
    for object in clusters {
        if object.spec.paused {
            paused.push((object.namespace(), object.name_any()));
        }
        all.clusters.insert(key(object), cluster(object));
    }
    for object in pairs {
        let cluster_paused = paused.iter().any(|(ns, name)| *ns == object.namespace() && *name == object.spec.cluster);
        all.pairs.insert(key(*object), pair(object, cluster_paused));
        all.moves.extend(moved(object).map(|m| (format!("{} {}/{}", m.at, m.namespace, m.pair), m)));
    }
    all.plans = plans.iter().map(|p| (key(*p), plan(p))).collect();
    all
}

fn key(object: &impl ResourceExt) -> String {
    format!("{}/{}", object.namespace().unwrap_or_default(), object.name_any())
}

fn cluster(cluster: &ShardCluster) -> Cluster {
    let status = cluster.status.clone().unwrap_or_default();
    let told = conditions::find(&status.conditions, conditions::STALLED).or_else(|| conditions::find(&status.conditions, READY));
    Cluster {
        namespace: cluster.namespace().unwrap_or_default(),
        name: cluster.name_any(),
        ready: conditions::is_true(&status.conditions, READY),
        reason: told.map_or("Provisioning", |c| c.reason.as_str()).to_owned(),
        message: told.map(|c| c.message.clone()).unwrap_or_default(),
        strategy: format!("{:?}", cluster.spec.sharding.strategy),
    }
}

fn pair(pair: &ShardPair, cluster_paused: bool) -> Pair {
    let status = pair.status.clone().unwrap_or_default();
    let record = &status.record;
    let ready = conditions::find(&status.conditions, READY);
    let reason = ready.map_or("Provisioning", |c| c.reason.as_str());
    let guided = guide::reason(reason).map(guide::guide);
    let class = guided.map_or("work", |(class, _)| class.as_str());
    let (available, redundant) = (conditions::is_true(&status.conditions, AVAILABLE), conditions::is_true(&status.conditions, REDUNDANT));
    Pair {
        namespace: pair.namespace().unwrap_or_default(),
        cluster: pair.spec.cluster.clone(),
        name: pair.name_any(),
        shard: pair.spec.shard,
        health: match (record.provisioned(), available, redundant) {
            (false, ..) => Health::New,
            (_, false, _) => Health::Down,
            (_, _, false) => Health::Single,
            _ if class == "rest" && record.transition.is_none() => Health::Well,
            _ => Health::Busy,
        },
        class,
        reason: reason.to_owned(),
        message: ready.map(|c| c.message.clone()).unwrap_or_default(),
        remedy: guided.map_or("", |(_, remedy)| remedy),
        since: ready.map(|c| c.last_transition_time.0),
        epoch: record.epoch,
        mode: match (record.provisioned(), record.mode) {
            (false, _) => "",
            (_, Mode::Sync) => "Sync",
            (_, Mode::Solo) => "Solo",
        },
        available,
        redundant,
        paused: cluster_paused || names::paused(pair.annotations()),
        primary: record.primary.clone(),
        standby: record.standby.clone(),
        members: pair.spec.members.iter().map(|name| member(record, name)).collect(),
        moving: record.transition.as_ref().map(|t| Moving { kind: format!("{:?}", t.kind), to: t.to.clone(), since: t.started_at.0, reason: t.reason.clone() }),
        repair: repair(record),
        split: side(pair, &status),
    }
}

fn member(record: &Record, name: &str) -> Member {
    let known = record.member(name);
    Member { name: name.to_owned(), node: known.and_then(|m| m.node.clone()), lag_seconds: known.and_then(|m| m.lag_seconds), behind: known.and_then(|m| m.behind_transactions) }
}

fn repair(record: &Record) -> Option<String> {
    let rebuild = record.rebuild.as_ref().map(|r| format!("{} is cloned from {}: {}", r.member, record.primary, r.reason));
    rebuild.or_else(|| record.rewind.as_ref().map(|r| format!("what {} has beyond {} is undone", r.member, record.primary)))
}

fn side(pair: &ShardPair, status: &ShardPairStatus) -> Option<Side> {
    let wanted = pair.spec.split.as_ref()?;
    let split = status.split.clone().unwrap_or_default();
    let record = &status.record;
    let tie = match () {
        () if record.linked.is_some() => "linked",
        () if record.severed.is_some() => "cut",
        () if record.follows.is_some() => "follows",
        () => "",
    };
    Some(Side {
        plan: wanted.plan.clone(),
        role: format!("{:?}", wanted.role),
        other: wanted.other.clone(),
        state: format!("{:?}", split.state),
        tie,
        message: split.message,
        pause_seconds: split.pause_seconds,
    })
}

fn moved(pair: &ShardPair) -> Option<Moved> {
    let last = pair.status.as_ref()?.last_move.as_ref()?;
    Some(Moved {
        namespace: pair.namespace().unwrap_or_default(),
        pair: pair.name_any(),
        kind: format!("{:?}", last.kind),
        from: last.from.clone(),
        to: last.to.clone(),
        at: last.at.0,
        seconds: last.seconds,
        reason: last.reason.clone(),
    })
}
