//! The operator dies, hangs, or loses its API server: the databases go on, and nothing is done twice or by halves.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use futures::future::join_all;

use crate::support::cluster::{SYSTEM, leader};
use crate::support::faults::{self, Process};
use crate::support::shop::{BACK_IN_SYNC, MOVED, Shop, pod};
use crate::support::writer::Pace;
use crate::support::{eventually, holds_for, kubectl, secs, with_temp_ns};

/// As long without any write is rest.
const REST: Duration = secs(20);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_killed_in_the_middle_of_moves_leaves_nothing_half_done() {
    with_temp_ns("op-killed", async |client, ns| {
        let shop = Shop::one_shard(&client, &ns).await;
        let writer = shop.busy_writer().await;
        // At several points of a failover, and of a switchover.
        for (round, later_ms) in [0, 15, 40, 120].into_iter().enumerate() {
            let before = shop.record().await;
            let operator = Process::of(SYSTEM, &leader(&client).await, "shardpair").await;
            let primary = Process::of(&ns, &pod(&before.primary), "mysqld").await;
            if round % 2 == 0 {
                primary.kill().await;
            } else {
                shop.annotate("shardpair.io/switchover-to", before.standby.as_deref().expect("a standby")).await;
            }
            // The moment is the point of the test.
            tokio::time::sleep(Duration::from_millis(later_ms)).await;
            operator.kill().await;
            // Another operator's Lease comes first.
            writer.progress(100, secs(40)).await.expect("writes go on");
            let after = shop.in_sync(before.epoch, BACK_IN_SYNC).await;
            println!("killed after {later_ms} ms: {} epoch {} -> {} epoch {}", before.primary, before.epoch, after.primary, after.epoch);
        }
        shop.check(&writer.stop().await).await;
    })
    .await;
}

/// A storm of clients has taken every connection, and the operator that comes just then has none yet.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_full_of_clients_is_still_operated() {
    with_temp_ns("full", async |client, ns| {
        let shop = Shop::one_shard(&client, &ns).await;
        let (before, vip) = (shop.record().await, shop.vip().await);
        let mut crowd = Vec::new();
        let why = loop {
            match vip.connect(secs(5)).await {
                Ok(conn) => crowd.push(conn),
                Err(why) => break why,
            }
            assert!(crowd.len() < 200, "it isn't ever full");
        };
        assert!(why.contains("Too many connections"), "{why}");
        Process::of(SYSTEM, &leader(&client).await, "shardpair").await.kill().await;
        let to = before.standby.clone().expect("a standby");
        shop.annotate("shardpair.io/switchover-to", &to).await;
        let after = shop.recorded("the switchover", secs(60), |r| r.primary == to && r.transition.is_none()).await;
        shop.in_sync(after.epoch, BACK_IN_SYNC).await;
        drop(crowd);
    })
    .await;
}

