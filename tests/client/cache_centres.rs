//! Two data centres, each with a Redis of its own: a write goes to both, a read to the near one.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use shardpair::client::{Cache, CacheOptions, Client, ClientOptions, OtherCentre};

use crate::cache::{OUTBOX, cache, cache_options, in_use, load, read_row, set, tables};
use crate::calls::{client, one_shard, options};
use crate::harness::{SOON, Server, eventually};
use crate::redis_server::Redis;
use crate::segments::alone;
use crate::vip::Vip;

const WEST_OUTBOX: &str = "d.west_outbox";

/// One centre, as an application in it sees it.
struct Centre {
    cache: Arc<Cache>,
    client: Arc<Client>,
}

impl Centre {
    async fn reads(&self) -> Option<u32> {
        load(&self.cache, &self.client, "row", 1).await.expect("a value")
    }

    async fn writes(&self, n: u32) {
        set(&self.cache, "row", 1, n).await.expect("written");
    }

    async fn caches(&self, what: &str) {
        eventually(what, async || {
            self.reads().await;
            self.cache.sample("row", Duration::ZERO, || read_row(&self.client, 1)).await == Ok(Some(true))
        })
        .await;
    }

    fn hits(&self) -> u64 {
        self.cache.counts().hits.load(Ordering::Relaxed)
    }
}

struct World {
    server: Server,
    /// West's Redis; east's way to it; west's way to the database.
    redis: Redis,
    link: Vip,
    database: Vip,
    _near: Redis,
    east: Centre,
    west: Centre,
}

impl World {
    async fn new(believe: Duration) -> Self {
        let (server, near, redis) = tokio::join!(alone(), Redis::start(), Redis::start());
        tables(&server).await;
        server.session().await.exec(&format!("CREATE TABLE {WEST_OUTBOX} LIKE {OUTBOX}"), SOON).await.expect("an outbox");
        let (link, database) = tokio::join!(Vip::to(redis.port), Vip::to(server.port));
        let there = format!("redis://127.0.0.1:{}/", link.port);
        let of = |outbox: &str, other: &str, theirs: &str| CacheOptions {
            outbox: outbox.to_owned(),
            hold: Duration::from_secs(3),
            young: Duration::from_secs(600),
            other: Some(OtherCentre { believe, ..OtherCentre::new(other, theirs) }),
            ..cache_options()
        };
        let (at_home, away) = (Arc::new(client(&one_shard(server.port)).await), ClientOptions { patience: Duration::from_secs(1), ..options() });
        let away = Arc::new(Client::new(one_shard(database.port), away).await.expect("a client"));
        let east = Centre { cache: cache(&near.url(), &at_home, of(OUTBOX, &there, WEST_OUTBOX)), client: at_home };
        let west = Centre { cache: cache(&redis.url(), &away, of(WEST_OUTBOX, &near.url(), OUTBOX)), client: away };
        for centre in [&east, &west] {
            in_use(&centre.cache, &centre.client).await;
            centre.caches("the first value").await;
        }
        Self { server, redis, link, database, _near: near, east, west }
    }

    async fn left_for_west(&self) -> u32 {
        let count = self.server.session().await.scalar(&format!("SELECT count(*) FROM {WEST_OUTBOX}"), SOON).await.expect("a count");
        count.and_then(|n| n.parse().ok()).expect("a number")
    }

    /// Writes in the east; each is read in both centres before the next. The slowest write.
    async fn writes_are_read_everywhere(&self, numbers: std::ops::Range<u32>) -> Duration {
        let mut slowest = Duration::ZERO;
        for n in numbers {
            let begun = Instant::now();
            self.east.writes(n).await;
            slowest = slowest.max(begun.elapsed());
            assert_eq!((self.east.reads().await, self.west.reads().await), (Some(n), Some(n)));
        }
        slowest
    }

    async fn all_is_well(&self, n: u32) {
        for centre in [&self.east, &self.west] {
            centre.caches("it is cached again").await;
            assert_eq!(centre.reads().await, Some(n));
        }
        eventually("nothing is left to be told", async || self.left_for_west().await == 0).await;
    }
}

