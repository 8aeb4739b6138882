//! Ids per second and thread.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use shardpair::client::ids::{Grant, NotNow, RedisStore, Snowflake, SnowflakeOptions};

const LASTING: Duration = Duration::from_secs(2);

/// The generator alone: with a clock that stands still until 4,096 ids are gone (what an id costs), and with the real one
/// (4,096 a millisecond is the format's limit for one worker).
pub fn run() {
    let (begun, mut ms, mut made) = (Instant::now(), 1_800_000_000_000_u64, 0_u64);
    let grant = Grant::new(1, ms, u64::MAX >> 12, 1);
    while begun.elapsed() < LASTING {
        for _ in 0..1_000 {
            match grant.next(ms, 0) {
                Ok(_) => made += 1,
                Err(NotNow::Full) => ms += 1,
                Err(other) => panic!("{other:?}"),
            }
        }
    }
    println!("snowflake, arithmetic alone, 1 thread: {:.1} ns an id", begun.elapsed().as_nanos() as f64 / made as f64);
}

/// As applications use it.
pub async fn leased(redis: &str) {
    let manager = redis::Client::open(redis).expect("an address").get_connection_manager().await.expect("a connection");
    let ids = Snowflake::start(RedisStore::new(manager, "bench"), SnowflakeOptions::new("bench")).await.expect("a lease");
    for threads in [1, 2, 4] {
        let made = std::thread::scope(|scope| {
            let one = || {
                let (begun, mut made) = (Instant::now(), 0_u64);
                while begun.elapsed() < LASTING {
                    made += (0..1_000).filter(|_| ids.next().is_ok()).count() as u64;
                }
                made
            };
            (0..threads).map(|_| scope.spawn(one)).collect::<Vec<_>>().into_iter().map(|t| t.join().expect("a thread")).sum::<u64>()
        });
        println!("snowflake, {threads} threads: {:.2} million ids/s in all (limit of one worker: 4.10)", made as f64 / LASTING.as_secs_f64() / 1e6);
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis();
    println!("worker {:?}, clock {now} ms", ids.worker());
    ids.stop().await;
}
