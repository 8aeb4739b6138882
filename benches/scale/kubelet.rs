//! What Kubernetes' controllers and kubelets would do for the members: a pod for each StatefulSet, with an address and a status, a bound
//! volume, and a mysqld (the stub's) that runs in it and is started again when it dies.

use std::collections::{BTreeMap, HashSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{Node, PersistentVolumeClaim, Pod, Service};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::api::{DeleteParams, ObjectMeta, Patch, PatchParams, PostParams};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, ResourceExt};
use serde_json::json;
use shardpair::api::names;

use super::world::World;

/// Nodes that the pods are spread over.
const NODES: usize = 50;
/// Pods made at a time.
const AT_ONCE: usize = 16;
/// The namespace of everything.
pub const NAMESPACE: &str = "default";
const REVISION: &str = "revision-1";

/// See the module.
pub struct Kubelet {
    client: Client,
    world: Arc<World>,
    addresses: AtomicU32,
}

fn node(number: usize) -> String {
    format!("node-{}", number % NODES)
}

impl Kubelet {
    /// Makes nodes and the storage class, and goes on from there.
    pub async fn start(client: Client, world: Arc<World>) -> Arc<Self> {
        let nodes: Api<Node> = Api::all(client.clone());
        for number in 0..NODES {
            let of: Node = serde_json::from_value(json!({
                "metadata": {"name": node(number)},
                "status": {
                    "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "", "lastHeartbeatTime": "2026-01-01T00:00:00Z", "lastTransitionTime": "2026-01-01T00:00:00Z"}],
                    "nodeInfo": {
                        "architecture": "amd64", "bootID": format!("boot-{number}"), "containerRuntimeVersion": "", "kernelVersion": "", "kubeProxyVersion": "",
                        "kubeletVersion": "", "machineID": "", "operatingSystem": "linux", "osImage": "", "systemUUID": ""
                    }
                }
            }))
            .expect("a node");
            nodes.create(&PostParams::default(), &of).await.expect("a node is made");
        }
        let class: StorageClass = serde_json::from_value(json!({
            "metadata": {"name": "standard", "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}}, "provisioner": "bench.test/none"
        }))
        .expect("a class");
        Api::all(client.clone()).create(&PostParams::default(), &class).await.expect("a storage class is made");
        let kubelet = Arc::new(Self { client, world, addresses: AtomicU32::new(0) });
        tokio::spawn(kubelet.clone().services());
        tokio::spawn(kubelet.clone().sets());
        tokio::spawn(kubelet.clone().pods());
        tokio::spawn(kubelet.clone().claims());
        kubelet
    }

    fn config() -> watcher::Config {
        watcher::Config::default().labels(names::LABEL_MEMBER)
    }

    /// Which member a source's cluster IP leads to.
    async fn services(self: Arc<Self>) {
        let services: Api<Service> = Api::namespaced(self.client.clone(), NAMESPACE);
        let mut seen = std::pin::pin!(watcher(services, Self::config()).default_backoff().applied_objects());
        while let Ok(Some(service)) = seen.try_next().await {
            if let Some(ip) = service.spec.as_ref().and_then(|s| s.cluster_ip.clone()) {
                let at = self.world.member(&service.name_any());
                self.world.inside().by_service.insert(ip, at);
            }
        }
    }

    async fn claims(self: Arc<Self>) {
        let claims: Api<PersistentVolumeClaim> = Api::namespaced(self.client.clone(), NAMESPACE);
        let unbound = |claim: &PersistentVolumeClaim| claim.status.as_ref().and_then(|s| s.phase.as_deref()) != Some("Bound");
        let seen = watcher(claims.clone(), Self::config()).default_backoff().applied_objects();
        let work = seen.filter_map(|claim| async move { claim.ok().filter(unbound) }).for_each_concurrent(AT_ONCE, |claim| {
            let claims = claims.clone();
            async move {
                let bound = json!({"status": {"phase": "Bound", "accessModes": ["ReadWriteOnce"], "capacity": {"storage": "10Gi"}}});
                let _ = claims.patch_status(&claim.name_any(), &PatchParams::default(), &Patch::Merge(bound)).await;
            }
        });
        work.await;
    }

    async fn sets(self: Arc<Self>) {
        let sets: Api<StatefulSet> = Api::namespaced(self.client.clone(), NAMESPACE);
        let mut made = HashSet::new();
        let new = watcher(sets.clone(), Self::config()).default_backoff().applied_objects();
        let new = new.filter_map(move |set| {
            let new = set.ok().filter(|set| made.insert(set.name_any()));
            async move { new }
        });
        let work = new.for_each_concurrent(AT_ONCE, |set| {
            let (kubelet, sets) = (self.clone(), sets.clone());
            async move {
                let status = json!({"status": {"replicas": 1, "readyReplicas": 1, "currentRevision": REVISION, "updateRevision": REVISION, "observedGeneration": 1}});
                let _ = sets.patch_status(&set.name_any(), &PatchParams::default(), &Patch::Merge(status)).await;
                kubelet.run(&set).await;
            }
        });
        work.await;
    }

    /// A pod that is to go goes, and its StatefulSet gets another.
    async fn pods(self: Arc<Self>) {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), NAMESPACE);
        let sets: Api<StatefulSet> = Api::namespaced(self.client.clone(), NAMESPACE);
        let mut ended = HashSet::new();
        let seen = watcher(pods.clone(), Self::config()).default_backoff().applied_objects();
        let going = seen.filter_map(move |pod| {
            let going = pod.ok().filter(|pod| pod.metadata.deletion_timestamp.is_some() && ended.insert(pod.uid()));
            async move { going }
        });
        let work = going.for_each_concurrent(AT_ONCE, |pod| {
            let (kubelet, pods, sets) = (self.clone(), pods.clone(), sets.clone());
            async move {
                let member = pod.labels()[names::LABEL_MEMBER].clone();
                kubelet.world.kill(kubelet.world.member(&member));
                let _ = pods.delete(&pod.name_any(), &DeleteParams::default().grace_period(0)).await;
                if let Ok(set) = sets.get(&member).await {
                    kubelet.run(&set).await;
                }
            }
        });
        work.await;
    }

    /// Makes the pod of a set, and starts what runs in it.
    async fn run(&self, set: &StatefulSet) {
        let number = self.addresses.fetch_add(1, Ordering::Relaxed) + 257;
        let ip = IpAddr::V4(Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 128, 0, 0)) + number));
        let member = set.name_any();
        let template = set.spec.as_ref().expect("a spec").template.clone();
        let mut labels = template.metadata.as_ref().and_then(|m| m.labels.clone()).unwrap_or_default();
        labels.extend(BTreeMap::from([("controller-revision-hash", REVISION), ("apps.kubernetes.io/pod-index", "0")]).into_iter().map(|(k, v)| (k.to_owned(), v.to_owned())));
        labels.insert("statefulset.kubernetes.io/pod-name".to_owned(), names::pod(&member));
        let mut spec = template.spec.expect("a pod's spec");
        spec.node_name = Some(node(number as usize));
        let metadata = ObjectMeta { name: Some(names::pod(&member)), labels: Some(labels), ..ObjectMeta::default() };
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), NAMESPACE);
        if let Err(error) = pods.create(&PostParams::default(), &Pod { metadata, spec: Some(spec), status: None }).await {
            eprintln!("scale: the pod of {member}: {error}");
            return;
        }
        let at = self.world.member(&member);
        self.world.inside().members[at].config_hash = set.annotations().get(names::CONFIG_HASH).cloned().unwrap_or_default();
        if let Err(error) = self.world.boot(at, ip) {
            eprintln!("scale: {member} at {ip}: {error}");
        }
        if let Err(error) = pods.patch_status(&names::pod(&member), &PatchParams::default(), &Patch::Strategic(status(ip, number))).await {
            eprintln!("scale: the pod of {member}: {error}");
        }
    }
}

