//! What a figure is worth nothing without: machine, versions, options.

use serde_json::{Value, json};

use super::support::shop::Shop;
use super::support::{kubectl, output};

fn file(path: &str, key: &str) -> String {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let line = text.lines().find(|l| l.starts_with(key)).unwrap_or_default();
    line.split_once(':').map(|(_, v)| v.trim().to_owned()).unwrap_or_default()
}

/// Described as it was found.
pub async fn describe(shop: &Shop, connections: u32) -> Value {
    let primary = shop.primary().await;
    let mut options = serde_json::Map::new();
    for name in ["version", "sync_binlog", "innodb_flush_log_at_trx_commit", "sync_relay_log", "innodb_buffer_pool_size", "replica_parallel_workers"] {
        options.insert(name.to_owned(), json!(shop.ask(&primary, &format!("SELECT @@GLOBAL.{name}")).await));
    }
    let cluster = shop.clusters().get("shop").await.expect("the cluster");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).trim().to_owned();
    json!({
        "machine": {
            "cpu": file("/proc/cpuinfo", "model name"),
            "cores": std::thread::available_parallelism().map(usize::from).unwrap_or_default(),
            "memory": file("/proc/meminfo", "MemTotal"),
            "kernel": std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim(),
            "loadBefore": std::fs::read_to_string("/proc/loadavg").unwrap_or_default().trim(),
        },
        "commit": text(output("git", &["describe", "--always", "--dirty"]).await.stdout),
        "kubernetes": serde_json::from_str::<Value>(&kubectl(&["version", "-o", "json"]).await).unwrap_or_default()["serverVersion"]["gitVersion"],
        "nodes": kubectl(&["get", "nodes", "-o", "name"]).await.lines().count(),
        "kubeProxy": {"mode": "nftables", "minSyncPeriod": std::env::var("SHARDPAIR_CLUSTER_PROXY_SYNC").unwrap_or_else(|_| "1s (default)".to_owned())},
        "mysql": options,
        "failover": cluster.spec.failover,
        "writer": {"connections": connections, "autocommit": true, "connectTimeoutMs": 100, "answerTimeoutMs": 1000, "pauseMs": 2},
    })
}
