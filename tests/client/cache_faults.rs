//! The cache's protocol, taken apart: each test is one way in which an old value could come back.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use mysql_async::prelude::Queryable;
use shardpair::client::cache::Load;
use shardpair::client::{At, Cache, CacheOptions, Client, ClientOptions, MapSource};
use shardpair::mysql::replication;
use tokio::sync::Notify;

use crate::cache::{OUTBOX, cache, cache_options, in_use, load, not_cached_before_the_standby_has_it, read_row, set, tables};
use crate::calls::{client, one_shard, options, reading_the_standby};
use crate::harness::{SOON, eventually, pair, replicator};
use crate::redis_server::Redis;
use crate::segments::alone;
use crate::service::{MapFile, map};

/// A write of row 1 whose transaction stays open between its statement and COMMIT.
struct SlowWrite {
    written: Notify,
    go_on: Notify,
}

impl SlowWrite {
    fn new() -> Arc<Self> {
        Arc::new(Self { written: Notify::new(), go_on: Notify::new() })
    }

    async fn run(self: &Arc<Self>, cache: &Cache, n: u32) -> Result<(), shardpair::client::CallError> {
        let own = self.clone();
        let work = cache.transaction(At::Shard(0), &["row"], move |conn| {
            let own = own.clone();
            Box::pin(async move {
                conn.exec_drop("REPLACE INTO d.c VALUES (1, ?)", (n,)).await?;
                own.written.notify_one();
                own.go_on.notified().await;
                Ok(())
            })
        });
        work.await
    }
}

/// Reads row 1 until the value is cached, whatever it is.
async fn cached(what: &str, cache: &Cache, client: &Client) {
    eventually(what, async || {
        load(cache, client, "row", 1).await.expect("a value");
        cache.sample("row", Duration::ZERO, || read_row(client, 1)).await == Ok(Some(true))
    })
    .await;
}

/// Redis restarts, or is emptied, while a write is under way: it has forgotten that, and another process caches the old row.
async fn forgotten(restart: bool) {
    let (server, mut redis) = tokio::join!(alone(), Redis::start());
    tables(&server).await;
    let client = Arc::new(client(&one_shard(server.port)).await);
    let (writer, reader) = (cache(&redis.url(), &client, cache_options()), cache(&redis.url(), &client, cache_options()));
    in_use(&writer, &client).await;
    in_use(&reader, &client).await;
    let write = SlowWrite::new();
    let (result, ()) = tokio::join!(write.run(&writer, 42), async {
        write.written.notified().await;
        if restart {
            redis.kill();
            redis.run();
            redis.answers().await;
        } else {
            let _: () = redis::cmd("FLUSHALL").query_async(&mut redis.connection().await).await.expect("flushed");
        }
        cached("the old value is cached again", &reader, &client).await;
        write.go_on.notify_one();
    });
    result.expect("written");
    for (name, cache) in [("the writer", &writer), ("another process", &reader)] {
        assert_eq!(load(cache, &client, "row", 1).await, Ok(Some(42)), "{name} reads what was there before");
    }
}

#[tokio::test]
async fn a_redis_that_restarts_during_a_write_is_told_of_its_end() {
    forgotten(true).await;
}

#[tokio::test]
async fn a_redis_that_is_emptied_during_a_write_is_told_of_its_end() {
    forgotten(false).await;
}

#[tokio::test]
async fn when_redis_is_away_at_the_end_of_a_write_the_outbox_is_told_before_the_answer() {
    let (server, mut redis) = tokio::join!(alone(), Redis::start());
    tables(&server).await;
    let client = Arc::new(client(&one_shard(server.port)).await);
    let cache = cache(&redis.url(), &client, cache_options());
    in_use(&cache, &client).await;
    let write = SlowWrite::new();
    let (result, ()) = tokio::join!(write.run(&cache, 42), async {
        write.written.notified().await;
        redis.kill();
        write.go_on.notify_one();
    });
    result.expect("written");
    let mut session = server.session().await;
    let left = session.scalar(&format!("SELECT group_concat(cache_key) FROM {OUTBOX}"), SOON).await.expect("a list");
    assert_eq!(left.as_deref(), Some("row"));
    redis.run();
    cached("it is cached again", &cache, &client).await;
    assert_eq!(load(&cache, &client, "row", 1).await, Ok(Some(42)));
    eventually("the outbox is empty", async || session.scalar(&format!("SELECT count(*) FROM {OUTBOX}"), SOON).await.expect("a count").as_deref() == Some("0")).await;
}