#[tokio::test]
async fn a_write_in_either_centre_is_read_in_both_and_reads_ask_the_near_redis() {
    let mut world = World::new(Duration::from_secs(10)).await;
    for n in 1..10 {
        let (writer, reader) = if n % 2 == 0 { (&world.east, &world.west) } else { (&world.west, &world.east) };
        for centre in [writer, reader] {
            centre.caches("the old value").await;
        }
        writer.writes(n).await;
        assert_eq!((reader.reads().await, writer.reads().await), (Some(n), Some(n)));
    }
    world.all_is_well(9).await;
    assert_eq!(world.east.cache.counts().outboxed.load(Ordering::Relaxed), 0, "both Redises were told");
    // The far one dies: the near one goes on serving, and so do writes.
    world.redis.kill();
    let slowest = world.writes_are_read_everywhere(10..30).await;
    assert!(world.left_for_west().await > 0, "the outbox has what the far Redis wasn't told");
    assert!(world.east.cache.other_problem().is_some() && world.east.cache.problem().is_none());
    world.east.caches("near").await;
    let before = world.east.hits();
    for _ in 0..20 {
        world.east.reads().await;
    }
    assert_eq!(world.east.hits(), before + 20, "reads don't ask the far one");
    world.redis.run();
    world.redis.answers().await;
    world.all_is_well(29).await;
    println!("the far Redis killed: the slowest of 20 writes took {slowest:?}");
}

#[tokio::test]
async fn a_redis_that_hangs_in_the_other_centre_stops_nobody_and_brings_nothing_old_back() {
    let world = World::new(Duration::from_secs(10)).await;
    world.redis.signal("STOP");
    let slowest = world.writes_are_read_everywhere(1..20).await;
    world.redis.signal("CONT");
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_millis(1_500) {
        assert_eq!(world.west.reads().await, Some(19), "the old value that it still held");
    }
    world.all_is_well(19).await;
    println!("the far Redis hung: the slowest of 19 writes took {slowest:?}");
    assert!(slowest < Duration::from_secs(5), "{slowest:?}");
}

/// Reads in the west until it gives `n`: for how long something older came. Never from later on than `bound` after the write.
async fn until_west_reads(world: &World, n: u32, bound: Duration) -> Duration {
    let answered = Instant::now();
    let mut older = Duration::ZERO;
    loop {
        let begun = answered.elapsed();
        match load(&world.west.cache, &world.west.client, "row", 1).await {
            Ok(Some(got)) if got == n => return older,
            Ok(got) => {
                assert!(begun <= bound, "{got:?} was read {begun:?} after the write of {n} was answered");
                older = begun;
            }
            Err(_) if begun > bound + Duration::from_secs(2) => return older,
            Err(_) => {}
        }
    }
}

#[tokio::test]
async fn what_a_cut_between_the_centres_hides_is_read_for_no_longer_than_is_stated() {
    let believe = Duration::from_secs(2);
    let world = World::new(believe).await;
    // East doesn't reach the Redis that west reads: west's own look at the outbox ends it.
    world.link.cut();
    world.east.writes(1).await;
    let cut = until_west_reads(&world, 1, believe).await;
    world.west.caches("the new value").await;
    // West is cut off from the databases, too: then its Redis isn't believed any more, and nothing else can be read.
    world.database.cut();
    world.east.writes(2).await;
    let alone = until_west_reads(&world, 2, believe).await;
    assert!(load(&world.west.cache, &world.west.client, "row", 1).await.is_err(), "no database, and no belief");
    world.database.move_to(world.server.port);
    world.link.move_to(world.redis.port);
    eventually("west is back", async || load(&world.west.cache, &world.west.client, "row", 1).await.is_ok()).await;
    assert_eq!(world.west.reads().await, Some(2));
    world.all_is_well(2).await;
    println!("older values were read for {cut:?} when the link was cut, for {alone:?} when west was alone; stated: {believe:?}");
}

#[tokio::test]
async fn one_outbox_for_two_centres_is_refused() {
    let client = Arc::new(client(&one_shard(1)).await);
    let same = CacheOptions { other: Some(OtherCentre::new("redis://127.0.0.1:1/", OUTBOX)), ..cache_options() };
    let refused = Cache::new("redis://127.0.0.1:1/", client, same).err().expect("refused").to_string();
    assert!(refused.contains("same outbox"), "{refused}");
}
