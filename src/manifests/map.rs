//! The map: which shard a key belongs to, and where that shard is. What clients read (`map.json`).

use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::{Map, Value, json};

use crate::api::cluster::Strategy;
use crate::api::names;
use crate::api::valid::Valid;

/// The keys of one shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Keys {
    /// `function(key) mod modulus == residue`
    Residue {
        /// Shards may have different moduli, so that one can flip before another.
        modulus: u32,
        /// Which of them.
        residue: u32,
    },
    /// `from <= key < to`; None: open.
    Range {
        /// Inclusive.
        from: Option<i64>,
        /// Exclusive.
        to: Option<i64>,
    },
    /// By the table of routes.
    Table,
}

/// One line of the map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shard {
    /// Its number; its VIP is `<cluster>-<id>`.
    pub id: u32,
    /// What belongs to it.
    pub keys: Keys,
}

/// The map of a cluster: `shards` equal parts, or the ranges as they are now. While a plan splits the shards, both VIPs of a
/// split shard lead to where its keys are, so one map of equal parts is right for all of them at every moment.
pub fn uniform(cluster: &Valid) -> Vec<Shard> {
    let keys = |id: u32| match cluster.sharding.strategy {
        Strategy::Hash => Keys::Residue { modulus: cluster.shards, residue: id },
        Strategy::Table => Keys::Table,
        Strategy::Range => {
            let at = cluster.ranges.iter().position(|r| r.shard == id as i32).unwrap_or_default();
            let before = at.checked_sub(1).and_then(|i| cluster.ranges[i].to);
            Keys::Range { from: before, to: cluster.ranges.get(at).and_then(|r| r.to) }
        }
    };
    (0..cluster.shards).map(|id| Shard { id, keys: keys(id) }).collect()
}

/// The JSON that clients read.
pub fn json(cluster: &Valid, shards: &[Shard]) -> String {
    let line = |shard: &Shard| {
        let mut fields = Map::new();
        fields.insert("id".to_owned(), json!(shard.id));
        match &shard.keys {
            Keys::Residue { modulus, residue } => {
                fields.insert("modulus".to_owned(), json!(modulus));
                fields.insert("residue".to_owned(), json!(residue));
            }
            Keys::Range { from, to } => {
                from.map(|v| fields.insert("from".to_owned(), json!(v)));
                to.map(|v| fields.insert("to".to_owned(), json!(v)));
            }
            Keys::Table => {}
        }
        fields.insert("vip".to_owned(), json!(names::service_host(&names::pair(&cluster.name, shard.id), &cluster.namespace)));
        fields.insert("port".to_owned(), json!(names::PORT));
        Value::Object(fields)
    };
    let sharding = &cluster.sharding;
    let mut map = json!({
        "version": 1,
        "cluster": cluster.name,
        "epoch": cluster.epoch,
        "strategy": sharding.strategy,
        "tables": sharding.tables,
        "shards": shards.iter().map(line).collect::<Vec<_>>(),
    });
    match sharding.strategy {
        Strategy::Hash => map["function"] = json!(sharding.function),
        Strategy::Table => map["table"] = json!(sharding.table),
        Strategy::Range => {}
    }
    map.to_string()
}

/// Builds its ConfigMap.
pub fn build(cluster: &Valid, shards: &[Shard]) -> ConfigMap {
    ConfigMap {
        metadata: super::meta(cluster, &names::map(&cluster.name), &[]),
        data: Some(super::pairs([(names::MAP_KEY, json(cluster, shards))])),
        ..ConfigMap::default()
    }
}
