//! Ids out of reserved milliseconds. No clock in here: the caller says what time it is, so every jump can be tested.

use std::sync::atomic::{AtomicU64, Ordering};

/// Milliseconds of the Unix epoch at which ids begin: 2024-01-01T00:00:00Z. 41 bits last until 2093.
pub const EPOCH_MS: u64 = 1_704_067_200_000;
/// Bits of the worker id.
pub const WORKER_BITS: u32 = 10;
/// Bits of the count within a millisecond.
pub const COUNT_BITS: u32 = 12;
const COUNT_MASK: u64 = (1 << COUNT_BITS) - 1;
const MS_MAX: u64 = (1 << 41) - 1;

/// What an id is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parts {
    /// Milliseconds of the Unix epoch.
    pub unix_ms: u64,
    /// Who made it.
    pub worker: u16,
    /// Distinguishes ids of one millisecond; their order within it means nothing.
    pub count: u16,
}

/// Takes an id apart.
pub fn parts(id: u64) -> Parts {
    Parts {
        unix_ms: (id >> (WORKER_BITS + COUNT_BITS)) + EPOCH_MS,
        worker: ((id >> COUNT_BITS) & ((1 << WORKER_BITS) - 1)) as u16,
        count: (id & COUNT_MASK) as u16,
    }
}

/// Why there is no id at this moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotNow {
    /// All 4,096 ids of this millisecond are gone: it is over at once.
    Full,
    /// The clock shows a time before the last id's, or before the reserved time.
    Behind {
        /// By how much.
        by_ms: u64,
    },
    /// The clock shows a time that isn't reserved (yet), or the lease has run out.
    NotReserved,
    /// After 2093, or before 2024.
    OutOfRange,
}

/// A worker id and the milliseconds that are its own.
#[derive(Debug)]
pub struct Grant {
    worker: u16,
    /// First millisecond (Unix).
    from_ms: u64,
    /// Last one; only grows.
    until_ms: AtomicU64,
    /// On the caller's monotonic clock: after it another process may have taken the worker id.
    expires: AtomicU64,
    /// `ms << COUNT_BITS | ids made in it - 1`
    last: AtomicU64,
}

impl Grant {
    /// `worker` may use `from_ms..=until_ms`; `expires` is on a monotonic clock of the caller's.
    pub fn new(worker: u16, from_ms: u64, until_ms: u64, expires: u64) -> Self {
        let (until_ms, expires) = (AtomicU64::new(until_ms), AtomicU64::new(expires));
        Self { worker, from_ms, until_ms, expires, last: AtomicU64::new(0) }
    }

    /// Whose ids they are.
    pub fn worker(&self) -> u16 {
        self.worker
    }

    /// The last reserved millisecond.
    pub fn until_ms(&self) -> u64 {
        self.until_ms.load(Ordering::Acquire)
    }

    /// The millisecond of the last id; 0: none yet.
    pub fn last_ms(&self) -> u64 {
        self.last.load(Ordering::Acquire) >> COUNT_BITS
    }

    /// More milliseconds were reserved.
    pub fn extend(&self, until_ms: u64, expires: u64) {
        self.until_ms.fetch_max(until_ms, Ordering::AcqRel);
        self.expires.fetch_max(expires, Ordering::AcqRel);
    }

    /// No more ids, from now on.
    pub fn end(&self) {
        self.expires.store(0, Ordering::Release);
    }

    /// Valid at this moment of the monotonic clock?
    pub fn holds(&self, monotonic: u64) -> bool {
        monotonic < self.expires.load(Ordering::Acquire)
    }

