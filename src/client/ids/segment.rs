//! Dense ids in blocks: one row of MySQL hands out `[next_id, next_id + step)` by one UPDATE, and two blocks are held, so
//! that the next one is there before the first is used up, and a failover of its pair is not felt.
//!
//! A block whose UPDATE is in doubt is given up: numbers are skipped, never used twice. shardpair loses no acknowledged
//! write, so a block that was handed out is never handed out again.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};

use mysql_async::prelude::Queryable;
use mysql_async::{Pool, Value};
use tokio::sync::{Mutex, Notify};
use tokio::task::JoinHandle;

/// How blocks are fetched.
#[derive(Clone, Debug)]
pub struct SegmentOptions {
    /// The table (`database.table`), made by [`Segments::create_table`].
    pub table: String,
    /// The smallest block.
    pub step: u64,
    /// A block that is used up within this time is followed by one twice as large, up to 1,024 steps.
    pub lasting: Duration,
    /// How long a caller waits for a block at most.
    pub patience: Duration,
}

impl Default for SegmentOptions {
    fn default() -> Self {
        Self { table: "shardpair_ids.segments".to_owned(), step: 1_000, lasting: Duration::from_secs(10), patience: Duration::from_secs(5) }
    }
}

/// Why there is no id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SegmentError {
    /// No row.
    #[error("table {table} has no row {name:?}: Segments::create makes it")]
    NoRow {
        /// The table.
        table: String,
        /// The sequence.
        name: String,
    },
    /// 64 bits are used up, or a row was set so.
    #[error("sequence {0:?} is used up")]
    Exhausted(String),
    /// Steps and names that can't be.
    #[error("{0}")]
    Options(String),
    /// MySQL.
    #[error("fetching ids: {0}")]
    Database(String),
}

struct Block {
    next: AtomicU64,
    end: u64,
    /// From here on the following block is fetched.
    refill: u64,
    since: Instant,
}

impl Block {
    fn new(start: u64, size: u64) -> Self {
        Self { next: AtomicU64::new(start), end: start + size, refill: start + size / 4, since: Instant::now() }
    }

    /// The next number, and whether the following block should be fetched now.
    fn take(&self) -> Option<(u64, bool)> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        (id < self.end).then_some((id, id == self.refill))
    }
}

struct Inner {
    pool: Pool,
    name: String,
    options: SegmentOptions,
    current: RwLock<Arc<Block>>,
    /// The following block, and the size of the one after it.
    following: Mutex<(Option<Arc<Block>>, u64)>,
    wanted: Notify,
}

/// Numbers of one sequence, on any thread.
pub struct Segments {
    inner: Arc<Inner>,
    task: JoinHandle<()>,
}

impl Segments {
    /// Makes the table if need be. It lives on one shard, class Local.
    pub async fn create_table(pool: &Pool, table: &str) -> Result<(), SegmentError> {
        let name = table_name(table)?;
        let sql = format!("CREATE TABLE IF NOT EXISTS {name} (name VARCHAR(64) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin PRIMARY KEY, next_id BIGINT UNSIGNED NOT NULL, CHECK (next_id > 0))");
        run(pool, &sql, Vec::new(), Duration::from_secs(10)).await.map(drop)
    }

    /// Makes the sequence if need be, beginning at `first` (at least 1).
    pub async fn create(pool: &Pool, table: &str, name: &str, first: u64) -> Result<(), SegmentError> {
        let sql = format!("INSERT IGNORE INTO {} (name, next_id) VALUES (?, ?)", table_name(table)?);
        run(pool, &sql, vec![name.into(), first.max(1).into()], Duration::from_secs(10)).await.map(drop)
    }

    /// Fetches the first block and keeps a second one ready.
    pub async fn start(pool: Pool, name: &str, options: SegmentOptions) -> Result<Self, SegmentError> {
        table_name(&options.table)?;
        if options.step < 8 || options.step > 1 << 40 {
            return Err(SegmentError::Options(format!("step is {}: choose 8 to 2^40", options.step)));
        }
        let step = options.step;
        let inner = Inner {
            pool, name: name.to_owned(), options, wanted: Notify::new(),
            current: RwLock::new(Arc::new(Block::new(0, 0))), following: Mutex::new((None, step)),
        };
        let first = inner.fetch(step).await?;
        *inner.current.write().expect("never poisoned") = Arc::new(first);
        let inner = Arc::new(inner);
        inner.wanted.notify_one();
        Ok(Self { task: tokio::spawn(inner.clone().refill()), inner })
    }

    /// The next number if there is one at hand; never waits.
    pub fn try_next(&self) -> Option<u64> {
        let (id, refill) = self.inner.current.read().expect("never poisoned").take()?;
        if refill {
            self.inner.wanted.notify_one();
        }
        Some(id)
    }

    /// The next number. Waits (at most `patience`) only when both blocks are used up.
    pub async fn next(&self) -> Result<u64, SegmentError> {
        // Others may use a new block up before our turn comes: bounded.
        for _ in 0..64 {
            if let Some(id) = self.try_next() {
                return Ok(id);
            }
            self.inner.turn().await?;
        }
        Err(SegmentError::Database("blocks are used up as fast as they come: a larger step is needed".to_owned()))
    }
}

