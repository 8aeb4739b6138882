//! What the API server might say, at 03:00.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Value, json};
use shardpair::api::{ExpansionPlan, ShardCluster, ShardPair};
use shardpair::plugin::seen::Seen;

pub fn now() -> Timestamp {
    "2026-11-23T03:00:00Z".parse().expect("a time")
}

pub fn of<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).expect("an object")
}

pub fn condition(type_: &str, status: &str, reason: &str, message: &str, since: &str) -> Value {
    json!({"type": type_, "status": status, "reason": reason, "message": message, "lastTransitionTime": format!("2026-11-23T{since}Z")})
}

pub fn cluster(name: &str, shards: i32) -> ShardCluster {
    of(json!({
        "apiVersion": "shardpair.io/v1alpha1", "kind": "ShardCluster",
        "metadata": {"name": name, "namespace": "default", "generation": 1},
        "spec": {"shards": shards, "mysql": {"storage": {"size": "1Gi"}}, "databases": ["shop"]},
        "status": {"shards": shards, "manager": "shardpair-system/shardpair", "conditions": [condition("Ready", "True", "AsSpecified", "", "02:00:00")]},
    }))
}

/// `<cluster>-<shard>`, in Sync, at rest.
pub fn pair(cluster: &str, shard: i32) -> ShardPair {
    let member = |k: i32| format!("{cluster}-m{k}");
    of(json!({
        "apiVersion": "shardpair.io/v1alpha1", "kind": "ShardPair",
        "metadata": {"name": format!("{cluster}-{shard}"), "namespace": "default", "resourceVersion": "7"},
        "spec": {"cluster": cluster, "shard": shard, "members": [member(2 * shard), member(2 * shard + 1)]},
        "status": {
            "epoch": 7, "primary": member(2 * shard), "standby": member(2 * shard + 1), "mode": "Sync", "lagSeconds": 0,
            "members": [
                {"name": member(2 * shard), "volume": "v0", "serverUUID": "u0", "node": "n1"},
                {"name": member(2 * shard + 1), "volume": "v1", "serverUUID": "u1", "node": "n2", "lagSeconds": 0, "behindTransactions": 0},
            ],
            "lastMove": {"kind": "Failover", "from": member(2 * shard + 1), "to": member(2 * shard), "at": "2026-11-23T01:00:00.000000Z", "seconds": 0.213, "reason": "ProcessGone"},
            "conditions": [
                condition("Ready", "True", "InSync", "", "02:00:00"),
                condition("Available", "True", "PrimaryOpen", "", "02:00:00"),
                condition("Redundant", "True", "InSync", "", "02:00:00"),
            ],
        },
    }))
}

/// Lays `change` over an object (lists are replaced).
pub fn with<T: serde::Serialize + serde::de::DeserializeOwned>(object: &T, change: Value) -> T {
    fn merge(base: &mut Value, change: Value) {
        match (base, change) {
            (Value::Object(base), Value::Object(change)) => change.into_iter().for_each(|(k, v)| merge(base.entry(k).or_insert(Value::Null), v)),
            (base, change) => *base = change,
        }
    }
    let mut base = serde_json::to_value(object).expect("plain data");
    merge(&mut base, change);
    of(base)
}

/// Its standby is away for 12 minutes, it runs alone.
pub fn solo(pair: &ShardPair) -> ShardPair {
    let standby = pair.status.as_ref().and_then(|s| s.record.standby.clone()).unwrap_or_default();
    let message = format!("{standby} doesn't answer");
    with(pair, json!({"status": {"epoch": 8, "mode": "Solo", "lagSeconds": null, "conditions": [
        condition("Ready", "False", "StandbyUnreachable", &message, "02:48:00"),
        condition("Available", "True", "PrimaryOpen", "", "02:00:00"),
        condition("Redundant", "False", "StandbyUnreachable", &message, "02:48:00"),
    ]}}))
}

/// Alone, and the primary is gone too.
pub fn lost(pair: &ShardPair) -> ShardPair {
    let record = pair.status.clone().unwrap_or_default().record;
    let (primary, standby) = (record.primary, record.standby.unwrap_or_default());
    let message = format!("{primary} is gone (Silent), no safe move: the pair is Solo: {standby} may lack acknowledged writes");
    with(&solo(pair), json!({"status": {"conditions": [
        condition("Ready", "False", "NotInSync", &message, "02:48:00"),
        condition("Available", "False", "NotInSync", &message, "02:59:00"),
        condition("Redundant", "False", "NotInSync", &message, "02:48:00"),
    ]}}))
}

/// The primary is gone, its standby takes over.
pub fn failing_over(pair: &ShardPair) -> ShardPair {
    let standby = pair.status.as_ref().and_then(|s| s.record.standby.clone()).unwrap_or_default();
    with(pair, json!({"status": {
        "epoch": 8,
        "transition": {"kind": "Failover", "to": standby, "startedAt": "2026-11-23T02:59:59.900000Z", "reason": "ProcessGone"},
        "conditions": [
            condition("Ready", "False", "Draining", &format!("{standby} applies what it received"), "02:59:59"),
            condition("Available", "False", "Draining", "", "02:59:59"),
            condition("Redundant", "False", "Draining", "", "02:59:59"),
        ],
    }}))
}

pub fn seen(clusters: Vec<ShardCluster>, pairs: Vec<ShardPair>, plans: Vec<ExpansionPlan>) -> Seen {
    let renewed = "2026-11-23T02:59:58Z".parse().expect("a time");
    let operators = BTreeMap::from([("shardpair-system/shardpair".to_owned(), Some(renewed))]);
    Seen { namespace: Some("default".into()), clusters, pairs, plans, operators, now: now() }
}

/// One of each kind.
pub fn night() -> Seen {
    let broken = with(&cluster("shop", 4), json!({"status": {"conditions": [condition("Ready", "False", "PairsNotReady", "shop-1, shop-2, shop-3 aren't Ready", "02:48:00")]}}));
    let young = with(&pair("shop", 3), json!({"status": null}));
    seen(vec![broken], vec![pair("shop", 0), solo(&pair("shop", 1)), failing_over(&pair("shop", 2)), young], Vec::new())
}

pub fn plan(change: Value) -> ExpansionPlan {
    let base: ExpansionPlan = of(json!({
        "apiVersion": "shardpair.io/v1alpha1", "kind": "ExpansionPlan",
        "metadata": {"name": "shop-to-4", "namespace": "default", "generation": 2, "resourceVersion": "9"},
        "spec": {"clusterRef": {"name": "shop"}, "toShards": 4, "until": "Flipped"},
        "status": {"conditions": []},
    }));
    with(&base, change)
}
