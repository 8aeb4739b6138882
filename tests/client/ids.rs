//! Snowflakes are unique over processes, kills, clock jumps and a Redis that forgets.

use std::collections::HashSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use shardpair::client::ids::{Clock, Grant, IdError, RedisStore, Snowflake, SnowflakeOptions, Store, parts};

use crate::harness::eventually;
use crate::redis_server::{Redis, manager};

/// Short, so that worker ids change hands often.
const TERM: Duration = Duration::from_millis(600);
/// Fewer than processes over time.
const WORKERS: std::ops::RangeInclusive<u16> = 0..=7;

fn options(clock: Clock) -> SnowflakeOptions {
    SnowflakeOptions { workers: WORKERS, term: TERM, clock, ..SnowflakeOptions::new("test") }
}

fn wall() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis() as i64
}

/// A clock that can be set.
fn clock() -> (Arc<AtomicI64>, Clock) {
    let offset = Arc::new(AtomicI64::new(0));
    let of = offset.clone();
    (offset, Clock::of(move || (wall() + of.load(Ordering::Relaxed)) as u64))
}

/// How many ids are in the files, and which of them twice.
fn check(dir: &Path) -> (usize, Vec<u64>) {
    let (mut seen, mut twice) = (HashSet::new(), Vec::new());
    for file in std::fs::read_dir(dir).expect("a directory") {
        let bytes = std::fs::read(file.expect("a file").path()).expect("readable");
        // A process that was killed may have left half a number.
        for id in bytes.as_chunks::<8>().0 {
            let id = u64::from_le_bytes(*id);
            if !seen.insert(id) {
                twice.push(id);
            }
        }
    }
    (seen.len(), twice)
}