/// The second operator takes over from one that hangs, and the first, awake again, does no harm (invariant 7).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hung_leader_is_succeeded_and_harmless_when_it_wakes() {
    with_temp_ns("op-hung", async |client, ns| {
        let shop = Shop::one_shard(&client, &ns).await;
        let before = shop.record().await;
        let writer = shop.busy_writer().await;
        let old = leader(&client).await;
        Process::of(SYSTEM, &old, "shardpair").await.hang().await;
        shop.kill_mysqld(&before.primary).await;
        let successor = eventually("another leader", secs(60), async || match leader(&client).await {
            now if now == old => Err(format!("still {now}")),
            now => Ok(now),
        })
        .await;
        println!("{successor} leads instead of {old}");
        shop.in_sync(before.epoch, BACK_IN_SYNC).await;
        writer.progress(100, secs(10)).await.expect("writes go on");
        let settled = shop.record().await;
        faults::heal_all().await.expect("it wakes");
        holds_for("the record stays", secs(8), async || {
            let now = shop.record().await;
            let same = (now.epoch, &now.primary, now.mode) == (settled.epoch, &settled.primary, settled.mode);
            if same { Ok(()) } else { Err(format!("{settled:?} -> {now:?}")) }
        })
        .await;
        shop.check(&writer.stop().await).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_api_server_is_away_writes_go_on_and_nothing_moves() {
    with_temp_ns("api-away", async |client, ns| {
        let shop = Shop::one_shard(&client, &ns).await;
        let before = shop.record().await;
        let writer = shop.busy_writer().await;
        faults::api_hangs().await;
        // Longer than any Lease.
        for _ in 0..25 {
            writer.progress(20, secs(5)).await.expect("writes go on");
            tokio::time::sleep(secs(1)).await;
        }
        faults::api_goes_on().await;
        let after = shop.in_sync(before.epoch, BACK_IN_SYNC).await;
        assert_eq!((after.epoch, &after.primary), (before.epoch, &before.primary), "nothing moved");
        let log = writer.stop().await;
        assert!(log.longest_gap().length < secs(2), "{:?}", log.longest_gap());
        shop.check(&log).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_that_dies_while_the_api_server_is_away_is_safe_when_it_is_back() {
    with_temp_ns("api-dead", async |client, ns| {
        let shop = Shop::one_shard(&client, &ns).await;
        let before = shop.record().await;
        let writer = shop.busy_writer().await;
        let primary = Process::of(&ns, &pod(&before.primary), "mysqld").await;
        faults::api_dies().await;
        primary.kill().await;
        let moved = writer.progress(50, secs(10)).await;
        println!("without an API server: {moved:?}");
        faults::api_starts().await;
        shop.in_sync(before.epoch, BACK_IN_SYNC).await;
        writer.progress(100, secs(20)).await.expect("writes go on");
        shop.check(&writer.stop().await).await;
    })
    .await;
}

/// Every object of the namespace, by its resourceVersion: Events and the Lease are elsewhere.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_rest_the_operator_writes_nothing() {
    with_temp_ns("at-rest", async |client, ns| {
        let shop = Shop::with(&client, &ns, 2, serde_json::json!({})).await;
        let kinds = "shardclusters,shardpairs,statefulsets,pods,services,endpointslices,configmaps,secrets,pvc,pdb,events";
        let shape = "jsonpath={range .items[*]}{.kind}/{.metadata.name}={.metadata.resourceVersion}{\"\\n\"}{end}";
        let versions = async || -> BTreeMap<String, String> {
            let all = kubectl(&["-n", &ns, "get", kinds, "-o", shape]).await;
            all.lines().filter_map(|l| l.split_once('=')).map(|(k, v)| (k.to_owned(), v.to_owned())).collect()
        };
        // Not only at rest for the operator: with an application that writes.
        let writer = shop.writer(Pace { pause: Duration::from_millis(20), ..Pace::default() }).await;
        // The last conditions settle first, and a moment without processor time may show as a member that doesn't answer.
        let (begun, mut seen, mut since, mut changes) = (Instant::now(), versions().await, Instant::now(), Vec::new());
        while since.elapsed() < REST {
            tokio::time::sleep(secs(1)).await;
            let now = versions().await;
            if now != seen {
                changes.push(format!("at {:?}: {}", begun.elapsed(), difference(&seen, &now)));
                (seen, since) = (now, Instant::now());
            }
            assert!(begun.elapsed() < 6 * REST, "never {REST:?} without a write: {changes:#?}");
        }
        println!("before {REST:?} without a write: {changes:?}");
        shop.check(&writer.stop().await).await;
    })
    .await;
}

fn difference(before: &BTreeMap<String, String>, after: &BTreeMap<String, String>) -> String {
    let changed: Vec<&String> = after.iter().filter(|(k, v)| before.get(*k) != Some(v)).map(|(k, _)| k).collect();
    format!("changed: {changed:?}")
}

/// Flapping is limited: a primary that dies again and again does not make the pair move for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_that_kills_every_primary_does_not_kill_the_pair() {
    with_temp_ns("flapping", async |client, ns| {
        let shop = Shop::one_shard(&client, &ns).await;
        let writer = shop.busy_writer().await;
        for _ in 0..8 {
            let before = shop.record().await;
            if let Some(pid) = faults::try_pid(&ns, &pod(&before.primary), "mysqld").await {
                Process(pid).kill().await;
            }
            shop.recorded("at rest", MOVED, |r| r.transition.is_none()).await;
        }
        let record = shop.recorded("Sync", secs(180), |r| r.transition.is_none() && r.mode == shardpair::pair::record::Mode::Sync).await;
        println!("{} failovers: {:?}", record.recent_failovers.len(), record);
        join_all([shop.in_sync(record.epoch, secs(180))]).await;
        shop.check(&writer.stop().await).await;
    })
    .await;
}
