//! Planned moves: on request, and when the primary's node is drained.

use crate::support::cluster::events;
use crate::support::shop::{BACK_IN_SYNC, Shop};
use crate::support::{eventually, kubectl, output, secs, with_temp_ns};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_switchover_on_request_loses_nothing_and_is_short() {
    with_temp_ns("switchover", async |client, ns| {
        let shop = Shop::one_shard(&client, &ns).await;
        let writer = shop.busy_writer().await;
        for _ in 0..3 {
            let before = shop.record().await;
            let to = before.standby.clone().expect("a standby");
            shop.annotate("shardpair.io/switchover-to", &to).await;
            let after = shop.moved_from(&before.primary).await;
            assert_eq!(after.primary, to);
            shop.request_is_done("shardpair.io/switchover-to", secs(20)).await;
            shop.in_sync(after.epoch, BACK_IN_SYNC).await;
            writer.progress(100, secs(10)).await.expect("writes go on");
        }
        let log = writer.stop().await;
        shop.check(&log).await;
        let told = events(&ns, "shop-0").await;
        assert!(!told.contains("FailedOver"), "no failover was needed: {told}");
        assert!(log.longest_gap().length < secs(2), "{:?}", log.longest_gap());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_switchover_to_a_stranger_is_refused_and_said() {
    with_temp_ns("refused", async |client, ns| {
        let shop = Shop::one_shard(&client, &ns).await;
        let before = shop.record().await;
        shop.annotate("shardpair.io/switchover-to", "shop-m9").await;
        shop.request_is_done("shardpair.io/switchover-to", secs(20)).await;
        eventually("an event says why", secs(10), async || {
            let told = events(&ns, "shop-0").await;
            if told.contains("RequestRefused") && told.contains("shop-m9") { Ok(()) } else { Err(told) }
        })
        .await;
        let after = shop.record().await;
        assert_eq!((after.epoch, after.primary), (before.epoch, before.primary));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn draining_the_primarys_node_is_a_switchover() {
    with_temp_ns("drain", async |client, ns| {
        let shop = Shop::one_shard(&client, &ns).await;
        let before = shop.record().await;
        let writer = shop.busy_writer().await;
        let node = shop.node_of(&before.primary).await.0;
        let ours = format!("--pod-selector=shardpair.io/cluster={}", shop.name);
        let drained = output("kubectl", &["drain", &node, "--delete-emptydir-data", "--timeout=120s", &ours]).await;
        kubectl(&["uncordon", &node]).await;
        assert!(drained.status.success(), "{}", String::from_utf8_lossy(&drained.stderr));
        let after = shop.record().await;
        assert_ne!(after.primary, before.primary);
        let after = shop.in_sync(after.epoch, BACK_IN_SYNC).await;
        let log = writer.stop().await;
        shop.check(&log).await;
        let told = events(&ns, "shop-0").await;
        assert!(told.contains("SwitchedOver") && !told.contains("FailedOver"), "{told}");
        println!("epoch {} -> {}", before.epoch, after.epoch);
    })
    .await;
}
