//! Bad input is refused in code as well as by CEL, and every refusal says what to do.

use serde_json::{Value, json};
use shardpair::api::parse::{Version, duration_ms, image_version, quantity_bytes};
use shardpair::api::valid::{Invalid, Valid};
use shardpair::api::{ShardCluster, ShardPair, ShardPairStatus, names, rules};
use shardpair::mysql::config::refused;
use shardpair::pair::settings::{Ack, Durability};

fn cluster(spec: Value) -> ShardCluster {
    let mut whole = json!({"shards": 2, "mysql": {"storage": {"size": "1Gi"}}, "databases": ["shop"]});
    merge(&mut whole, spec);
    let object = json!({
        "apiVersion": "shardpair.io/v1alpha1", "kind": "ShardCluster",
        "metadata": {"name": "shop", "namespace": "default", "uid": "u1"}, "spec": whole,
    });
    serde_json::from_value(object).expect("deserialises")
}

fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => from.into_iter().for_each(|(k, v)| merge(into.entry(k).or_insert(Value::Null), v)),
        (into, from) => *into = from,
    }
}

fn refusal(spec: Value) -> Invalid {
    Valid::parse(&cluster(spec.clone())).expect_err(&format!("accepted: {spec}"))
}

#[test]
fn a_short_spec_gets_the_defaults_of_the_contract() {
    let valid = Valid::parse(&cluster(json!({}))).expect("valid");
    assert_eq!((valid.shards, valid.epoch, valid.image.as_str()), (2, 1, "mysql:9.7"));
    let s = &valid.settings;
    assert_eq!((s.durability, s.ack, s.interleave_ids, s.paused), (Durability::Preferred, Ack::Received, true, false));
    assert_eq!((s.solo_after_ms, s.detect_after_ms, s.replace_after_ms), (3_000, 1_500, None));
}

#[test]
fn each_bad_field_is_refused_with_its_own_reason() {
    let cases = [
        (json!({"shards": 0}), "InvalidShards"),
        (json!({"shards": 257}), "InvalidShards"),
        (json!({"mysql": {"image": "mysql:5.7"}}), "ImageTooOld"),
        (json!({"mysql": {"image": "registry.local:5000/mysql:8.0.36"}}), "ImageTooOld"),
        (json!({"mysql": {"image": ""}}), "InvalidImage"),
        (json!({"mysql": {"config": {"sync_binlog": "0"}}}), "ReservedConfig"),
        (json!({"mysql": {"config": {"loose-Super-Read-Only": "0"}}}), "ReservedConfig"),
        (json!({"mysql": {"config": {"max_connections": "5\nsync_binlog=0"}}}), "InvalidConfig"),
        (json!({"mysql": {"storage": {"size": "plenty"}}}), "InvalidStorage"),
        (json!({"mysql": {"storage": {"size": "0"}}}), "InvalidStorage"),
        (json!({"mysql": {"podTemplate": {"labels": {"shardpair.io/role": "primary"}}}}), "InvalidPodTemplate"),
        (json!({"databases": ["mysql"]}), "InvalidDatabase"),
        (json!({"databases": ["a`b"]}), "InvalidDatabase"),
        (json!({"sharding": {"tables": [{"name": "other.orders", "key": "id"}]}}), "InvalidSharding"),
        (json!({"sharding": {"tables": [{"name": "shop.orders"}]}}), "InvalidSharding"),
        (json!({"sharding": {"strategy": "Range", "ranges": [{"shard": 0}]}}), "InvalidSharding"),
        (json!({"sharding": {"strategy": "Range", "ranges": [{"shard": 0}, {"shard": 1, "to": 5}]}}), "InvalidSharding"),
        (json!({"sharding": {"strategy": "Table"}}), "InvalidSharding"),
        (json!({"failover": {"soloAfter": "soon"}}), "InvalidDuration"),
        (json!({"failover": {"soloAfter": "100ms"}}), "InvalidDuration"),
        (json!({"failover": {"detectAfter": "100ms"}}), "InvalidDuration"),
        (json!({"failover": {"replaceAfter": "1s"}}), "InvalidDuration"),
    ];
    for (spec, reason) in cases {
        let invalid = refusal(spec.clone());
        assert_eq!(invalid.reason, reason, "{spec}: {invalid}");
        assert!(invalid.message.len() > 30, "{spec}: the message says too little: {invalid}");
    }
}

#[test]
fn a_name_that_cannot_name_services_is_refused() {
    for name in ["a".repeat(41), "1a".to_owned(), "a.b".to_owned(), "a-".to_owned()] {
        let mut c = cluster(json!({}));
        c.metadata.name = Some(name.clone());
        assert_eq!(Valid::parse(&c).expect_err(&name).reason, "InvalidName");
    }
}

