//! A shard is split under the load of readers and writers of the cache, and Redis has its own troubles meanwhile: who reads after a
//! write was answered sees it, whichever side its key is on, and in the end cache and databases agree.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use mysql_async::prelude::Queryable;
use shardpair::client::cache::Load;
use shardpair::client::{At, Cache, CacheOptions, Client, Freshness, MapSource};
use shardpair::mysql::{guard, replication, role};
use shardpair::routing::{Function, Guard, Key, Keys};

use crate::cache::{OUTBOX, cache, cache_options};
use crate::calls::{SOLO, client};
use crate::harness::{SOON, Server, application, eventually, pair};
use crate::redis_server::Redis;
use crate::service::{MapFile, map};
use crate::vip::Vip;

const ROWS: usize = 6;

fn at(id: usize) -> At<'static> {
    At::Row("d.t", Key::Int(id as i64))
}

fn read(client: &Client, id: usize) -> Load<'_> {
    Box::pin(async move {
        let row = client.read(at(id), Freshness::Latest, move |conn| Box::pin(async move { conn.exec_first::<u32, _, _>("SELECT n FROM d.t WHERE id = ?", (id,)).await })).await?;
        Ok(row.map(|n| n.to_string().into_bytes()))
    })
}

/// What readers and writers share.
struct Run {
    stop: AtomicBool,
    answered: [AtomicU32; ROWS],
    reads: AtomicU64,
    stale: AtomicU64,
    /// The longest that a value older than an answered write was read.
    worst_ms: AtomicU64,
    cache: Arc<Cache>,
    client: Arc<Client>,
}

impl Run {
    async fn get(&self, id: usize) -> u32 {
        let value = self.cache.get(&format!("row-{id}"), || read(&self.client, id)).await.unwrap_or_else(|e| panic!("row {id}: {e}"));
        String::from_utf8_lossy(&value.expect("a row")).parse().expect("a number")
    }

    async fn writes(self: Arc<Self>, id: usize) {
        for n in 1.. {
            if self.stop.load(Ordering::Relaxed) {
                return;
            }
            let key = format!("row-{id}");
            let keys = [key.as_str()];
            let write = self.cache.idempotent(at(id), &keys, move |conn| Box::pin(async move { conn.exec_drop("UPDATE d.t SET n = ? WHERE id = ?", (n, id)).await }));
            write.await.unwrap_or_else(|e| panic!("write {n} of row {id}: {e}"));
            self.answered[id].store(n, Ordering::Release);
            tokio::time::sleep(Duration::from_millis(rand::random_range(0..30))).await;
        }
    }

