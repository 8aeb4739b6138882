//! The map of a cluster as it is now (`routing::Map`), in its ConfigMap.
//!
//! While a plan splits the shards, both VIPs of a split shard lead to where its keys are: so one map of equal parts is right
//! for all of them at every moment, and a plan changes it once.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;

use crate::api::cluster::{Range, Strategy};
use crate::api::names;
use crate::api::valid::Valid;
use crate::routing::{Keys, Map, Shard};

/// What belongs to a shard. Hash: equal parts; Table: equal parts of the routes that there were at first; Range: by the bounds.
pub fn keys(cluster: &Valid, shard: u32) -> Keys {
    match cluster.sharding.strategy {
        Strategy::Hash => Keys::Residue { modulus: cluster.shards, residue: shard },
        Strategy::Table => {
            let routes = cluster.first_shards.max(1);
            Keys::Route { route: shard % routes, modulus: (cluster.shards / routes).max(1), residue: shard / routes }
        }
        Strategy::Range => {
            let at = cluster.ranges.iter().position(|r| r.shard == shard as i32).unwrap_or_default();
            let before = at.checked_sub(1).and_then(|i| cluster.ranges[i].to);
            Keys::Range { from: before, to: cluster.ranges.get(at).and_then(|r| r.to) }
        }
    }
}

/// Range: the bounds when each shard has given its part from `chosen` on to the shard `count` further.
pub fn split(ranges: &[Range], chosen: &BTreeMap<u32, i64>, count: u32) -> Vec<Range> {
    let halves = |range: &Range| match chosen.get(&(range.shard as u32)) {
        Some(at) => vec![Range { shard: range.shard, to: Some(*at) }, Range { shard: range.shard + count as i32, to: range.to }],
        None => vec![range.clone()],
    };
    ranges.iter().flat_map(halves).collect()
}

/// The same, taken back: shards from `count` on are joined to those that they came from.
pub fn join(ranges: &[Range], count: u32) -> Vec<Range> {
    let mut joined: Vec<Range> = Vec::new();
    for range in ranges {
        match joined.last_mut() {
            Some(last) if range.shard as u32 >= count => last.to = range.to,
            _ => joined.push(range.clone()),
        }
    }
    joined
}

/// What clients read.
pub fn map(cluster: &Valid) -> Map {
    let sharding = &cluster.sharding;
    let shard = |id: u32| Shard {
        id,
        keys: keys(cluster, id),
        vip: names::service_host(&names::pair(&cluster.name, id), &cluster.namespace),
        port: names::PORT as u16,
    };
    Map {
        cluster: cluster.name.clone(),
        epoch: cluster.epoch,
        strategy: sharding.strategy,
        function: sharding.function,
        source: sharding.table.as_ref().map(Into::into),
        routes: None,
        tables: sharding.tables.iter().map(Into::into).collect(),
        shards: (0..cluster.shards).map(shard).collect(),
    }
}

/// Builds its ConfigMap.
pub fn build(cluster: &Valid) -> ConfigMap {
    ConfigMap {
        metadata: super::meta(cluster, &names::map(&cluster.name), &[]),
        data: Some(super::pairs([(names::MAP_KEY, map(cluster).json())])),
        ..ConfigMap::default()
    }
}