#[test]
fn the_number_of_shards_is_the_status_once_it_is_known() {
    let mut c = cluster(json!({}));
    c.status = serde_json::from_value(json!({"shards": 4, "epoch": 9})).expect("status");
    let valid = Valid::parse(&c).expect("valid");
    assert_eq!((valid.shards, valid.epoch), (4, 9));
}

#[test]
fn what_cel_refuses_the_code_refuses_too() {
    for entry in rules::RESERVED {
        let name = entry.replace(".*", "x");
        assert!(refused(&name).is_some(), "{entry} is refused by CEL alone");
    }
}

#[test]
fn durations_are_read_as_go_writes_them() {
    let cases = [("3s", 3_000), ("1500ms", 1_500), ("1h30m", 5_400_000), ("0.5s", 500), ("2m", 120_000)];
    for (text, ms) in cases {
        assert_eq!(duration_ms(text), Some(ms), "{text}");
    }
    for text in ["", "3", "s", "-3s", "3 s", "3x", "never"] {
        assert_eq!(duration_ms(text), None, "{text}");
    }
}

#[test]
fn quantities_are_compared_by_what_they_mean() {
    assert_eq!(quantity_bytes("1Gi"), quantity_bytes("1024Mi"));
    assert_eq!(quantity_bytes("1e9"), quantity_bytes("1G"));
    assert!(quantity_bytes("1G") < quantity_bytes("1Gi"));
    for text in ["", "Gi", "-1Gi", "1 GiB", "inf", "nan"] {
        assert_eq!(quantity_bytes(text), None, "{text}");
    }
}

#[test]
fn an_image_tells_its_version_or_nothing() {
    let v = |major, minor, patch| Some(Version { major, minor, patch });
    let cases = [
        ("mysql:9.7", v(9, 7, None)),
        ("mysql:8.4.3", v(8, 4, Some(3))),
        ("registry.local:5000/db/mysql:9.7.4-oraclelinux9", v(9, 7, Some(4))),
        ("mysql:9.7@sha256:abc", v(9, 7, None)),
        ("mysql", None),
        ("mysql:latest", None),
        ("mysql:9", None),
        ("registry.local:5000/mysql", None),
    ];
    for (image, version) in cases {
        assert_eq!(image_version(image), version, "{image}");
    }
}

#[test]
fn an_older_series_or_patch_is_a_downgrade_and_an_unknown_patch_is_not() {
    let older = |new: &str, old: &str| image_version(new).expect(new).is_older_than(image_version(old).expect(old));
    assert!(older("mysql:8.4", "mysql:9.7"));
    assert!(older("mysql:9.7.3", "mysql:9.7.4"));
    assert!(!older("mysql:9.7", "mysql:9.7.4"));
    assert!(!older("mysql:9.7.4", "mysql:9.7"));
    assert!(!older("mysql:9.7", "mysql:8.4"));
}

#[test]
fn derived_names_fit_and_lead_back() {
    let cluster = "a".repeat(names::CLUSTER_NAME_MAX);
    assert!(names::pod(&names::member(&cluster, 511)).len() <= 52, "a StatefulSet's name must leave room for its hash label");
    assert_eq!(names::first_members("shop", 1), ["shop-m2", "shop-m3"]);
    assert_eq!(names::member_number("shop", "shop-m12"), Some(12));
    for other in ["shop-12", "shop-m", "shop-map", "shop2-m1", "shop-m1-0"] {
        assert_eq!(names::member_number("shop", other), None, "{other}");
    }
}

#[test]
fn the_status_of_a_pair_is_the_record_laid_flat() {
    let pair: ShardPair = serde_json::from_value(json!({
        "apiVersion": "shardpair.io/v1alpha1", "kind": "ShardPair", "metadata": {"name": "shop-0"},
        "spec": {"cluster": "shop", "shard": 0, "members": ["shop-m0", "shop-m1"]},
        "status": {
            "epoch": 7, "primary": "shop-m0", "standby": "shop-m1", "mode": "Sync",
            "members": [{"name": "shop-m0", "volume": "v", "serverUUID": "s"}],
            "transition": {"kind": "Failover", "to": "shop-m1", "startedAt": "2026-11-22T10:00:00.123456Z", "reason": "ProcessGone"},
            "conditions": [], "observedGeneration": 3,
        },
    }))
    .expect("deserialises");
    let status = pair.status.expect("has one");
    assert_eq!((status.record.epoch, status.record.primary.as_str()), (7, "shop-m0"));
    assert_eq!(status.record.members[0].server_uuid, "s");
    let again: ShardPairStatus = serde_json::from_value(serde_json::to_value(&status).expect("plain")).expect("same type");
    assert_eq!(again, status);
}
