//! Many pairs on one operator: memory, processor time and API requests at rest, and how long it takes to act. See `run` beside this file.
//!
//! The API server and etcd are real, the operator is the released program, the members are stubs that speak MySQL's protocol (`sql`,
//! `world`), and this process also does what controllers and kubelets would (`kubelet`). Nothing waits for a disk or a network here: what
//! is measured is the operator, on the processors that it shares with all of that.

mod kubelet;
mod member;
mod process;
mod sql;
mod watch;
mod wire;
mod world;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use clap::Parser;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use process::Operator;
use serde_json::json;
use shardpair::api::pair::ShardPair;
use shardpair::api::{ShardCluster, names};
use watch::Seen;
use world::World;

/// A process that was killed is there again after this, so that each kill is a failover, however busy the machine is.
const AWAY: Duration = Duration::from_secs(5);
/// One move takes no longer.
const MOVE: Duration = Duration::from_secs(60);
/// Everything is in Sync within this, at first and after a test.
const ALL: Duration = Duration::from_secs(1800);

/// Many pairs on one operator.
#[derive(Parser)]
struct Args {
    /// Pairs.
    #[arg(long, default_value_t = 1_000)]
    pairs: u32,
    /// Shards of a cluster.
    #[arg(long, default_value_t = 100)]
    shards: u32,
    /// Seconds of rest that are measured.
    #[arg(long, default_value_t = 120)]
    rest: u64,
    /// Changes one after another, of each kind.
    #[arg(long, default_value_t = 100)]
    changes: usize,
    /// Failovers at once.
    #[arg(long, default_value_t = 100)]
    at_once: usize,
    /// The operator's program.
    #[arg(long)]
    operator: String,
    /// Files of this run.
    #[arg(long)]
    dir: PathBuf,
    /// Ignored; what `cargo bench` adds.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() {
    let args = Args::parse();
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime").block_on(run(args));
}

struct Bench {
    client: Client,
    world: Arc<World>,
    seen: Seen,
    operator: Operator,
    pairs: Vec<String>,
}

async fn run(args: Args) {
    let client = Client::try_default().await.expect("a client");
    let (world, seen) = (Arc::new(World::default()), Seen::start(&client));
    let _kubelet = kubelet::Kubelet::start(client.clone(), world.clone()).await;
    let clusters = clusters(&args);
    for (cluster, shards) in &clusters {
        for k in 0..2 * shards {
            world.member(&names::member(cluster, k));
        }
    }
    let operator = Operator::start(&args.operator, &args.dir);
    let begun = Instant::now();
    for (cluster, shards) in &clusters {
        create(&client, cluster, *shards).await;
    }
    let mut bench = Bench { client, world, seen, operator, pairs: Vec::new() };
    bench.all_in_sync(args.pairs as usize).await;
    bench.pairs = bench.seen.pairs();
    println!("{} pairs in {} clusters: all in Sync after {:.0} s", args.pairs, clusters.len(), begun.elapsed().as_secs_f64());
    bench.rest(args.rest).await;
    bench.one_by_one(args.changes).await;
    bench.at_once(args.at_once).await;
    let memory = bench.operator.memory();
    println!("memory at the end: {:.1} MiB resident, {:.1} MiB at most", memory.resident, memory.highest);
}

/// Names of the clusters, and their shards.
fn clusters(args: &Args) -> Vec<(String, u32)> {
    let whole = (0..args.pairs / args.shards).map(|n| (format!("c{n}"), args.shards));
    let rest = args.pairs % args.shards;
    whole.chain((rest > 0).then(|| ("rest".to_owned(), rest))).collect()
}

async fn create(client: &Client, name: &str, shards: u32) {
    let cluster: ShardCluster = serde_json::from_value(json!({
        "apiVersion": "shardpair.io/v1alpha1", "kind": "ShardCluster", "metadata": {"name": name},
        "spec": {
            "shards": shards, "databases": ["shop"],
            "mysql": {"image": "mysql:9.7", "storage": {"size": "10Gi"}, "config": {"innodb_buffer_pool_size": "64M", "max_connections": "200"}},
            "sharding": {"tables": [{"name": "shop.orders", "key": "user_id"}]}
        }
    }))
    .expect("a cluster");
    let api: Api<ShardCluster> = Api::namespaced(client.clone(), kubelet::NAMESPACE);
    api.create(&PostParams::default(), &cluster).await.expect("a cluster is made");
}

/// Of durations in order: the middle, 99 of 100, the longest.
fn told(mut took: Vec<Duration>) -> String {
    took.sort_unstable();
    let part = |of: f64| took[((took.len() - 1) as f64 * of).round() as usize].as_secs_f64() * 1e3;
    format!("{} times: p50 {:.0} ms, p99 {:.0} ms, longest {:.0} ms", took.len(), part(0.5), part(0.99), part(1.0))
}

