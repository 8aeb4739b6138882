//! What the cache costs and saves: hits, reads past an empty cache, and writes with and without it.
//!
//! `cargo bench --bench cache -- 5` (seconds a measurement; default 4). One real mysqld as in tests/mysql, durable, without an acker, and one
//! real Redis, both on this machine: the network's round trips come on top, two for a write.

#[allow(dead_code, reason = "shared with the tests, which use all of it")]
#[path = "../../tests/mysql/harness.rs"]
mod harness;
#[allow(dead_code, reason = "shared with the tests, which use all of it")]
#[path = "../../tests/client/redis_server.rs"]
mod redis_server;

#[path = "../../tests/kubernetes/support/spread.rs"]
mod spread;

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use harness::{AS_PRIMARY, SOON, Server, application};
use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use redis_server::Redis;
use shardpair::client::cache::Load;
use shardpair::client::{At, Cache, CacheOptions, Client, ClientOptions, Freshness, MapSource, Work};
use shardpair::mysql::accounts;
use shardpair::mysql::role::{self, OpenAs};
use shardpair::routing::Map;

/// Rows, and keys.
const ROWS: u64 = 1_000;
const OUTBOX: &str = "d.outbox";

fn main() {
    let seconds = std::env::args().find_map(|arg| arg.parse().ok()).unwrap_or(4);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    runtime.block_on(run(Duration::from_secs(seconds)));
}

fn row(conn: &mut Conn, id: u64) -> Work<'_, Option<Vec<u8>>> {
    Box::pin(async move { conn.exec_first("SELECT v FROM d.c WHERE id = ?", (id,)).await })
}

fn read(client: &Client, id: u64) -> Load<'_> {
    Box::pin(async move { client.read(At::Shard(0), Freshness::Latest, move |conn| row(conn, id)).await })
}

fn update(conn: &mut Conn, id: u64) -> Work<'_, ()> {
    Box::pin(async move { conn.exec_drop("UPDATE d.c SET n = n + 1 WHERE id = ?", (id,)).await })
}

async fn measure<F: Future<Output = ()> + Send>(what: &str, callers: u64, time: Duration, call: impl Fn(u64) -> F + Clone + Send + 'static) {
    let (mut tasks, begun) = (tokio::task::JoinSet::new(), Instant::now());
    for caller in 0..callers {
        let call = call.clone();
        tasks.spawn(async move {
            let (mut took, mut n) = (Vec::new(), caller);
            while begun.elapsed() < time {
                let at = Instant::now();
                call(n).await;
                took.push(at.elapsed().as_micros() as u64);
                n += callers;
            }
            took
        });
    }
    let mut took = tasks.join_all().await.concat();
    took.sort_unstable();
    let (p50, p99, _) = spread::spread(&took);
    let (rate, ms) = (took.len() as f64 / begun.elapsed().as_secs_f64(), |us: u64| us as f64 / 1e3);
    println!("{what:<34} {callers:>2} callers {rate:>8.0}/s  p50 {:>7.3}  p99 {:>7.3} ms", ms(p50), ms(p99));
}

async fn run(time: Duration) {
    let (server, redis) = tokio::join!(Server::start("a"), Redis::start());
    let mut session = server.session().await;
    role::open_primary(&mut session, OpenAs { ack: false, ..AS_PRIMARY }, SOON).await.expect("open");
    accounts::bootstrap_primary(&mut session, &["d".to_owned()], &application(), SOON).await.expect("accounts");
    session.exec("CREATE TABLE d.c (id INT PRIMARY KEY, n INT NOT NULL, v VARCHAR(200) NOT NULL)", SOON).await.expect("a table");
    let rows = (0..ROWS).map(|id| format!("({id}, 0, '{}')", "x".repeat(200))).collect::<Vec<_>>().join(",");
    session.exec(&format!("INSERT INTO d.c VALUES {rows}"), SOON).await.expect("rows");
    let map = format!(
        r#"{{"version":1,"cluster":"c","epoch":1,"strategy":"Hash","function":"Mod","tables":[],"shards":[{{"id":0,"modulus":1,"residue":0,"vip":"127.0.0.1","port":{}}}]}}"#,
        server.port
    );
    let who = application();
    let source = MapSource::Fixed(Box::new(Map::parse(&map).expect("a map")));
    let client = Arc::new(Client::new(source, ClientOptions::new("bench", &who.user, &who.password)).await.expect("a client"));
    client.idempotent(At::Shard(0), |conn| Box::pin(async move { Cache::create_outbox(conn, OUTBOX).await })).await.expect("an outbox");
    let options = CacheOptions { young: Duration::from_secs(600), ..CacheOptions::new("bench", OUTBOX) };
    let cache = Arc::new(Cache::new(&redis.url(), client.clone(), options).expect("a cache"));
    while cache.counts().hits.load(Ordering::Relaxed) == 0 {
        cache.get("warm", || read(&client, 0)).await.expect("a value");
    }
    for callers in [1, 16] {
        let (c, k) = (cache.clone(), client.clone());
        measure("hit", callers, time, move |n| {
            let (c, k, id) = (c.clone(), k.clone(), n % ROWS);
            async move { drop(c.get(&format!("row-{id}"), || read(&k, id)).await.expect("a value")) }
        })
        .await;
        let k = client.clone();
        measure("the same row from MySQL", callers, time, move |n| {
            let k = k.clone();
            async move { drop(read(&k, n % ROWS).await.expect("a value")) }
        })
        .await;
        let (c, k, fresh) = (cache.clone(), client.clone(), Arc::new(AtomicU64::new(0)));
        measure("nothing there: lease, read, fill", callers, time, move |n| {
            let (c, k, key) = (c.clone(), k.clone(), format!("new-{callers}-{}", fresh.fetch_add(1, Ordering::Relaxed)));
            async move { drop(c.get(&key, || read(&k, n % ROWS)).await.expect("a value")) }
        })
        .await;
        let k = client.clone();
        measure("write without the cache", callers, time, move |n| {
            let k = k.clone();
            async move { k.idempotent(At::Shard(0), move |conn| update(conn, n % ROWS)).await.expect("written") }
        })
        .await;
        let c = cache.clone();
        measure("write through the cache", callers, time, move |n| {
            let (c, key) = (c.clone(), format!("row-{}", n % ROWS));
            async move { c.idempotent(At::Shard(0), &[&key], move |conn| update(conn, n % ROWS)).await.expect("written") }
        })
        .await;
    }
}
