//! `dashboard [CLUSTER]`: forwards the port of the operator's live page, which listens on its pods' loopback only.

use std::collections::BTreeSet;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use k8s_openapi::api::apps::v1::Deployment;

use super::cli::Cli;
use super::find;
use super::seen::Seen;
use super::trouble::{Doing, Trouble, of_api};
use crate::controller::operator::stop_signal;

/// Where the page listens within the pod.
const PAGE: u16 = 8081;
/// Forwarding that lasts this long has worked: when it ends, the pod went.
const WORKED: Duration = Duration::from_secs(3);
/// Tries to reach another pod, one a second: a Deployment brings it.
const TRIES: u32 = 60;

/// See the module.
#[derive(Clone, Debug, clap::Args)]
pub struct Dashboard {
    /// A cluster whose operator is meant; absent: the only operator there is.
    cluster: Option<String>,
    /// Port on this machine.
    #[arg(long, default_value_t = PAGE)]
    port: u16,
}

/// Carries it out, until Ctrl-C.
pub async fn run(cli: &Cli, args: &Dashboard) -> Result<(), Trouble> {
    let seen = cli.look_at(args.cluster.as_deref()).await?;
    let operator = operator(&seen)?;
    let (namespace, name) = operator.split_once('/').unwrap_or(("", &operator));
    let asked = cli.api::<Deployment>(namespace).get_opt(name).await;
    let deployment = asked.map_err(|e| of_api(Doing { verb: "get", what: "deployments.apps", namespace: Some(namespace) }, &e))?;
    let deployment = deployment.ok_or_else(|| Trouble::failed(format!("there is no Deployment {operator}: does the operator run outside the cluster? Then open its --page-listen address")))?;
    if !serves(&deployment) {
        return Err(Trouble::failed(format!("the page is switched off: helm upgrade {name} CHART -n {namespace} --reuse-values --set page.enabled=true")));
    }
    if std::net::TcpListener::bind(("127.0.0.1", args.port)).is_err() {
        return Err(Trouble::failed(format!("port {} is in use on this machine: choose another with --port", args.port)));
    }
    cli.note(&format!("the page: http://127.0.0.1:{}/ (Ctrl-C ends it)", args.port));
    let mut failures = 0;
    let mut worked = false;
    loop {
        let begun = Instant::now();
        let mut forward = cli.kubectl(namespace);
        forward.args(["port-forward", "--address", "127.0.0.1", &format!("deployment/{name}"), &format!("{}:{PAGE}", args.port)]);
        // What kubectl says of a pod that isn't there yet is of no use while it is looked for.
        forward.stdin(Stdio::null()).stdout(Stdio::null()).stderr(if worked { Stdio::null() } else { Stdio::inherit() });
        let child = forward.spawn().map_err(|e| Trouble::failed(format!("kubectl can't be run ({e}): put it on the PATH")))?;
        if stopped(child).await {
            return Ok(());
        }
        let lasted = begun.elapsed() >= WORKED;
        failures = if lasted { 0 } else { failures + 1 };
        worked |= lasted;
        if !worked || failures > TRIES {
            return Err(Trouble::failed(format!("the port of {operator} can't be forwarded: do its pods run, and may you create pods/portforward in {namespace}?")));
        }
        if lasted {
            cli.note("the operator's pod is gone: looking for another");
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// `<namespace>/<name>` of the one operator that looks after what is seen.
fn operator(seen: &Seen) -> Result<String, Trouble> {
    let cluster = |c: &crate::api::ShardCluster| c.status.as_ref().and_then(|s| s.manager.clone());
    let all: BTreeSet<String> = seen.clusters.iter().filter_map(cluster).collect();
    match (all.len(), seen.clusters.as_slice()) {
        (1, _) => Ok(all.into_iter().next().unwrap_or_default()),
        (0, [only, ..]) => Err(Trouble::failed(seen.unmanaged(only).unwrap_or_default())),
        (0, []) => find::cluster_or_only(seen, None).map(|_| String::new()),
        _ => Err(Trouble::misuse(format!("more than one operator is at work {}: name a cluster", seen.place()))),
    }
}

/// Waits for kubectl's end, or ends it when we are to stop: true.
async fn stopped(mut child: Child) -> bool {
    let mut stop = std::pin::pin!(stop_signal());
    loop {
        tokio::select! {
            () = &mut stop => {
                let _ = child.kill();
                let _ = child.wait();
                return true;
            }
            () = tokio::time::sleep(Duration::from_millis(200)) => {
                if !matches!(child.try_wait(), Ok(None)) {
                    return false;
                }
            }
        }
    }
}

/// Was it started with the page? Pure.
pub fn serves(deployment: &Deployment) -> bool {
    let pod = deployment.spec.as_ref().and_then(|s| s.template.spec.as_ref());
    let args = pod.into_iter().flat_map(|p| &p.containers).flat_map(|c| c.args.iter().flatten());
    args.into_iter().any(|a| a == "--page-listen")
}