impl Bench {
    async fn all_in_sync(&self, wanted: usize) {
        let (begun, mut shown) = (Instant::now(), Instant::now());
        while self.seen.in_sync() < wanted {
            assert!(begun.elapsed() < ALL, "{} of {wanted} pairs are in Sync", self.seen.in_sync());
            if shown.elapsed() > Duration::from_secs(20) {
                shown = Instant::now();
                let memory = self.operator.memory().resident;
                eprintln!("scale: {:.0} s: {} of {wanted} in Sync, operator {memory:.0} MiB, {:.0} s of processor", begun.elapsed().as_secs_f64(), self.seen.in_sync(), self.operator.cpu());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn rest(&self, seconds: u64) {
        // What was told last, events and metrics' first values included, has been told.
        tokio::time::sleep(Duration::from_secs(45)).await;
        let (requests, cpu, asked, begun) = (self.operator.requests(), self.operator.cpu(), self.world.asked.load(Ordering::Relaxed), Instant::now());
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        let took = begun.elapsed().as_secs_f64();
        let (memory, cpu) = (self.operator.memory(), (self.operator.cpu() - cpu) / took);
        let asked = (self.world.asked.load(Ordering::Relaxed) - asked) as f64 / took;
        println!("at rest, over {took:.0} s:");
        println!("  memory: {:.1} MiB resident, of that {:.1} MiB its own; {:.1} MiB at most so far", memory.resident, memory.anonymous, memory.highest);
        println!("  processor: {:.3} of one core; {asked:.0} statements a second over {} connections", cpu, self.world.open.load(Ordering::Relaxed));
        let made = process::between(&requests, &self.operator.requests());
        let lease: u64 = made.iter().filter(|(what, _)| what.ends_with(" leases")).map(|(_, count)| count).sum();
        let others: Vec<_> = made.iter().filter(|(what, _)| !what.ends_with(" leases")).map(|(what, count)| format!("{what} {count}")).collect();
        let sum: u64 = made.values().sum::<u64>() - lease;
        println!("  API requests a second: {:.2} for the Lease, {:.3} others ({})", lease as f64 / took, sum as f64 / took, others.join(", "));
    }

    async fn kill_primary(&self, pair: &str) -> (String, Instant) {
        let primary = self.seen.pair(pair).primary;
        let from = self.seen.vip(pair).expect("a VIP").0;
        let at = self.world.member(&primary);
        self.world.kill(at);
        kubelet::back(&self.world, at, AWAY);
        (from, Instant::now())
    }

    async fn one_by_one(&self, changes: usize) {
        let (mut killed, mut asked) = (Vec::new(), Vec::new());
        for pair in self.pairs.iter().take(changes) {
            let (from, since) = self.kill_primary(pair).await;
            killed.push(self.seen.moved(pair, &from, since, MOVE).await.unwrap_or_else(|| panic!("{pair} has not failed over")));
        }
        println!("a primary's process dies, until its VIP leads elsewhere, {}", told(killed));
        self.all_in_sync(self.pairs.len()).await;
        let api: Api<ShardPair> = Api::namespaced(self.client.clone(), kubelet::NAMESPACE);
        for pair in self.pairs.iter().rev().take(changes) {
            let from = self.seen.vip(pair).expect("a VIP").0;
            let change = json!({"metadata": {"annotations": {names::ASK_SWITCHOVER_TO: self.seen.pair(pair).standby}}});
            let since = Instant::now();
            api.patch(pair, &PatchParams::default(), &Patch::Merge(change)).await.expect("a request");
            asked.push(self.seen.moved(pair, &from, since, MOVE).await.unwrap_or_else(|| panic!("{pair} has not switched over")));
        }
        println!("a switchover is asked for, until the VIP leads elsewhere, {}", told(asked));
        self.all_in_sync(self.pairs.len()).await;
    }

    async fn at_once(&self, failovers: usize) {
        tokio::time::sleep(Duration::from_secs(10)).await;
        let (begun, cpu, requests) = (Instant::now(), self.operator.cpu(), self.operator.requests());
        let spread = (self.pairs.len() / failovers.max(1)).max(1);
        let pairs: Vec<_> = self.pairs.iter().step_by(spread).take(failovers).collect();
        let mut killed = Vec::new();
        for pair in &pairs {
            killed.push((*pair, self.kill_primary(pair).await));
        }
        let moves = killed.iter().map(|(pair, (from, since))| self.seen.moved(pair, from, *since, MOVE));
        let moved = futures::future::join_all(moves).await;
        let missed = moved.iter().filter(|m| m.is_none()).count();
        println!("primaries of {} pairs die at once: {missed} not failed over; until each VIP leads elsewhere, {}", pairs.len(), told(moved.into_iter().flatten().collect()));
        let requests: u64 = process::between(&requests, &self.operator.requests()).values().sum();
        println!("  all moved after {:.1} s, {:.1} s of processor, {requests} API requests", begun.elapsed().as_secs_f64(), self.operator.cpu() - cpu);
        self.all_in_sync(self.pairs.len()).await;
        println!("  all in Sync again after {:.1} s", begun.elapsed().as_secs_f64());
    }
}
