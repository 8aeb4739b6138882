//! Nodes and links fail: cut off, without power, with a full disk.

use serde_json::json;
use shardpair::pair::record::Mode;

use crate::support::cluster::leads_off_node;
use crate::support::shop::{BACK_IN_SYNC, Shop};
use crate::support::writer::Pace;
use crate::support::{secs, with_temp_ns};

/// Failovers by silence need two witnesses and wait for missed heartbeats.
const SILENT: std::time::Duration = secs(40);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_cut_off_with_its_node_is_replaced_and_returns_when_it_heals() {
    with_temp_ns("node-cut", async |client, ns| {
        let shop = Shop::one_shard(&client, &ns).await;
        let before = shop.record().await;
        let writer = shop.busy_writer().await;
        let node = shop.node_of(&before.primary).await;
        node.cut().await;
        let after = shop.recorded("another primary", SILENT, |r| r.primary != before.primary && r.transition.is_none()).await;
        writer.progress(100, secs(10)).await.expect("writes go on");
        node.heal().await;
        shop.in_sync(after.epoch + 1, secs(120)).await;
        shop.check(&writer.stop().await).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_link_between_the_members_is_no_failover() {
    with_temp_ns("link-cut", async |client, ns| {
        let shop = Shop::one_shard(&client, &ns).await;
        let before = shop.record().await;
        let writer = shop.busy_writer().await;
        let (a, b) = (shop.node_of(&before.primary).await, shop.node_of(&shop.standby().await).await);
        // On the standby's node it would be cut off from the primary too: two witnesses, and a failover would be right.
        leads_off_node(&client, &b.0).await;
        shop.in_sync(before.epoch, secs(30)).await;
        a.cut_link(&b).await;
        let solo = shop.recorded("Solo", secs(30), |r| r.mode == Mode::Solo).await;
        assert_eq!(solo.primary, before.primary, "the primary serves its clients");
        writer.progress(100, secs(10)).await.expect("writes go on");
        a.heal_link(&b).await;
        let after = shop.in_sync(solo.epoch + 1, BACK_IN_SYNC).await;
        assert_eq!(after.primary, before.primary);
        shop.check(&writer.stop().await).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_whose_disk_is_full_is_replaced() {
    with_temp_ns("disk-full", async |client, ns| {
        let shop = Shop::one_shard(&client, &ns).await;
        let before = shop.record().await;
        let pace = Pace { answer: secs(3), ..Pace::default() };
        let writer = shop.writer(pace).await;
        writer.progress(100, secs(10)).await.expect("writes");
        let node = shop.node_of(&before.primary).await;
        node.fill().await;
        let after = shop.recorded("another primary", secs(60), |r| r.primary != before.primary && r.transition.is_none()).await;
        writer.progress(100, secs(10)).await.expect("writes go on");
        node.unfill().await;
        shop.in_sync(after.epoch + 1, secs(150)).await;
        shop.check(&writer.stop().await).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_whose_node_loses_power_is_replaced_and_returns() {
    with_temp_ns("power-cut", async |client, ns| {
        let shop = Shop::one_shard(&client, &ns).await;
        let before = shop.record().await;
        let writer = shop.busy_writer().await;
        let node = shop.node_of(&before.primary).await;
        node.power_cut().await;
        let after = shop.recorded("another primary", SILENT, |r| r.primary != before.primary && r.transition.is_none()).await;
        writer.progress(100, secs(10)).await.expect("writes go on");
        node.start().await;
        shop.in_sync(after.epoch + 1, secs(180)).await;
        shop.check(&writer.stop().await).await;
    })
    .await;
}

/// With `ack: Received` a standby whose node lost power may lack what it had acknowledged: it is not promoted until it
/// is proven complete again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_whose_node_lost_power_loses_nothing() {
    with_temp_ns("standby-power", async |client, ns| {
        let shop = Shop::with(&client, &ns, 1, json!({"failover": {"soloAfter": "60s"}})).await;
        let before = shop.record().await;
        let standby = before.standby.clone().expect("a standby");
        let writer = shop.writer(Pace { answer: secs(60), ..Pace::default() }).await;
        writer.progress(200, secs(10)).await.expect("writes");
        let node = shop.node_of(&standby).await;
        node.power_cut().await;
        node.start().await;
        shop.in_sync(before.epoch, secs(180)).await;
        writer.progress(100, secs(60)).await.expect("writes go on");
        shop.check(&writer.stop().await).await;
    })
    .await;
}
