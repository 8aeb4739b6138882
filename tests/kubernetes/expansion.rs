//! One shard becomes two becomes four, under writers of old and new maps; and every way back.

use std::time::{Duration, Instant};

use kube::Client;
use serde_json::json;
use shardpair::api::conditions;
use shardpair::api::expansion::Phase;

use crate::support::cluster::events;
use crate::support::lanes::{Lanes, Log};
use crate::support::plan::Plan;
use crate::support::shop::Shop;
use crate::support::{eventually, kubectl, secs, with_temp_ns_for};

/// On a quiet machine it takes a good half of it.
const LIMIT: Duration = secs(540);

/// What the flip of a plan was like, from the writers' side.
fn tell(log: &Log, what: &str, moves: impl Fn(u64) -> bool + Copy, from: Instant, to: Instant) {
    let (moving, staying) = (log.felt(moves, from, to), log.felt(|c| !moves(c), from, to));
    println!("{what}: keys that move: longest gap {} ms, {} acknowledged, refused {:?}", moving.gap.as_millis(), moving.acked, moving.errors);
    println!(
        "{what}: keys that stay: longest gap {} ms, p50 {} us, p99 {} us, {} acknowledged, errors {:?}",
        staying.gap.as_millis(),
        staying.p50.as_micros(),
        staying.p99.as_micros(),
        staying.acked,
        staying.errors
    );
    assert!(staying.errors.is_empty(), "{what}: keys that stay must feel nothing: {:?}", staying.errors);
}

async fn no_problems(shop: &Shop, log: &Log, purged: bool) {
    let problems = log.problems(shop, purged).await.expect("rows");
    println!("{} rows acknowledged", log.acked());
    assert!(log.acked() > 0 && problems.is_empty(), "{} problems: {:#?}", problems.len(), &problems[..problems.len().min(20)]);
}