#[tokio::test]
async fn a_redis_that_comes_back_with_an_old_file_is_not_believed() {
    let (server, mut redis) = tokio::join!(alone(), Redis::start());
    tables(&server).await;
    let client = Arc::new(client(&one_shard(server.port)).await);
    let cache = cache(&redis.url(), &client, CacheOptions { young: Duration::from_secs(600), ..cache_options() });
    in_use(&cache, &client).await;
    cached("an old value is there", &cache, &client).await;
    let _: () = redis::cmd("SAVE").query_async(&mut redis.connection().await).await.expect("saved");
    redis.kill();
    set(&cache, "row", 1, 42).await.expect("written");
    // Even what the outbox would have told is lost: the file alone must not be believed.
    server.session().await.exec(&format!("DELETE FROM {OUTBOX}"), SOON).await.expect("emptied");
    redis.run();
    redis.answers().await;
    let old = redis::cmd("KEYS").arg("test:*v:row").query_async::<Vec<String>>(&mut redis.connection().await).await.expect("keys");
    assert_eq!(old.len(), 1, "the file has the old value");
    cached("it is cached again", &cache, &client).await;
    assert_eq!(load(&cache, &client, "row", 1).await, Ok(Some(42)));
}

#[tokio::test]
async fn a_value_filled_under_a_forgotten_write_whose_process_died_is_short_lived() {
    let (server, redis) = tokio::join!(alone(), Redis::start());
    tables(&server).await;
    let client = Arc::new(client(&one_shard(server.port)).await);
    let short = CacheOptions { young: Duration::from_millis(1_500), ..cache_options() };
    let (dying, reader) = (cache(&redis.url(), &client, short.clone()), cache(&redis.url(), &client, short));
    in_use(&dying, &client).await;
    in_use(&reader, &client).await;
    let write = SlowWrite::new();
    let task = tokio::spawn({
        let (write, dying) = (write.clone(), dying.clone());
        async move { write.run(&dying, 42).await }
    });
    write.written.notified().await;
    let _: () = redis::cmd("FLUSHALL").query_async(&mut redis.connection().await).await.expect("flushed");
    cached("the old value is cached again", &reader, &client).await;
    // Its process dies when the commit is done and Redis isn't told: as if nobody of ours had written.
    task.abort();
    let _ = task.await;
    drop(dying);
    server.session().await.exec("UPDATE d.c SET n = 42 WHERE id = 1", SOON).await.expect("written");
    let begun = Instant::now();
    eventually("the old value ends", async || load(&reader, &client, "row", 1).await == Ok(Some(42))).await;
    println!("an old value was read for {:?}", begun.elapsed());
}

#[tokio::test]
async fn a_dead_writer_whose_commit_still_waits_is_not_ended_by_its_time_alone() {
    let ((a, b), redis) = tokio::join!(pair(), Redis::start());
    tables(&a).await;
    let mut on_b = b.session().await;
    let source = one_shard(a.port);
    let patient = Arc::new(Client::new(source.clone(), ClientOptions { commit: SOON * 12, ..options() }).await.expect("a client"));
    let client = Arc::new(client(&source).await);
    let short = CacheOptions { hold: Duration::from_millis(600), ..cache_options() };
    let dying = cache(&redis.url(), &patient, short.clone());
    let other = cache(&redis.url(), &client, short);
    in_use(&dying, &patient).await;
    in_use(&other, &client).await;
    replication::stop_receiver(&mut on_b, SOON).await.expect("nobody acknowledges");
    let task = tokio::spawn({
        let dying = dying.clone();
        async move { set(&dying, "row", 1, 42).await }
    });
    eventually("its commit waits", async || a.facts().await.source.waiting > 0).await;
    task.abort();
    let _ = task.await;
    drop(dying);
    // Several times its hold.
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(3) {
        assert_eq!(load(&other, &client, "row", 1).await, Ok(Some(0)), "it isn't visible yet");
        assert_eq!(other.sample("row", Duration::ZERO, || read_row(&client, 1)).await, Ok(None), "the old value is cached, and the new one is about to appear");
    }
    replication::start_receiver(&mut on_b, &replicator(), SOON).await.expect("acknowledged again");
    cached("it is cached again", &other, &client).await;
    assert_eq!(load(&other, &client, "row", 1).await, Ok(Some(42)));
    assert!(other.counts().swept.load(Ordering::Relaxed) > 0);
}

