//! The routing service, `shardpair route`: where a key is, for applications that have no client library of ours.
//!
//! Reads the maps that the operator writes (ConfigMaps, or files) and nothing else; it changes nothing. Each replica holds
//! all maps in memory: while the API server is away, or offers a map that can't be, the last good one is served.
//! Clients say in each request which epoch they use, so that somebody who is about to move keys can wait for them.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

mod answer;
mod followers;
mod http;
mod maps;
mod metrics;
mod sources;

pub use followers::Followers;
pub use http::app;
pub use maps::{Maps, Name, Served};
pub use metrics::Metrics;

/// What the command line says.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Where it listens.
    #[arg(long, default_value = "0.0.0.0:8080")]
    pub listen: SocketAddr,
    /// Serve the ShardClusters of this namespace only.
    #[arg(long)]
    pub watch_namespace: Option<String>,
    /// Serve a map from a file instead of Kubernetes: NAMESPACE/NAME=PATH (again for more).
    #[arg(long = "map-file", value_parser = map_file)]
    pub map_files: Vec<(Name, PathBuf)>,
    /// Threads.
    #[arg(long, default_value_t = 1)]
    pub threads: usize,
}

fn map_file(text: &str) -> Result<(Name, PathBuf), String> {
    let parts = text.split_once('=').and_then(|(name, path)| name.split_once('/').map(|(namespace, name)| (namespace, name, path)));
    let (namespace, name, path) = parts.ok_or("write NAMESPACE/NAME=PATH")?;
    Ok((Name { namespace: namespace.to_owned(), name: name.to_owned() }, PathBuf::from(path)))
}

/// What everything here shares.
#[derive(Clone, Default)]
pub struct Shared {
    /// The maps.
    pub maps: Arc<Maps>,
    /// Who uses which epoch.
    pub followers: Arc<Followers>,
    /// What is measured.
    pub metrics: Arc<Metrics>,
}

/// What failed at start-up, in words.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Failed(pub String);

/// Runs until SIGTERM or SIGINT.
pub async fn run(options: Options) -> Result<(), Failed> {
    let shared = Shared::default();
    let mut tasks = JoinSet::new();
    if options.map_files.is_empty() {
        let config = kube::Config::infer().await.map_err(|e| Failed(format!("no Kubernetes configuration found: {e}")))?;
        let client = kube::Client::try_from(config).map_err(|e| Failed(format!("client: {e}")))?;
        tasks.spawn(sources::watch(client, options.watch_namespace, shared.clone()));
    } else {
        tasks.spawn(sources::files(options.map_files, shared.clone()));
    }
    let listener = tokio::net::TcpListener::bind(options.listen).await.map_err(|e| Failed(format!("can't listen on {}: {e}", options.listen)))?;
    tracing::info!(listen = %options.listen, "serving maps");
    let (stop, mut stopping) = tokio::sync::watch::channel(false);
    let serving = axum::serve(listener, app(shared)).with_graceful_shutdown(async move { drop(stopping.wait_for(|stop| *stop).await) });
    let mut server = tokio::spawn(async move { serving.await });
    tokio::select! {
        ended = &mut server => return Err(Failed(format!("the server ended: {ended:?}"))),
        () = crate::controller::operator::stop_signal() => {}
    }
    stop.send_replace(true);
    // Long polls are cut short; their clients ask the other replica.
    let _ = tokio::time::timeout(Duration::from_secs(2), server).await;
    Ok(())
}