/// As long as a real one.
fn status(ip: IpAddr, number: u32) -> serde_json::Value {
    let since = "2026-01-01T00:00:00Z";
    let condition = |type_: &str| json!({"type": type_, "status": "True", "lastTransitionTime": since, "observedGeneration": 1});
    let conditions: Vec<_> = ["PodReadyToStartContainers", "Initialized", "ContainersReady", "PodScheduled"].map(condition).into();
    json!({"status": {
        "phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}], "hostIP": "10.64.0.1", "hostIPs": [{"ip": "10.64.0.1"}], "startTime": since,
        "conditions": conditions,
        "containerStatuses": [{
            "name": names::CONTAINER, "image": "mysql:9.7", "imageID": "docker.io/library/mysql@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
            "containerID": format!("containerd://{number:064x}"), "ready": true, "started": true, "restartCount": 0, "state": {"running": {"startedAt": since}}
        }]
    }})
}

/// Starts a member's process again where it was, as its pod's supervision does.
pub fn back(world: &Arc<World>, at: usize, after: Duration) {
    let world = world.clone();
    tokio::spawn(async move {
        tokio::time::sleep(after).await;
        let down = Some(&world.inside().members[at]).filter(|m| !m.alive).and_then(|m| m.ip);
        if let Some(Err(error)) = down.map(|ip| world.boot(at, ip)) {
            eprintln!("scale: {at} again: {error}");
        }
    });
}
