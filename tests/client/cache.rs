//! The cache against real Redis and MySQL: nothing stale, whatever dies.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use shardpair::client::cache::Load;
use shardpair::client::{At, Cache, CacheOptions, CallError, Client, Freshness, Work};
use shardpair::mysql::{Session, replication};
use tokio::sync::Notify;

use crate::calls::{client, fail_over, one_shard, reading_the_standby};
use crate::harness::{SOON, Server, eventually, pair};
use crate::redis_server::Redis;
use crate::segments::alone;
use crate::vip::Vip;

pub const OUTBOX: &str = "d.cache_outbox";

pub fn cache_options() -> CacheOptions {
    CacheOptions { hold: Duration::from_secs(20), ..CacheOptions::new("test", OUTBOX) }
}

/// Rows 0..ROWS with n = 0, and the outbox.
const ROWS: u32 = 4;
pub async fn tables(server: &Server) {
    let mut session = server.session().await;
    session.exec("CREATE TABLE d.c (id INT PRIMARY KEY, n INT NOT NULL)", SOON).await.expect("a table");
    session.exec("INSERT INTO d.c VALUES (0,0),(1,0),(2,0),(3,0)", SOON).await.expect("rows");
    session.exec(&format!("CREATE TABLE {OUTBOX} (id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY, cache_key VARBINARY(512) NOT NULL)"), SOON).await.expect("an outbox");
}

pub fn cache(redis: &str, client: &Arc<Client>, options: CacheOptions) -> Arc<Cache> {
    Arc::new(Cache::new(redis, client.clone(), options).expect("a cache"))
}

/// Until it may be read from.
pub async fn in_use(cache: &Cache, client: &Client) {
    eventually("the cache is in use", async || {
        load(cache, client, "warm", 3).await.expect("a value");
        cache.counts().hits.load(Ordering::Relaxed) > 0
    })
    .await;
}

pub fn read_row(client: &Client, id: u32) -> Load<'_> {
    Box::pin(async move {
        Ok(client.read(At::Shard(0), Freshness::Latest, move |conn| row(conn, id)).await?.map(|n| n.to_string().into_bytes()))
    })
}

pub fn row(conn: &mut Conn, id: u32) -> Work<'_, Option<u32>> {
    Box::pin(async move { conn.exec_first("SELECT n FROM d.c WHERE id = ?", (id,)).await })
}

pub async fn load(cache: &Cache, client: &Client, key: &str, id: u32) -> Result<Option<u32>, CallError> {
    let value = cache.get(key, || read_row(client, id)).await?;
    Ok(value.map(|text| String::from_utf8_lossy(&text).parse().expect("a number")))
}

pub async fn set(cache: &Cache, key: &str, id: u32, n: u32) -> Result<(), CallError> {
    cache.idempotent(At::Shard(0), &[key], move |conn| update(conn, id, n)).await
}

pub fn update(conn: &mut Conn, id: u32, n: u32) -> Work<'_, ()> {
    Box::pin(async move { conn.exec_drop("REPLACE INTO d.c VALUES (?, ?)", (id, n)).await })
}

#[tokio::test]
async fn values_and_their_absence_are_kept_and_a_stampede_asks_the_database_once() {
    let (server, redis) = tokio::join!(alone(), Redis::start());
    tables(&server).await;
    let client = Arc::new(client(&one_shard(server.port)).await);
    let cache = cache(&redis.url(), &client, CacheOptions { young: Duration::from_secs(600), ..cache_options() });
    in_use(&cache, &client).await;
    let loads = AtomicU32::new(0);
    let slow = || -> Load<'_> {
        loads.fetch_add(1, Ordering::Relaxed);
        Box::pin(async {
            tokio::time::sleep(Duration::from_millis(150)).await;
            Ok(Some(b"7".to_vec()))
        })
    };
    let all = futures::future::join_all((0..50).map(|_| cache.get("hot", slow))).await;
    assert!(all.iter().all(|v| v.as_ref().is_ok_and(|v| v.as_deref() == Some(b"7"))));
    assert_eq!(loads.load(Ordering::Relaxed), 1);
    assert_eq!(load(&cache, &client, "none", 99).await, Ok(None));
    let before = cache.counts().hits.load(Ordering::Relaxed);
    assert_eq!(load(&cache, &client, "none", 99).await, Ok(None));
    assert_eq!(cache.counts().hits.load(Ordering::Relaxed), before + 1, "its absence was cached");
    set(&cache, "none", 99, 5).await.expect("written");
    assert_eq!(load(&cache, &client, "none", 99).await, Ok(Some(5)), "and is forgotten by a write");
    let ttl: i64 = redis::cmd("PTTL").arg(redis::cmd("KEYS").arg("test:*v:none").query_async::<Vec<String>>(&mut redis.connection().await).await.expect("keys")).query_async(&mut redis.connection().await).await.expect("a TTL");
    assert!((500_000..660_000).contains(&ttl), "{ttl}");
}

