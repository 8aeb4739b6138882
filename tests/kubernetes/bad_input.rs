//! Bad input is refused at apply, or told by a condition that says what to do. Other clusters go on.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Secret, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::PostParams;
use kube::{Api, Client};
use serde_json::{Value, json};
use shardpair::api::cluster::ShardCluster;
use shardpair::api::conditions;

use crate::support::shop::{MOVED, Shop, apply, merge, small};
use crate::support::{eventually, kubectl, secs, with_temp_ns};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_api_server_can_judge_is_refused_at_apply() {
    with_temp_ns("refused-apply", async |client, ns| {
        let cases: [(&str, Value, &str); 12] = [
            ("no shards", json!({"shards": 0}), "shards"),
            ("too many shards", json!({"shards": 100_000}), "shards"),
            ("gtid_mode", json!({"mysql": {"config": {"gtid_mode": "OFF"}}}), "safety rests on"),
            ("sync_binlog", json!({"mysql": {"config": {"sync_binlog": "0"}}}), "safety rests on"),
            ("another spelling", json!({"mysql": {"config": {"loose-Sync-Binlog": "0"}}}), "safety rests on"),
            ("semi-sync", json!({"mysql": {"config": {"rpl_semi_sync_source_timeout": "1"}}}), "safety rests on"),
            ("a line break", json!({"mysql": {"config": {"max_connections": "1\nsync_binlog=0"}}}), "config"),
            ("no size", json!({"mysql": {"storage": {"size": "many"}}}), "quantity"),
            ("a system database", json!({"databases": ["mysql"]}), "not databases of yours"),
            ("a short soloAfter", json!({"failover": {"soloAfter": "1ms"}}), "duration"),
            ("ranges missing", json!({"sharding": {"strategy": "Range"}}), "ranges"),
            ("a foreign table", json!({"sharding": {"tables": [{"name": "other.t", "key": "id"}]}}), "spec.databases"),
        ];
        for (what, change, said) in cases {
            let mut spec = small(1);
            merge(&mut spec, change);
            refused(what, apply(&client, &ns, "shop", &spec).await, said);
        }
        refused("a long name", apply(&client, &ns, &"a".repeat(60), &small(1)).await, "40 characters");
        refused("a name that begins with a digit", apply(&client, &ns, "9shop", &small(1)).await, "start with a letter");
        let clusters: Api<ShardCluster> = Api::namespaced(client.clone(), &ns);
        assert!(clusters.list(&Default::default()).await.expect("a list").items.is_empty(), "nothing was made");
    })
    .await;
}

