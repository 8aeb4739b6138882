//! `shardpair check`, for `helm test`: the kinds are served, this account may read them, and an operator leads.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::ListParams;
use kube::core::DeserializeGuard;
use kube::{Api, Client};

use super::operator::Failed;
use crate::api::{ExpansionPlan, ShardCluster, ShardPair};

/// A Lease that was renewed within this many seconds has a holder that lives.
const FRESH_SECONDS: i64 = 15;
/// After an installation the first leader takes a moment.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the command line says.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Namespace of the operator: its Lease is there.
    #[arg(long, env = "POD_NAMESPACE", default_value = "shardpair-system")]
    namespace: String,
    /// Name of the Lease.
    #[arg(long, default_value = "shardpair")]
    lease_name: String,
    /// The operator looks after ShardClusters of this namespace only.
    #[arg(long)]
    watch_namespace: Option<String>,
}

/// What was found, in a line; or what is wrong.
pub async fn run(options: Options) -> Result<String, Failed> {
    let client = Client::try_default().await.map_err(|e| Failed(format!("no Kubernetes configuration found: {e}")))?;
    let scope = options.watch_namespace.as_deref();
    let clusters = count::<ShardCluster>(&client, scope, "shardclusters").await?;
    let pairs = count::<ShardPair>(&client, scope, "shardpairs").await?;
    let plans = count::<ExpansionPlan>(&client, scope, "expansionplans").await?;
    let holder = leader(&client, &options).await?;
    Ok(format!("{holder} leads; {clusters} ShardClusters, {pairs} ShardPairs, {plans} ExpansionPlans"))
}

async fn count<K>(client: &Client, namespace: Option<&str>, what: &str) -> Result<usize, Failed>
where
    K: kube::Resource<Scope = kube::core::NamespaceResourceScope> + Clone + std::fmt::Debug + serde::de::DeserializeOwned,
    K::DynamicType: Default,
{
    let api: Api<DeserializeGuard<K>> = match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    };
    let listed = api.list(&ListParams::default()).await.map_err(|e| Failed(format!("{what} can't be listed: {e}")))?;
    match listed.items.iter().find_map(|i| i.0.as_ref().err()) {
        Some(error) => Err(Failed(format!("one of {what} can't be read: {error}"))),
        None => Ok(listed.items.len()),
    }
}

async fn leader(client: &Client, options: &Options) -> Result<String, Failed> {
    let leases: Api<Lease> = Api::namespaced(client.clone(), &options.namespace);
    let begun = Instant::now();
    loop {
        let lease = leases.get_opt(&options.lease_name).await.map_err(|e| Failed(format!("the Lease {}/{} can't be read: {e}", options.namespace, options.lease_name)))?;
        let spec = lease.and_then(|l| l.spec).unwrap_or_default();
        let age = spec.renew_time.map(|t| Timestamp::now().as_second() - t.0.as_second());
        match (spec.holder_identity.filter(|h| !h.is_empty()), age) {
            (Some(holder), Some(age)) if age <= FRESH_SECONDS => return Ok(holder),
            (holder, age) if begun.elapsed() > PATIENCE => {
                return Err(Failed(format!("nobody leads: holder {holder:?}, renewed {age:?} s ago: kubectl -n {} get pods", options.namespace)));
            }
            _ => tokio::time::sleep(Duration::from_millis(500)).await,
        }
    }
}