#[tokio::test]
async fn a_slow_reader_puts_no_old_value_back() {
    let (server, redis) = tokio::join!(alone(), Redis::start());
    tables(&server).await;
    let client = Arc::new(client(&one_shard(server.port)).await);
    let cache = cache(&redis.url(), &client, cache_options());
    in_use(&cache, &client).await;
    let (has_read, go_on) = (Notify::new(), Notify::new());
    let slow = || -> Load<'_> {
        Box::pin(async {
            let old = read_row(&client, 1).await;
            has_read.notify_one();
            go_on.notified().await;
            old
        })
    };
    let (old, ()) = tokio::join!(cache.get("row", slow), async {
        has_read.notified().await;
        set(&cache, "row", 1, 42).await.expect("written");
        go_on.notify_one();
    });
    assert_eq!(old.expect("read").as_deref(), Some(&b"0"[..]), "it began before the write");
    assert_eq!(cache.counts().refused_fills.load(Ordering::Relaxed), 1);
    assert_eq!(load(&cache, &client, "row", 1).await, Ok(Some(42)));
    assert_eq!(cache.sample("row", Duration::ZERO, || read_row(&client, 1)).await, Ok(Some(true)));
    // The sampler notices a writer that never heard of Redis.
    server.session().await.exec("UPDATE d.c SET n = 43 WHERE id = 1", SOON).await.expect("written");
    assert_eq!(cache.sample("row", Duration::from_millis(50), || read_row(&client, 1)).await, Ok(Some(false)));
    assert_eq!(cache.sample("uncached", Duration::ZERO, || read_row(&client, 1)).await, Ok(None));
    let counts = cache.counts();
    assert_eq!((counts.sampled.load(Ordering::Relaxed), counts.stale.load(Ordering::Relaxed), counts.stale_ratio()), (2, 1, 0.5));
    assert!(counts.stale_ms_max.load(Ordering::Relaxed) >= 50);
    let told = counts.exposition();
    assert!(told.contains("\nshardpair_cache_stale_ratio 0.5\n") && told.contains("\nshardpair_cache_sampled_total 2\n"), "{told}");
}

#[tokio::test]
async fn a_writer_that_dies_is_ended_by_another_process() {
    let (server, redis) = tokio::join!(alone(), Redis::start());
    tables(&server).await;
    let client = Arc::new(client(&one_shard(server.port)).await);
    let short = CacheOptions { hold: Duration::from_millis(700), ..cache_options() };
    let dying = cache(&redis.url(), &client, short.clone());
    in_use(&dying, &client).await;
    assert_eq!(load(&dying, &client, "row", 1).await, Ok(Some(0)));
    let task = tokio::spawn({
        let dying = dying.clone();
        async move {
            dying.transaction(At::Shard(0), &["row"], |conn| Box::pin(async move { conn.query_drop("DO SLEEP(30)").await })).await
        }
    });
    eventually("it has begun", async || dying.sample("row", Duration::ZERO, || read_row(&client, 1)).await == Ok(None)).await;
    task.abort();
    let _ = task.await;
    drop(dying);
    let other = cache(&redis.url(), &client, short);
    in_use(&other, &client).await;
    eventually("it is cached again", async || {
        load(&other, &client, "row", 1).await.expect("a value");
        other.sample("row", Duration::ZERO, || read_row(&client, 1)).await == Ok(Some(true))
    })
    .await;
    let left = redis::cmd("KEYS").arg("test:*pending").query_async::<Vec<String>>(&mut redis.connection().await).await.expect("keys");
    assert_eq!(left, [""; 0], "nothing is left to be ended");
}