#[tokio::test]
async fn a_reader_with_an_older_map_fills_nothing_that_was_written_by_a_newer_one() {
    let (server, redis) = tokio::join!(alone(), Redis::start());
    tables(&server).await;
    let (old, new) = (MapFile::new("cache-old", &map(1, "Mod", &[(1, 0)], &[server.port])), MapFile::new("cache-new", &map(2, "Mod", &[(1, 0)], &[server.port])));
    let behind = Arc::new(client(&MapSource::File(old.0.clone())).await);
    let ahead = Arc::new(client(&MapSource::File(new.0.clone())).await);
    let (reader, writer) = (cache(&redis.url(), &behind, cache_options()), cache(&redis.url(), &ahead, cache_options()));
    in_use(&reader, &behind).await;
    in_use(&writer, &ahead).await;
    set(&writer, "row", 1, 42).await.expect("written");
    let before = reader.counts().refused_fills.load(Ordering::Relaxed);
    // As a place that the key has left would answer.
    let stale = || -> Load<'_> { Box::pin(async { Ok(Some(b"0".to_vec())) }) };
    assert_eq!(reader.get("row", stale).await.expect("read").as_deref(), Some(&b"0"[..]));
    assert_eq!(reader.counts().refused_fills.load(Ordering::Relaxed), before + 1);
    assert_eq!(load(&writer, &ahead, "row", 1).await, Ok(Some(42)));
    old.write(&map(2, "Mod", &[(1, 0)], &[server.port]));
    behind.router().reach(2, SOON).await.expect("the map");
    set(&writer, "row", 1, 43).await.expect("written");
    cached("with the map it fills", &reader, &behind).await;
}

#[tokio::test]
async fn what_was_in_the_outbox_is_cached_when_the_standby_that_is_read_has_it() {
    let ((a, b), mut redis) = tokio::join!(pair(), Redis::start());
    tables(&a).await;
    let (client, mut on_b) = reading_the_standby(&a, &b).await;
    let client = Arc::new(client);
    let cache = cache(&redis.url(), &client, CacheOptions { standby_reads: true, ..cache_options() });
    in_use(&cache, &client).await;
    redis.kill();
    replication::stop_applier(&mut on_b, SOON).await.expect("a standby that falls behind");
    set(&cache, "row", 1, 8).await.expect("written");
    redis.run();
    let mut on_a = a.session().await;
    eventually("the outbox is empty", async || on_a.scalar(&format!("SELECT count(*) FROM {OUTBOX}"), SOON).await.expect("a count").as_deref() == Some("0")).await;
    not_cached_before_the_standby_has_it(&cache, &client, &mut on_b, Duration::from_secs(1)).await;
}

#[tokio::test]
async fn a_shard_just_split_off_that_takes_no_outbox_rows_says_what_to_do() {
    let (server, mut redis) = tokio::join!(alone(), Redis::start());
    tables(&server).await;
    let client = Arc::new(client(&one_shard(server.port)).await);
    let cache = cache(&redis.url(), &client, cache_options());
    in_use(&cache, &client).await;
    // What the guard of a split in its reverse window says of a Local table.
    let refuses = format!("CREATE TRIGGER d.not_yet BEFORE INSERT ON {OUTBOX} FOR EACH ROW SIGNAL SQLSTATE '45000' SET MYSQL_ERRNO = 31003, MESSAGE_TEXT = 'shardpair not-yet epoch=5 class=0 table={OUTBOX}'");
    let mut session = server.session().await;
    for sql in ["SET GLOBAL log_bin_trust_function_creators = ON", &refuses] {
        session.exec(sql, SOON).await.expect("a trigger");
    }
    set(&cache, "row", 1, 5).await.expect("with Redis nothing needs the outbox");
    redis.kill();
    eventually("Redis is missed", async || {
        let refused = set(&cache, "row", 1, 6).await.expect_err("refused").to_string();
        refused.contains("Redis is away") && refused.contains("Dissolved") && refused.contains("31003")
    })
    .await;
    assert_eq!(load(&cache, &client, "row", 1).await, Ok(Some(5)), "nothing was done");
    redis.run();
    eventually("writes go on", async || set(&cache, "row", 1, 7).await.is_ok()).await;
    assert_eq!(load(&cache, &client, "row", 1).await, Ok(Some(7)));
}