    async fn reads(self: Arc<Self>) {
        while !self.stop.load(Ordering::Relaxed) {
            let id = rand::random_range(0..ROWS);
            let (least, begun) = (self.answered[id].load(Ordering::Acquire), Instant::now());
            self.reads.fetch_add(1, Ordering::Relaxed);
            if self.get(id).await < least {
                self.stale.fetch_add(1, Ordering::Relaxed);
                while self.get(id).await < least {}
                self.worst_ms.fetch_max(begun.elapsed().as_millis() as u64, Ordering::Relaxed);
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    async fn goes_on(&self, what: &str) {
        let (hits, written) = (self.cache.counts().hits.load(Ordering::Relaxed), self.answered.each_ref().map(|n| n.load(Ordering::Relaxed)));
        eventually(what, async || self.cache.counts().hits.load(Ordering::Relaxed) > hits + 30 && (0..ROWS).all(|id| self.answered[id].load(Ordering::Relaxed) > written[id])).await;
    }
}

/// Prepared, as the operator has it: the guard, and the application's rights of that time.
async fn guarded(a: &Server, client: &Client) -> Guard {
    let mut on_a = a.session().await;
    let guarded = Guard::of(&client.router().map().tables, Function::Mod, &Keys::Residue { modulus: 1, residue: 0 }, None).expect("a guard");
    guard::place(&mut on_a, &guarded, &guarded.both(), 41, SOON * 4).await.expect("placed");
    guard::revoke_ddl(&mut on_a, &application().user, &["d".to_owned()]).await.expect("revoked");
    guarded
}

/// Odd keys go to B, which has followed A so far, as the operator has it: fence, wait, open.
async fn flip(a: &Server, b: &Server, guarded: &Guard) {
    let (mut on_a, mut on_b) = (a.session().await, b.session().await);
    guard::fence(&mut on_a, guarded.moves, 42, SOON * 4).await.expect("fenced");
    let executed = replication::state(&mut on_a, SOON).await.expect("state").executed;
    replication::wait_executed(&mut on_b, &executed, SOON * 4).await.expect("B has it all");
    role::relax_acks(&mut on_a, SOON).await.expect("B acknowledges no more");
    role::open_primary(&mut on_b, SOLO, SOON).await.expect("open");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_stale_is_read_over_a_split_while_redis_is_flushed_hung_and_killed() {
    let ((a, b), mut redis) = tokio::join!(pair(), Redis::start());
    let mut on_a = a.session().await;
    for sql in [
        "CREATE TABLE d.cache_outbox (id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY, cache_key VARBINARY(512) NOT NULL)",
        "INSERT INTO d.t VALUES (0, '', 0), (1, '', 0), (2, '', 0), (3, '', 0), (4, '', 0), (5, '', 0)",
    ] {
        on_a.exec(sql, SOON).await.expect(sql);
    }
    let file = MapFile::new("cache-split", &map(1, "Mod", &[(1, 0)], &[a.port]));
    let client = Arc::new(client(&MapSource::File(file.0.clone())).await);
    // What a hang left half told is ended after `hold`: no write of this test takes that long.
    let cache = cache(&redis.url(), &client, CacheOptions { hold: Duration::from_secs(3), ..cache_options() });
    let zeros = || std::array::from_fn(|_| AtomicU32::new(0));
    let run = Arc::new(Run { stop: AtomicBool::new(false), answered: zeros(), reads: AtomicU64::new(0), stale: AtomicU64::new(0), worst_ms: AtomicU64::new(0), cache, client });
    let mut tasks = tokio::task::JoinSet::new();
    for id in 0..ROWS {
        tasks.spawn(run.clone().writes(id));
        tasks.spawn(run.clone().reads());
    }
    run.goes_on("before").await;
    let _: () = redis::cmd("FLUSHALL").query_async(&mut redis.connection().await).await.expect("flushed");
    flip(&a, &b, &guarded(&a, &run.client).await).await;
    file.write(&map(2, "Mod", &[(2, 0), (2, 1)], &[a.port, b.port]));
    run.goes_on("after the split").await;
    assert_eq!(run.client.router().map().epoch, 2);
    redis.signal("STOP");
    tokio::time::sleep(Duration::from_millis(500)).await;
    redis.signal("CONT");
    run.goes_on("after a hang").await;
    redis.kill();
    tokio::time::sleep(Duration::from_millis(300)).await;
    redis.run();
    run.goes_on("after a kill").await;
    run.stop.store(true, Ordering::Relaxed);
    while let Some(ended) = tasks.join_next().await {
        ended.expect("a task");
    }
    let value = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    println!("{} reads: {} hits, {} stale, the oldest {} ms", value(&run.reads), value(&run.cache.counts().hits), value(&run.stale), value(&run.worst_ms));
    assert_eq!(value(&run.stale), 0);
    for id in 0..ROWS {
        let (owner, written) = (if id % 2 == 0 { &a } else { &b }, run.answered[id].load(Ordering::Relaxed));
        let there = owner.session().await.scalar(&format!("SELECT n FROM d.t WHERE id = {id}"), SOON).await.expect("a row");
        assert_eq!(there, Some(written.to_string()), "row {id} in its database");
        assert_eq!(run.get(id).await, written, "row {id} through the cache");
        let sampled = run.cache.sample(&format!("row-{id}"), Duration::ZERO, || read(&run.client, id)).await;
        assert!(matches!(sampled, Ok(None | Some(true))), "row {id}: {sampled:?}");
    }
    for server in [&a, &b] {
        let mut session = server.session().await;
        eventually("the outbox is empty", async || session.scalar(&format!("SELECT count(*) FROM {OUTBOX}"), SOON).await.expect("a count").as_deref() == Some("0")).await;
    }
}

/// The map doesn't change when keys move: both VIPs lead to where their keys are. Connections of before stay with the old server, whose
/// rows of these keys are another's by then; here nothing brings it what is written there.
#[tokio::test]
async fn who_came_by_a_vip_before_its_keys_moved_reads_where_they_are_now() {
    let ((a, b), redis) = tokio::join!(pair(), Redis::start());
    let mut on_a = a.session().await;
    for sql in [
        "CREATE TABLE d.cache_outbox (id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY, cache_key VARBINARY(512) NOT NULL)",
        "INSERT INTO d.t VALUES (0, '', 0), (1, '', 0)",
    ] {
        on_a.exec(sql, SOON).await.expect(sql);
    }
    let (zero, one) = (Vip::to(a.port).await, Vip::to(a.port).await);
    let two = map(2, "Mod", &[(2, 0), (2, 1)], &[zero.port, one.port]);
    let (new, old) = (MapFile::new("read-new", &two), MapFile::new("read-old", &map(1, "Mod", &[(1, 0)], &[zero.port])));
    let [reader, late, writer] = [&new, &old, &new].map(|file| MapSource::File(file.0.clone()));
    let (reader, late) = (Arc::new(client(&reader).await), client(&late).await);
    let guarded = guarded(&a, &reader).await;
    let cached = cache(&redis.url(), &reader, CacheOptions { young: Duration::from_secs(600), ..cache_options() });
    let n = async |client: &Client, id| read(client, id).await.expect("a row").map(|text| String::from_utf8_lossy(&text).into_owned());
    let through = async || cached.get("row-1", || read(&reader, 1)).await.expect("a row").map(|text| String::from_utf8_lossy(&text).into_owned());
    for id in 0..2 {
        assert_eq!((n(&reader, id).await.as_deref(), n(&late, id).await.as_deref()), (Some("0"), Some("0")));
    }
    eventually("the old value is cached", async || {
        through().await;
        cached.sample("row-1", Duration::ZERO, || read(&reader, 1)).await == Ok(Some(true))
    })
    .await;
    flip(&a, &b, &guarded).await;
    one.move_to(b.port);
    // Another process, which never had a connection to the old server.
    let writer = Arc::new(client(&writer).await);
    let writing = cache(&redis.url(), &writer, cache_options());
    let write = writing.idempotent(at(1), &["row-1"], |conn| Box::pin(async move { conn.query_drop("UPDATE d.t SET n = 7 WHERE id = 1").await }));
    write.await.expect("written where the key is now");
    assert_eq!(through().await.as_deref(), Some("7"), "through the cache");
    assert_eq!(n(&reader, 1).await.as_deref(), Some("7"), "and past it");
    // With the map of before: no shard of it has the key. Read when the new one has come.
    let (value, ()) = tokio::join!(n(&late, 1), async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        old.write(&two);
    });
    assert_eq!((value.as_deref(), late.router().map().epoch), (Some("7"), 2));
    assert_eq!((n(&late, 0).await.as_deref(), reader.failing(0), reader.failing(1)), (Some("0"), None, None), "keys that stay");
}
