//! One size: a loaded cluster, writers of old and new maps, flips and ways back, then to the end.

use std::time::{Duration, Instant};

use mysql_async::prelude::Queryable;
use serde_json::json;
use shardpair::api::expansion::Phase;

use super::beside::{self, Copies};
use super::support::lanes::{Felt, Lanes};
use super::support::plan::Plan;
use super::support::shop::Shop;
use super::support::{secs, with_temp_ns_for};

/// As long as it takes.
const DAY: Duration = secs(24 * 3600);
/// Rows of one INSERT; a row has about 1 KB.
const BATCH: u64 = 10_000;

/// What is measured.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    pub shards: u32,
    pub mb: u64,
    pub runs: u32,
    pub rate: u64,
    pub beside: bool,
}

/// A flip, or a way back.
#[derive(Debug, Default)]
pub struct Turn {
    /// From the change of `until` to the phase.
    pub took: Duration,
    /// As the pairs tell it: from the fence to the write of the VIP, each shard.
    pub pauses: Vec<f64>,
    pub moving: Felt,
    pub staying: Felt,
}

/// What came out.
#[derive(Debug)]
pub struct Figures {
    pub size: Size,
    pub to_prepared: Duration,
    /// What keys that stay felt in the ten seconds before the first flip.
    pub before: Felt,
    pub flips: Vec<Turn>,
    pub backs: Vec<Turn>,
    pub to_complete: Duration,
    pub rows_purged: i64,
    pub acked: usize,
    pub copies: Copies,
    pub problems: Vec<String>,
}

/// Measures.
pub async fn at(size: Size) -> Figures {
    let mut figures = None;
    with_temp_ns_for("xbench", DAY, async |client, ns| {
        let change = json!({
            "mysql": {"config": {"innodb_buffer_pool_size": "128M", "innodb_redo_log_capacity": "256M"}, "storage": {"size": "20Gi"}},
            "sharding": {"tables": [{"name": "shop.orders", "key": "user_id"}, {"name": "shop.blobs", "key": "user_id"}]},
        });
        let shop = Shop::with(&client, &ns, size.shards, change).await;
        load(&shop, size).await;
        figures = Some(run(&shop, size).await);
    })
    .await;
    figures.expect("measured")
}

async fn load(shop: &Shop, size: Size) {
    let began = Instant::now();
    for shard in 0..size.shards {
        let mut conn = shop.vip_of(shard).await.connect_patiently(secs(10)).await.expect("the VIP answers");
        let table = "CREATE TABLE blobs (id BIGINT UNSIGNED AUTO_INCREMENT PRIMARY KEY, user_id BIGINT NOT NULL, pad VARCHAR(1000) NOT NULL, KEY (user_id))";
        conn.query_drop(table).await.expect("a table");
        conn.query_drop(format!("SET SESSION cte_max_recursion_depth={}", BATCH + 1)).await.expect("set");
        for batch in 0..(size.mb * 1024 * 1024 / 1024).div_ceil(BATCH) {
            let rows = format!(
                "INSERT INTO blobs (user_id, pad) WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i < {BATCH}) \
                 SELECT (i + {}) * {} + {shard}, repeat(char(65 + i MOD 26), 980) FROM n",
                batch * BATCH,
                size.shards
            );
            conn.query_drop(rows).await.expect("rows");
        }
    }
    println!("{} MB on each of {} shard(s) after {:.1} s", size.mb, size.shards, began.elapsed().as_secs_f64());
}

async fn run(shop: &Shop, size: Size) -> Figures {
    let classes = u64::from(2 * size.shards);
    // Each write takes some milliseconds of its own.
    let pause = Duration::from_millis((2 * classes * 1000 / size.rate).saturating_sub(3).max(1));
    let lanes = Lanes::start(shop, classes, pause).await.expect("writers");
    let began = Instant::now();
    let plan = Plan::apply(shop, "double", 2 * size.shards, json!({"until": "Prepared", "reverseWindow": "0s"})).await;
    plan.reaches(Phase::Prepared, DAY).await;
    let to_prepared = began.elapsed();
    let mut copies = beside::clones(shop, size.shards).await;
    let calm = Instant::now();
    lanes.progress(size.rate * 10, secs(60)).await.expect("writes go on");
    let (calm_from, calm_to) = (calm, Instant::now());
    let mut spans = Vec::new();
    for _ in 0..size.runs.max(1) {
        for phase in [Phase::Flipped, Phase::Prepared] {
            let from = Instant::now();
            plan.until(&format!("{phase:?}")).await;
            let status = plan.reaches(phase, secs(120)).await;
            let took = from.elapsed();
            // Writers that were refused have found their way by then.
            lanes.progress(size.rate, secs(30)).await.expect("writes go on");
            spans.push((phase, from, Instant::now(), took, status.shards.iter().filter_map(|s| s.pause_seconds).collect::<Vec<_>>()));
        }
    }
    let from = Instant::now();
    plan.until("Complete").await;
    let status = plan.reaches(Phase::Complete, DAY).await;
    let to_complete = from.elapsed();
    lanes.progress(size.rate, secs(30)).await.expect("writes go on");
    let log = lanes.stop().await;
    let moves = |class: u64| class >= u64::from(size.shards);
    let turn = |(_, from, to, took, pauses): &(Phase, Instant, Instant, Duration, Vec<f64>)| Turn {
        took: *took,
        pauses: pauses.clone(),
        moving: log.felt(moves, *from, *to),
        staying: log.felt(|c| !moves(c), *from, *to),
    };
    let of = |phase: Phase| spans.iter().filter(|s| s.0 == phase).map(turn).collect();
    if size.beside {
        copies.dump = Some(beside::dump(shop, size).await);
    }
    Figures {
        size,
        to_prepared,
        before: log.felt(|c| !moves(c), calm_from, calm_to),
        flips: of(Phase::Flipped),
        backs: of(Phase::Prepared),
        to_complete,
        rows_purged: status.shards.iter().filter_map(|s| s.rows_deleted).sum(),
        acked: log.acked(),
        copies,
        problems: log.problems(shop, true).await.expect("rows"),
    }
}
