//! A write: its beginning, its transaction, its end; with two data centres the first and the last on both Redises at once.

use mysql_async::Conn;

use super::link::Open;
use super::ops::token;
use super::{Inner, Side, count};
use crate::client::calls::{At, Before, Work};
use crate::client::outcome::CallError;
use crate::routing::refusal::NOT_YET;

/// How a write ended.
#[derive(Clone, Copy)]
enum Ended {
    Committed,
    InDoubt,
    Nothing,
}

/// The outbox is a Local table: a shard that was just split off takes nothing into it while its split can be taken back.
fn explained(error: CallError) -> CallError {
    match error {
        CallError::Server { code: NOT_YET, message } => {
            let todo = "Redis is away, and the outbox takes nothing here while the split can be taken back. Nothing was done: \
                        writes go on when Redis is back, or when the plan is at Dissolved or rolled back (docs/clients.md)";
            CallError::Server { code: NOT_YET, message: format!("{message}; {todo}") }
        }
        other => other,
    }
}

impl Inner {
    pub(super) async fn write<T: Send>(&self, at: At<'_>, keys: &[&str], twice: bool, work: impl for<'c> Fn(&'c mut Conn) -> Work<'c, T> + Sync) -> Result<T, CallError> {
        let token = token();
        let (near, far) = tokio::join!(self.begin(&self.near, &token, keys), async { self.begin(self.far.as_ref()?, &token, keys).await });
        let missed = |side: Option<&'_ Side>, open: &Option<Open>| side.filter(|_| open.is_none()).map(|side| side.leaving.clone());
        let leaving: Vec<String> = [missed(Some(&self.near), &near), missed(self.far.as_ref(), &far)].into_iter().flatten().collect();
        if !leaving.is_empty() {
            count(&self.counts.outboxed);
        }
        let result = self.client.write(at, twice, Before { statements: &leaving, values: keys }, &work).await;
        let ended = match &result {
            Ok(_) => Ended::Committed,
            Err(CallError::InDoubt { .. }) => Ended::InDoubt,
            Err(_) => Ended::Nothing,
        };
        tokio::join!(self.finish(&self.near, near, ended, at, &token, keys), async {
            if let Some(side) = &self.far {
                self.finish(side, far, ended, at, &token, keys).await;
            }
        });
        result.map_err(|error| if leaving.is_empty() { error } else { explained(error) })
    }

    /// What one Redis is told of the end.
    async fn finish(&self, side: &Side, open: Option<Open>, ended: Ended, at: At<'_>, token: &str, keys: &[&str]) {
        let Some(open) = open else {
            // Back meanwhile: the outbox's row is only the second to say so.
            if let Some(open) = side.link.open().await {
                self.delete(&open, keys).await;
            }
            return;
        };
        let told = match ended {
            Ended::Committed => self.committed(&open, at, token, keys).await,
            Ended::InDoubt => self.begin_for(&open, token, keys, self.options.doubt).await,
            // Nothing was changed; the mark that may stay is the sweeper's.
            Ended::Nothing => {
                self.end(&open, token, keys).await;
                true
            }
        };
        if !told {
            self.tell(side, at, token, keys, matches!(ended, Ended::InDoubt)).await;
        }
    }

    /// Ends a write that was committed. False: Redis was not told.
    async fn committed(&self, open: &Open, at: At<'_>, token: &str, keys: &[&str]) -> bool {
        if !self.options.standby_reads {
            return self.end(open, token, keys).await;
        }
        // Without the GTIDs the mark stays, and the sweeper asks for them when its time is over.
        match self.client.executed(at).await {
            Ok((shard, executed)) => self.defer(open, token, &format!("{shard}|{executed}"), keys).await,
            Err(_) => true,
        }
    }

    /// Redis was told of the beginning of a write and not of its end: it has restarted, was emptied, or is away. The one that is
    /// there now is told, else the outbox, before the write is answered.
    async fn tell(&self, side: &Side, at: At<'_>, token: &str, keys: &[&str], in_doubt: bool) {
        if let Some(open) = side.link.open().await {
            let told = if in_doubt {
                self.begin_for(&open, token, keys, self.options.doubt).await
            } else if self.options.standby_reads {
                self.begin_for(&open, token, keys, self.options.hold).await && self.committed(&open, at, token, keys).await
            } else {
                self.delete(&open, keys).await
            };
            if told {
                return;
            }
        }
        count(&self.counts.outboxed);
        let leaving = std::slice::from_ref(&side.leaving);
        let left = self.client.write(at, true, Before { statements: leaving, values: keys }, &|_: &mut Conn| Box::pin(std::future::ready(Ok(()))) as Work<'_, ()>);
        if let Err(error) = left.await {
            tracing::error!(%error, "neither Redis nor the outbox could be told of a write: its keys may be old until their TTL");
        }
    }
}
