//! What others left undone: writes whose process died, writes that wait for a standby, and keys in the outbox.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mysql_async::prelude::Queryable;

use super::link::Open;
use super::ops::token;
use super::{At, Inner, count};
use crate::client::calls::Freshness;
use crate::client::outcome::CallError;

/// Between two looks.
const LOOK: Duration = Duration::from_millis(100);
/// Every so many looks the outboxes are read, of each shard.
const OUTBOX: u32 = 10;
/// An entry that couldn't be ended is looked at again after this.
const AGAIN: Duration = Duration::from_millis(200);
/// At a time.
const MANY: usize = 200;

/// A commit on every shard, or a shard's answer, takes at most this.
const LIMIT: Duration = Duration::from_secs(5);

pub(super) async fn run(inner: Arc<Inner>) {
    tokio::join!(pending(&inner), outbox(&inner));
}

async fn outbox(inner: &Inner) {
    let mut look = 0_u32;
    loop {
        if let Some(open) = inner.near.link.open().await {
            let begun = Instant::now();
            if (look.is_multiple_of(OUTBOX) || !inner.believes(&open)) && outboxes(inner, &open).await {
                open.emptied(begun);
            }
            look = look.wrapping_add(1);
        }
        tokio::time::sleep(LOOK).await;
    }
}

async fn pending(inner: &Inner) {
    loop {
        if let Some(open) = inner.near.link.open().await {
            let mut due = BTreeMap::<(String, String), Vec<String>>::new();
            for [entry, after] in inner.due(&open, AGAIN, MANY).await.as_chunks::<2>().0 {
                if let Some((token, key)) = entry.split_once('|') {
                    due.entry((token.to_owned(), after.clone())).or_default().push(key.to_owned());
                }
            }
            let (waiting, overdue): (Vec<_>, Vec<_>) = due.into_iter().partition(|((_, after), _)| !after.is_empty());
            for ((token, after), keys) in waiting {
                if standbys_have(inner, &after).await {
                    end(inner, &open, &token, &keys).await;
                }
            }
            if !overdue.is_empty() {
                dead(inner, &open, overdue).await;
            }
        }
        tokio::time::sleep(LOOK).await;
    }
}

async fn end(inner: &Inner, open: &Open, token: &str, keys: &[String]) {
    if inner.end(open, token, &keys.iter().map(String::as_str).collect::<Vec<_>>()).await {
        count(&inner.counts.swept);
    }
}

/// Writers whose time is over. A commit of one may still wait for its acknowledgement, invisible: commits become visible in
/// order, so a later commit on each shard says that it is there, or never will be.
async fn dead(inner: &Inner, open: &Open, overdue: Vec<((String, String), Vec<String>)>) {
    let mut after = Vec::new();
    for shard in inner.client.router().map().shards.iter().map(|s| s.id) {
        if !matches!(tokio::time::timeout(LIMIT, barrier(inner, shard)).await, Ok(Ok(()))) {
            tracing::warn!(shard, writes = overdue.len(), "writes of processes that died can't be ended yet: their keys aren't cached");
            return;
        }
        if inner.options.standby_reads {
            match inner.client.executed(At::Shard(shard)).await {
                Ok((_, executed)) => after.push(format!("{shard}|{executed}")),
                Err(_) => return,
            }
        }
    }
    for ((token, _), keys) in overdue {
        if after.is_empty() {
            end(inner, open, &token, &keys).await;
        } else {
            inner.defer(open, &token, &after.join("\n"), &keys.iter().map(String::as_str).collect::<Vec<_>>()).await;
        }
    }
}

async fn barrier(inner: &Inner, shard: u32) -> Result<(), CallError> {
    let table = &inner.near.outbox;
    let (insert, delete) = (format!("INSERT INTO {table} (cache_key) VALUES ('')"), format!("DELETE FROM {table} WHERE id = LAST_INSERT_ID()"));
    let nothing_stays = inner.client.idempotent(At::Shard(shard), move |conn| {
        let (insert, delete) = (insert.clone(), delete.clone());
        Box::pin(async move {
            conn.query_drop(insert).await?;
            conn.query_drop(delete).await
        })
    });
    nothing_stays.await
}

/// Have the shards' standbys executed this? `after` is lines of `shard|GTIDs`.
async fn standbys_have(inner: &Inner, after: &str) -> bool {
    for line in after.lines() {
        let Some((shard, executed)) = line.split_once('|') else { continue };
        // A shard that is gone from the map has no readers.
        let Ok(shard) = shard.parse() else { continue };
        let known = inner.client.router().map().shards.iter().any(|s| s.id == shard);
        if known && !inner.client.standby_has(shard, executed).await {
            return false;
        }
    }
    true
}

/// Keys that were in the outbox. A standby may not have their writes yet: with reads from it they aren't cached until it has.
async fn forget(inner: &Inner, open: &Open, shard: u32, keys: &[&str]) -> bool {
    if !inner.options.standby_reads {
        return inner.delete(open, keys).await;
    }
    let Ok(Ok((_, executed))) = tokio::time::timeout(LIMIT, inner.client.executed(At::Shard(shard))).await else { return false };
    let token = token();
    inner.begin_for(open, &token, keys, inner.options.hold).await && inner.defer(open, &token, &format!("{shard}|{executed}"), keys).await
}

/// Keys of writes that could not tell Redis. Deleted there first: a row is only gone when its key is. True: all were
/// empty, or are now.
async fn outboxes(inner: &Inner, open: &Open) -> bool {
    let mut emptied = true;
    let table = &inner.near.outbox;
    for shard in inner.client.router().map().shards.iter().map(|s| s.id) {
        let select = format!("SELECT id, cache_key FROM {table} ORDER BY id LIMIT {MANY}");
        let rows = inner.client.read(At::Shard(shard), Freshness::Latest, move |conn| {
            let select = select.clone();
            Box::pin(async move { conn.query::<(u64, Vec<u8>), _>(select).await })
        });
        let Ok(Ok(rows)) = tokio::time::timeout(LIMIT, rows).await else {
            emptied = false;
            continue;
        };
        if rows.is_empty() {
            continue;
        }
        let keys = rows.iter().map(|(_, key)| String::from_utf8_lossy(key)).collect::<Vec<_>>();
        if !forget(inner, open, shard, &keys.iter().map(AsRef::as_ref).collect::<Vec<_>>()).await {
            return false;
        }
        emptied &= rows.len() < MANY;
        let ids = rows.iter().map(|(id, _)| id.to_string()).collect::<Vec<_>>().join(",");
        let sql = format!("DELETE FROM {table} WHERE id IN ({ids})");
        let deleted = inner.client.idempotent(At::Shard(shard), move |conn| {
            let sql = sql.clone();
            Box::pin(async move { conn.query_drop(sql).await })
        });
        let _ = tokio::time::timeout(LIMIT, deleted).await;
    }
    emptied
}
