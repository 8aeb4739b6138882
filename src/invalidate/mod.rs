//! The invalidator, `shardpair invalidate`: reads the binlogs of a cluster's pairs and erases the cached keys of changed rows, so that
//! also a writer that never heard of the cache leaves no old value.
//!
//! At least once: a transaction counts as handled when its keys are erased. How far it is, is kept in Redis, beside the values that
//! it vouches for: a Redis that lost it has lost them too. It writes nothing to MySQL, and holds no lock: more than one may run.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use tokio::task::{AbortHandle, JoinSet};

use crate::client::cache::Eraser;
use crate::client::{MapSource, Places, router, standard_places};
use crate::mysql::session::Credentials;
use crate::routing::{Map, Shard};

mod follow;
mod read;
pub mod template;

use template::Templates;

/// What the command line says.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// The cluster's map: the routing service's http://…/v1/clusters/NAMESPACE/NAME, or a file.
    #[arg(long)]
    pub map: String,
    /// redis://[:PASSWORD@]HOST:PORT/
    #[arg(long, env = "SHARDPAIR_REDIS", hide_env_values = true)]
    pub redis: String,
    /// The beginning of the cache's keys, as in `CacheOptions`.
    #[arg(long)]
    pub namespace: String,
    /// A MySQL account with REPLICATION SLAVE and REPLICATION CLIENT.
    #[arg(long, env = "SHARDPAIR_MYSQL_USER")]
    pub user: String,
    /// Its password.
    #[arg(long, env = "SHARDPAIR_MYSQL_PASSWORD", hide_env_values = true)]
    pub password: String,
    /// DATABASE.TABLE=TEXT{COLUMN}TEXT, the keys of a table's rows: shop.orders=order:{id} (again for more).
    #[arg(long = "key", required = true)]
    pub keys: Vec<String>,
    /// Of its position, if several invalidators with different keys share a cache.
    #[arg(long, default_value = "invalidator")]
    pub name: String,
    /// For /readyz and /metrics.
    #[arg(long, default_value = "0.0.0.0:8080")]
    pub listen: SocketAddr,
}

/// What failed at start-up, in words.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Failed(pub String);

/// Of one shard.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Transactions handled since the start.
    pub transactions: u64,
    /// Keys erased since the start.
    pub keys: u64,
    /// How often the whole cache was forgotten.
    pub forgotten: u64,
    /// Since when the primary has executed something that isn't handled.
    pub behind_since: Option<Instant>,
    /// Why nothing is read now.
    pub problem: Option<String>,
}

struct Shared {
    eraser: Eraser,
    templates: Templates,
    places: Places,
    account: Credentials,
    name: String,
    shards: Mutex<BTreeMap<u32, Seen>>,
    problems: Mutex<BTreeSet<String>>,
}

/// Different problems of templates that are told.
const PROBLEMS: usize = 100;

impl Shared {
    fn seen(&self, shard: u32, change: impl FnOnce(&mut Seen)) {
        change(self.shards.lock().expect("never poisoned").entry(shard).or_default());
    }

    fn problem(&self, text: &str) {
        let mut problems = self.problems.lock().expect("never poisoned");
        if problems.len() < PROBLEMS && problems.insert(text.to_owned()) {
            tracing::error!("{text}");
        }
    }
}

/// Follows all shards of the map while it lives.
pub struct Invalidator {
    shared: Arc<Shared>,
    router: Arc<router::Router>,
    task: AbortHandle,
}

impl Drop for Invalidator {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Invalidator {
    /// Begins. An error: what the options say can't be.
    pub async fn start(options: &Options, places: Places) -> Result<Self, Failed> {
        let failed = |error: &dyn std::fmt::Display| Failed(error.to_string());
        let templates = Templates::parse(options.keys.iter().map(String::as_str)).map_err(|e| failed(&e))?;
        let eraser = Eraser::new(&options.redis, &options.namespace, Duration::from_millis(500)).map_err(|e| failed(&e))?;
        let source = if options.map.starts_with("http://") { MapSource::Service(options.map.clone()) } else { MapSource::File(options.map.clone().into()) };
        let router = router::Router::follow(source, &options.name, Duration::from_secs(60)).await.map_err(|e| failed(&e))?;
        let account = Credentials { user: options.user.clone(), password: options.password.clone() };
        let (shards, problems) = (Mutex::default(), Mutex::default());
        let shared = Arc::new(Shared { eraser, templates, places, account, name: options.name.clone(), shards, problems });
        let router = Arc::new(router);
        let task = tokio::spawn(follow_map(shared.clone(), router.clone())).abort_handle();
        Ok(Self { shared, router, task })
    }

