//! The real page, told by the test what there is.

use std::path::PathBuf;

use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use shardpair::api::{ExpansionPlan, ShardCluster, ShardPair};
use shardpair::controller::page;
use shardpair::controller::page::change::Told;
use shardpair::controller::page::snapshot::snapshot;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::watch;

use crate::world::{self, with};

/// What the API server holds.
#[derive(Clone, Default)]
pub struct World {
    pub clusters: Vec<ShardCluster>,
    pub pairs: Vec<ShardPair>,
    pub plans: Vec<ExpansionPlan>,
}

impl World {
    /// A cluster at rest.
    pub fn of(shards: i32) -> Self {
        Self { clusters: vec![world::cluster("shop", shards)], pairs: (0..shards).map(pair).collect(), plans: Vec::new() }
    }

    /// One pair becomes another.
    pub fn change(&mut self, shard: usize, change: impl Fn(&ShardPair) -> ShardPair) {
        self.pairs[shard] = change(&self.pairs[shard]);
    }
}

pub fn ago(seconds: i64) -> String {
    (Timestamp::now() - SignedDuration::from_secs(seconds)).strftime("%Y-%m-%dT%H:%M:%S.000000Z").to_string()
}

/// At rest; its members on some of nine nodes, its last move within this hour for one in four.
fn pair(shard: i32) -> ShardPair {
    let node = |k: i32| format!("worker-{}", (shard * 2 + k * 5) % 9);
    let name = |k: i32| format!("shop-m{}", 2 * shard + k);
    let members = json!([
        {"name": name(0), "volume": "v0", "serverUUID": "u0", "node": node(0)},
        {"name": name(1), "volume": "v1", "serverUUID": "u1", "node": node(1), "lagSeconds": 0, "behindTransactions": 0},
    ]);
    let kinds = ["Switchover", "Failover", "Failover"];
    let (at, kind) = (60 + i64::from(shard) * 977 % 3_400, kinds[shard as usize % 3]);
    let moved = match shard % 4 {
        0 => json!({"kind": kind, "from": name(1), "to": name(0), "at": ago(at), "seconds": 0.08 + f64::from(shard % 7) * 0.06, "reason": if kind == "Failover" { "ProcessGone" } else { "Requested" }}),
        _ => json!(null),
    };
    with(&world::pair("shop", shard), json!({"status": {"members": members, "lastMove": moved}}))
}

/// The page on a port of this machine.
pub struct Served {
    pub port: u16,
    feed: watch::Sender<Told>,
    runtime: Option<Runtime>,
}

impl Served {
    pub fn start(world: &World) -> Self {
        let feed = watch::Sender::new(Told { operator: "shardpair-5d9c7b8f64-x2k7q".to_owned(), ..Told::default() });
        let mut served = Self { port: crate::browser::free_port(), feed, runtime: None };
        served.tell(world);
        served.resume();
        served
    }

    /// As the operator does four times a second.
    pub fn tell(&self, world: &World) {
        let pairs: Vec<&ShardPair> = world.pairs.iter().collect();
        let plans: Vec<&ExpansionPlan> = world.plans.iter().collect();
        let newer = snapshot(world.clusters.iter(), &pairs, &plans);
        self.feed.send_if_modified(|told| told.take(newer, true));
    }

    /// The operator is gone, and its connections.
    pub fn stop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }

    /// It is back, on the same port.
    pub fn resume(&mut self) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
        let listener = runtime.block_on(TcpListener::bind(("127.0.0.1", self.port))).expect("the port");
        let app = page::router(self.feed.clone());
        runtime.spawn(async move { axum::serve(listener, app).await });
        self.runtime = Some(runtime);
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/", self.port)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Those that docs/page.md shows.
const IN_DOCS: [&str; 10] =
    ["three-light", "failover", "split-dark", "split-clone", "split-flipped", "split-purge", "many-dark", "many-phone", "detail", "silent"];

/// Where pictures go: into docs/ when they are to be made anew.
pub fn picture(name: &str) -> PathBuf {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let place = if IN_DOCS.contains(&name) && std::env::var_os("UPDATE_PICTURES").is_some() { root.join("docs/page") } else { root.join("target/test-logs/page") };
    std::fs::create_dir_all(&place).expect("a directory");
    place.join(format!("{name}.png"))
}
