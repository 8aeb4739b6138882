//! The steps that talk to Redis. Each says whether it was done; none is an error to the caller.

use std::sync::atomic::Ordering;

use redis::{RedisError, ScriptInvocation};

use super::link::Open;
use super::{ABSENT, At, Found, Inner, PRESENT, count};

/// What a script answers to a read.
type Answer = (u8, Option<Vec<u8>>);

impl Open {
    fn value(&self, key: &str) -> String {
        format!("{}v:{key}", self.prefix)
    }

    fn lease(&self, key: &str) -> String {
        format!("{}l:{key}", self.prefix)
    }

    fn writers(&self, key: &str) -> String {
        format!("{}w:{key}", self.prefix)
    }

    pub(super) fn pending(&self) -> String {
        format!("{}pending", self.prefix)
    }

    pub(super) fn after(&self) -> String {
        format!("{}after", self.prefix)
    }

    fn add<'a>(&self, mut call: ScriptInvocation<'a>, keys: &[&str]) -> ScriptInvocation<'a> {
        for key in keys {
            call.key(self.value(key)).key(self.lease(key)).key(self.writers(key));
        }
        call
    }
}

/// `{1, value}` or `{n}`.
fn answer(value: redis::Value) -> Answer {
    match value {
        redis::Value::Array(items) => {
            let mut items = items.into_iter();
            let code = items.next().and_then(|code| redis::from_redis_value(code).ok()).unwrap_or(0);
            (code, items.next().and_then(|value| redis::from_redis_value(value).ok()))
        }
        _ => (0, None),
    }
}

/// A stored value; None: not one of ours.
fn read(stored: &[u8]) -> Option<Option<Vec<u8>>> {
    match stored.split_first() {
        Some((&PRESENT, value)) => Some(Some(value.to_vec())),
        Some((&ABSENT, [])) => Some(None),
        _ => None,
    }
}

impl Inner {
    pub(super) fn done<T>(&self, open: &Open, result: Result<T, RedisError>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(error) => {
                self.link.failed(open, &error);
                None
            }
        }
    }

    pub(super) async fn find(&self, key: &str) -> Found {
        let Some(open) = self.link.open().await.filter(|open| open.clean.load(Ordering::Acquire)) else { return Found::Away };
        let token = format!("{:016x}", rand::random::<u64>());
        let mut call = self.scripts.get.key(open.value(key));
        call.key(open.lease(key)).key(open.writers(key)).arg(&token).arg(self.options.lease.as_millis() as u64);
        let result = call.invoke_async::<redis::Value>(&mut open.connection.clone()).await;
        match self.done(&open, result).map(answer) {
            // A value that isn't of our making is not trusted: it is somebody else's key.
            Some((1, Some(stored))) => read(&stored).map_or(Found::Written, Found::Value),
            Some((2, _)) => Found::Written,
            Some((3, _)) => Found::Ours(open, token),
            Some((4, _)) => Found::Another,
            Some(_) | None => Found::Away,
        }
    }

    /// The cached value, if there is one.
    pub(super) async fn peek(&self, key: &str) -> Option<Option<Vec<u8>>> {
        let open = self.link.open().await?;
        let stored = redis::cmd("GET").arg(open.value(key)).query_async::<Option<Vec<u8>>>(&mut open.connection.clone()).await;
        self.done(&open, stored).flatten().and_then(|stored| read(&stored))
    }

    pub(super) async fn fill(&self, open: &Open, key: &str, token: &str, value: Option<&[u8]>) {
        let (mark, ttl) = if value.is_some() { (PRESENT, self.options.ttl) } else { (ABSENT, self.options.absent_ttl) };
        let stored = std::iter::once(mark).chain(value.unwrap_or_default().iter().copied()).collect::<Vec<_>>();
        // Values that were filled together don't end together.
        let ms = ttl.mul_f64(rand::random_range(0.9..1.1)).as_millis().max(1) as u64;
        let mut call = self.scripts.fill.key(open.value(key));
        call.key(open.lease(key)).arg(token).arg(stored).arg(ms);
        let result = call.invoke_async::<u8>(&mut open.connection.clone()).await;
        match self.done(open, result) {
            Some(1) => count(&self.counts.fills),
            Some(_) | None => count(&self.counts.refused_fills),
        }
    }

    /// Step one of a write. None: Redis was not told.
    pub(super) async fn begin(&self, token: &str, keys: &[&str]) -> Option<Open> {
        let open = self.link.open().await?;
        self.begin_for(&open, token, keys, self.options.hold).await.then_some(open)
    }

    /// Keeps the keys out of the cache for so long, unless the write is ended before.
    pub(super) async fn begin_for(&self, open: &Open, token: &str, keys: &[&str], hold: std::time::Duration) -> bool {
        let mut call = open.add(self.scripts.begin.key(open.pending()), keys);
        call.arg(token).arg(hold.as_millis() as u64).arg(keys);
        let result = call.invoke_async::<u8>(&mut open.connection.clone()).await;
        let done = self.done(open, result).is_some();
        if !done {
            // Out of memory refuses scripts that write, and not a deletion.
            let _ = self.delete(open, keys).await;
        }
        done
    }

    /// The last step of a write; if it fails the sweeper does it.
    pub(super) async fn end(&self, open: &Open, token: &str, keys: &[&str]) -> bool {
        let mut first = self.scripts.end.key(open.pending());
        first.key(open.after());
        let mut call = open.add(first, keys);
        call.arg(token).arg(keys);
        let result = call.invoke_async::<u8>(&mut open.connection.clone()).await;
        self.done(open, result).is_some()
    }

    /// With reads from standbys: the write ends when the standby has executed what the primary has now.
    pub(super) async fn defer(&self, open: &Open, at: At<'_>, token: &str, keys: &[&str]) {
        // Without it the sweeper ends the write when its time is over, and asks the primary itself.
        let Ok((shard, executed)) = self.client.executed(at).await else { return };
        let mut call = self.scripts.defer.key(open.pending());
        call.key(open.after()).arg(token).arg(format!("{shard}|{executed}")).arg(keys);
        let result = call.invoke_async::<u8>(&mut open.connection.clone()).await;
        let _ = self.done(open, result);
    }

    /// Values and leases; a writer's mark stays.
    pub(super) async fn delete(&self, open: &Open, keys: &[&str]) -> bool {
        let all = keys.iter().flat_map(|key| [open.value(key), open.lease(key)]).collect::<Vec<_>>();
        if all.is_empty() {
            return true;
        }
        let result = redis::cmd("UNLINK").arg(all).query_async::<u64>(&mut open.connection.clone()).await;
        self.done(open, result).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stored_values_are_marked_and_others_are_not_trusted() {
        assert_eq!(read(b"1abc"), Some(Some(b"abc".to_vec())));
        assert_eq!((read(b"1"), read(b"0")), (Some(Some(Vec::new())), Some(None)));
        assert_eq!((read(b""), read(b"0x"), read(b"{}")), (None, None, None));
    }
}
