//! What was asked of the API server once, as plain values: everything else in the plugin is computed from it. Pure.

use std::collections::BTreeMap;

use jiff::Timestamp;
use kube::ResourceExt;

use crate::api::{ExpansionPlan, ShardCluster, ShardPair};

/// See the module.
#[derive(Clone, Debug)]
pub struct Seen {
    /// None: all namespaces.
    pub namespace: Option<String>,
    /// By name.
    pub clusters: Vec<ShardCluster>,
    /// By cluster and shard.
    pub pairs: Vec<ShardPair>,
    /// By name.
    pub plans: Vec<ExpansionPlan>,
    /// When each operator installation (`<namespace>/<lease>`) renewed its Lease last; None: it never did. Absent: not known (no permission).
    pub operators: BTreeMap<String, Option<Timestamp>>,
    /// When it was asked.
    pub now: Timestamp,
}

/// A Lease that wasn't renewed for this long has no holder, seconds.
const AWAY_SECONDS: i64 = 15;

impl Seen {
    /// `in namespace x`
    pub fn place(&self) -> String {
        self.namespace.as_ref().map_or("in any namespace".to_owned(), |n| format!("in namespace {n}"))
    }

    /// The cluster of a pair.
    pub fn cluster_of(&self, pair: &ShardPair) -> Option<&ShardCluster> {
        self.clusters.iter().find(|c| c.namespace() == pair.namespace() && c.name_any() == pair.spec.cluster)
    }

    /// The pairs of a cluster.
    pub fn pairs_of<'a>(&'a self, cluster: &'a ShardCluster) -> impl Iterator<Item = &'a ShardPair> {
        self.pairs.iter().filter(move |p| p.namespace() == cluster.namespace() && p.spec.cluster == cluster.name_any())
    }

    /// Why nobody looks after the cluster; None: somebody does, or it can't be told.
    pub fn unmanaged(&self, cluster: &ShardCluster) -> Option<String> {
        let Some(manager) = cluster.status.as_ref().and_then(|s| s.manager.as_deref()) else {
            return Some("no operator has looked at it yet: is shardpair installed, and does it watch this namespace?".to_owned());
        };
        let renewed = self.operators.get(manager)?;
        let (namespace, name) = manager.split_once('/').unwrap_or(("", manager));
        let remedy = format!("kubectl -n {namespace} get deployment {name}");
        match renewed {
            None => Some(format!("its operator {manager} isn't installed any more: install it again ({remedy})")),
            Some(at) if self.now.as_second() - at.as_second() > AWAY_SECONDS => {
                Some(format!("its operator {manager} isn't running (last seen {} ago): {remedy}", age(self.now.as_second() - at.as_second())))
            }
            Some(_) => None,
        }
    }

    /// Only these clusters and what belongs to them.
    pub fn only(mut self, cluster: &ShardCluster) -> Self {
        let (namespace, name) = (cluster.namespace(), cluster.name_any());
        self.pairs.retain(|p| p.namespace() == namespace && p.spec.cluster == name);
        self.plans.retain(|p| p.namespace() == namespace && p.spec.cluster_ref.name == name);
        self.clusters.retain(|c| c.namespace() == namespace && c.name_any() == name);
        self
    }
}

/// `45s`, `12m`, `3h12m`, `5d`: as kubectl says it.
pub fn age(seconds: i64) -> String {
    let s = seconds.max(0);
    match s {
        0..120 => format!("{s}s"),
        120..7_200 => format!("{}m", s / 60),
        7_200..172_800 => format!("{}h{:02}m", s / 3_600, s % 3_600 / 60),
        _ => format!("{}d", s / 86_400),
    }
}
