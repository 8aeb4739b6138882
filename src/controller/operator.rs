//! The operator's process: clients, watches, Lease, runners, HTTP.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use kube::runtime::events::{Recorder, Reporter};
use kube::{Client, Config, ResourceExt};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::leader::{self, Leadership};
use super::metrics::Metrics;
use super::runners::Runners;
use super::{cluster, expansion, page, pair, stores};

/// A call of the fast client: no retries, short deadlines.
const FAST: Duration = Duration::from_millis(1_500);

/// What the command line says.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Namespace of the operator: its Lease is there.
    #[arg(long, env = "POD_NAMESPACE", default_value = "shardpair-system")]
    pub namespace: String,
    /// Name of the Lease; with the namespace it names this installation.
    #[arg(long, default_value = "shardpair")]
    pub lease_name: String,
    /// Look after ShardClusters of this namespace only.
    #[arg(long)]
    pub watch_namespace: Option<String>,
    /// Where /livez, /readyz and /metrics are served.
    #[arg(long, default_value = "0.0.0.0:8080")]
    pub listen: std::net::SocketAddr,
    /// Serve the live page there: on the loopback, for a forwarded port. Absent: no page.
    #[arg(long)]
    pub page_listen: Option<std::net::SocketAddr>,
    /// This process, in the Lease.
    #[arg(long, env = "POD_NAME", default_value = "local")]
    pub identity: String,
    /// host:port under which all replicas of the routing service are (a headless Service): before keys move, their clients are waited for.
    #[arg(long)]
    pub route_replicas: Option<String>,
}

/// What failed at start-up, in words.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Failed(pub String);

/// Runs until SIGTERM or SIGINT.
pub async fn run(options: Options) -> Result<(), Failed> {
    let failed = |what: &'static str| move |e: &dyn std::fmt::Display| Failed(format!("{what}: {e}"));
    let config = Config::infer().await.map_err(|e| failed("no Kubernetes configuration found")(&e))?;
    let client = Client::try_from(config.clone()).map_err(|e| failed("client")(&e))?;
    // The Lease has connections of its own: where a thousand pairs write at once, its renewal isn't behind them.
    let (fast, for_lease) = (fast_client(config.clone())?, fast_client(config)?);
    let installation = format!("{}/{}", options.namespace, options.lease_name);
    let identity = format!("{installation}#{}", options.identity);
    let leadership = Leadership::new();
    let metrics = Metrics::default();
    let (shutdown, stopping) = watch::channel(false);
    let (ready, is_ready) = watch::channel(false);
    let mut tasks = JoinSet::new();
    tasks.spawn(serve(options.listen, metrics.clone(), is_ready));
    let stores = stores::start(&client, options.watch_namespace.as_deref(), &mut tasks).await;
    ready.send_replace(true);
    if let Some(listen) = options.page_listen {
        tasks.spawn(page::serve(listen, options.identity.clone(), stores.clone(), leadership.clone()));
    }
    let (leading, leads) = watch::channel(false);
    let lease = leader::run(for_lease, options.namespace.clone(), options.lease_name.clone(), options.identity.clone(), leadership.clone(), stopping.clone());
    let lease = tokio::spawn(lease);
    let context = Arc::new(pair::Context {
        client: client.clone(),
        fast: fast.clone(),
        stores,
        members: Default::default(),
        leadership: leadership.clone(),
        metrics: metrics.clone(),
        recorder: Recorder::new(client.clone(), Reporter { controller: "shardpair".into(), instance: Some(options.identity.clone()) }),
        identity,
        route_replicas: options.route_replicas,
        unhurried: tokio::sync::Semaphore::new(pair::UNHURRIED),
    });
    tasks.spawn(cluster::run(Arc::new(cluster::Context::new(client, fast, installation, leads, options.watch_namespace)), stopping.clone()));
    tasks.spawn(expansion::runners(context.clone()));
    tasks.spawn(runners(context, leading));
    stop_signal().await;
    tracing::info!("stopping");
    shutdown.send_replace(true);
    // The Lease is given back, so that the other replica needn't wait for it.
    tasks.abort_all();
    let _ = tokio::time::timeout(Duration::from_secs(4), lease).await;
    Ok(())
}

fn fast_client(mut config: Config) -> Result<Client, Failed> {
    config.connect_timeout = Some(FAST);
    config.read_timeout = Some(FAST);
    config.write_timeout = Some(FAST);
    config.default_retry = false;
    Client::try_from(config).map_err(|e| Failed(format!("client: {e}")))
}

/// SIGTERM or SIGINT.
pub async fn stop_signal() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut term), Ok(mut int)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
}

/// One runner per pair, as long as this process leads.
async fn runners(ctx: Arc<pair::Context>, leading: watch::Sender<bool>) {
    let mut running = Runners::default();
    loop {
        let term = ctx.leadership.term();
        ctx.metrics.leads(term > 0);
        leading.send_if_modified(|old| std::mem::replace(old, term > 0) != (term > 0));
        let pairs = if term > 0 { ctx.stores.pairs.state() } else { Vec::new() };
        let wanted = pairs.into_iter().map(|p| (p.uid().unwrap_or_default(), p)).collect();
        running.keep(term, wanted, |found| Some(pair::run(ctx.clone(), found)));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn serve(listen: std::net::SocketAddr, metrics: Metrics, ready: watch::Receiver<bool>) {
    let app = Router::new()
        .route("/livez", get(|| async { "ok" }))
        .route("/readyz", get(move || async move { if *ready.borrow() { (StatusCode::OK, "ok") } else { (StatusCode::SERVICE_UNAVAILABLE, "watches aren't ready") } }))
        .route("/metrics", get(move || async move { ([("content-type", "application/openmetrics-text; version=1.0.0; charset=utf-8")], metrics.render()) }));
    match tokio::net::TcpListener::bind(listen).await {
        Ok(listener) => {
            let _ = axum::serve(listener, app).await;
        }
        Err(error) => tracing::error!(%error, %listen, "can't serve metrics"),
    }
}