    /// By shard.
    pub fn seen(&self) -> BTreeMap<u32, Seen> {
        self.shared.shards.lock().expect("never poisoned").clone()
    }

    /// What templates can't be used for, and why shards aren't read.
    pub fn problems(&self) -> Vec<String> {
        let mut all = self.shared.problems.lock().expect("never poisoned").iter().cloned().collect::<Vec<_>>();
        all.extend(self.seen().into_iter().filter_map(|(shard, seen)| Some(format!("shard {shard}: {}", seen.problem?))));
        all.extend(self.router.problem().map(|problem| problem.to_string()));
        all
    }

    /// Prometheus' text.
    pub fn metrics(&self) -> String {
        let (mut text, shards) = (String::new(), self.seen());
        let mut family = |name: &str, kind: &str, help: &str, value: &dyn Fn(&Seen) -> String| {
            let _ = write!(text, "# HELP shardpair_invalidate_{name} {help}\n# TYPE shardpair_invalidate_{name} {kind}\n");
            for (shard, seen) in &shards {
                let _ = writeln!(text, "shardpair_invalidate_{name}{{shard=\"{shard}\"}} {}", value(seen));
            }
        };
        family("transactions_total", "counter", "Transactions whose keys are erased.", &|s| s.transactions.to_string());
        family("keys_total", "counter", "Keys erased.", &|s| s.keys.to_string());
        family("forgotten_total", "counter", "Times that the whole cache was forgotten.", &|s| s.forgotten.to_string());
        family("behind_seconds", "gauge", "For how long something that the primary has executed isn't handled.", &|s| {
            s.behind_since.map_or(0.0, |since| since.elapsed().as_secs_f64()).to_string()
        });
        family("reading", "gauge", "1: the shard's binlog is read.", &|s| u8::from(s.problem.is_none()).to_string());
        let problems = self.shared.problems.lock().expect("never poisoned").len();
        let name = "shardpair_invalidate_unusable_templates";
        let _ = write!(text, "# HELP {name} Different reasons why keys of changed rows can't be made.\n# TYPE {name} gauge\n{name} {problems}\n");
        text
    }
}

/// One follower per shard. One whose place has changed begins anew, at the position that is kept.
async fn follow_map(shared: Arc<Shared>, router: Arc<router::Router>) {
    let mut changes = router.changes();
    let mut tasks = JoinSet::new();
    let mut known = BTreeMap::<u32, (Shard, AbortHandle)>::new();
    loop {
        let map: Arc<Map> = changes.borrow_and_update().clone();
        known.retain(|id, (_, task)| {
            let stays = map.shards.iter().any(|s| s.id == *id);
            if !stays {
                task.abort();
                shared.shards.lock().expect("never poisoned").remove(id);
            }
            stays
        });
        for shard in &map.shards {
            let same_place = |s: &Shard| (&s.vip, s.port) == (&shard.vip, shard.port);
            if known.get(&shard.id).is_some_and(|(old, _)| same_place(old)) {
                continue;
            }
            let task = tasks.spawn(follow::run(shared.clone(), shard.clone()));
            if let Some((_, old)) = known.insert(shard.id, (shard.clone(), task)) {
                old.abort();
            }
        }
        while tasks.try_join_next().is_some() {}
        if changes.changed().await.is_err() {
            return;
        }
    }
}

/// Runs until SIGTERM or SIGINT.
pub async fn run(options: Options) -> Result<(), Failed> {
    let invalidator = Arc::new(Invalidator::start(&options, standard_places()).await?);
    let (ready, metrics) = (invalidator.clone(), invalidator.clone());
    let app = Router::new()
        .route("/livez", get(|| async { "ok" }))
        .route("/readyz", get(move || std::future::ready(answer(&ready.problems()))))
        .route("/metrics", get(move || std::future::ready(metrics.metrics())));
    let listener = tokio::net::TcpListener::bind(options.listen).await.map_err(|e| Failed(format!("can't listen on {}: {e}", options.listen)))?;
    let serving = async { axum::serve(listener, app).await };
    tokio::select! {
        ended = serving => Err(Failed(format!("the server ended: {ended:?}"))),
        () = crate::controller::operator::stop_signal() => Ok(()),
    }
}

fn answer(problems: &[String]) -> (StatusCode, String) {
    if problems.is_empty() { (StatusCode::OK, "ok\n".to_owned()) } else { (StatusCode::SERVICE_UNAVAILABLE, problems.join("\n") + "\n") }
}
