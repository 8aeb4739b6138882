//! The steps that talk to Redis. Each says whether it was done; none is an error to the caller.

use redis::{RedisError, Script, ScriptInvocation};

use super::link::Open;
use super::{ABSENT, Found, Inner, PRESENT, Side, count};

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

    fn named(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// A call of a script that begins with the generation, and these keys of all.
    pub(super) fn call<'a>(&self, script: &'a Script, names: &[&str]) -> ScriptInvocation<'a> {
        let mut call = script.key(&*self.generation.0);
        call.arg(&*self.generation.1);
        for name in names {
            call.key(self.named(name));
        }
        call
    }

    pub(super) fn erasing<'a>(&self, delete: &'a Script, keys: &[&str]) -> ScriptInvocation<'a> {
        let mut call = self.call(delete, &[]);
        for key in keys {
            call.key(self.value(key)).key(self.lease(key));
        }
        call
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

/// Names a write, or a fill.
pub(super) fn token() -> String {
    format!("{:016x}", rand::random::<u64>())
}

impl Inner {
    pub(super) fn done<T>(&self, open: &Open, result: Result<T, RedisError>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(error) => {
                let side = self.far.as_ref().filter(|_| open.far).unwrap_or(&self.near);
                side.link.failed(open, &error);
                None
            }
        }
    }

    /// May the near one's values be read?
    pub(super) fn believes(&self, open: &Open) -> bool {
        open.believed(self.options.other.as_ref().map(|other| other.believe))
    }

    pub(super) async fn find(&self, key: &str) -> Found {
        let Some(open) = self.near.link.open().await.filter(|open| self.believes(open)) else { return Found::Away };
        let token = token();
        let mut call = open.add(open.call(&self.scripts.get, &[]), &[key]);
        call.arg(&token).arg(self.options.lease.as_millis() as u64);
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
        let open = self.near.link.open().await?;
        let stored = redis::cmd("GET").arg(open.value(key)).query_async::<Option<Vec<u8>>>(&mut open.connection.clone()).await;
        self.done(&open, stored).flatten().and_then(|stored| read(&stored))
    }

    /// `epoch`: of the map that the value was read by.
    pub(super) async fn fill(&self, open: &Open, key: &str, token: &str, epoch: i64, value: Option<&[u8]>) {
        let (mark, ttl) = if value.is_some() { (PRESENT, self.options.ttl) } else { (ABSENT, self.options.absent_ttl) };
        let stored = std::iter::once(mark).chain(value.unwrap_or_default().iter().copied()).collect::<Vec<_>>();
        // Values that were filled together don't end together.
        let ms = |ttl: std::time::Duration| ttl.mul_f64(rand::random_range(0.9..1.1)).as_millis().max(1) as u64;
        let mut call = open.call(&self.scripts.fill, &[]);
        call.key(open.value(key)).key(open.lease(key)).key(open.named("epoch"));
        call.arg(token).arg(stored).arg(ms(ttl)).arg(self.options.hold.as_millis() as u64).arg(ms(self.options.young)).arg(epoch);
        let result = call.invoke_async::<u8>(&mut open.connection.clone()).await;
        match self.done(open, result) {
            Some(1) => count(&self.counts.fills),
            Some(_) | None => count(&self.counts.refused_fills),
        }
    }

    /// Step one of a write. None: Redis was not told.
    pub(super) async fn begin(&self, side: &Side, token: &str, keys: &[&str]) -> Option<Open> {
        let open = side.link.open().await?;
        self.begin_for(&open, token, keys, self.options.hold).await.then_some(open)
    }

    /// Keeps the keys out of the cache for so long, unless the write is ended before.
    pub(super) async fn begin_for(&self, open: &Open, token: &str, keys: &[&str], hold: std::time::Duration) -> bool {
        let mut call = open.add(open.call(&self.scripts.begin, &["pending"]), keys);
        call.arg(token).arg(hold.as_millis() as u64).arg(keys);
        let result = call.invoke_async::<u8>(&mut open.connection.clone()).await;
        let done = self.done(open, result).is_some();
        if !done {
            // Out of memory refuses scripts that write, and not a deletion.
            let _ = self.delete(open, keys).await;
        }
        done
    }

    /// The last step of a write. False: it may still be open, or Redis has forgotten it.
    pub(super) async fn end(&self, open: &Open, token: &str, keys: &[&str]) -> bool {
        let mut call = open.add(open.call(&self.scripts.end, &["pending", "after", "epoch"]), keys);
        call.arg(token).arg(self.client.router().map().epoch).arg(keys);
        let result = call.invoke_async::<u8>(&mut open.connection.clone()).await;
        self.done(open, result).is_some()
    }

    /// With reads from standbys: the write ends when they have executed this: lines of `shard|GTIDs`. False as for `end`.
    pub(super) async fn defer(&self, open: &Open, token: &str, after: &str, keys: &[&str]) -> bool {
        let mut call = open.call(&self.scripts.defer, &["pending", "after"]);
        call.arg(token).arg(after).arg(keys);
        let result = call.invoke_async::<u8>(&mut open.connection.clone()).await;
        self.done(open, result).is_some()
    }

    /// Values and leases; a writer's mark stays.
    pub(super) async fn delete(&self, open: &Open, keys: &[&str]) -> bool {
        let result = open.erasing(&self.scripts.delete, keys).invoke_async::<u8>(&mut open.connection.clone()).await;
        self.done(open, result).is_some()
    }

    /// Due entries of `pending`, each with what must be executed first.
    pub(super) async fn due(&self, open: &Open, again: std::time::Duration, many: usize) -> Vec<String> {
        let mut call = open.call(&self.scripts.due, &["pending", "after"]);
        call.arg(again.as_millis() as u64).arg(many);
        let due = call.invoke_async::<Vec<String>>(&mut open.connection.clone()).await;
        self.done(open, due).unwrap_or_default()
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