/// Row 1 is 8 on the primary and 0 on the standby, whose applier stands: for so long the 0 is read and never cached; the 8 is when it comes.
pub async fn not_cached_before_the_standby_has_it(cache: &Cache, client: &Client, on_b: &mut Session, time: Duration) {
    let from_standby = || -> Load<'_> {
        Box::pin(async { Ok(client.read(At::Shard(0), Freshness::Any, |conn| row(conn, 1)).await?.map(|n| n.to_string().into_bytes())) })
    };
    let begun = Instant::now();
    while begun.elapsed() < time {
        assert_eq!(cache.get("row", from_standby).await.expect("read").as_deref(), Some(&b"0"[..]), "the standby is behind");
        assert_eq!(cache.sample("row", Duration::ZERO, from_standby).await, Ok(None), "an old value is cached");
    }
    replication::start_applier(on_b, SOON).await.expect("it catches up");
    eventually("the new value is cached", async || {
        cache.get("row", from_standby).await.expect("read").as_deref() == Some(&b"8"[..]) && cache.sample("row", Duration::ZERO, || read_row(client, 1)).await == Ok(Some(true))
    })
    .await;
}

#[tokio::test]
async fn with_reads_from_the_standby_a_key_is_cached_again_when_the_standby_has_the_write() {
    let ((a, b), redis) = tokio::join!(pair(), Redis::start());
    tables(&a).await;
    let (client, mut on_b) = reading_the_standby(&a, &b).await;
    let client = Arc::new(client);
    let cache = cache(&redis.url(), &client, CacheOptions { standby_reads: true, ..cache_options() });
    in_use(&cache, &client).await;
    replication::stop_applier(&mut on_b, SOON).await.expect("a standby that falls behind");
    set(&cache, "row", 1, 8).await.expect("written");
    // Longer than any guess would wait: what the standby has isn't cached.
    not_cached_before_the_standby_has_it(&cache, &client, &mut on_b, Duration::from_millis(1_500)).await;
}

#[tokio::test]
async fn a_wrong_password_and_a_full_memory_are_said_and_the_database_answers() {
    let (server, redis, full) = tokio::join!(alone(), Redis::start_with(&["--requirepass", "right"]), Redis::start_with(&["--maxmemory", "3mb", "--maxmemory-policy", "noeviction"]));
    tables(&server).await;
    let client = Arc::new(client(&one_shard(server.port)).await);
    let wrong = cache(&format!("redis://:wrong@127.0.0.1:{}/", redis.port), &client, cache_options());
    assert_eq!(load(&wrong, &client, "row", 1).await, Ok(Some(0)));
    set(&wrong, "row", 1, 1).await.expect("writes go on");
    let problem = wrong.problem().expect("a problem");
    assert!(problem.contains("WRONGPASS") || problem.to_lowercase().contains("password"), "{problem}");
    assert!(!problem.contains("wrong@"), "{problem}");
    let right = cache(&format!("redis://:right@127.0.0.1:{}/", redis.port), &client, cache_options());
    in_use(&right, &client).await;
    drop((wrong, right));
    let cache = cache(&full.url(), &client, cache_options());
    in_use(&cache, &client).await;
    assert_eq!(load(&cache, &client, "row", 1).await, Ok(Some(1)));
    let mut other = full.connection().await;
    for n in 0..10_000 {
        if redis::cmd("SET").arg(format!("filler-{n}")).arg(vec![b'x'; 4096]).query_async::<()>(&mut other).await.is_err() {
            break;
        }
    }
    // What a command needs for itself counts as well: less than that is left.
    let limit = async |limit: &str| redis::cmd("CONFIG").arg(&["SET", "maxmemory", limit]).query_async::<()>(&mut full.connection().await).await.expect("set");
    limit("2mb").await;
    set(&cache, "row", 1, 2).await.expect("writes go on");
    assert_eq!(load(&cache, &client, "row", 1).await, Ok(Some(2)), "nothing old");
    assert_eq!(cache.sample("row", Duration::ZERO, || read_row(&client, 1)).await, Ok(None), "nothing more is kept");
    let _: () = redis::cmd("FLUSHALL").query_async(&mut other).await.expect("flushed");
    limit("3mb").await;
    eventually("it is cached again", async || {
        load(&cache, &client, "row", 1).await.expect("a value");
        cache.sample("row", Duration::ZERO, || read_row(&client, 1)).await == Ok(Some(true))
    })
    .await;
}