/// Both members of every pair hold the same rows, and nothing of a guard.
async fn pairs_are_equal_and_clean(shop: &Shop, shards: u32) {
    for shard in 0..shards {
        let pair = shop.pairs().get(&format!("{}-{shard}", shop.name)).await.expect("the pair");
        assert!(pair.spec.split.is_none(), "{:?}", pair.spec.split);
        let record = pair.status.expect("a status").record;
        let standby = record.standby.clone().unwrap_or_else(|| panic!("{record:?}"));
        let executed = shop.ask(&record.primary, "SELECT @@GLOBAL.gtid_executed").await;
        assert_eq!(shop.ask(&standby, &format!("SELECT WAIT_FOR_EXECUTED_GTID_SET('{executed}', 20)")).await, "0");
        let sum = "SELECT concat_ws('/', count(*), sum(crc32(concat_ws(',', n, user_id, run, id)))) FROM shop.orders";
        assert_eq!(shop.ask(&record.primary, sum).await, shop.ask(&standby, sum).await, "shard {shard}");
        for member in [&record.primary, &standby] {
            let triggers = shop.ask(member, "SELECT count(*) FROM information_schema.triggers WHERE trigger_schema = 'shop'").await;
            assert_eq!(triggers, "0", "{member} has guards left");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes five minutes and more: SHARDPAIR_TESTS=all"]
async fn one_shard_becomes_two_becomes_four_under_writers_of_old_and_new_maps() {
    with_temp_ns_for("expand", LIMIT, async |client: Client, ns: String| {
        let shop = Shop::one_shard(&client, &ns).await;
        let lanes = Lanes::start(&shop, 4, Duration::from_millis(12)).await.expect("writers");
        lanes.progress(300, secs(20)).await.expect("writes");
        let mut flips = Vec::new();
        for (name, to) in [("to-2", 2), ("to-4", 4)] {
            let plan = Plan::apply(&shop, name, to, json!({"until": "Prepared"})).await;
            plan.reaches(Phase::Prepared, secs(240)).await;
            lanes.progress(100, secs(20)).await.expect("writes go on");
            let from = Instant::now();
            plan.until("Complete").await;
            let status = plan.reaches(Phase::Flipped, secs(60)).await;
            println!("{name}: flipped {:?}, pause {:?}", status.flipped, status.pause);
            lanes.progress(200, secs(20)).await.expect("writes go on");
            flips.push((name, u64::from(to), from, Instant::now()));
            plan.reaches(Phase::Complete, secs(180)).await;
            shop.ready(secs(60)).await;
            println!("{}", kubectl(&["-n", &ns, "get", "xplan,shc,shp"]).await);
        }
        lanes.progress(200, secs(20)).await.expect("writes go on");
        let log = lanes.stop().await;
        for (name, to, from, until) in flips {
            tell(&log, name, |class| class % to >= to / 2, from, until);
        }
        no_problems(&shop, &log, true).await;
        pairs_are_equal_and_clean(&shop, 4).await;
        let told = events(&ns, "to-4").await;
        assert!(told.contains("Flipped: shard 1") && told.contains("PhaseDone: Complete"), "{told}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dry_run_tells_what_is_in_the_way_and_a_plan_can_go_back_or_be_deleted() {
    with_temp_ns_for("rollback", LIMIT, async |client: Client, ns: String| {
        let shop = Shop::one_shard(&client, &ns).await;
        // A dry run finds what can't be split.
        let mut conn = shop.vip().await.connect_patiently(secs(10)).await.expect("the VIP answers");
        mysql(&mut conn, "CREATE TABLE unlisted (id INT PRIMARY KEY)").await;
        mysql(&mut conn, crate::support::lanes::TABLE).await;
        let dry = Plan::apply(&shop, "dry", 2, json!({"until": "Preflight"})).await;
        let why = dry.says(conditions::STALLED, "Refused", secs(30)).await;
        println!("dry run: {why}");
        assert!(why.contains("unlisted"), "{why}");
        mysql(&mut conn, "DROP TABLE unlisted").await;
        dry.reaches(Phase::Preflight, secs(90)).await;
        assert_eq!(kubectl(&["-n", &ns, "get", "shp", "-o", "name"]).await.lines().count(), 1, "a dry run makes nothing");
        dry.delete().await;
        dry.is_gone(secs(10)).await;
        // Not twice as many: refused with what to do.
        let odd = Plan::apply(&shop, "odd", 6, json!({})).await;
        assert!(odd.says(conditions::STALLED, "NotDouble", secs(10)).await.contains("toShards: 2"));
        odd.delete().await;
        // Forward to Flipped; a second plan waits.
        let lanes = Lanes::start(&shop, 2, Duration::from_millis(10)).await.expect("writers");
        let plan = Plan::apply(&shop, "to-2", 2, json!({"until": "Flipped"})).await;
        plan.reaches(Phase::Flipped, secs(180)).await;
        let second = Plan::apply(&shop, "to-2-again", 2, json!({})).await;
        assert!(second.says(conditions::PROGRESSING, "AnotherPlan", secs(10)).await.contains("to-2"));
        second.delete().await;
        second.is_gone(secs(10)).await;
        lanes.progress(300, secs(20)).await.expect("writes go on");
        // An account that the guards don't bind writes a key that moved where it was: found in the binary log, and the plan goes no further.
        let parent = shop.pairs().get("shop-0").await.expect("the parent").status.expect("a status").record.primary;
        shop.ask(&parent, "INSERT INTO shop.orders (user_id, run, id) VALUES (1, 0, 0)").await;
        plan.until("Complete").await;
        let why = plan.says(conditions::STALLED, "Misrouted", secs(30)).await;
        println!("misrouted: {why}");
        assert!(why.contains("1 row(s)") && why.contains("shop.orders") && why.contains(&parent), "{why}");
        eventually("the status has the number", secs(10), async || match plan.status().await?.shards.first().and_then(|s| s.misrouted_rows) {
            Some(1) => Ok(()),
            other => Err(format!("{other:?}")),
        })
        .await;
        let told = events(&ns, "to-2").await;
        assert!(told.contains("Misrouted"), "{told}");
        // Back to Prepared: keys return without copying.
        let from = Instant::now();
        plan.until("Prepared").await;
        plan.reaches(Phase::Prepared, secs(60)).await;
        lanes.progress(200, secs(20)).await.expect("writes go on");
        let back = Instant::now();
        shop.ask(&parent, "DELETE FROM shop.orders WHERE run = 0 AND id = 0").await;
        // Deleted: the map goes back, then what was made goes.
        plan.delete().await;
        plan.is_gone(secs(90)).await;
        assert_eq!(kubectl(&["-n", &ns, "get", "shp", "-o", "name"]).await, "shardpair.shardpair.io/shop-0");
        eventually("the new pair's objects are gone", secs(60), async || {
            let left = kubectl(&["-n", &ns, "get", "sts,svc", "-o", "name"]).await;
            if left.contains("shop-m2") || left.contains("service/shop-1") { Err(left) } else { Ok(()) }
        })
        .await;
        lanes.progress(200, secs(20)).await.expect("writes go on");
        let log = lanes.stop().await;
        let moving = log.felt(|c| c == 1, from, back);
        println!("rollback: keys that return: longest gap {} ms, refused {:?}", moving.gap.as_millis(), moving.errors);
        no_problems(&shop, &log, true).await;
        pairs_are_equal_and_clean(&shop, 1).await;
    })
    .await;
}

async fn mysql(conn: &mut mysql_async::Conn, sql: &str) {
    use mysql_async::prelude::Queryable;
    conn.query_drop(sql).await.unwrap_or_else(|e| panic!("{sql}: {e}"));
}
