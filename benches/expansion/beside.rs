//! What copying the same data costs: CLONE, as the plan itself did it, and mysqldump|mysql.

use std::time::{Duration, Instant};

use serde_json::json;

use super::measure::Size;
use super::support::shop::{READY, Shop, small};
use super::support::{eventually, run};

/// Seconds of copies.
#[derive(Debug, Default)]
pub struct Copies {
    /// Each CLONE of the plan.
    pub clones: Vec<f64>,
    /// mysqldump of one shard's data, through a pipe into another server.
    pub dump: Option<Duration>,
}

/// How long the new members' CLONEs took, as MySQL noted it.
pub async fn clones(shop: &Shop, shards: u32) -> Copies {
    let mut clones = Vec::new();
    for shard in shards..2 * shards {
        let pair = shop.pairs().get(&format!("{}-{shard}", shop.name)).await.expect("the pair");
        for member in pair.spec.members {
            let took = shop.ask(&member, "SELECT timestampdiff(MICROSECOND, begin_time, end_time) / 1e6 FROM performance_schema.clone_status").await;
            clones.extend(took.parse::<f64>());
        }
    }
    Copies { clones, dump: None }
}

/// One shard's data, from its primary's own pod into a fresh cluster of one shard.
pub async fn dump(shop: &Shop, size: Size) -> Duration {
    let scratch = Shop { client: shop.client.clone(), ns: shop.ns.clone(), name: "scratch".to_owned() };
    let mut spec = small(1);
    super::support::shop::merge(&mut spec, json!({"mysql": {"config": {"innodb_buffer_pool_size": "128M", "innodb_redo_log_capacity": "256M"}, "storage": {"size": "20Gi"}}}));
    scratch.apply(&spec).await.expect("the ShardCluster is accepted");
    scratch.ready(READY).await;
    let (from, to) = (shop.vip_of(size.shards).await, scratch.vip().await);
    let pod = format!("{}-0", shop.primary().await);
    let began = Instant::now();
    let pipe = format!(
        "MYSQL_PWD='{}' mysqldump -h {} -u '{}' --single-transaction --set-gtid-purged=OFF --no-tablespaces shop blobs | MYSQL_PWD='{}' mysql -h {} -u '{}' shop",
        from.password, from.host, from.user, to.password, to.host, to.user
    );
    run("kubectl", &["-n", &shop.ns, "exec", &pod, "-c", "mysqld", "--", "bash", "-o", "pipefail", "-c", &pipe]).await;
    let took = began.elapsed();
    let rows = eventually("rows", Duration::from_secs(30), async || Ok(scratch.ask(&scratch.primary().await, "SELECT count(*) FROM shop.blobs").await)).await;
    println!("mysqldump | mysql: {rows} rows in {:.1} s", took.as_secs_f64());
    took
}
