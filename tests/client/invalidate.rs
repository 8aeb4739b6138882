//! The invalidator against real binlogs: whoever writes, no old value stays in the cache.

use std::sync::Arc;
use std::time::{Duration, Instant};

use shardpair::client::{Address, Cache, CacheOptions, Client, ClientOptions, MapSource, Member, Places};
use shardpair::invalidate::{Invalidator, Options};
use shardpair::mysql::{replication, role};

use crate::cache::{cache, cache_options, in_use, load, read_row, tables};
use crate::calls::{SOLO, fail_over, options};
use crate::harness::{SOON, Server, eventually, pair, replicator};
use crate::redis_server::Redis;
use crate::service::{MapFile, map};
use crate::vip::Vip;

const WATCHER: &str = "watch'er";

/// What docs/clients.md says to run for its account.
fn documented() -> String {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/clients.md")).expect("docs/clients.md");
    text.split("```sql\n").nth(1).and_then(|after| after.split("```").next()).expect("a block of SQL").to_owned()
}

/// A pair behind VIPs, a cache, and what an invalidator needs.
struct Stage {
    a: Server,
    b: Server,
    redis: Redis,
    vip: Vip,
    standby: Vip,
    map: MapFile,
    client: Arc<Client>,
    cache: Arc<Cache>,
}

impl Stage {
    async fn set(name: &str) -> Self {
        let ((a, b), redis) = tokio::join!(pair(), Redis::start());
        tables(&a).await;
        let mut on_a = a.session().await;
        // As a person does it, with the operator's account (`kubectl shardpair mysql`).
        for sql in documented().split(';').map(str::trim).filter(|sql| !sql.is_empty()) {
            on_a.exec(&sql.replace("'invalidator'", "'watch''er'").replace('…', "a pass\"word"), SOON).await.expect(sql);
        }
        let (vip, standby) = tokio::join!(Vip::to(a.port), Vip::to(b.port));
        let map = MapFile::new(name, &map(1, "Mod", &[(1, 0)], &[vip.port]));
        let client = Arc::new(Client::new(MapSource::File(map.0.clone()), ClientOptions { ..options() }).await.expect("a client"));
        let cache = cache(&redis.url(), &client, CacheOptions { young: Duration::from_secs(600), ..cache_options() });
        in_use(&cache, &client).await;
        Self { a, b, redis, vip, standby, map, client, cache }
    }

    fn options(&self, keys: &[&str]) -> Options {
        Options {
            map: self.map.0.display().to_string(),
            redis: self.redis.url(),
            namespace: "test".to_owned(),
            user: WATCHER.to_owned(),
            password: "a pass\"word".to_owned(),
            keys: keys.iter().map(|k| (*k).to_owned()).collect(),
            name: "invalidator".to_owned(),
            listen: ([127, 0, 0, 1], 0).into(),
        }
    }

    fn places(&self, standby: bool) -> Places {
        let (primary, other): (Address, Address) = (("127.0.0.1".to_owned(), self.vip.port), ("127.0.0.1".to_owned(), self.standby.port));
        Arc::new(move |_, member| match member {
            Member::Primary => Some(primary.clone()),
            Member::Standby => standby.then(|| other.clone()),
        })
    }

    async fn invalidator(&self, standby: bool) -> Invalidator {
        let invalidator = Invalidator::start(&self.options(&["d.c=row:{id}", "d.c=n-{n}-of-{id}"]), self.places(standby)).await.expect("started");
        eventually("it reads the binlog", async || invalidator.seen().get(&0).is_some_and(|seen| seen.problem.is_none() && seen.behind_since.is_none())).await;
        invalidator
    }

    /// Caches row 1 under its key, and sees it cached.
    async fn cached(&self) {
        eventually("it is cached", async || {
            load(&self.cache, &self.client, "row:1", 1).await.expect("a value");
            self.cache.sample("row:1", Duration::ZERO, || read_row(&self.client, 1)).await == Ok(Some(true))
        })
        .await;
    }

    /// Is there a value for this key?
    async fn redis_has(&self, key: &str) -> bool {
        let found = redis::cmd("KEYS").arg(format!("test:*v:{key}")).query_async::<Vec<String>>(&mut self.redis.connection().await).await;
        !found.expect("keys").is_empty()
    }