fn refused(what: &str, answer: Result<ShardCluster, kube::Error>, said: &str) {
    let error = answer.expect_err(what).to_string();
    assert!(error.contains(said), "{what}: {error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_must_not_change_is_refused_on_a_running_cluster() {
    with_temp_ns("refused-change", async |client, ns| {
        let shop = Shop::one_shard(&client, &ns).await;
        let before = shop.clusters().get("shop").await.expect("the cluster");
        refused("shards", shop.change(json!({"shards": 2})).await, "ExpansionPlan");
        refused("shrink", shop.change(json!({"mysql": {"storage": {"size": "100Mi"}}})).await, "never shrink");
        refused("class", shop.change(json!({"mysql": {"storage": {"storageClassName": "other"}}})).await, "cannot change");
        refused("function", shop.change(json!({"sharding": {"function": "Crc32"}})).await, "cannot change");
        refused("databases", shop.change(json!({"databases": ["other"]})).await, "only grow");
        let after = shop.clusters().get("shop").await.expect("the cluster");
        assert_eq!(after.metadata.generation, before.metadata.generation);
        shop.ready(secs(10)).await;
    })
    .await;
}

/// Waits until a condition of the cluster, or of its pair, says something with these words.
async fn told(client: &Client, ns: &str, name: &str, words: &[&str]) {
    let clusters: Api<ShardCluster> = Api::namespaced(client.clone(), ns);
    eventually(&format!("{name} says {words:?}"), secs(60), async || {
        let cluster = clusters.get(name).await.map_err(|e| e.to_string())?;
        let status = cluster.status.unwrap_or_default();
        let said: Vec<String> = status.conditions.iter().map(|c| format!("{}={} {}: {}", c.type_, c.status, c.reason, c.message)).collect();
        let said = said.join("\n");
        let told = words.iter().all(|w| said.to_lowercase().contains(&w.to_lowercase()));
        if told && !conditions::is_true(&status.conditions, conditions::READY) { Ok(()) } else { Err(said) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_only_shows_later_is_told_by_a_condition_and_others_go_on() {
    with_temp_ns("stalled", async |client, ns| {
        let with = |change: Value| {
            let mut spec = small(1);
            merge(&mut spec, change);
            spec
        };
        let bad = [
            ("no-class", with(json!({"mysql": {"storage": {"storageClassName": "no-such-class"}}})), vec!["no-such-class"]),
            ("old-image", with(json!({"mysql": {"image": "mysql:5.7"}})), vec!["Stalled=True", "8.4"]),
            ("not-mysql", with(json!({"mysql": {"image": "redis:7"}})), vec!["redis:7"]),
            ("no-image", with(json!({"mysql": {"image": "mysql:9.9.9", "imagePullPolicy": "Never"}})), vec!["mysql:9.9.9"]),
        ];
        for (name, spec, _) in &bad {
            apply(&client, &ns, name, spec).await.expect("accepted");
        }
        // A Secret of the user's that lacks the password.
        let secrets: Api<Secret> = Api::namespaced(client.clone(), &ns);
        let data = BTreeMap::from([("username".to_owned(), "app".to_owned())]);
        let mut secret = Secret { string_data: Some(data), ..Secret::default() };
        secret.metadata.name = Some("half-secret-app".to_owned());
        secrets.create(&PostParams::default(), &secret).await.expect("a Secret");
        apply(&client, &ns, "half-secret", &small(1)).await.expect("accepted");
        // A Service of somebody else's under the VIP's name.
        let services: Api<Service> = Api::namespaced(client.clone(), &ns);
        let taken: Service = serde_json::from_value(json!({"metadata": {"name": "taken-0"}, "spec": {"ports": [{"port": 80}], "selector": {"app": "other"}}})).expect("a Service");
        services.create(&PostParams::default(), &taken).await.expect("a Service");
        apply(&client, &ns, "taken", &small(1)).await.expect("accepted");
        // Beside all these a good one comes up.
        let shop = Shop::one_shard(&client, &ns).await;
        for (name, _, words) in &bad {
            told(&client, &ns, name, words).await;
        }
        told(&client, &ns, "half-secret", &["half-secret-app", "password"]).await;
        told(&client, &ns, "taken", &["taken-0"]).await;
        let kept = services.get("taken-0").await.expect("still there").spec.and_then(|s| s.selector);
        assert!(kept.is_some(), "the foreign Service was left alone");
        shop.ready(secs(10)).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_foreign_endpoint_slice_on_the_vip_is_told() {
    with_temp_ns("foreign-slice", async |client, ns| {
        let shop = Shop::one_shard(&client, &ns).await;
        let slices: Api<EndpointSlice> = Api::namespaced(client.clone(), &ns);
        let foreign: EndpointSlice = serde_json::from_value(json!({
            "metadata": {"name": "foreign", "labels": {"kubernetes.io/service-name": "shop-0"}},
            "addressType": "IPv4", "endpoints": [], "ports": [],
        }))
        .expect("a slice");
        slices.create(&PostParams::default(), &foreign).await.expect("made");
        told(&client, &ns, "shop", &["foreign"]).await;
        kubectl(&["-n", &ns, "delete", "endpointslice", "foreign"]).await;
        shop.ready(MOVED).await;
    })
    .await;
}
