//! A pool of connections per place, and new ones when a place has moved.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use mysql_async::{OptsBuilder, Pool, PoolConstraints, PoolOpts};

use super::owner::ASKED;

/// Host and port.
pub type Address = (String, u16);

/// A pool isn't replaced more often, or many callers' failures of one moment would each replace it.
const RENEW: Duration = Duration::from_millis(50);
/// How long connections in use may take to come back to a pool that was replaced.
const LINGER: Duration = Duration::from_secs(60);

/// How connections are made.
#[derive(Clone)]
pub(super) struct Making {
    pub(super) user: String,
    pub(super) password: String,
    pub(super) most: usize,
}

impl Making {
    fn pool(&self, address: &Address, read_only: bool) -> Pool {
        let limits = PoolConstraints::new(0, self.most.max(1)).unwrap_or_default();
        let options = OptsBuilder::default()
            .ip_or_hostname(&address.0)
            .tcp_port(address.1)
            .user(Some(&self.user))
            .pass(Some(&self.password))
            .prefer_socket(false)
            .tcp_nodelay(true)
            .tcp_keepalive(Some(Duration::from_secs(5)))
            .pool_opts(PoolOpts::default().with_constraints(limits).with_inactive_connection_ttl(Duration::from_secs(300)));
        // A read that writes is refused by MySQL itself, so a read is always safe to repeat.
        Pool::new(if read_only { options.setup(vec!["SET SESSION transaction_read_only=1"]) } else { options })
    }
}

struct Current {
    pool: Pool,
    number: u64,
    since: Instant,
    failing: Option<Instant>,
    probed: Option<Instant>,
    /// Connections of this pool that were seen without a guard, and when.
    unguarded: HashMap<u32, Instant>,
}

/// The pool of one place.
pub(super) struct Slot {
    address: Address,
    read_only: bool,
    making: Making,
    current: Mutex<Current>,
}

impl Slot {
    fn new(address: &Address, read_only: bool, making: &Making) -> Self {
        let current = Current { pool: making.pool(address, read_only), number: 0, since: Instant::now(), failing: None, probed: None, unguarded: HashMap::new() };
        Self { address: address.clone(), read_only, making: making.clone(), current: Mutex::new(current) }
    }

    /// The pool and its number.
    pub(super) fn pool(&self) -> (Pool, u64) {
        let current = self.current.lock().expect("never poisoned");
        (current.pool.clone(), current.number)
    }

    /// Replaces the pool, unless somebody did since it had `number`: idle connections end at once, those in use when they
    /// are given back.
    pub(super) fn renew(&self, number: u64) {
        let mut current = self.current.lock().expect("never poisoned");
        if current.number != number || (number > 0 && current.since.elapsed() < RENEW) {
            return;
        }
        let old = std::mem::replace(&mut current.pool, self.making.pool(&self.address, self.read_only));
        (current.number, current.since) = (number + 1, Instant::now());
        current.unguarded.clear();
        drop(current);
        retire(old);
    }

    /// Told after each attempt.
    pub(super) fn went(&self, well: bool) {
        let mut current = self.current.lock().expect("never poisoned");
        if well {
            current.failing = None;
        } else {
            current.failing.get_or_insert_with(Instant::now);
        }
    }

    /// For how long no attempt has gone well; None: the last one did.
    pub(super) fn failing(&self) -> Option<Duration> {
        self.current.lock().expect("never poisoned").failing.map(|since| since.elapsed())
    }

    /// One caller at a time may look whether a failing place is back.
    pub(super) fn may_probe(&self, pause: Duration) -> bool {
        let mut current = self.current.lock().expect("never poisoned");
        let may = current.probed.is_none_or(|at| at.elapsed() > pause);
        if may {
            current.probed = Some(Instant::now());
        }
        may
    }

    /// Was this connection, of the pool with `number`, seen without a guard lately? See [`super::owner`].
    pub(super) fn is_unguarded(&self, number: u64, connection: u32) -> bool {
        let current = self.current.lock().expect("never poisoned");
        current.number == number && current.unguarded.get(&connection).is_some_and(lately)
    }

    pub(super) fn note_unguarded(&self, number: u64, connection: u32) {
        let mut current = self.current.lock().expect("never poisoned");
        if current.number == number {
            current.unguarded.retain(|_, at| lately(at));
            current.unguarded.insert(connection, Instant::now());
        }
    }
}

fn lately(at: &Instant) -> bool {
    at.elapsed() < ASKED
}

fn retire(pool: Pool) {
    tokio::spawn(async move { tokio::time::timeout(LINGER, pool.disconnect()).await });
}

/// All places.
pub(super) struct Pools {
    making: Making,
    slots: Mutex<HashMap<(Address, bool), Arc<Slot>>>,
}

impl Pools {
    pub(super) fn new(making: Making) -> Self {
        Self { making, slots: Mutex::default() }
    }

    pub(super) fn slot(&self, address: &Address, read_only: bool) -> Arc<Slot> {
        let mut slots = self.slots.lock().expect("never poisoned");
        slots.entry((address.clone(), read_only)).or_insert_with(|| Arc::new(Slot::new(address, read_only, &self.making))).clone()
    }

    /// Drops the pools of places that are no longer named, and connections to places whose keys changed.
    pub(super) fn keep(&self, named: &[Address], changed: &[Address]) {
        let mut slots = self.slots.lock().expect("never poisoned");
        slots.retain(|(address, _), slot| {
            let stays = named.contains(address);
            if !stays {
                retire(slot.pool().0);
            } else if changed.contains(address) {
                slot.renew(slot.pool().1);
            }
            stays
        });
    }
}
