//! Who uses which epoch: clients say it with each request for the map. Bounded, and forgotten when they stop asking.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::maps::Name;

/// Clients known of one cluster, at most.
const MAX: usize = 10_000;
/// Not heard of for this long: not there any more. Longer than the longest poll.
const FORGET: Duration = Duration::from_secs(150);

/// One client of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Follower {
    /// As it calls itself.
    pub id: String,
    /// What it uses.
    pub epoch: i64,
    /// When it said so last.
    pub seen: Instant,
}

/// By name: the epoch, and when it was heard.
type Known = BTreeMap<String, (i64, Instant)>;

/// The clients of this replica, by cluster.
#[derive(Default)]
pub struct Followers {
    all: Mutex<BTreeMap<Name, Known>>,
    changed: Notify,
}

impl Followers {
    /// A client said what it uses. False: there are too many.
    pub fn heard(&self, name: &Name, id: &str, epoch: i64, now: Instant) -> bool {
        let mut all = self.all.lock().expect("never poisoned");
        let of = all.entry(name.clone()).or_default();
        if !of.contains_key(id) && of.len() >= MAX {
            of.retain(|_, (_, seen)| now.duration_since(*seen) < FORGET);
            if of.len() >= MAX {
                return false;
            }
        }
        of.insert(id.to_owned(), (epoch, now));
        drop(all);
        self.changed.notify_waiters();
        true
    }

    /// Those heard of lately, in order of their names.
    pub fn of(&self, name: &Name, now: Instant) -> Vec<Follower> {
        let mut all = self.all.lock().expect("never poisoned");
        let Some(of) = all.get_mut(name) else { return Vec::new() };
        of.retain(|_, (_, seen)| now.duration_since(*seen) < FORGET);
        of.iter().map(|(id, (epoch, seen))| Follower { id: id.clone(), epoch: *epoch, seen: *seen }).collect()
    }

    /// Waits until nobody is behind `epoch`, at most `limit`: who still is.
    pub async fn wait(&self, name: &Name, epoch: i64, limit: Duration) -> Vec<Follower> {
        let until = tokio::time::Instant::now() + limit;
        loop {
            let changed = self.changed.notified();
            let behind = self.of(name, Instant::now()).into_iter().filter(|f| f.epoch < epoch).collect::<Vec<_>>();
            if behind.is_empty() || tokio::time::timeout_at(until, changed).await.is_err() {
                return behind;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn waiting_ends_with_the_last_one_or_with_the_limit() {
        let (followers, now) = (std::sync::Arc::new(Followers::default()), Instant::now());
        let name = Name { namespace: "n".to_owned(), name: "c".to_owned() };
        assert!(followers.heard(&name, "a", 3, now) && followers.heard(&name, "b", 4, now));
        assert_eq!(followers.wait(&name, 4, Duration::from_millis(20)).await.len(), 1);
        let (waiting, of) = (followers.clone(), name.clone());
        let waiting = tokio::spawn(async move { waiting.wait(&of, 4, Duration::from_secs(20)).await });
        tokio::task::yield_now().await;
        followers.heard(&name, "a", 4, now);
        assert_eq!(waiting.await.expect("a task"), []);
        assert_eq!(followers.of(&name, now + FORGET), []);
    }
}
