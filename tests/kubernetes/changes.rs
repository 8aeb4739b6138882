//! The spec of a running cluster changes: at run time where MySQL can, else standby first, then a switchover.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::{Api, ResourceExt};
use serde_json::json;

use crate::support::cluster::events;
use crate::support::faults::Node;
use crate::support::shop::{READY, Shop, pod};
use crate::support::{eventually, secs, with_temp_ns};

async fn uids(shop: &Shop) -> Vec<String> {
    let mut uids = Vec::new();
    for member in &shop.pair().await.spec.members {
        uids.push(shop.pods().get(&pod(member)).await.expect("a pod").uid().expect("a uid"));
    }
    uids
}

async fn both_say(shop: &Shop, sql: &str, wanted: &str) {
    eventually(&format!("{sql} is {wanted} on both"), READY, async || {
        for member in &shop.pair().await.spec.members {
            let mut session = shop.session(member).await?;
            let found = session.scalar(sql, secs(5)).await.map_err(|e| e.to_string())?;
            if found.as_deref() != Some(wanted) {
                return Err(format!("{member}: {found:?}"));
            }
        }
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_setting_that_mysql_takes_at_run_time_restarts_nothing() {
    with_temp_ns("dynamic", async |client, ns| {
        let shop = Shop::one_shard(&client, &ns).await;
        let (before, pods) = (shop.record().await, uids(&shop).await);
        let writer = shop.busy_writer().await;
        shop.change(json!({"mysql": {"config": {"max_connections": "95"}}})).await.expect("accepted");
        both_say(&shop, "SELECT @@GLOBAL.max_connections", "95").await;
        shop.ready(READY).await;
        let after = shop.record().await;
        assert_eq!((after.epoch, &after.primary), (before.epoch, &before.primary));
        assert_eq!(uids(&shop).await, pods, "no pod was replaced");
        shop.check(&writer.stop().await).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_setting_that_needs_a_restart_goes_standby_first() {
    with_temp_ns("static", async |client, ns| {
        let shop = Shop::one_shard(&client, &ns).await;
        let before = shop.record().await;
        let writer = shop.busy_writer().await;
        // Read at start only.
        shop.change(json!({"mysql": {"config": {"back_log": "77"}}})).await.expect("accepted");
        both_say(&shop, "SELECT @@GLOBAL.back_log", "77").await;
        rolled_over(&shop, &before.primary).await;
        shop.check(&writer.stop().await).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_image_goes_pair_by_pair_standby_first_then_a_switchover() {
    with_temp_ns("image", async |client, ns| {
        let shop = Shop::with(&client, &ns, 2, json!({})).await;
        // The same server under another name.
        for node in 1..=3 {
            let node = Node(format!("n{node}"));
            let images = node.exec(&["ctr", "-n", "k8s.io", "images", "ls", "-q"]).await;
            let from = images.lines().find(|name| name.ends_with("/mysql:9.7")).expect("MySQL's image");
            node.exec(&["ctr", "-n", "k8s.io", "images", "tag", "--force", from, &format!("{from}.99")]).await;
        }
        let before = shop.record().await;
        let writer = shop.busy_writer().await;
        shop.change(json!({"mysql": {"image": "mysql:9.7.99"}})).await.expect("accepted");
        let first = run_the_new_image(&shop, "shop-0").await;
        let second = run_the_new_image(&shop, "shop-1").await;
        assert!(first.iter().max() <= second.iter().min(), "the second pair waits for the first: made at {first:?} and {second:?}");
        rolled_over(&shop, &before.primary).await;
        shop.check(&writer.stop().await).await;
    })
    .await;
}

/// When all pods of the pair do: when each was made.
async fn run_the_new_image(shop: &Shop, pair: &str) -> Vec<Timestamp> {
    eventually(&format!("{pair} runs the new image"), READY, async || {
        let mut made = Vec::new();
        for member in shop.pairs().get(pair).await.map_err(|e| e.to_string())?.spec.members {
            let found = shop.pods().get(&pod(&member)).await.map_err(|e| e.to_string())?;
            made.extend(found.metadata.creation_timestamp.map(|t| t.0));
            let image = found.spec.and_then(|s| s.containers[0].image.clone());
            if image.as_deref() != Some("mysql:9.7.99") {
                return Err(format!("{member}: {image:?}"));
            }
        }
        Ok(made)
    })
    .await
}

/// Both were restarted, by one planned move at least and no failover.
async fn rolled_over(shop: &Shop, old: &str) {
    shop.ready(READY).await;
    let record = shop.in_sync(0, READY).await;
    let told = events(&shop.ns, "shop-0").await;
    assert!(told.contains("SwitchedOver") && !told.contains("FailedOver"), "{told}");
    println!("{old} -> {}", record.primary);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn volumes_grow_in_place() {
    with_temp_ns("grow", async |client, ns| {
        let shop = Shop::one_shard(&client, &ns).await;
        let pods = uids(&shop).await;
        shop.change(json!({"mysql": {"storage": {"size": "2Gi"}}})).await.expect("accepted");
        let claims: Api<PersistentVolumeClaim> = Api::namespaced(client.clone(), &ns);
        for member in &shop.pair().await.spec.members {
            eventually(&format!("{member} asks for 2Gi"), secs(30), async || {
                let claim = claims.get(member).await.map_err(|e| e.to_string())?;
                let asked = claim.spec.and_then(|s| s.resources).and_then(|r| r.requests).and_then(|r| r.get("storage").map(|q| q.0.clone()));
                if asked.as_deref() == Some("2Gi") { Ok(()) } else { Err(format!("{asked:?}")) }
            })
            .await;
        }
        shop.ready(READY).await;
        assert_eq!(uids(&shop).await, pods, "no pod was replaced");
    })
    .await;
}
