//! The primary dies, in several ways, under load: the VIP moves and no acknowledged row is lost.

use serde_json::json;

use crate::support::cluster::events;
use crate::support::faults;
use crate::support::shop::{BACK_IN_SYNC, Shop};
use crate::support::{secs, with_temp_ns};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_primary_is_replaced_and_returns_as_the_standby() {
    with_temp_ns("kill9", async |client, ns| {
        let shop = Shop::one_shard(&client, &ns).await;
        // Twice, so that both members have been both.
        for _ in 0..2 {
            let before = shop.record().await;
            let writer = shop.busy_writer().await;
            shop.kill_mysqld(&before.primary).await;
            let after = shop.moved_from(&before.primary).await;
            assert_eq!(Some(after.primary.as_str()), before.standby.as_deref());
            writer.progress(100, secs(10)).await.expect("writes go on");
            shop.in_sync(after.epoch + 1, BACK_IN_SYNC).await;
            shop.check(&writer.stop().await).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_primary_pod_is_replaced() {
    with_temp_ns("pod-delete", async |client, ns| {
        let shop = Shop::one_shard(&client, &ns).await;
        let before = shop.record().await;
        let writer = shop.busy_writer().await;
        shop.delete_pod(&before.primary).await;
        let after = shop.moved_from(&before.primary).await;
        writer.progress(100, secs(10)).await.expect("writes go on");
        shop.in_sync(after.epoch + 1, BACK_IN_SYNC).await;
        shop.check(&writer.stop().await).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hung_primary_is_replaced_and_its_tail_is_undone_when_it_wakes() {
    with_temp_ns("sigstop", async |client, ns| {
        let shop = Shop::one_shard(&client, &ns).await;
        let before = shop.record().await;
        let writer = shop.busy_writer().await;
        shop.mysqld(&before.primary).await.hang().await;
        let after = shop.moved_from(&before.primary).await;
        writer.progress(100, secs(10)).await.expect("writes go on");
        faults::heal_all().await.expect("it wakes, if it is still there");
        shop.in_sync(after.epoch + 1, BACK_IN_SYNC).await;
        shop.check(&writer.stop().await).await;
    })
    .await;
}

/// SIGTERM to a MySQL server that waits for an acknowledgement makes it say OK. Ours must not: the connection between
/// the members is cut first, so that commits wait, then the pod is told to stop.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_told_to_stop_never_acknowledges_what_its_standby_lacks() {
    with_temp_ns("sigterm", async |client, ns| {
        // Long, so that the pair stays in Sync while the link is cut.
        let change = json!({"failover": {"soloAfter": "60s", "detectAfter": "20s"}});
        let shop = Shop::with(&client, &ns, 1, change).await;
        let before = shop.record().await;
        let standby = before.standby.clone().expect("a standby");
        let writer = shop.busy_writer().await;
        let (old, new) = (shop.node_of(&before.primary).await, shop.node_of(&standby).await);
        old.cut_link(&new).await;
        let stalled = writer.progress(1_000_000, secs(3)).await;
        assert!(stalled.is_err(), "commits wait for the standby");
        shop.delete_pod(&before.primary).await;
        let after = shop.moved_from(&before.primary).await;
        writer.progress(100, secs(20)).await.expect("writes go on");
        old.heal_link(&new).await;
        shop.in_sync(after.epoch + 1, BACK_IN_SYNC).await;
        let log = writer.stop().await;
        shop.check(&log).await;
        let told = events(&ns, "shop-0").await;
        assert!(told.contains("TailSaved"), "the commits that waited are kept as a file: {told}");
        let secrets = crate::support::kubectl(&["-n", &ns, "get", "secrets", "-o", "name"]).await;
        assert!(secrets.contains(&format!("{}-tail-", before.primary)), "{secrets}");
    })
    .await;
}