    /// Reads through the cache until it gives this; how long that took.
    async fn gives(&self, n: Option<u32>) -> Duration {
        let begun = Instant::now();
        eventually("the new value", async || load(&self.cache, &self.client, "row:1", 1).await == Ok(n)).await;
        begun.elapsed()
    }
}

fn forgotten(invalidator: &Invalidator) -> u64 {
    invalidator.seen().values().map(|seen| seen.forgotten).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_writer_that_never_heard_of_the_cache_leaves_nothing_old_also_across_a_failover() {
    let mut stage = Stage::set("invalidate-failover").await;
    let invalidator = stage.invalidator(true).await;
    assert_eq!(forgotten(&invalidator), 1, "there was no position");
    let mut on_a = stage.a.session().await;
    let mut slowest = Duration::ZERO;
    for (sql, n) in [
        ("UPDATE d.c SET n = 10 WHERE id = 1", Some(10)),
        ("DELETE FROM d.c WHERE id = 1", None),
        // Its absence was cached as well.
        ("INSERT INTO d.c VALUES (1, 11)", Some(11)),
        ("UPDATE d.c SET n = n + 1", Some(12)),
        ("TRUNCATE TABLE d.c", None),
        ("INSERT INTO d.c VALUES (0, 0), (1, 13), (2, 0), (3, 0)", Some(13)),
    ] {
        stage.cached().await;
        // A busy machine may take its time; what is measured begins when it is written.
        on_a.exec(sql, SOON * 8).await.expect("written");
        slowest = slowest.max(stage.gives(n).await);
    }
    assert_eq!(forgotten(&invalidator), 2, "TRUNCATE names no rows");
    stage.cached().await;
    fail_over(&mut stage.a, &mut stage.b, &stage.vip).await;
    stage.b.session().await.exec("UPDATE d.c SET n = 14 WHERE id = 1", SOON).await.expect("written on B");
    let over = stage.gives(Some(14)).await;
    println!("the slowest of six: {slowest:?}; across a failover: {over:?}");
    assert_eq!((forgotten(&invalidator), invalidator.problems()), (2, Vec::new()));
    assert!(invalidator.metrics().contains("shardpair_invalidate_keys_total{shard=\"0\"} "));
}

#[tokio::test]
async fn a_vip_that_moves_away_from_a_server_that_lives_on_is_followed() {
    let stage = Stage::set("invalidate-moved").await;
    // Of the primary's binlog, as it is without a Service for reads.
    let invalidator = stage.invalidator(false).await;
    stage.cached().await;
    // As in a split: the keys go to another server, and nobody ends the sessions on the old one, which goes on with other keys.
    let (mut on_a, mut on_b) = (stage.a.session().await, stage.b.session().await);
    let executed = replication::state(&mut on_a, SOON).await.expect("state").executed;
    replication::wait_executed(&mut on_b, &executed, SOON).await.expect("B has it all");
    role::relax_acks(&mut on_a, SOON).await.expect("B acknowledges no more");
    role::open_primary(&mut on_b, SOLO, SOON).await.expect("open");
    stage.vip.move_to(stage.b.port);
    on_b.exec("UPDATE d.c SET n = 10 WHERE id = 1", SOON).await.expect("written where the VIP leads now");
    let begun = Instant::now();
    eventually("the value is erased", async || !stage.redis_has("row:1").await).await;
    println!("erased {:?} after a write behind a VIP that had moved", begun.elapsed());
    assert_eq!(forgotten(&invalidator), 1, "it went on from its position");
}

#[tokio::test]
async fn what_was_written_while_it_was_away_is_erased_when_it_is_back() {
    let stage = Stage::set("invalidate-away").await;
    drop(stage.invalidator(true).await);
    stage.cached().await;
    let mut on_a = stage.a.session().await;
    on_a.exec("UPDATE d.c SET n = 10 WHERE id = 1", SOON).await.expect("written");
    assert_eq!(load(&stage.cache, &stage.client, "row:1", 1).await, Ok(Some(0)), "nobody erases");
    let again = stage.invalidator(true).await;
    stage.gives(Some(10)).await;
    assert_eq!(forgotten(&again), 0, "it went on from its position");
    drop(again);
    // Redis is emptied meanwhile: the position is gone with the values, and what was filled since is not to be trusted.
    let _: () = redis::cmd("FLUSHALL").query_async(&mut stage.redis.connection().await).await.expect("flushed");
    stage.cached().await;
    on_a.exec("UPDATE d.c SET n = 11 WHERE id = 1", SOON).await.expect("written");
    let again = stage.invalidator(true).await;
    stage.gives(Some(11)).await;
    assert_eq!(forgotten(&again), 1);
    drop(again);
    // Its binlogs are gone from both members.
    stage.cached().await;
    on_a.exec("UPDATE d.c SET n = 12 WHERE id = 1", SOON).await.expect("written");
    let mut on_b = stage.b.session().await;
    let executed = replication::state(&mut on_a, SOON).await.expect("state").executed;
    replication::wait_executed(&mut on_b, &executed, SOON).await.expect("on both");
    for session in [&mut on_a, &mut on_b] {
        session.exec("FLUSH BINARY LOGS", SOON).await.expect("a new file");
        eventually("purged", async || {
            let last = session.rows("SHOW BINARY LOGS", SOON).await.expect("files").last().and_then(|row| row.at(0).map(str::to_owned)).expect("a file");
            session.exec(&format!("PURGE BINARY LOGS TO '{last}'"), SOON).await.expect("purged");
            session.rows("SHOW BINARY LOGS", SOON).await.expect("files").len() == 1
        })
        .await;
    }
    let again = stage.invalidator(true).await;
    stage.gives(Some(12)).await;
    assert_eq!(forgotten(&again), 1, "nothing tells what changed");
}

#[tokio::test]
async fn a_commit_in_the_primarys_binlog_that_nobody_acknowledged_is_erased_when_it_appears() {
    let stage = Stage::set("invalidate-early").await;
    let invalidator = stage.invalidator(false).await;
    stage.cached().await;
    let mut on_b = stage.b.session().await;
    replication::stop_receiver(&mut on_b, SOON).await.expect("nobody acknowledges");
    let mut on_a = stage.a.session().await;
    let write = tokio::spawn(async move { on_a.exec("UPDATE d.c SET n = 10 WHERE id = 1", Duration::from_secs(50)).await });
    eventually("its commit waits", async || stage.a.facts().await.source.waiting > 0).await;
    // The binlog has it, and readers go on filling what is visible.
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(1) {
        assert_eq!(load(&stage.cache, &stage.client, "row:1", 1).await, Ok(Some(0)));
    }
    stage.cached().await;
    replication::start_receiver(&mut on_b, &replicator(), SOON).await.expect("acknowledged again");
    write.await.expect("a task").expect("written");
    stage.gives(Some(10)).await;
    drop(invalidator);
}

#[tokio::test]
async fn templates_that_fit_no_column_are_told() {
    let stage = Stage::set("invalidate-columns").await;
    let start = async |keys: &[&str]| Invalidator::start(&stage.options(keys), stage.places(true)).await;
    for (bad, why) in [("d.c", "no ="), ("c=x:{id}", "a table is DATABASE.TABLE"), ("d.c=x", "no column in it")] {
        let refused = start(&[bad]).await.err().expect("refused").to_string();
        assert!(refused.contains(why), "{refused}");
    }
    let invalidator = start(&["d.c=row:{id}", "d.c=row:{gone}"]).await.expect("started");
    eventually("it reads the binlog", async || invalidator.seen().get(&0).is_some_and(|seen| seen.problem.is_none())).await;
    stage.cached().await;
    stage.a.session().await.exec("UPDATE d.c SET n = 10 WHERE id = 1", SOON).await.expect("written");
    stage.gives(Some(10)).await;
    eventually("it is told", async || invalidator.problems().iter().any(|p| p.contains("d.c has no column \"gone\""))).await;
    let mut wrong = stage.options(&["d.c=row:{id}"]);
    wrong.password = "wrong".to_owned();
    let denied = Invalidator::start(&wrong, stage.places(true)).await.expect("started");
    eventually("that it is denied", async || denied.problems().iter().any(|p| p.contains("watch'er") || p.contains("password"))).await;
}
