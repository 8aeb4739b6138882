//! The operator's installation, by its chart, and what all tests need of Kubernetes.

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::api::{DeleteParams, ListParams};
use kube::{Api, Client, ResourceExt};
use shardpair::api::cluster::ShardCluster;
use tokio::sync::OnceCell;

use super::{eventually, kubectl, secs, try_run};

/// Where the operator is installed.
pub const SYSTEM: &str = "shardpair-system";
/// Its pods.
pub const OPERATOR_LABEL: &str = "app.kubernetes.io/name=shardpair";

/// `helm install`, or an upgrade to this tree's chart; once per run. For work on the operator itself,
/// SHARDPAIR_TEST_OPERATOR=outside uses one that runs outside the cluster (`cargo run -- run`), as it is.
pub async fn operator_is_installed() {
    if std::env::var("SHARDPAIR_TEST_OPERATOR").is_ok_and(|v| v == "outside") {
        return;
    }
    static ONCE: OnceCell<()> = OnceCell::const_new();
    ONCE.get_or_init(install).await;
}

/// As the README says.
pub async fn install() {
    install_with(&[]).await;
}

/// With other values; the usual ones are back with [`install`], since helm would keep those of the release else.
pub async fn install_with(values: &[&str]) {
    let args = ["upgrade", "--install", "shardpair", "charts/shardpair", "-n", SYSTEM, "--create-namespace", "--reset-values", "--wait", "--timeout", "120s"];
    if let Err(error) = try_run("helm", &[&args, values].concat()).await {
        let seen = try_run("kubectl", &["-n", SYSTEM, "describe", "nodes,deployments,pods"]).await;
        panic!("the operator isn't ready: {error}\n{}", seen.unwrap_or_else(|e| e));
    }
}

/// The operator's pods that run.
pub async fn operator_pods(client: &Client) -> Vec<Pod> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), SYSTEM);
    let listed = pods.list(&ListParams::default().labels(OPERATOR_LABEL)).await.expect("pods");
    listed.items.into_iter().filter(|p| p.metadata.deletion_timestamp.is_none()).collect()
}

/// The pod of the operator that leads: it holds the Lease.
pub async fn leader(client: &Client) -> String {
    let leases: Api<Lease> = Api::namespaced(client.clone(), SYSTEM);
    eventually("a leader", secs(30), async || {
        let lease = leases.get("shardpair").await.map_err(|e| e.to_string())?;
        let holder = lease.spec.and_then(|s| s.holder_identity).filter(|h| !h.is_empty()).ok_or("nobody holds the Lease")?;
        let pods = operator_pods(client).await;
        pods.iter().map(|p| p.name_any()).find(|p| holder.contains(p.as_str())).ok_or(format!("{holder} isn't among the pods"))
    })
    .await
}

/// An operator that was killed often is started again by kubelet later and later, up to five minutes: its pod is made anew, which isn't held back.
pub async fn start_operators_at_once(client: &Client) {
    let pods: Api<Pod> = Api::namespaced(client.clone(), SYSTEM);
    for pod in operator_pods(client).await {
        let states = pod.status.iter().flat_map(|s| s.container_statuses.iter().flatten()).filter_map(|c| c.state.as_ref()?.waiting.as_ref()?.reason.as_deref());
        if states.into_iter().any(|reason| reason == "CrashLoopBackOff") {
            let _ = pods.delete(&pod.name_any(), &DeleteParams::default()).await;
        }
    }
}

/// Waits until the operator that leads isn't on this node; one that is there is deleted, so that the other leads.
pub async fn leads_off_node(client: &Client, node: &str) {
    let pods: Api<Pod> = Api::namespaced(client.clone(), SYSTEM);
    eventually("a leader on another node", secs(90), async || {
        let name = leader(client).await;
        let on = pods.get(&name).await.map_err(|e| e.to_string())?.spec.and_then(|s| s.node_name);
        if on.as_deref() != Some(node) {
            return Ok(());
        }
        let deleted = pods.delete(&name, &DeleteParams::default()).await.map(drop);
        Err(format!("{name} leads on {node}: deleted, {deleted:?}"))
    })
    .await;
}

/// Removes ShardClusters, then the namespace, and waits for the servers to end: the next test needs the processors.
pub async fn remove_namespace(client: &Client, namespaces: &Api<Namespace>, ns: &str) {
    let clusters: Api<ShardCluster> = Api::namespaced(client.clone(), ns);
    if let Err(error) = clusters.delete_collection(&DeleteParams::default(), &ListParams::default()).await {
        println!("{ns}: ShardClusters not deleted: {error}");
    }
    if let Err(error) = namespaces.delete(ns, &DeleteParams::default()).await {
        println!("{ns} not deleted: {error}");
    }
    let pods: Api<Pod> = Api::namespaced(client.clone(), ns);
    eventually("the servers' end", secs(90), async || {
        let left = pods.list(&ListParams::default()).await.map_err(|e| e.to_string())?;
        if left.items.is_empty() { Ok(()) } else { Err(format!("{:?}", left.iter().map(|p| p.name_any()).collect::<Vec<_>>())) }
    })
    .await;
}

/// All reasons and messages of the events about an object, oldest first.
pub async fn events(ns: &str, object: &str) -> String {
    let selector = format!("involvedObject.name={object}");
    let shape = "jsonpath={range .items[*]}{.reason}{\": \"}{.message}{\"\\n\"}{end}";
    kubectl(&["-n", ns, "get", "events", "--field-selector", &selector, "--sort-by=.metadata.creationTimestamp", "-o", shape]).await
}