/// Readers and writers of four rows; a reader that begins after a write was answered must see it, or a later one.
struct Load4 {
    stop: AtomicBool,
    answered: [AtomicU32; ROWS as usize],
    reads: AtomicU64,
    stale: AtomicU64,
    worst_ms: AtomicU64,
}

async fn writer(own: Arc<Load4>, cache: Arc<Cache>, id: u32) {
    let mut n = 0;
    while !own.stop.load(Ordering::Relaxed) {
        n += 1;
        set(&cache, &format!("row-{id}"), id, n).await.unwrap_or_else(|e| panic!("write {n} of row {id}: {e}"));
        own.answered[id as usize].store(n, Ordering::Release);
        tokio::time::sleep(Duration::from_millis(rand::random_range(0..30))).await;
    }
}

async fn reader(own: Arc<Load4>, cache: Arc<Cache>, client: Arc<Client>) {
    while !own.stop.load(Ordering::Relaxed) {
        let id = rand::random_range(0..ROWS);
        let (least, begun) = (own.answered[id as usize].load(Ordering::Acquire), Instant::now());
        let mut got = load(&cache, &client, &format!("row-{id}"), id).await.unwrap_or_else(|e| panic!("row {id}: {e}")).expect("a row");
        own.reads.fetch_add(1, Ordering::Relaxed);
        if got < least {
            own.stale.fetch_add(1, Ordering::Relaxed);
            while got < least {
                got = load(&cache, &client, &format!("row-{id}"), id).await.expect("a value").expect("a row");
            }
            own.worst_ms.fetch_max(begun.elapsed().as_millis() as u64, Ordering::Relaxed);
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_stale_is_read_while_redis_is_killed_hung_and_flushed_and_the_pair_fails_over() {
    let ((mut a, mut b), mut redis) = tokio::join!(pair(), Redis::start());
    tables(&a).await;
    let vip = Vip::to(a.port).await;
    let client = Arc::new(client(&one_shard(vip.port)).await);
    let cache = cache(&redis.url(), &client, cache_options());
    in_use(&cache, &client).await;
    let own = Arc::new(Load4 { stop: AtomicBool::new(false), answered: Default::default(), reads: AtomicU64::new(0), stale: AtomicU64::new(0), worst_ms: AtomicU64::new(0) });
    let mut tasks = tokio::task::JoinSet::new();
    for id in 0..ROWS {
        tasks.spawn(writer(own.clone(), cache.clone(), id));
        tasks.spawn(reader(own.clone(), cache.clone(), client.clone()));
    }
    let hits = || cache.counts().hits.load(Ordering::Relaxed);
    let used = async |what: &str| {
        let before = hits();
        eventually(what, async || hits() > before + 100).await;
    };
    used("before").await;
    let _: () = redis::cmd("FLUSHALL").query_async(&mut redis.connection().await).await.expect("flushed");
    used("after a flush").await;
    redis.signal("STOP");
    tokio::time::sleep(Duration::from_millis(800)).await;
    redis.signal("CONT");
    used("after a hang").await;
    redis.kill();
    tokio::time::sleep(Duration::from_millis(500)).await;
    redis.run();
    used("after a kill").await;
    fail_over(&mut a, &mut b, &vip).await;
    used("after a failover").await;
    own.stop.store(true, Ordering::Relaxed);
    while let Some(ended) = tasks.join_next().await {
        ended.expect("a task");
    }
    let value = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let counts = cache.counts();
    println!("{} reads: {} hits, {} past Redis; {} writes by the outbox; {} stale, the oldest {} ms", value(&own.reads), hits(), value(&counts.without), value(&counts.outboxed), value(&own.stale), value(&own.worst_ms));
    assert_eq!(value(&own.stale), 0);
    assert!(value(&counts.outboxed) > 0 && value(&counts.without) > 0, "the faults were felt");
    for id in 0..ROWS {
        let sampled = cache.sample(&format!("row-{id}"), Duration::ZERO, || read_row(&client, id)).await;
        assert!(matches!(sampled, Ok(None | Some(true))), "row {id}: {sampled:?}");
    }
    let mut on_b = b.session().await;
    eventually("the outbox is empty", async || on_b.scalar(&format!("SELECT count(*) FROM {OUTBOX}"), SOON).await.expect("a count").as_deref() == Some("0")).await;
}
