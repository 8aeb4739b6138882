//! Worker ids in a Redis hash: field = worker id, value = `version|until_ms|holder`.
//!
//! Nothing expires by Redis' clock. A Redis that lost its data is survived by waiting (`FORGETS`); two halves of a split
//! Redis that both confirm are not: where that can be, use Kubernetes, or set `min-replicas-to-write`.

use redis::Script;
use redis::aio::ConnectionManager;

use super::store::{Entry, Store, StoreError};

/// KEYS[1] hash; ARGV worker, expected version ('' = none), until_ms, holder. Answers the new version, or ''.
const PUT: &str = r"
local now = redis.call('HGET', KEYS[1], ARGV[1])
local version = now and string.match(now, '^(%d+)|') or ''
if version ~= ARGV[2] then return '' end
-- A random beginning, so that an entry made again after a flush isn't taken for the old one.
local next = version == '' and ARGV[5] or string.format('%.0f', tonumber(version) + 1)
redis.call('HSET', KEYS[1], ARGV[1], next .. '|' .. ARGV[3] .. '|' .. ARGV[4])
return next";

/// A hash in Redis.
pub struct RedisStore {
    connection: ConnectionManager,
    key: String,
    put: Script,
}

impl RedisStore {
    /// Worker ids of `name`: those who make ids for the same tables share it.
    pub fn new(connection: ConnectionManager, name: &str) -> Self {
        Self { connection, key: format!("shardpair:workers:{name}"), put: Script::new(PUT) }
    }

    fn error(&self, why: impl std::fmt::Display) -> StoreError {
        StoreError { store: format!("Redis hash {}", self.key), why: why.to_string() }
    }
}

fn entry(worker: &str, value: &str) -> Option<Entry> {
    let mut parts = value.splitn(3, '|');
    let (version, until_ms, holder) = (parts.next()?.to_owned(), parts.next()?.parse().ok()?, parts.next()?.to_owned());
    Some(Entry { worker: worker.parse().ok()?, version, holder, until_ms })
}

impl Store for RedisStore {
    const FORGETS: bool = true;

    async fn list(&self) -> Result<Vec<Entry>, StoreError> {
        let mut connection = self.connection.clone();
        let all: Vec<(String, String)> = redis::cmd("HGETALL").arg(&self.key).query_async(&mut connection).await.map_err(|e| self.error(e))?;
        let read = |(worker, value): &(String, String)| entry(worker, value).ok_or_else(|| self.error(format!("field {worker} can't be read: {value:?}")));
        all.iter().map(read).collect()
    }

    async fn put(&self, worker: u16, expected: Option<&str>, holder: &str, until_ms: u64) -> Result<Option<String>, StoreError> {
        let mut connection = self.connection.clone();
        let mut call = self.put.prepare_invoke();
        // Below 2^53, so that Lua's numbers hold it exactly.
        let begin = rand::random_range(1..1_u64 << 50);
        call.key(&self.key).arg(worker).arg(expected.unwrap_or_default()).arg(until_ms).arg(holder).arg(begin);
        let version: String = call.invoke_async(&mut connection).await.map_err(|e| self.error(e))?;
        Ok((!version.is_empty()).then_some(version))
    }
}
