//! `report [CLUSTER]`: a support bundle, one tar, without secrets. Secrets are never read; whatever looks like one is taken out.

use std::path::PathBuf;

use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Node, PersistentVolumeClaim, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{ListParams, LogParams};
use kube::{Api, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::cli::Cli;
use super::explain::{explain, text as explained};
use super::paint::Paint;
use super::seen::Seen;
use super::tar::Tar;
use super::trouble::Trouble;
use super::view::clusters;
use super::{events, status};
use crate::api::names;

/// See the module.
#[derive(Clone, Debug, clap::Args)]
pub struct Report {
    /// The cluster; absent: all of the namespace.
    cluster: Option<String>,
    /// The file; absent: shardpair-report-<time>.tar
    #[arg(short, long)]
    file: Option<PathBuf>,
    /// Lines of each log.
    #[arg(long, default_value_t = 2_000)]
    lines: i64,
}

/// Of one log at most, bytes.
const LOG_BYTES: i64 = 4 << 20;

/// Carries it out. What can't be read is noted in the bundle and doesn't stop it.
pub async fn run(cli: &Cli, args: &Report) -> Result<(), Trouble> {
    let seen = cli.look_at(args.cluster.as_deref()).await?;
    if seen.clusters.is_empty() {
        return Err(Trouble::failed(format!("there is no ShardCluster {}: nothing to report", seen.place())));
    }
    let stamp = seen.now.strftime("%Y%m%dT%H%M%SZ").to_string();
    let mut bundle = Bundle { root: format!("shardpair-report-{stamp}"), tar: Tar::default(), at: seen.now.as_second(), missing: Vec::new() };
    told(&mut bundle, &seen);
    let namespaces: std::collections::BTreeSet<String> = seen.clusters.iter().filter_map(|c| c.namespace()).collect();
    for namespace in &namespaces {
        objects(cli, &mut bundle, namespace).await;
        members(cli, &mut bundle, namespace, args.lines).await;
        match events::happened(cli, Some(namespace)).await {
            Ok(all) => bundle.add(&format!("{namespace}/events.txt"), &events::text(&all, seen.now, false, Paint::PLAIN)),
            Err(trouble) => bundle.missing.push(format!("{namespace}/events: {trouble}")),
        }
    }
    operators(cli, &mut bundle, &seen, args.lines).await;
    let missing = std::mem::take(&mut bundle.missing).join("\n");
    bundle.add("missing.txt", &missing);
    let path = args.file.clone().unwrap_or_else(|| PathBuf::from(format!("{}.tar", bundle.root)));
    std::fs::write(&path, bundle.tar.finish()).map_err(|e| Trouble::failed(format!("{} can't be written: {e}", path.display())))?;
    cli.show(false, &format!("{}\n", path.display()));
    if !missing.is_empty() {
        cli.note(&format!("{} things couldn't be read, see missing.txt in it", missing.lines().count()));
    }
    Ok(())
}

struct Bundle {
    root: String,
    tar: Tar,
    at: i64,
    missing: Vec<String>,
}

impl Bundle {
    fn add(&mut self, path: &str, text: &str) {
        self.tar.add(&format!("{}/{path}", self.root), text, self.at);
    }

    fn yaml<T: Serialize>(&mut self, path: &str, object: &T) {
        let clean = serde_json::to_value(object).map(redacted).unwrap_or_default();
        match serde_saphyr::to_string(&clean) {
            Ok(text) => self.add(path, &text),
            Err(error) => self.missing.push(format!("{path}: {error}")),
        }
    }
}

/// What the plugin itself would have told.
fn told(bundle: &mut Bundle, seen: &Seen) {
    bundle.add("version.txt", &format!("kubectl-shardpair {}\ntaken at {}\n", env!("CARGO_PKG_VERSION"), seen.now));
    bundle.add("status.txt", &status::text(seen, &clusters(seen), true, Paint::PLAIN));
    for pair in &seen.pairs {
        let place = format!("{}/{}", pair.namespace().unwrap_or_default(), pair.name_any());
        bundle.add(&format!("{place}.explain.txt"), &explained(seen, &explain(seen, pair), Paint::PLAIN));
        bundle.yaml(&format!("{place}.shardpair.yaml"), pair);
    }
    for cluster in &seen.clusters {
        bundle.yaml(&format!("{}/{}.shardcluster.yaml", cluster.namespace().unwrap_or_default(), cluster.name_any()), cluster);
    }
    for plan in &seen.plans {
        bundle.yaml(&format!("{}/{}.expansionplan.yaml", plan.namespace().unwrap_or_default(), plan.name_any()), plan);
    }
}

async fn objects(cli: &Cli, bundle: &mut Bundle, namespace: &str) {
    all::<Pod>(bundle, cli.api(namespace), namespace, "pod").await;
    all::<StatefulSet>(bundle, cli.api(namespace), namespace, "statefulset").await;
    all::<PersistentVolumeClaim>(bundle, cli.api(namespace), namespace, "pvc").await;
    all::<Service>(bundle, cli.api(namespace), namespace, "service").await;
    all::<EndpointSlice>(bundle, cli.api(namespace), namespace, "endpointslice").await;
    all::<ConfigMap>(bundle, cli.api(namespace), namespace, "configmap").await;
}

/// All objects of a kind that belong to a cluster.
async fn all<K>(bundle: &mut Bundle, api: Api<K>, namespace: &str, kind: &str)
where
    K: Resource + Clone + std::fmt::Debug + DeserializeOwned + Serialize,
{
    match api.list(&ListParams::default().labels(names::LABEL_CLUSTER)).await {
        Ok(listed) => listed.items.iter().for_each(|o| bundle.yaml(&format!("{namespace}/{}.{kind}.yaml", o.name_any()), o)),
        Err(error) => bundle.missing.push(format!("{namespace}/{kind}: {error}")),
    }
}

/// The members' own words.
async fn members(cli: &Cli, bundle: &mut Bundle, namespace: &str, lines: i64) {
    let pods = cli.api::<Pod>(namespace).list(&ListParams::default().labels(names::LABEL_MEMBER)).await;
    for pod in pods.map(|l| l.items).unwrap_or_default() {
        log(cli, bundle, namespace, &pod.name_any(), lines).await;
    }
}

/// Where the operators run: their Lease, Deployment and logs; and the nodes.
async fn operators(cli: &Cli, bundle: &mut Bundle, seen: &Seen, lines: i64) {
    for manager in seen.operators.keys() {
        let Some((namespace, name)) = manager.split_once('/') else { continue };
        if let Ok(lease) = cli.api::<Lease>(namespace).get(name).await {
            bundle.yaml(&format!("operator/{name}.lease.yaml"), &lease);
        }
        match cli.api::<Deployment>(namespace).get(name).await {
            Ok(deployment) => bundle.yaml(&format!("operator/{name}.deployment.yaml"), &deployment),
            Err(error) => bundle.missing.push(format!("deployment {manager}: {error}")),
        }
        let pods = cli.api::<Pod>(namespace).list(&ListParams::default().labels("app.kubernetes.io/name=shardpair")).await;
        for pod in pods.map(|l| l.items).unwrap_or_default() {
            log(cli, bundle, namespace, &pod.name_any(), lines).await;
        }
    }
    match Api::<Node>::all(cli.client.clone()).list(&ListParams::default()).await {
        Ok(nodes) => nodes.items.iter().for_each(|n| bundle.yaml(&format!("nodes/{}.yaml", n.name_any()), n)),
        Err(error) => bundle.missing.push(format!("nodes: {error}")),
    }
}

/// Of this process and of the one before.
async fn log(cli: &Cli, bundle: &mut Bundle, namespace: &str, pod: &str, lines: i64) {
    for previous in [false, true] {
        let wanted = LogParams { tail_lines: Some(lines), limit_bytes: Some(LOG_BYTES), previous, timestamps: true, ..LogParams::default() };
        let path = format!("{namespace}/{pod}{}.log", if previous { ".previous" } else { "" });
        match cli.api::<Pod>(namespace).logs(pod, &wanted).await {
            Ok(text) => bundle.add(&path, &masked(&text)),
            Err(_) if previous => {}
            Err(error) => bundle.missing.push(format!("{path}: {error}")),
        }
    }
}

/// Words in a key that make its value a secret.
const SECRET_WORDS: [&str; 7] = ["password", "passwd", "secret", "token", "credential", "private_key", "authorization"];
const TAKEN_OUT: &str = "(taken out)";

fn secret_key(key: &str) -> bool {
    let key = key.to_lowercase().replace('-', "_");
    // Names of Secrets, and switches, are no secrets.
    let name_only = key.ends_with("name") || key.ends_with("secrets") || key.ends_with("token_path") || key == "automountserviceaccounttoken" || key == "secret";
    !name_only && SECRET_WORDS.iter().any(|w| key.contains(w))
}

/// Values under keys that say so, environment values of such names, last-applied copies, and secrets inside texts are taken out. Pure.
pub fn redacted(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let named = map.get("name").and_then(Value::as_str).is_some_and(secret_key);
            let clean = |(key, value): (String, Value)| {
                let scalar = !value.is_object() && !value.is_array() && !value.is_null();
                let hide = scalar && (secret_key(&key) || named && key == "value" || key.ends_with("last-applied-configuration"));
                let value = if hide { TAKEN_OUT.into() } else { redacted(value) };
                (key, value)
            };
            Value::Object(map.into_iter().filter(|(k, _)| k != "managedFields").map(clean).collect())
        }
        Value::Array(list) => Value::Array(list.into_iter().map(redacted).collect()),
        Value::String(text) => Value::String(masked(&text)),
        other => other,
    }
}

/// Lines of a text: what follows `password=`, `IDENTIFIED BY` and the like is taken out. Pure.
pub fn masked(text: &str) -> String {
    let end = if text.ends_with('\n') { "\n" } else { "" };
    text.lines().map(line).collect::<Vec<_>>().join("\n") + end
}

fn line(line: &str) -> String {
    let lower = line.to_ascii_lowercase();
    let assigned = SECRET_WORDS.iter().filter_map(|w| {
        let after = lower.find(w)? + w.len();
        let rest = lower[after..].trim_start_matches(['"', '\'', '_', '-']).trim_start();
        (rest.starts_with('=') || rest.starts_with(':') && rest.len() > 1).then(|| after + lower[after..].find(['=', ':']).unwrap_or(0) + 1)
    });
    let identified = ["identified by ", "identified with "].iter().filter_map(|w| Some(lower.find(w)? + w.len()));
    match assigned.chain(identified).min() {
        Some(at) if line.is_char_boundary(at) => format!("{}{TAKEN_OUT}", &line[..at]),
        _ => line.to_owned(),
    }
}
