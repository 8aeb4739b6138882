//! What happens to the databases when their cluster or the operator goes: as little as possible.

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::api::{DeleteParams, ListParams};
use kube::{Api, ResourceExt};
use serde_json::json;

use crate::support::cluster::{self, SYSTEM};
use crate::support::shop::{BACK_IN_SYNC, Shop, pod};
use crate::support::{eventually, kubectl, run, secs, with_temp_ns};

async fn pods_end(shop: &Shop) {
    eventually("the servers end", secs(60), async || {
        let left = shop.pods().list(&ListParams::default()).await.map_err(|e| e.to_string())?;
        if left.items.is_empty() { Ok(()) } else { Err(format!("{:?}", left.iter().map(|p| p.name_any()).collect::<Vec<_>>())) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_cluster_keeps_its_volumes() {
    with_temp_ns("delete", async |client, ns| {
        let shop = Shop::one_shard(&client, &ns).await;
        shop.clusters().delete("shop", &DeleteParams::default()).await.expect("deleted");
        pods_end(&shop).await;
        let claims: Api<PersistentVolumeClaim> = Api::namespaced(client.clone(), &ns);
        let left = claims.list(&ListParams::default()).await.expect("a list").items;
        let mut names: Vec<String> = left.iter().filter(|c| c.metadata.deletion_timestamp.is_none()).map(|c| c.name_any()).collect();
        names.sort();
        assert_eq!(names, ["shop-m0", "shop-m1"]);
        eventually("the pair is gone", secs(30), async || match shop.pairs().get_opt("shop-0").await {
            Ok(None) => Ok(()),
            other => Err(format!("{other:?}")),
        })
        .await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_deleted_with_its_volumes_leaves_none() {
    with_temp_ns("delete-all", async |client, ns| {
        let shop = Shop::with(&client, &ns, 1, json!({"mysql": {"storage": {"onDelete": "Delete"}}})).await;
        shop.clusters().delete("shop", &DeleteParams::default()).await.expect("deleted");
        pods_end(&shop).await;
        let claims: Api<PersistentVolumeClaim> = Api::namespaced(client.clone(), &ns);
        eventually("the volumes are gone", secs(60), async || {
            let left = claims.list(&ListParams::default()).await.map_err(|e| e.to_string())?.items;
            if left.is_empty() { Ok(()) } else { Err(format!("{:?}", left.iter().map(|c| c.name_any()).collect::<Vec<_>>())) }
        })
        .await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn upgrading_and_uninstalling_the_operator_leaves_the_databases_running() {
    with_temp_ns("helm", async |client, ns| {
        let shop = Shop::one_shard(&client, &ns).await;
        let before = shop.record().await;
        let uid = async |member: &str| shop.pods().get(&pod(member)).await.expect("a pod").uid();
        let (primary, standby) = (before.primary.clone(), before.standby.clone().expect("a standby"));
        let pods = (uid(&primary).await, uid(&standby).await);
        let writer = shop.busy_writer().await;
        kubectl(&["-n", SYSTEM, "rollout", "restart", "deployment"]).await;
        cluster::install().await;
        kubectl(&["-n", SYSTEM, "rollout", "status", "deployment", "--timeout=120s"]).await;
        writer.progress(100, secs(10)).await.expect("writes go on");
        run("helm", &["uninstall", "shardpair", "-n", SYSTEM, "--wait", "--timeout", "120s"]).await;
        writer.progress(500, secs(30)).await.expect("writes go on without an operator");
        cluster::install().await;
        let after = shop.in_sync(before.epoch, BACK_IN_SYNC).await;
        assert_eq!((after.epoch, &after.primary), (before.epoch, &before.primary), "nothing moved");
        assert_eq!((uid(&primary).await, uid(&standby).await), pods, "no pod was replaced");
        let log = writer.stop().await;
        assert!(log.longest_gap().length < secs(2), "{:?}", log.longest_gap());
        shop.check(&log).await;
    })
    .await;
}
