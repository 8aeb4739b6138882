//! Calls under way per shard: so many at once, so many waiting, the rest is shed at once. A shard that is slow or gone then
//! costs its callers, not the whole application.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// At once.
    pub at_once: usize,
    /// More that may wait.
    pub waiting: usize,
    /// How long one waits at most.
    pub wait: Duration,
}

struct Gate {
    slots: Arc<Semaphore>,
    waiting: AtomicUsize,
}

/// One gate per number (a shard's).
pub struct Limiter {
    limit: Limit,
    gates: Mutex<HashMap<u32, Arc<Gate>>>,
}

/// A call under way; ends when dropped.
pub struct Pass(#[allow(dead_code, reason = "held for its drop")] OwnedSemaphorePermit);

struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Limiter {
    /// With the same limit for each.
    pub fn new(limit: Limit) -> Self {
        Self { limit, gates: Mutex::default() }
    }

    /// A pass through gate `number`; None: shed.
    pub async fn enter(&self, number: u32) -> Option<Pass> {
        let made = || Arc::new(Gate { slots: Arc::new(Semaphore::new(self.limit.at_once)), waiting: AtomicUsize::new(0) });
        let gate = self.gates.lock().expect("never poisoned").entry(number).or_insert_with(made).clone();
        if let Ok(permit) = gate.slots.clone().try_acquire_owned() {
            return Some(Pass(permit));
        }
        let before = gate.waiting.fetch_add(1, Ordering::AcqRel);
        let _waiting = Waiting(&gate.waiting);
        if before >= self.limit.waiting {
            return None;
        }
        match tokio::time::timeout(self.limit.wait, gate.slots.clone().acquire_owned()).await {
            Ok(Ok(permit)) => Some(Pass(permit)),
            Ok(Err(_)) | Err(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn so_many_at_once_so_many_waiting_and_the_rest_is_shed() {
        let limiter = Arc::new(Limiter::new(Limit { at_once: 1, waiting: 1, wait: Duration::from_secs(20) }));
        let first = limiter.enter(0).await.expect("the first");
        let second = tokio::spawn({
            let limiter = limiter.clone();
            async move { limiter.enter(0).await.is_some() }
        });
        tokio::task::yield_now().await;
        assert!(limiter.enter(0).await.is_none(), "one waits already");
        assert!(limiter.enter(1).await.is_some(), "another shard's calls don't mind");
        drop(first);
        assert!(second.await.expect("a task"), "the one that waited");
        let _again = limiter.enter(0).await.expect("the place of the second is free");
        let short = Limiter::new(Limit { at_once: 0, waiting: 1, wait: Duration::from_millis(10) });
        assert!(short.enter(0).await.is_none() && short.enter(0).await.is_none(), "who gave up waiting counts no more");
    }
}
