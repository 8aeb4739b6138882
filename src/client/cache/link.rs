//! The connection to Redis: short deadlines, and a breaker, so that a Redis that hangs costs a call once in a while and not
//! always.
//!
//! Every key carries the `run_id` of the Redis process and its generation. A Redis that restarted from an old file, or a
//! replica that took over without the last deletions, is another process, and an emptied one another generation: what it still
//! holds, or what comes late, is never read.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, RedisError};

use super::scripts;

/// A connection and the beginning of its keys.
#[derive(Clone)]
pub(super) struct Open {
    pub(super) connection: MultiplexedConnection,
    pub(super) prefix: Arc<str>,
    /// The key of the generation, and its value.
    pub(super) generation: (Arc<str>, Arc<str>),
    /// When a look at the outboxes began that emptied them into it: its values may be read.
    emptied: Arc<Mutex<Option<Instant>>>,
    /// The other data centre's.
    pub(super) far: bool,
    number: u64,
}

impl Open {
    /// May its values be read? `within`: how long ago it may have been that the outboxes were emptied; None: at any time.
    pub(super) fn believed(&self, within: Option<Duration>) -> bool {
        let emptied = *self.emptied.lock().expect("never poisoned");
        emptied.is_some_and(|at| within.is_none_or(|within| at.elapsed() < within))
    }

    /// The outboxes were emptied into it, by a look that began then.
    pub(super) fn emptied(&self, begun: Instant) {
        *self.emptied.lock().expect("never poisoned") = Some(begun);
    }
}

#[derive(Default)]
struct State {
    open: Option<Open>,
    number: u64,
    retry_at: Option<Instant>,
    problem: Option<String>,
}

pub(super) struct Link {
    client: redis::Client,
    namespace: String,
    deadline: Duration,
    pause: Duration,
    far: bool,
    state: Mutex<State>,
    connecting: tokio::sync::Mutex<()>,
}

impl Link {
    pub(super) fn new(client: redis::Client, namespace: &str, deadline: Duration, pause: Duration, far: bool) -> Self {
        Self { client, namespace: namespace.to_owned(), deadline, pause, far, state: Mutex::default(), connecting: tokio::sync::Mutex::default() }
    }

    /// The connection; None: Redis is away, as far as we know.
    pub(super) async fn open(&self) -> Option<Open> {
        if let Some(known) = self.known() {
            return known;
        }
        // Whoever comes while another connects takes the long way rather than wait.
        let _connecting = self.connecting.try_lock().ok()?;
        if let Some(known) = self.known() {
            return known;
        }
        let number = self.state().number + 1;
        let connected = tokio::time::timeout(self.deadline * 4, self.connect(number)).await;
        let mut state = self.state();
        match connected {
            Ok(Ok(open)) => {
                (state.number, state.problem, state.open) = (number, None, Some(open.clone()));
                Some(open)
            }
            Ok(Err(error)) => self.down(&mut state, error.to_string()),
            Err(_) => self.down(&mut state, "no answer".to_owned()),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("never poisoned")
    }

    /// The connection, or that there is none for now; None: try.
    fn known(&self) -> Option<Option<Open>> {
        let state = self.state();
        match &state.open {
            Some(open) => Some(Some(open.clone())),
            None => state.retry_at.is_some_and(|at| Instant::now() < at).then_some(None),
        }
    }

    fn down(&self, state: &mut State, problem: String) -> Option<Open> {
        if state.problem.as_ref() != Some(&problem) {
            tracing::warn!(problem, far = self.far, "the cache is away: the database answers");
        }
        (state.problem, state.retry_at, state.open) = (Some(problem), Some(Instant::now() + self.pause), None);
        None
    }

    async fn connect(&self, number: u64) -> Result<Open, RedisError> {
        let config = AsyncConnectionConfig::new().set_response_timeout(Some(self.deadline)).set_connection_timeout(Some(self.deadline * 2));
        let mut connection = self.client.get_multiplexed_async_connection_with_config(&config).await?;
        let info: String = redis::cmd("INFO").arg("server").query_async(&mut connection).await?;
        let nameless = || RedisError::from((redis::ErrorKind::Client, "INFO names no run_id: values of an old file could not be told apart"));
        let run_id = info.lines().find_map(|line| line.strip_prefix("run_id:")).filter(|id| !id.is_empty()).ok_or_else(nameless)?;
        let own = format!("{}:{}", self.namespace, &run_id[..run_id.len().min(12)]);
        let key = format!("{own}:generation");
        let fresh = format!("{:08x}", rand::random::<u32>());
        let generation: String = scripts::open().key(&key).arg(fresh).invoke_async(&mut connection).await?;
        let prefix = format!("{own}:{}:", generation.split(':').next().unwrap_or_default());
        Ok(Open { connection, prefix: prefix.into(), generation: (key.into(), generation.into()), emptied: Arc::default(), far: self.far, number })
    }

    /// A command failed: an answer of Redis itself (out of memory) keeps the connection, anything else ends it. An emptied
    /// Redis is begun with anew, at once.
    pub(super) fn failed(&self, open: &Open, error: &RedisError) {
        if error.code() == Some("GONE") {
            let mut state = self.state();
            if state.open.as_ref().is_some_and(|now| now.number == open.number) {
                tracing::warn!("the cache was emptied by somebody");
                (state.open, state.retry_at) = (None, None);
            }
            return;
        }
        if error.code().is_some() && !error.is_connection_dropped() {
            tracing::warn!(%error, "the cache refuses");
            return;
        }
        let mut state = self.state();
        if state.open.as_ref().is_some_and(|now| now.number == open.number) {
            self.down(&mut state, error.to_string());
        }
    }

    pub(super) fn problem(&self) -> Option<String> {
        self.state().problem.clone()
    }
}