/// Not a test of its own: what the processes of the tests below do.
#[tokio::test]
#[ignore = "run by other tests, as a process"]
async fn a_process_that_makes_ids() {
    let var = |name: &str| std::env::var(name).unwrap_or_else(|_| panic!("{name} is set by the test that starts this"));
    let mut file = std::fs::File::create(var("IDS_FILE")).expect("a file");
    let jumps: u64 = var("IDS_JUMPS").parse().expect("a number");
    let (offset, clock) = clock();
    let ids = loop {
        match Snowflake::start(RedisStore::new(manager(&var("IDS_REDIS"), Duration::from_millis(300)).await, "test"), options(clock.clone())).await {
            Ok(ids) => break ids,
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    };
    let mut next_jump = Instant::now();
    loop {
        if jumps > 0 && next_jump.elapsed() > Duration::ZERO {
            let to = [0, -3, -500, 400, 5_000, -2_000, 60][rand::random_range(0..7)];
            offset.store(to, Ordering::Relaxed);
            next_jump = Instant::now() + Duration::from_millis(rand::random_range(20..jumps));
        }
        let batch = (0..50).map_while(|_| ids.next().ok()).flat_map(u64::to_le_bytes).collect::<Vec<_>>();
        file.write_all(&batch).expect("written");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

struct Process(Child);

impl Process {
    fn start(redis: &Redis, file: &Path, jumps_ms: u64) -> Self {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]).arg(std::env::current_exe().expect("own path"));
        command.args(["--exact", "ids::a_process_that_makes_ids", "--ignored", "--nocapture"]);
        command.env("IDS_FILE", file).env("IDS_REDIS", redis.url()).env("IDS_JUMPS", jumps_ms.to_string());
        Self(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("a process"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn directory(name: &str) -> PathBuf {
    let dir = std::env::temp_dir().join(format!("shardpair-ids-{}-{name}", std::process::id()));
    std::fs::create_dir_all(&dir).expect("a directory");
    dir
}

/// Six processes at a time, one of them killed and replaced every so often.
async fn run_and_kill(name: &str, redis: &Redis, jumps_ms: u64, kills: usize, mut between: impl AsyncFnMut(usize)) -> (usize, usize) {
    let dir = directory(name);
    let mut number = 0;
    let mut start = || {
        number += 1;
        Process::start(redis, &dir.join(number.to_string()), jumps_ms)
    };
    let mut processes = (0..6).map(|_| start()).collect::<Vec<_>>();
    eventually("ids are made", async || check(&dir).0 > 10_000).await;
    for kill in 0..kills {
        tokio::time::sleep(Duration::from_millis(400)).await;
        processes.remove(0);
        processes.push(start());
        between(kill).await;
    }
    let before = check(&dir).0;
    eventually("ids are still made", async || check(&dir).0 > before + 10_000).await;
    drop(processes);
    let (made, twice) = check(&dir);
    let workers = std::fs::read_dir(&dir).expect("a directory").count();
    println!("{name}: {made} ids of {workers} processes");
    assert!(twice.is_empty(), "{} ids twice, such as {:?}", twice.len(), twice.iter().take(3).map(|id| parts(*id)).collect::<Vec<_>>());
    let _ = std::fs::remove_dir_all(&dir);
    (made, workers)
}

#[tokio::test]
async fn ids_are_unique_over_processes_kills_and_clock_jumps() {
    let redis = Redis::start().await;
    let (_, processes) = run_and_kill("jumps", &redis, 150, 16, async |_| {}).await;
    assert_eq!(processes, 22);
    let entries = RedisStore::new(redis.connection().await, "test").list().await.expect("entries");
    assert!(entries.len() <= 8, "worker ids outside of what was allowed: {entries:?}");
}

#[tokio::test]
async fn ids_are_unique_when_redis_is_flushed_and_killed() {
    let mut redis = Redis::start().await;
    let port = redis.port;
    let restarted = tokio::sync::Mutex::new(&mut redis);
    // `run_and_kill` only needs the address.
    let address = Redis::address_only(port);
    run_and_kill("flush", &address, 0, 12, async |kill| match kill {
        2 | 5 | 8 => {
            let mut connection = manager(&format!("redis://127.0.0.1:{port}/"), Duration::from_millis(300)).await;
            let _: () = redis::cmd("FLUSHALL").query_async(&mut connection).await.expect("flushed");
        }
        6 => {
            let mut redis = restarted.lock().await;
            redis.kill();
            redis.run();
            redis.answers().await;
        }
        _ => {}
    })
    .await;
}

#[test]
fn the_checker_notices_two_holders_of_one_worker_id() {
    let dir = directory("control");
    let now = wall() as u64;
    for file in ["a", "b"] {
        let grant = Grant::new(1, 0, now, 1);
        let id = grant.next(now, 0).expect("an id");
        std::fs::write(dir.join(file), id.to_le_bytes()).expect("written");
    }
    assert_eq!(check(&dir).1.len(), 1);
    let _ = std::fs::remove_dir_all(&dir);
}

#[tokio::test]
async fn a_clock_that_goes_back_is_waited_out_or_refused_and_another_worker_id_leased_if_it_stays_back() {
    let redis = Redis::start().await;
    let (offset, clock) = clock();
    let ids = Snowflake::start(RedisStore::new(redis.connection().await, "test"), options(clock)).await.expect("a lease");
    let (before, worker) = (ids.next().expect("an id"), ids.worker());
    offset.store(-200, Ordering::Relaxed);
    assert!(matches!(ids.next(), Err(IdError::ClockWentBack { by_ms: 150..=200 })), "{:?}", ids.next());
    assert!(ids.next_within(Duration::from_secs(5)).await.expect("waited out") > before);
    offset.store(-60_000, Ordering::Relaxed);
    eventually("another worker id is leased", async || ids.worker().is_some_and(|w| Some(w) != worker)).await;
    assert!(ids.next().is_ok());
    ids.stop().await;
}

#[tokio::test]
async fn without_its_store_a_generator_stops_before_its_lease_ends_and_goes_on_when_it_is_back() {
    let mut redis = Redis::start().await;
    let ids = Snowflake::start(RedisStore::new(redis.connection().await, "test"), options(Clock::system())).await.expect("a lease");
    redis.kill();
    let cut = Instant::now();
    eventually("it refuses", async || matches!(ids.next(), Err(IdError::NoLease(_)))).await;
    assert!(cut.elapsed() < TERM + Duration::from_millis(300), "it went on for {:?}", cut.elapsed());
    redis.run();
    redis.answers().await;
    eventually("it goes on", async || ids.next().is_ok()).await;
}

#[tokio::test]
async fn all_worker_ids_in_use_is_a_clear_error_and_one_given_back_is_used_again() {
    let redis = Redis::start().await;
    let one = SnowflakeOptions { workers: 5..=5, ..options(Clock::system()) };
    let store = || async { RedisStore::new(redis.connection().await, "test") };
    let first = Snowflake::start(store().await, one.clone()).await.expect("a lease");
    let refused = Snowflake::start(store().await, one.clone()).await.err().expect("refused");
    assert_eq!(refused, IdError::NoneFree(1));
    let last = first.next().expect("an id");
    first.stop().await;
    eventually("it is free again", async || match Snowflake::start(store().await, one.clone()).await {
        Ok(second) => second.next().is_ok_and(|id| id > last),
        Err(_) => false,
    })
    .await;
}
