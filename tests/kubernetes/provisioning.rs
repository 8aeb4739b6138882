//! `kubectl apply` of a ShardCluster makes pairs that replicate, with everything around them.

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use crate::support::shop::{Shop, pod};
use crate::support::{secs, with_temp_ns};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_shards_become_ready_with_all_that_belongs_to_them() {
    with_temp_ns("provisioning", async |client, ns| {
        let shop = Shop::with(&client, &ns, 2, json!({})).await;
        for shard in 0..2 {
            pair_is_whole(&shop, shard).await;
        }
        let maps: Api<ConfigMap> = Api::namespaced(client.clone(), &ns);
        let map = maps.get("shop-map").await.expect("the map").data.unwrap_or_default();
        let map: Value = serde_json::from_str(&map["map.json"]).expect("JSON");
        assert_eq!((&map["version"], &map["cluster"]), (&json!(1), &json!("shop")), "{map}");
        for shard in 0..2 {
            let entry = &map["shards"][shard];
            assert_eq!((&entry["modulus"], &entry["residue"]), (&json!(2), &json!(shard)), "{map}");
            assert_eq!(entry["vip"], json!(format!("shop-{shard}.{ns}.svc")), "{map}");
        }
        the_application_may_use_its_database_and_no_other(&shop).await;
    })
    .await;
}

async fn pair_is_whole(shop: &Shop, shard: usize) {
    let name = format!("shop-{shard}");
    let pair = shop.pairs().get(&name).await.expect("a pair");
    let record = pair.status.expect("a status").record;
    let (primary, standby) = (record.primary.clone(), record.standby.clone().expect("a standby"));
    for (member, role) in [(&primary, "primary"), (&standby, "standby")] {
        let found = shop.pods().get(&pod(member)).await.expect("a pod");
        let label = |key: &str| found.labels().get(key).map(String::as_str);
        assert_eq!(label("shardpair.io/role"), Some(role), "{member}");
        assert_eq!(label("shardpair.io/cluster"), Some("shop"), "{member}");
        assert_eq!(label("shardpair.io/shard"), Some(shard.to_string().as_str()), "{member}");
        let known = record.member(member).expect("known to the record");
        assert!(!known.volume.is_empty() && !known.server_uuid.is_empty(), "{known:?}");
        let security = found.spec.clone().expect("a spec").containers[0].security_context.clone().expect("a security context");
        assert_eq!(security.read_only_root_filesystem, Some(true));
        let sets: Api<StatefulSet> = Api::namespaced(shop.client.clone(), &shop.ns);
        sets.get(member).await.expect("a StatefulSet");
        let claims: Api<PersistentVolumeClaim> = Api::namespaced(shop.client.clone(), &shop.ns);
        claims.get(member).await.expect("a volume");
    }
    assert_ne!(shop.node_of(&primary).await.0, shop.node_of(&standby).await.0, "members of a pair are apart");
    let budgets: Api<PodDisruptionBudget> = Api::namespaced(shop.client.clone(), &shop.ns);
    budgets.get(&name).await.expect("a PodDisruptionBudget");
    let slices: Api<EndpointSlice> = Api::namespaced(shop.client.clone(), &shop.ns);
    let slice = slices.get(&name).await.expect("the VIP's slice");
    let address = shop.pods().get(&pod(&primary)).await.expect("a pod").status.and_then(|s| s.pod_ip).expect("an address");
    assert_eq!(slice.endpoints[0].addresses, [address], "the VIP leads to {primary}");
    replication_is_whole(shop, &primary, &standby).await;
}

async fn replication_is_whole(shop: &Shop, primary: &str, standby: &str) {
    let status = "SELECT CONCAT_WS(' ', @@GLOBAL.super_read_only, @@GLOBAL.offline_mode, @@GLOBAL.gtid_mode, @@GLOBAL.binlog_format)";
    assert_eq!(shop.ask(primary, status).await, "0 0 ON ROW");
    assert_eq!(shop.ask(standby, status).await, "1 0 ON ROW");
    let source = "SELECT GROUP_CONCAT(variable_value ORDER BY variable_name) FROM performance_schema.global_status \
                  WHERE variable_name IN ('Rpl_semi_sync_source_status', 'Rpl_semi_sync_source_clients')";
    assert_eq!(shop.ask(primary, source).await, "1,ON", "one acker, and commits wait for it");
    assert_eq!(shop.ask(standby, source).await, "0,OFF", "nothing waits on a standby");
    for member in [primary, standby] {
        let channel = "SELECT COUNT(*) FROM performance_schema.replication_connection_configuration WHERE host <> ''";
        assert_eq!(shop.ask(member, channel).await, "1", "{member} replicates from the other one");
    }
    let running = "SELECT service_state FROM performance_schema.replication_connection_status";
    assert_eq!(shop.ask(standby, running).await, "ON", "{standby} receives");
}

async fn the_application_may_use_its_database_and_no_other(shop: &Shop) {
    use mysql_async::prelude::Queryable;
    let mut conn = shop.vip().await.connect_patiently(secs(10)).await.expect("the VIP answers");
    conn.query_drop("CREATE TABLE shop.t (id INT AUTO_INCREMENT PRIMARY KEY)").await.expect("a table");
    conn.query_drop("INSERT INTO shop.t VALUES (), (), ()").await.expect("rows");
    let ids: Vec<i32> = conn.query("SELECT id FROM shop.t ORDER BY id").await.expect("ids");
    assert!(ids.windows(2).all(|pair| pair[1] - pair[0] == 2), "ids go in steps of two: {ids:?}");
    let refused = conn.query_drop("CREATE DATABASE other").await.expect_err("no rights");
    assert!(refused.to_string().contains("denied"), "{refused}");
    let refused = conn.query_drop("SELECT * FROM mysql.user").await.expect_err("no rights");
    assert!(refused.to_string().contains("denied"), "{refused}");
}
