//! A few items and many buyers: Redis turns most of them away in a microsecond, MySQL decides.
//!
//! The gate counts *reservations*, each with the buyer's own token, so a repeated request takes nothing twice. It may be
//! wrong after a loss of Redis; the stock row (`left >= n` in the UPDATE) is what makes it impossible to oversell.

use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use redis::Script;
use redis::aio::ConnectionManager;

/// KEYS: counter, reservations. ARGV: token, n. Answers 1 taken, 0 sold out, -1 no such item.
const TAKE: &str = r"
if redis.call('HEXISTS', KEYS[2], ARGV[1]) == 1 then return 1 end
local left = redis.call('GET', KEYS[1])
if not left then return -1 end
if tonumber(left) < tonumber(ARGV[2]) then return 0 end
redis.call('DECRBY', KEYS[1], ARGV[2])
redis.call('HSET', KEYS[2], ARGV[1], ARGV[2])
return 1";

/// KEYS: counter, reservations. ARGV: token. Answers how many were given back.
const BACK: &str = r"
local n = redis.call('HGET', KEYS[2], ARGV[1])
if not n then return 0 end
redis.call('HDEL', KEYS[2], ARGV[1])
if redis.call('EXISTS', KEYS[1]) == 1 then redis.call('INCRBY', KEYS[1], n) end
return tonumber(n)";

/// What the gate says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    /// Reserved (perhaps by an earlier request with the same token): go on to the database.
    Reserved,
    /// None left.
    SoldOut,
    /// The gate doesn't know the item (Redis lost it): let the database decide, a few at a time.
    Unknown,
}

/// The gate of one application's items.
#[derive(Clone)]
pub struct Stock {
    connection: ConnectionManager,
    prefix: String,
    take: Script,
    back: Script,
}

impl Stock {
    /// Keys begin with `prefix`.
    pub fn new(connection: ConnectionManager, prefix: &str) -> Self {
        Self { connection, prefix: prefix.to_owned(), take: Script::new(TAKE), back: Script::new(BACK) }
    }

    /// One hash tag, so that both keys are on one node of a Redis cluster.
    fn keys(&self, item: &str) -> [String; 2] {
        [format!("{}:{{{item}}}:left", self.prefix), format!("{}:{{{item}}}:reserved", self.prefix)]
    }

    /// Opens the gate for `left` items; forgets reservations.
    pub async fn open(&self, item: &str, left: u64) -> redis::RedisResult<()> {
        let [counter, reserved] = self.keys(item);
        redis::pipe().atomic().set(counter, left).ignore().del(reserved).ignore().query_async(&mut self.connection.clone()).await
    }

    /// Reserves `n` for the buyer's token.
    pub async fn take(&self, item: &str, token: &str, n: u64) -> redis::RedisResult<Gate> {
        let [counter, reserved] = self.keys(item);
        let answer: i64 = self.take.key(counter).key(reserved).arg(token).arg(n).invoke_async(&mut self.connection.clone()).await?;
        Ok(match answer {
            1 => Gate::Reserved,
            0 => Gate::SoldOut,
            _ => Gate::Unknown,
        })
    }

    /// The purchase did not happen (surely: not after an answer in doubt).
    pub async fn give_back(&self, item: &str, token: &str) -> redis::RedisResult<u64> {
        let [counter, reserved] = self.keys(item);
        self.back.key(counter).key(reserved).arg(token).invoke_async(&mut self.connection.clone()).await
    }
}

/// Takes `n` from a stock row inside a transaction: `UPDATE table SET column = column - n WHERE key = ? AND column >= n`.
/// False: not enough left.
pub async fn take_from_row(conn: &mut Conn, table: &str, key: (&str, u64), column: &str, n: u64) -> Result<bool, mysql_async::Error> {
    let quoted = |name: &str| name.split('.').map(|part| format!("`{}`", part.replace('`', "``"))).collect::<Vec<_>>().join(".");
    let column = quoted(column);
    let sql = format!("UPDATE {} SET {column} = {column} - ? WHERE {} = ? AND {column} >= ?", quoted(table), quoted(key.0));
    conn.exec_drop(sql, (n, key.1, n)).await?;
    Ok(conn.affected_rows() == 1)
}
