//! A real Prometheus scrapes the real operator: every series that is documented is there, every query of the dashboard has an
//! answer, and no alert fires over a pair that is well.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use kube::Client;
use serde_json::Value;
use shardpair::controller::metrics::series::{self, Series};

use crate::support::shop::{BACK_IN_SYNC, Shop};
use crate::support::{cluster, eventually, output, root, run, secs, with_temp_ns};

/// Series that are there only while a split is under way, or after what a test can't cause.
fn only_at_times(series: &Series) -> bool {
    series.name.starts_with("expansion_")
}

struct Prometheus {
    child: Child,
    dir: PathBuf,
    url: String,
    promtool: String,
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

impl Prometheus {
    async fn start(targets: &[String]) -> Self {
        let tools = run("tests/prometheus/tools", &[]).await;
        let dir = std::env::temp_dir().join(format!("shardpair-prometheus-{}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("a directory");
        let alerts = root().join("charts/shardpair/files/alerts.yaml");
        let config = serde_json::json!({
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": [alerts],
            "scrape_configs": [{"job_name": "shardpair", "honor_labels": true, "static_configs": [{"targets": targets}]}],
        });
        // JSON is YAML.
        std::fs::write(dir.join("prometheus.yml"), config.to_string()).expect("written");
        let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port").port();
        let log = std::fs::File::create(dir.join("log")).expect("a log");
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--", &format!("{tools}/prometheus")])
            .args([format!("--config.file={}", dir.join("prometheus.yml").display()), format!("--storage.tsdb.path={}", dir.join("data").display())])
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log"))
            .stderr(log)
            .spawn()
            .expect("Prometheus");
        Self { child, dir, url: format!("http://127.0.0.1:{port}"), promtool: format!("{tools}/promtool") }
    }

    /// The lines of an answer.
    async fn ask(&self, expr: &str) -> Result<Vec<String>, String> {
        let asked = output(&self.promtool, &["query", "instant", &self.url, expr]).await;
        let text = String::from_utf8_lossy(&asked.stdout).into_owned();
        match asked.status.success() {
            true => Ok(text.lines().filter(|l| !l.trim().is_empty()).map(str::to_owned).collect()),
            false => Err(format!("{expr}: {}", String::from_utf8_lossy(&asked.stderr).trim())),
        }
    }

    async fn has(&self, expr: &str, within: Duration) -> Vec<String> {
        eventually(expr, within, async || match self.ask(expr).await? {
            none if none.is_empty() => Err("no answer".to_owned()),
            lines => Ok(lines),
        })
        .await
    }
}

/// The dashboard's queries, as Grafana would ask them.
fn queries() -> Vec<String> {
    let text = std::fs::read_to_string(root().join("charts/shardpair/files/dashboard.json")).expect("the dashboard");
    let dashboard: Value = serde_json::from_str(&text).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    let exprs = panels.iter().flat_map(|p| p["targets"].as_array().cloned().unwrap_or_default()).map(|t| t["expr"].as_str().expect("text").to_owned());
    exprs.map(|e| e.replace("$namespace", ".*").replace("$pair", ".*").replace("$__rate_interval", "30s").replace("$__range", "5m")).collect()
}

async fn targets(client: &Client) -> Vec<String> {
    let pods = cluster::operator_pods(client).await;
    pods.iter().filter_map(|p| Some(format!("{}:8080", p.status.as_ref()?.pod_ip.clone()?))).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn prometheus_finds_what_is_documented_and_what_the_dashboard_asks_for() {
    with_temp_ns("metrics", async |client, ns| {
        let shop = Shop::one_shard(&client, &ns).await;
        let prometheus = Prometheus::start(&targets(&client).await).await;
        let of_pair = format!("{{namespace=\"{ns}\", pair=\"shop-0\"}}");
        prometheus.has(&format!("shardpair_pair_ready{of_pair} == 1"), secs(30)).await;
        let writer = shop.busy_writer().await;
        // A move, and a request that is refused.
        let before = shop.record().await;
        shop.annotate("shardpair.io/switchover-to", "shop-m9").await;
        shop.request_is_done("shardpair.io/switchover-to", secs(20)).await;
        shop.annotate("shardpair.io/switchover-to", before.standby.as_deref().expect("a standby")).await;
        shop.request_is_done("shardpair.io/switchover-to", secs(20)).await;
        let after = shop.in_sync(before.epoch + 1, BACK_IN_SYNC).await;
        prometheus.has(&format!("shardpair_pair_moves_total{{namespace=\"{ns}\", pair=\"shop-0\", kind=\"Switchover\", reason=\"Requested\"}} == 1"), secs(10)).await;
        prometheus.has(&format!("shardpair_pair_refusals_total{{namespace=\"{ns}\", pair=\"shop-0\", reason=\"RequestRefused\"}} == 1"), secs(10)).await;
        prometheus.has(&format!("shardpair_pair_write_gap_seconds_count{of_pair} == 1"), secs(10)).await;
        prometheus.has(&format!("shardpair_member_role{{namespace=\"{ns}\", role=\"primary\", member=\"{}\"}} == 1", after.primary), secs(10)).await;
        // Counters are read every 10 s, of both members.
        prometheus.has(&format!("count(shardpair_member_connections_max{of_pair}) == 2"), secs(40)).await;
        prometheus.has(&format!("rate(shardpair_member_transactions_total{of_pair}[10s]) > 0"), secs(20)).await;
        prometheus.has(&format!("shardpair_member_disk_used_bytes{of_pair} > 10e6"), secs(70)).await;
        let mut missing = BTreeSet::new();
        for series in series::all().iter().filter(|s| !only_at_times(s)) {
            if prometheus.ask(&series.queried()).await.expect("an answer").is_empty() {
                missing.insert(series.queried());
            }
        }
        assert!(missing.is_empty(), "documented, and not told: {missing:?}");
        for query in queries().iter().filter(|q| !q.contains("shardpair_expansion_")) {
            prometheus.has(query, secs(30)).await;
        }
        for query in queries().iter().filter(|q| q.contains("shardpair_expansion_")) {
            prometheus.ask(query).await.expect("a query that can be asked");
        }
        let firing = prometheus.ask(&format!("ALERTS{{namespace=\"{ns}\", alertstate=\"firing\"}}")).await.expect("an answer");
        assert!(firing.is_empty(), "{firing:?}");
        let log = writer.stop().await;
        shop.check(&log).await;
        drop(shop);
        forgotten(&client, &prometheus, &ns).await;
    })
    .await;
}

/// With the pair its series end.
async fn forgotten(client: &Client, prometheus: &Prometheus, ns: &str) {
    let clusters: kube::Api<shardpair::api::ShardCluster> = kube::Api::namespaced(client.clone(), ns);
    clusters.delete("shop", &Default::default()).await.expect("deleted");
    eventually("no series is left", secs(60), async || {
        let left = prometheus.ask(&format!("{{namespace=\"{ns}\", __name__=~\"shardpair_.*\"}}")).await?;
        if left.is_empty() { Ok(()) } else { Err(format!("{} are: {}", left.len(), left[0])) }
    })
    .await;
}
