//! The standby is lost: the pair goes on alone or stalls, as asked, and is two again by itself.

use kube::Api;
use kube::api::DeleteParams;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use serde_json::json;
use shardpair::pair::record::Mode;

use crate::support::cluster::events;
use crate::support::faults;
use crate::support::shop::{BACK_IN_SYNC, MOVED, READY, Shop, pod};
use crate::support::writer::Pace;
use crate::support::{eventually, secs, with_temp_ns};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_its_standby_a_pair_goes_solo_and_back_to_sync() {
    with_temp_ns("solo", async |client, ns| {
        let shop = Shop::one_shard(&client, &ns).await;
        let before = shop.record().await;
        let standby = before.standby.clone().expect("a standby");
        let writer = shop.busy_writer().await;
        // Hung, not killed: that would be back before soloAfter.
        shop.mysqld(&standby).await.hang().await;
        let solo = shop.recorded("Solo", MOVED, |r| r.mode == Mode::Solo).await;
        assert_eq!(solo.primary, before.primary);
        writer.progress(100, secs(10)).await.expect("writes go on");
        faults::heal_all().await.expect("it wakes");
        let after = shop.in_sync(solo.epoch + 1, BACK_IN_SYNC).await;
        assert_eq!((after.primary, after.standby), (before.primary, before.standby));
        let log = writer.stop().await;
        println!("writes stalled for {:?} (soloAfter is 3 s)", log.longest_gap().length);
        shop.check(&log).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_durability_required_writes_stall_rather_than_go_on_alone() {
    with_temp_ns("required", async |client, ns| {
        let shop = Shop::with(&client, &ns, 1, json!({"failover": {"durability": "Required", "soloAfter": "1s"}})).await;
        let before = shop.record().await;
        let pace = Pace { answer: secs(30), ..Pace::default() };
        let writer = shop.writer(pace).await;
        writer.progress(100, secs(10)).await.expect("writes");
        shop.mysqld(&shop.standby().await).await.hang().await;
        // A few acknowledgements may still be under way.
        let stalled = writer.progress(1_000_000, secs(8)).await.expect_err("nothing is acknowledged");
        println!("{stalled}");
        assert!(writer.progress(1, secs(2)).await.is_err(), "nothing is acknowledged");
        let record = shop.record().await;
        assert_eq!((record.mode, &record.primary), (Mode::Sync, &before.primary), "it never relaxes");
        faults::heal_all().await.expect("it wakes");
        writer.progress(100, secs(30)).await.expect("writes go on");
        shop.in_sync(before.epoch, BACK_IN_SYNC).await;
        shop.check(&writer.stop().await).await;
    })
    .await;
}

/// The members that the Service for reads leads to.
async fn read_from(shop: &Shop) -> Result<Vec<String>, String> {
    let slices: Api<EndpointSlice> = Api::namespaced(shop.client.clone(), &shop.ns);
    let found = slices.get_opt("shop-0-read").await.map_err(|e| e.to_string())?;
    Ok(found.iter().flat_map(|s| &s.endpoints).filter_map(|e| e.target_ref.as_ref()?.name.clone()).collect())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_service_for_reads_leads_to_the_standby_while_it_is_near_and_in_sync() {
    with_temp_ns("reads", async |client, ns| {
        let shop = Shop::with(&client, &ns, 1, json!({"reads": {"service": true, "maxLag": "4s"}})).await;
        let leads = async |what: &str, to: Option<&str>| {
            let wanted = to.map(pod).into_iter().collect::<Vec<_>>();
            eventually(what, secs(60), async || read_from(&shop).await.and_then(|at| if at == wanted { Ok(()) } else { Err(format!("{at:?}")) })).await;
        };
        let standby = shop.standby().await;
        leads("the standby is read", Some(&standby)).await;
        // Too far behind.
        let mut session = shop.session(&standby).await.expect("a session");
        session.exec("FLUSH TABLES WITH READ LOCK", secs(5)).await.expect("its applier is held up");
        leads("it has left", None).await;
        session.exec("UNLOCK TABLES", secs(5)).await.expect("it goes on");
        leads("it is back", Some(&standby)).await;
        // Gone.
        let before = shop.record().await;
        shop.mysqld(&standby).await.hang().await;
        shop.recorded("Solo", MOVED, |r| r.mode == Mode::Solo).await;
        leads("nobody is read in Solo", None).await;
        faults::heal_all().await.expect("it wakes");
        let after = shop.in_sync(before.epoch, BACK_IN_SYNC).await;
        leads("it is read again", Some(&standby)).await;
        // After a failover the other one.
        shop.mysqld(&after.primary).await.hang().await;
        let moved = shop.moved_from(&after.primary).await;
        assert_eq!(moved.primary, standby);
        faults::heal_all().await.expect("it wakes");
        shop.in_sync(moved.epoch, BACK_IN_SYNC).await;
        leads("the old primary is read", Some(&after.primary)).await;
        shop.change(json!({"reads": {"service": false}})).await.expect("changed");
        eventually("the Service and its slice are gone", secs(60), async || {
            let services: Api<Service> = Api::namespaced(client.clone(), &ns);
            match (services.get_opt("shop-0-read").await, read_from(&shop).await) {
                (Ok(None), Ok(at)) if at.is_empty() => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_is_replaced_by_a_new_one_on_request() {
    with_temp_ns("replace", async |client, ns| {
        let shop = Shop::one_shard(&client, &ns).await;
        let before = shop.record().await;
        let old = before.standby.clone().expect("a standby");
        let writer = shop.busy_writer().await;
        shop.annotate("shardpair.io/replace", &old).await;
        let after = shop.recorded("a new member in Sync", READY, |r| r.standby.as_ref().is_some_and(|s| *s != old) && r.mode == Mode::Sync).await;
        shop.in_sync(after.epoch, BACK_IN_SYNC).await;
        let new = shop.standby().await;
        assert!(![&before.primary, &old].contains(&&new), "{new} is a new one");
        let claims: Api<PersistentVolumeClaim> = Api::namespaced(client.clone(), &ns);
        claims.get(&old).await.expect("the old member's volume is kept");
        eventually("the old member's pod is gone", secs(30), async || match shop.pods().get_opt(&pod(&old)).await {
            Ok(None) => Ok(()),
            other => Err(format!("{:?}", other.map(|p| p.map(|p| p.metadata.name)))),
        })
        .await;
        shop.check(&writer.stop().await).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_emptied_standby_is_never_taken_for_the_old_one() {
    with_temp_ns("volume-lost", async |client, ns| {
        let shop = Shop::one_shard(&client, &ns).await;
        let before = shop.record().await;
        let standby = before.standby.clone().expect("a standby");
        let writer = shop.busy_writer().await;
        let claims: Api<PersistentVolumeClaim> = Api::namespaced(client.clone(), &ns);
        claims.delete(&standby, &DeleteParams::default()).await.expect("deleted");
        // A volume in use goes with its pod.
        shop.delete_pod(&standby).await;
        let solo = shop.recorded("Solo", secs(30), |r| r.mode == Mode::Solo).await;
        writer.progress(100, secs(10)).await.expect("writes go on");
        assert_eq!(solo.primary, before.primary);
        shop.annotate("shardpair.io/replace", &standby).await;
        let after = shop.recorded("a new member in Sync", READY, |r| r.standby.as_ref().is_some_and(|s| *s != standby) && r.mode == Mode::Sync).await;
        shop.in_sync(after.epoch, BACK_IN_SYNC).await;
        shop.check(&writer.stop().await).await;
        println!("{}", events(&ns, "shop-0").await);
    })
    .await;
}
