//! What is told of a pair, a member, a move: values for `-o json|yaml` and for the tables alike. Pure.

use jiff::Timestamp;
use kube::ResourceExt;
use serde::Serialize;

use super::seen::Seen;
use crate::api::conditions::{self, AVAILABLE, READY, REDUNDANT};
use crate::api::pair::{ShardPair, ShardPairStatus};
use crate::api::names;
use crate::pair::guide::{self, Class};
use crate::pair::record::{Mode, MoveKind};

/// One pair in one line.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PairLine {
    /// Its namespace.
    pub namespace: String,
    /// `<cluster>-<shard>`
    pub name: String,
    /// Its cluster.
    pub cluster: String,
    /// Its shard.
    pub shard: i32,
    /// The member behind the VIP; empty: none yet.
    pub primary: String,
    /// The other one.
    pub standby: Option<String>,
    /// Sync or Solo; None: not provisioned.
    pub mode: Option<Mode>,
    /// Of the record.
    pub epoch: i64,
    /// The standby's, seconds, in coarse steps.
    pub lag_seconds: Option<i64>,
    /// Transactions that the standby has not applied yet, in coarse steps.
    pub behind_transactions: Option<i64>,
    /// Everything as it should be.
    pub ready: bool,
    /// Writes are possible.
    pub available: bool,
    /// Every acknowledged write is on two members.
    pub redundant: bool,
    /// How bad the reason is.
    pub class: &'static str,
    /// Since when it is as it is.
    pub since: Option<Timestamp>,
    /// One word: why it is as it is.
    pub reason: String,
    /// What it waits for; empty: for nothing.
    pub waits_for: String,
    /// A move under way: `Failover to shop-m1`.
    pub moving: Option<String>,
    /// The last completed move.
    pub last_move: Option<Moved>,
    /// Hands off.
    pub paused: bool,
    /// Annotations that ask for something and are not done yet.
    pub requests: Vec<String>,
}

/// A completed move.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Moved {
    /// What it was.
    pub kind: MoveKind,
    /// The old primary.
    pub from: String,
    /// The new one.
    pub to: String,
    /// When it was done.
    pub at: Timestamp,
    /// Seconds without writes.
    pub seconds: f64,
    /// Why.
    pub reason: String,
}

impl PairLine {
    /// Of the object alone, and its cluster's `paused`.
    pub fn of(seen: &Seen, pair: &ShardPair) -> Self {
        let status = pair.status.clone().unwrap_or_default();
        let cluster = seen.cluster_of(pair);
        let ready = conditions::find(&status.conditions, READY);
        let record = &status.record;
        let paused = names::paused(pair.annotations()) || cluster.is_some_and(|c| c.spec.paused);
        let unmanaged = cluster.and_then(|c| seen.unmanaged(c));
        let (reason, message) = match (unmanaged, ready) {
            (Some(why), _) => ("OperatorAway".to_owned(), why),
            (None, Some(c)) => (c.reason.clone(), c.message.clone()),
            (None, None) => ("Provisioning".to_owned(), "nobody has looked at it yet".to_owned()),
        };
        Self {
            namespace: pair.namespace().unwrap_or_default(),
            name: pair.name_any(),
            cluster: pair.spec.cluster.clone(),
            shard: pair.spec.shard,
            primary: record.primary.clone(),
            standby: record.standby.clone(),
            mode: record.provisioned().then_some(record.mode),
            epoch: record.epoch,
            lag_seconds: status.lag_seconds,
            behind_transactions: record.standby.as_deref().and_then(|s| record.member(s)).and_then(|m| m.behind_transactions),
            ready: holds(&status, READY),
            available: holds(&status, AVAILABLE),
            redundant: holds(&status, REDUNDANT),
            class: class_of(&reason).as_str(),
            since: ready.map(|c| c.last_transition_time.0),
            reason,
            waits_for: message,
            moving: record.transition.as_ref().map(|t| format!("{:?} to {}", t.kind, t.to)),
            last_move: last_move(&status),
            paused,
            requests: requests(pair),
        }
    }

    /// The class of its reason.
    pub fn weight(&self) -> Class {
        class_of(&self.reason)
    }
}

/// Is the condition there, and True?
pub fn holds(status: &ShardPairStatus, type_: &str) -> bool {
    conditions::is_true(&status.conditions, type_)
}

/// How bad a condition's reason is; those that no decision gives are known here.
pub fn class_of(reason: &str) -> Class {
    match reason {
        "PrimaryOpen" => Class::Rest,
        "Settling" => Class::Work,
        "OperatorAway" => Class::Alarm,
        "UnderWay" => Class::Work,
        "SafeMoveExists" => Class::Rest,
        other => guide::reason(other).map_or(Class::Wait, |r| guide::guide(r).0),
    }
}

fn last_move(status: &ShardPairStatus) -> Option<Moved> {
    let m = status.last_move.as_ref()?;
    Some(Moved { kind: m.kind, from: m.from.clone(), to: m.to.clone(), at: m.at.0, seconds: m.seconds, reason: m.reason.clone() })
}

/// `switchover-to=shop-m1`
fn requests(pair: &ShardPair) -> Vec<String> {
    let asks = [names::ASK_SWITCHOVER_TO, names::ASK_PROMOTE_WITH_DATA_LOSS, names::ASK_REPLACE, names::ASK_REBUILD, names::ASK_DISCARD_TAIL];
    let asked = asks.iter().filter_map(|ask| Some((ask, pair.annotations().get(*ask)?)));
    asked.map(|(ask, value)| format!("{}={value}", ask.trim_start_matches("shardpair.io/"))).collect()
}

/// A cluster with its pairs and plans.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterView {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Shards that it has now.
    pub shards: i32,
    /// Everything as it should be.
    pub ready: bool,
    /// One word.
    pub reason: String,
    /// What is wrong, or empty.
    pub message: String,
    /// `<namespace>/<lease>` of its operator.
    pub operator: Option<String>,
    /// Its pairs, by shard.
    pub pairs: Vec<PairLine>,
    /// Its plans in flight.
    pub plans: Vec<super::plan::PlanView>,
}

/// Everything seen, for `status`.
pub fn clusters(seen: &Seen) -> Vec<ClusterView> {
    let view = |cluster: &crate::api::ShardCluster| {
        let status = cluster.status.clone().unwrap_or_default();
        let stalled = conditions::find(&status.conditions, conditions::STALLED);
        let told = stalled.or_else(|| conditions::find(&status.conditions, READY));
        let (reason, message) = match (seen.unmanaged(cluster), told) {
            (Some(why), _) => ("OperatorAway".to_owned(), why),
            (None, Some(c)) => (c.reason.clone(), c.message.clone()),
            (None, None) => ("Provisioning".to_owned(), String::new()),
        };
        ClusterView {
            namespace: cluster.namespace().unwrap_or_default(),
            name: cluster.name_any(),
            shards: status.shards.unwrap_or(cluster.spec.shards),
            ready: conditions::is_true(&status.conditions, READY),
            reason,
            message,
            operator: status.manager,
            pairs: seen.pairs_of(cluster).map(|p| PairLine::of(seen, p)).collect(),
            plans: seen.plans.iter().filter(|p| p.namespace() == cluster.namespace() && p.spec.cluster_ref.name == cluster.name_any()).map(|p| super::plan::PlanView::of(p, seen.now)).collect(),
        }
    };
    seen.clusters.iter().map(view).collect()
}
