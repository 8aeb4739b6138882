//! What others left undone: writes whose process died, writes that wait for a standby, and keys in the outbox.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use mysql_async::prelude::Queryable;

use super::link::Open;
use super::{Inner, At, count, quoted};
use crate::client::calls::Freshness;

/// Between two looks.
const LOOK: Duration = Duration::from_millis(100);
/// Every so many looks the outboxes are read, of each shard.
const OUTBOX: u32 = 10;
/// An entry that couldn't be ended is looked at again after this.
const AGAIN: Duration = Duration::from_millis(200);
/// At a time.
const MANY: usize = 200;

pub(super) async fn run(inner: Arc<Inner>) {
    let mut look = 0_u32;
    loop {
        if let Some(open) = inner.link.open().await {
            pending(&inner, &open).await;
            let clean = open.clean.load(Ordering::Acquire);
            if (look.is_multiple_of(OUTBOX) || !clean) && outboxes(&inner, &open).await {
                open.clean.store(true, Ordering::Release);
            }
            look = look.wrapping_add(1);
        }
        tokio::time::sleep(LOOK).await;
    }
}

async fn pending(inner: &Inner, open: &Open) {
    let mut call = inner.scripts.due.key(open.pending());
    call.key(open.after()).arg(AGAIN.as_millis() as u64).arg(MANY);
    let due = call.invoke_async::<Vec<String>>(&mut open.connection.clone()).await;
    let due = inner.done(open, due).unwrap_or_default();
    for pair in due.as_chunks::<2>().0 {
        let [entry, after] = pair;
        let Some((token, key)) = entry.split_once('|') else { continue };
        if standby_has(inner, after).await && inner.end(open, token, &[key]).await {
            count(&inner.counts.swept);
        }
    }
}

/// Has the shard's standby executed this? `after` is `shard|GTIDs`; empty: nothing to wait for.
async fn standby_has(inner: &Inner, after: &str) -> bool {
    let Some((shard, executed)) = after.split_once('|') else { return true };
    // A shard that is gone from the map has no readers.
    let Ok(shard) = shard.parse() else { return true };
    if !inner.client.router().map().shards.iter().any(|s| s.id == shard) {
        return true;
    }
    inner.client.standby_has(shard, executed).await
}

/// Keys of writes that could not tell Redis. Deleted there first: a row is only gone when its key is. True: all were
/// empty, or are now.
async fn outboxes(inner: &Inner, open: &Open) -> bool {
    let mut emptied = true;
    let table = quoted(&inner.options.outbox);
    for shard in inner.client.router().map().shards.iter().map(|s| s.id) {
        let select = format!("SELECT id, cache_key FROM {table} ORDER BY id LIMIT {MANY}");
        let rows = inner.client.read(At::Shard(shard), Freshness::Latest, move |conn| {
            let select = select.clone();
            Box::pin(async move { conn.query::<(u64, Vec<u8>), _>(select).await })
        });
        let Ok(Ok(rows)) = tokio::time::timeout(Duration::from_secs(5), rows).await else {
            emptied = false;
            continue;
        };
        if rows.is_empty() {
            continue;
        }
        let keys = rows.iter().map(|(_, key)| String::from_utf8_lossy(key)).collect::<Vec<_>>();
        if !inner.delete(open, &keys.iter().map(AsRef::as_ref).collect::<Vec<_>>()).await {
            return false;
        }
        emptied &= rows.len() < MANY;
        let ids = rows.iter().map(|(id, _)| id.to_string()).collect::<Vec<_>>().join(",");
        let sql = format!("DELETE FROM {table} WHERE id IN ({ids})");
        let deleted = inner.client.idempotent(At::Shard(shard), move |conn| {
            let sql = sql.clone();
            Box::pin(async move { conn.query_drop(sql).await })
        });
        let _ = tokio::time::timeout(Duration::from_secs(5), deleted).await;
    }
    emptied
}
