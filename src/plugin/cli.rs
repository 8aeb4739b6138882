//! The plugin's way out into the world: API server, terminal, kubectl. Everything else is pure.

use std::collections::BTreeMap;
use std::io::{BufRead, IsTerminal, Write};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{ListParams, Patch, PatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::{ApiResource, DynamicObject};
use kube::{Api, Client, Config, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::find;
use super::paint::Paint;
use super::seen::Seen;
use super::trouble::{Doing, Trouble, of_api};
use super::{Common, Output};
use crate::api::{ExpansionPlan, ShardCluster, ShardPair};

/// No answer of the API server within this: said, not waited for.
const DEADLINE: Duration = Duration::from_secs(10);
/// Between two looks of `--watch`.
const LOOK: Duration = Duration::from_secs(1);

/// See the module.
pub struct Cli {
    /// The API server's.
    pub client: Client,
    /// Where verbs look: of -n, or of the context.
    pub namespace: String,
    /// -A
    pub all: bool,
    /// -o
    pub output: Option<Output>,
    common: Common,
}

impl Cli {
    /// From the command line and the kubeconfig; asks nothing of the server yet.
    pub async fn connect(common: &Common) -> Result<Self, Trouble> {
        let mut config = config(common).await?;
        config.connect_timeout = Some(DEADLINE);
        config.read_timeout = Some(DEADLINE);
        config.write_timeout = Some(DEADLINE);
        config.default_retry = false;
        let namespace = common.namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
        let client = Client::try_from(config).map_err(|e| Trouble::failed(format!("the kubeconfig can't be used: {e}")))?;
        Ok(Self { client, namespace, all: common.all_namespaces, output: common.output, common: common.clone() })
    }

    /// Of the namespace that was asked for.
    pub fn api<K>(&self, namespace: &str) -> Api<K>
    where
        K: Resource<Scope = kube::core::NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// Of one cluster alone, if one is named.
    pub async fn look_at(&self, cluster: Option<&str>) -> Result<Seen, Trouble> {
        let seen = self.look().await?;
        let Some(word) = cluster else { return Ok(seen) };
        let cluster = find::cluster(&seen, word)?.clone();
        Ok(seen.only(&cluster))
    }

    /// Everything of ours, in one look.
    pub async fn look(&self) -> Result<Seen, Trouble> {
        let (clusters, pairs, plans) = tokio::try_join!(self.list::<ShardCluster>(), self.list::<ShardPair>(), self.list::<ExpansionPlan>())?;
        let mut seen = Seen { namespace: (!self.all).then(|| self.namespace.clone()), clusters, pairs, plans, operators: BTreeMap::new(), now: Timestamp::now() };
        seen.pairs.sort_by_key(|p| (p.namespace(), p.spec.cluster.clone(), p.spec.shard));
        let managers: std::collections::BTreeSet<String> = seen.clusters.iter().filter_map(|c| c.status.as_ref()?.manager.clone()).collect();
        for manager in managers {
            if let Some((namespace, name)) = manager.split_once('/') {
                match self.api::<Lease>(namespace).get_opt(name).await {
                    Ok(lease) => {
                        let renewed = lease.and_then(|l| l.spec).and_then(|s| s.renew_time).map(|t| t.0);
                        seen.operators.insert(manager, renewed);
                    }
                    // Not allowed to know, or no answer: nothing is claimed.
                    Err(error) => tracing::debug!(%error, "lease"),
                }
            }
        }
        Ok(seen)
    }

    /// Read without the type first: one object of another version is told, not guessed at.
    async fn list<K>(&self) -> Result<Vec<K>, Trouble>
    where
        K: Resource<Scope = kube::core::NamespaceResourceScope> + DeserializeOwned,
        K::DynamicType: Default,
    {
        let resource = ApiResource::erase::<K>(&K::DynamicType::default());
        let namespace = (!self.all).then_some(self.namespace.as_str());
        let api: Api<DynamicObject> = match namespace {
            Some(namespace) => Api::namespaced_with(self.client.clone(), namespace, &resource),
            None => Api::all_with(self.client.clone(), &resource),
        };
        let what = format!("{}.{}", resource.plural, resource.group);
        let listed = match api.list(&ListParams::default()).await {
            Ok(listed) => listed,
            Err(kube::Error::Api(status)) if status.code == 404 => return Err(self.not_served(&what).await),
            Err(error) => return Err(of_api(Doing { verb: "list", what: &what, namespace }, &error)),
        };
        let read = |object: DynamicObject| {
            let name = object.name_any();
            object.try_parse::<K>().map_err(|error| other_version(&what, &name, &error))
        };
        let mut read = listed.items.into_iter().map(read).collect::<Result<Vec<K>, _>>()?;
        read.sort_by_key(|k| (k.namespace(), k.name_any()));
        Ok(read)
    }

    /// Older or newer CRDs than this plugin, or none at all.
    async fn not_served(&self, what: &str) -> Trouble {
        let groups = self.client.list_api_groups().await.map(|g| g.groups).unwrap_or_default();
        let ours = groups.into_iter().find(|g| g.name == crate::api::names::GROUP);
        let versions: Vec<String> = ours.into_iter().flat_map(|g| g.versions).map(|v| v.version).collect();
        super::versions(what, &versions)
    }

    /// `wide`?
    pub fn wide(&self) -> bool {
        self.output == Some(Output::Wide)
    }

    /// How to draw: no colour without a terminal, or with `NO_COLOR`.
    pub fn paint(&self) -> Paint {
        let terminal = std::io::stdout().is_terminal();
        let colour = terminal && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty()) && std::env::var("TERM").is_ok_and(|t| t != "dumb");
        Paint { colour, width: terminal.then(columns).flatten() }
    }

    /// Something that is looked at for long needs a terminal that is wide enough; a pipe gets one look after the other.
    pub fn can_watch(&self, columns: u16) -> Result<(), Trouble> {
        match self.paint().width {
            Some(width) if width < columns => Err(Trouble::failed(format!("the terminal has {width} columns, --watch needs {columns}: widen it, or leave --watch out"))),
            _ => Ok(()),
        }
    }

    /// A result in the form that was asked for.
    pub fn print<T: serde::Serialize>(&self, value: &T) -> Result<(), Trouble> {
        let text = match self.output {
            Some(Output::Yaml) => serde_saphyr::to_string(value).map_err(|e| Trouble::failed(e.to_string()))?,
            _ => serde_json::to_string_pretty(value).map_err(|e| Trouble::failed(e.to_string()))? + "\n",
        };
        self.show(false, &text);
        Ok(())
    }

    /// A text; with `again` in place of the last one.
    pub fn show(&self, again: bool, text: &str) {
        let mut out = std::io::stdout().lock();
        let clear = if again && std::io::stdout().is_terminal() { "\u{1b}[H\u{1b}[2J" } else { "" };
        // A reader that has gone (`| head`) is no failure of ours.
        let _ = write!(out, "{clear}{text}").and_then(|()| out.flush());
    }

    /// For the person, beside the result.
    pub fn note(&self, text: &str) {
        let _ = writeln!(std::io::stderr(), "{text}");
    }

    /// The pause between two looks of `--watch`.
    pub async fn next_look(&self) {
        tokio::time::sleep(LOOK).await;
    }

    /// A merge patch.
    pub async fn patch<K>(&self, namespace: &str, name: &str, change: Value) -> Result<K, Trouble>
    where
        K: Resource<Scope = kube::core::NamespaceResourceScope> + Clone + std::fmt::Debug + DeserializeOwned,
        K::DynamicType: Default,
    {
        let kind = K::DynamicType::default();
        let what = format!("{}.{}", K::plural(&kind), K::group(&kind));
        let patched = self.api::<K>(namespace).patch(name, &PatchParams::default(), &Patch::Merge(change)).await;
        patched.map_err(|e| of_api(Doing { verb: "patch", what: &what, namespace: Some(namespace) }, &e))
    }

    /// Asks for a word; without a terminal it must have been said on the command line (`--yes`).
    pub fn confirm(&self, question: &str, word: &str, yes: bool) -> Result<(), Trouble> {
        if yes {
            return Ok(());
        }
        if !std::io::stdin().is_terminal() {
            return Err(Trouble::misuse("nobody can be asked without a terminal: repeat with --yes, if you mean it"));
        }
        eprint!("{question}\nType {word} to go on: ");
        let _ = std::io::stderr().flush();
        let mut said = String::new();
        let _ = std::io::stdin().lock().read_line(&mut said);
        if said.trim() == word { Ok(()) } else { Err(Trouble::failed("nothing was changed")) }
    }

    /// `kubectl` with the same cluster and namespace, for what streams: exec, port-forward.
    pub fn kubectl(&self, namespace: &str) -> std::process::Command {
        let mut command = std::process::Command::new("kubectl");
        if let Some(path) = &self.common.kubeconfig {
            command.arg("--kubeconfig").arg(path);
        }
        if let Some(context) = &self.common.context {
            command.args(["--context", context]);
        }
        command.args(["-n", namespace]);
        command
    }
}

async fn config(common: &Common) -> Result<Config, Trouble> {
    if common.context.is_none() && common.kubeconfig.is_none() {
        return Config::infer().await.map_err(|_| Trouble::failed("no Kubernetes configuration found: set KUBECONFIG, or give --kubeconfig"));
    }
    let read = match &common.kubeconfig {
        Some(path) => Kubeconfig::read_from(path),
        None => Kubeconfig::read(),
    };
    let known = read.map_err(|e| Trouble::failed(format!("the kubeconfig can't be read: {e}")))?;
    let contexts: Vec<String> = known.contexts.iter().map(|c| c.name.clone()).collect();
    if let Some(wanted) = &common.context
        && !contexts.contains(wanted)
    {
        return Err(Trouble::misuse(format!("no context {wanted}: there are {}", if contexts.is_empty() { "none".to_owned() } else { contexts.join(", ") })));
    }
    let options = KubeConfigOptions { context: common.context.clone(), ..KubeConfigOptions::default() };
    Config::from_custom_kubeconfig(known, &options).await.map_err(|e| Trouble::failed(format!("the kubeconfig can't be used: {e}")))
}

fn other_version(what: &str, name: &str, error: &dyn std::fmt::Display) -> Trouble {
    Trouble::failed(format!("{what} {name} holds what kubectl-shardpair {} doesn't know ({error}): update the plugin to the operator's version", env!("CARGO_PKG_VERSION")))
}

/// Of the terminal.
fn columns() -> Option<u16> {
    std::env::var("COLUMNS").ok().and_then(|c| c.parse().ok()).or_else(|| comfy_table::Table::new().width())
}