    /// The next id at `unix_ms`, on any thread.
    pub fn next(&self, unix_ms: u64, monotonic: u64) -> Result<u64, NotNow> {
        if !self.holds(monotonic) || unix_ms > self.until_ms() {
            return Err(NotNow::NotReserved);
        }
        if unix_ms < self.from_ms {
            return Err(NotNow::Behind { by_ms: self.from_ms - unix_ms });
        }
        let ms = unix_ms.checked_sub(EPOCH_MS).filter(|ms| *ms <= MS_MAX).ok_or(NotNow::OutOfRange)?;
        let mut last = self.last.load(Ordering::Acquire);
        loop {
            let last_ms = last >> COUNT_BITS;
            let next = match unix_ms.cmp(&last_ms) {
                std::cmp::Ordering::Less => return Err(NotNow::Behind { by_ms: last_ms - unix_ms }),
                std::cmp::Ordering::Greater => unix_ms << COUNT_BITS,
                std::cmp::Ordering::Equal if last & COUNT_MASK == COUNT_MASK => return Err(NotNow::Full),
                std::cmp::Ordering::Equal => last + 1,
            };
            match self.last.compare_exchange_weak(last, next, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Ok(compose(ms, self.worker, next & COUNT_MASK)),
                Err(seen) => last = seen,
            }
        }
    }
}

/// The count begins anywhere in each millisecond: were it 0, nearly all ids of a quiet system would be divisible by
/// 4,096, and `id mod N` would put them all on one shard.
fn compose(ms: u64, worker: u16, nth: u64) -> u64 {
    let begin = ms.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> (64 - COUNT_BITS);
    ms << (WORKER_BITS + COUNT_BITS) | u64::from(worker) << COUNT_BITS | (begin + nth) & COUNT_MASK
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    const T: u64 = EPOCH_MS + 1_000_000;

    #[test]
    fn a_millisecond_has_4096_different_ids_and_then_none() {
        let grant = Grant::new(7, T, T + 10, 100);
        let ids = (0..4096).map(|_| grant.next(T, 1).expect("an id")).collect::<BTreeSet<_>>();
        assert_eq!(ids.len(), 4096);
        assert_eq!(grant.next(T, 1), Err(NotNow::Full));
        let more = grant.next(T + 1, 1).expect("an id");
        assert!(!ids.contains(&more) && ids.iter().all(|id| *id < more), "ids grow from one millisecond to the next");
        assert_eq!((parts(more).unix_ms, parts(more).worker), (T + 1, 7));
    }

    #[test]
    fn a_clock_that_goes_back_is_refused_and_nothing_outside_the_reserved_time_is_used() {
        let grant = Grant::new(1, T, T + 10, 100);
        assert_eq!(grant.next(T - 3, 1), Err(NotNow::Behind { by_ms: 3 }));
        assert!(grant.next(T + 8, 1).is_ok());
        assert_eq!(grant.next(T + 5, 1), Err(NotNow::Behind { by_ms: 3 }));
        assert_eq!(grant.next(T + 11, 1), Err(NotNow::NotReserved));
        grant.extend(T + 20, 200);
        assert!(grant.next(T + 11, 150).is_ok());
        assert_eq!(grant.next(T + 12, 200), Err(NotNow::NotReserved), "the lease has run out");
        grant.end();
        assert_eq!(grant.next(T + 12, 1), Err(NotNow::NotReserved));
    }

    #[test]
    fn ids_of_a_quiet_system_spread_over_shards() {
        let grant = Grant::new(1, T, T + 100_000, 100);
        let mut shards = [0; 4];
        for n in 0..10_000 {
            shards[(grant.next(T + n * 7, 1).expect("an id") % 4) as usize] += 1;
        }
        assert!(shards.iter().all(|n| (2_300..2_700).contains(n)), "{shards:?}");
    }

    #[test]
    fn threads_never_get_the_same_id() {
        let grant = Grant::new(1, T, T + 100, 100);
        let all = std::thread::scope(|scope| {
            let own = |_| scope.spawn(|| (0..20).flat_map(|ms| std::iter::from_fn(move || Some(T + ms)).take(400)).filter_map(|ms| grant.next(ms, 1).ok()).collect::<Vec<_>>());
            (0..4).map(own).collect::<Vec<_>>().into_iter().flat_map(|t| t.join().expect("a thread")).collect::<Vec<_>>()
        });
        assert!(all.len() > 1_000);
        assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len());
    }
}
