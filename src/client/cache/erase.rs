//! For who watches the database rather than writes through the cache: erases keys, and keeps how far it has watched.
//!
//! The position is kept beside the values that it vouches for: a Redis that loses it (a restart, a FLUSHALL) has lost them too.
//! Who finds none begins anew: a new generation, together with a position that is older than anything read from now on.

use std::time::Duration;

use redis::{RedisError, Script};

use super::link::{Link, Open};
use super::scripts::{self, Scripts};

/// KEYS generation, positions; ARGV generation, name, position.
const KEEP: &str = r"
redis.call('HSET', KEYS[2], ARGV[2], ARGV[3])
return 1";

/// KEYS generation, positions; ARGV a random value, name, position: everything that is cached is forgotten.
const ANEW: &str = r"
local t = redis.call('TIME')
redis.call('SET', KEYS[1], ARGV[1] .. ':' .. string.format('%.0f', t[1] * 1000 + math.floor(t[2] / 1000)))
redis.call('HSET', KEYS[2], ARGV[2], ARGV[3])
return 1";

/// Keys in one call of Redis, at most.
const MANY: usize = 200;

/// Why it wasn't done: Redis is away, or refuses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the cache: {0}")]
pub struct Away(pub String);

/// Of one cache's namespace.
pub struct Eraser {
    link: Link,
    scripts: Scripts,
    keep: Script,
    anew: Script,
}

impl Eraser {
    /// `redis` and `namespace` as for [`super::Cache`]. An answer that takes longer than `deadline` is none.
    pub fn new(redis: &str, namespace: &str, deadline: Duration) -> Result<Self, Away> {
        let client = redis::Client::open(redis).map_err(|error| Away(format!("the address of Redis: {error}")))?;
        let link = Link::new(client, namespace, deadline, Duration::from_millis(200), false);
        Ok(Self { link, scripts: Scripts::default(), keep: scripts::here(KEEP), anew: Script::new(ANEW) })
    }

    /// Erases values, and takes leases away: who has read before fills nothing.
    pub async fn erase(&self, keys: &[String]) -> Result<(), Away> {
        for keys in keys.chunks(MANY) {
            let keys = keys.iter().map(String::as_str).collect::<Vec<_>>();
            // The first failure may be that of a generation that is gone.
            if self.delete(&keys).await.is_err() {
                self.delete(&keys).await?;
            }
        }
        Ok(())
    }

    async fn delete(&self, keys: &[&str]) -> Result<(), Away> {
        let open = self.open().await?;
        let result = open.erasing(&self.scripts.delete, keys).invoke_async::<u8>(&mut open.connection.clone()).await;
        self.done(&open, result).map(drop)
    }

    /// How far `name` had come in this Redis; None: begin anew.
    pub async fn position(&self, name: &str) -> Result<Option<String>, Away> {
        let open = self.open().await?;
        let result = redis::cmd("HGET").arg(positions(&open)).arg(name).query_async(&mut open.connection.clone()).await;
        self.done(&open, result)
    }

    /// Keeps how far `name` has come. Everything up to there was erased.
    pub async fn keep(&self, name: &str, position: &str) -> Result<(), Away> {
        let open = self.open().await?;
        let mut call = open.call(&self.keep, &[]);
        call.key(positions(&open)).arg(name).arg(position);
        let result = call.invoke_async::<u8>(&mut open.connection.clone()).await;
        self.done(&open, result).map(drop)
    }

    /// Forgets everything that is cached; `name` begins at `position`, which was read before this call.
    pub async fn begin_anew(&self, name: &str, position: &str) -> Result<(), Away> {
        let open = self.open().await?;
        let mut call = self.anew.key(&*open.generation.0);
        call.key(positions(&open)).arg(format!("{:08x}", rand::random::<u32>())).arg(name).arg(position);
        let result = call.invoke_async::<u8>(&mut open.connection.clone()).await;
        self.done(&open, result).map(drop)
    }

    async fn open(&self) -> Result<Open, Away> {
        self.link.open().await.ok_or_else(|| Away(self.link.problem().unwrap_or_else(|| "not connected".to_owned())))
    }

    fn done<T>(&self, open: &Open, result: Result<T, RedisError>) -> Result<T, Away> {
        result.map_err(|error| {
            self.link.failed(open, &error);
            Away(error.to_string())
        })
    }
}

/// Of this process of Redis, whatever its generation.
fn positions(open: &Open) -> String {
    format!("{}positions", open.generation.0.trim_end_matches("generation"))
}