impl Drop for Segments {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Inner {
    /// Puts the following block in the place of the used up one.
    async fn turn(&self) -> Result<(), SegmentError> {
        let mut following = self.following.lock().await;
        let (used_up, since) = {
            let current = self.current.read().expect("never poisoned");
            (current.next.load(Ordering::Relaxed) >= current.end, current.since)
        };
        if !used_up {
            return Ok(());
        }
        following.1 = resize(following.1, since.elapsed(), &self.options);
        let next = match following.0.take() {
            Some(block) => block,
            None => Arc::new(self.fetch(following.1).await?),
        };
        // Its time begins now, not when it was fetched.
        let start = next.next.load(Ordering::Relaxed);
        *self.current.write().expect("never poisoned") = Arc::new(Block::new(start, next.end - start));
        self.wanted.notify_one();
        Ok(())
    }

    /// Keeps a following block at hand.
    async fn refill(self: Arc<Self>) {
        loop {
            self.wanted.notified().await;
            let mut following = self.following.lock().await;
            if following.0.is_some() {
                continue;
            }
            match self.fetch(following.1).await {
                Ok(block) => following.0 = Some(Arc::new(block)),
                Err(error) => {
                    drop(following);
                    tracing::warn!(%error, sequence = self.name, "no following block of ids yet");
                    tokio::time::sleep(Duration::from_millis(500)).await;
                    self.wanted.notify_one();
                }
            }
        }
    }

    /// A block from the database; asks again (a lost answer wastes a block, and no more) until `patience` is over.
    async fn fetch(&self, size: u64) -> Result<Block, SegmentError> {
        let begun = Instant::now();
        let mut pause = Duration::from_millis(20);
        loop {
            let left = self.options.patience.saturating_sub(begun.elapsed());
            match self.fetch_once(size, left.min(Duration::from_secs(2))).await {
                Err(error @ SegmentError::Database(_)) if left <= pause => return Err(error),
                Err(SegmentError::Database(_)) => {}
                done => return done,
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_millis(200));
        }
    }

    async fn fetch_once(&self, size: u64, limit: Duration) -> Result<Block, SegmentError> {
        let sql = format!("UPDATE {} SET next_id = LAST_INSERT_ID(next_id) + ? WHERE name = ?", table_name(&self.options.table)?);
        let (changed, start) = run(&self.pool, &sql, vec![size.into(), self.name.as_str().into()], limit).await.map_err(|error| match error {
            SegmentError::Exhausted(_) => SegmentError::Exhausted(self.name.clone()),
            other => other,
        })?;
        match (changed, start) {
            (1, Some(start)) if start.checked_add(size).is_some() => Ok(Block::new(start, size)),
            (1, _) => Err(SegmentError::Exhausted(self.name.clone())),
            _ => Err(SegmentError::NoRow { table: self.options.table.clone(), name: self.name.clone() }),
        }
    }
}

fn resize(size: u64, lasted: Duration, options: &SegmentOptions) -> u64 {
    if lasted < options.lasting {
        (size * 2).min(options.step * 1_024)
    } else if lasted > options.lasting * 4 {
        (size / 2).max(options.step)
    } else {
        size
    }
}

/// One statement on a fresh connection of the pool: rows changed, LAST_INSERT_ID.
async fn run(pool: &Pool, sql: &str, parameters: Vec<Value>, limit: Duration) -> Result<(u64, Option<u64>), SegmentError> {
    let work = async {
        let mut conn = pool.get_conn().await?;
        conn.exec_drop(sql, parameters).await?;
        Ok::<_, mysql_async::Error>((conn.affected_rows(), conn.last_insert_id()))
    };
    match tokio::time::timeout(limit, work).await {
        Ok(Ok(done)) => Ok(done),
        // Out of range: 64 bits are used up.
        Ok(Err(mysql_async::Error::Server(e))) if matches!(e.code, 1264 | 1690) => Err(SegmentError::Exhausted(String::new())),
        Ok(Err(error)) => Err(SegmentError::Database(error.to_string())),
        Err(_) => Err(SegmentError::Database(format!("no answer within {limit:?}"))),
    }
}

fn table_name(table: &str) -> Result<String, SegmentError> {
    let quote = |name: &str| format!("`{}`", name.replace('`', "``"));
    match table.split_once('.') {
        Some((database, name)) if !database.is_empty() && !name.is_empty() && !name.contains('.') => Ok(format!("{}.{}", quote(database), quote(name))),
        _ => Err(SegmentError::Options(format!("{table:?} is no table: write database.table"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_gives_each_number_once_and_asks_for_the_next_in_time() {
        let block = Block::new(100, 8);
        let taken = std::iter::from_fn(|| block.take()).collect::<Vec<_>>();
        assert_eq!(taken.iter().map(|t| t.0).collect::<Vec<_>>(), (100..108).collect::<Vec<_>>());
        assert_eq!(taken.iter().filter(|t| t.1).map(|t| t.0).collect::<Vec<_>>(), [102]);
        assert_eq!(block.take(), None);
    }

    #[test]
    fn blocks_grow_with_the_demand_and_shrink_again() {
        let options = SegmentOptions { step: 10, lasting: Duration::from_secs(1), ..SegmentOptions::default() };
        assert_eq!(resize(10, Duration::from_millis(1), &options), 20);
        assert_eq!(resize(10_240, Duration::ZERO, &options), 10_240);
        assert_eq!(resize(20, Duration::from_secs(2), &options), 20);
        assert_eq!(resize(20, Duration::from_secs(5), &options), 10);
        assert_eq!(resize(10, Duration::from_secs(5), &options), 10);
    }

    #[test]
    fn names_of_tables() {
        assert_eq!(table_name("a.b`c").expect("a name"), "`a`.`b``c`");
        for bad in ["a", "a.", ".b", "a.b.c"] {
            assert!(table_name(bad).is_err(), "{bad}");
        }
    }
}
