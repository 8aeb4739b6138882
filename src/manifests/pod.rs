//! The pod of a member: one container, a stock MySQL image under our entry script, within the restricted Pod Security
//! Standard and on a read-only root file system.
//!
//! Nothing in here may change without need: a change makes every pod outdated, and each pair switches over to follow it.

use k8s_openapi::api::core::v1::{
    Affinity, Capabilities, ConfigMapKeySelector, ConfigMapProjection, Container, ContainerPort, EmptyDirVolumeSource, EnvVar,
    EnvVarSource, ExecAction, KeyToPath, LocalObjectReference, ObjectFieldSelector, PersistentVolumeClaimVolumeSource, PodAffinityTerm, PodReadinessGate,
    PodSecurityContext, PodSpec, PodTemplateSpec, Probe, ProjectedVolumeSource, SeccompProfile, SecretProjection, SecurityContext,
    TCPSocketAction, Volume, VolumeMount, VolumeProjection, WeightedPodAffinityTerm,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::api::names;
use crate::api::valid::Valid;

/// Where the container finds its files.
pub const CONFIG_DIR: &str = "/etc/shardpair";
/// The entry script, run by bash: the volume can't carry an executable bit for it.
pub const ENTRY_PATH: &str = "/etc/shardpair/entry.sh";

/// Builds the template.
pub fn template(cluster: &Valid, member: &str, shard: u32) -> PodTemplateSpec {
    let user = &cluster.pod_template;
    let number = shard.to_string();
    let mut labels = user.labels.clone();
    labels.extend(super::labels(cluster, &[(names::LABEL_MEMBER, member), (names::LABEL_SHARD, &number)]));
    PodTemplateSpec {
        metadata: Some(ObjectMeta {
            labels: Some(labels),
            annotations: (!user.annotations.is_empty()).then(|| user.annotations.clone()),
            ..ObjectMeta::default()
        }),
        spec: Some(spec(cluster, member, &number)),
    }
}

fn spec(cluster: &Valid, member: &str, shard: &str) -> PodSpec {
    let user = &cluster.pod_template;
    PodSpec {
        affinity: Some(affinity(cluster, shard)),
        automount_service_account_token: Some(false),
        enable_service_links: Some(false),
        containers: vec![container(cluster, member)],
        image_pull_secrets: pull_secrets(cluster),
        node_selector: (!user.node_selector.is_empty()).then(|| user.node_selector.clone()),
        priority_class_name: user.priority_class_name.clone(),
        readiness_gates: Some(vec![PodReadinessGate { condition_type: names::IN_ROLE.to_owned() }]),
        security_context: Some(PodSecurityContext {
            fs_group_change_policy: Some("OnRootMismatch".to_owned()),
            ..restricted(super::MYSQL_ID)
        }),
        // The entry script ends mysqld by SIGKILL at once; this is for its own last words.
        termination_grace_period_seconds: Some(5),
        tolerations: some(user.tolerations.clone()),
        topology_spread_constraints: some(user.topology_spread_constraints.clone()),
        volumes: Some(volumes(cluster, member)),
        ..PodSpec::default()
    }
}

pub(super) fn some<T>(list: Vec<T>) -> Option<Vec<T>> {
    (!list.is_empty()).then_some(list)
}

pub(super) fn pull_secrets(cluster: &Valid) -> Option<Vec<LocalObjectReference>> {
    some(cluster.pull_secrets.iter().map(|n| LocalObjectReference { name: n.clone() }).collect())
}

/// What the restricted Pod Security Standard asks of a pod.
pub(super) fn restricted(id: i64) -> PodSecurityContext {
    PodSecurityContext {
        run_as_non_root: Some(true),
        run_as_user: Some(id),
        run_as_group: Some(id),
        fs_group: Some(id),
        seccomp_profile: Some(SeccompProfile { type_: "RuntimeDefault".to_owned(), localhost_profile: None }),
        ..PodSecurityContext::default()
    }
}

/// … and of a container, on a root file system that it can't change.
pub(super) fn confined() -> SecurityContext {
    SecurityContext {
        allow_privilege_escalation: Some(false),
        capabilities: Some(Capabilities { drop: Some(vec!["ALL".to_owned()]), add: None }),
        read_only_root_filesystem: Some(true),
        ..SecurityContext::default()
    }
}

pub(super) fn port(name: &str, port: i32) -> ContainerPort {
    ContainerPort { name: Some(name.to_owned()), container_port: port, protocol: Some("TCP".to_owned()), ..ContainerPort::default() }
}

/// The user's affinity, with ours added: the two members of a pair on different nodes, if that can be.
fn affinity(cluster: &Valid, shard: &str) -> Affinity {
    let mut affinity = cluster.pod_template.affinity.clone().unwrap_or_default();
    let apart = WeightedPodAffinityTerm {
        weight: 100,
        pod_affinity_term: PodAffinityTerm {
            topology_key: "kubernetes.io/hostname".to_owned(),
            label_selector: Some(LabelSelector {
                match_labels: Some(super::pairs([
                    (names::LABEL_CLUSTER, cluster.name.clone()),
                    (names::LABEL_SHARD, shard.to_owned()),
                ])),
                ..LabelSelector::default()
            }),
            ..PodAffinityTerm::default()
        },
    };
    let preferred = &mut affinity.pod_anti_affinity.get_or_insert_default().preferred_during_scheduling_ignored_during_execution;
    preferred.get_or_insert_default().push(apart);
    affinity
}

fn container(cluster: &Valid, member: &str) -> Container {
    let bash = |more: &[&str]| ["bash", ENTRY_PATH].iter().chain(more).map(|s| (*s).to_owned()).collect::<Vec<_>>();
    Container {
        name: names::CONTAINER.to_owned(),
        image: Some(cluster.image.clone()),
        image_pull_policy: cluster.pull_policy.map(|p| p.as_str().to_owned()),
        command: Some(bash(&[])),
        env: Some(env(member)),
        ports: Some(vec![port("mysql", names::PORT), port(names::ADMIN, names::ADMIN_PORT)]),
        resources: cluster.resources.clone(),
        security_context: Some(confined()),
        // The process, not the role: a member without a role is alive, and only the pair's controller may end one.
        liveness_probe: Some(Probe {
            exec: Some(ExecAction { command: Some(bash(&["alive"])) }),
            period_seconds: Some(10),
            timeout_seconds: Some(5),
            failure_threshold: Some(6),
            ..Probe::default()
        }),
        readiness_probe: Some(Probe {
            tcp_socket: Some(TCPSocketAction { port: IntOrString::Int(names::PORT), host: None }),
            period_seconds: Some(2),
            timeout_seconds: Some(1),
            failure_threshold: Some(3),
            ..Probe::default()
        }),
        volume_mounts: Some(vec![
            mount("data", "/var/lib/mysql", false),
            mount("config", CONFIG_DIR, true),
            mount("tmp", "/tmp", false),
            mount("run", "/run/mysqld", false),
        ]),
        ..Container::default()
    }
}

fn env(member: &str) -> Vec<EnvVar> {
    let first = ConfigMapKeySelector { name: member.to_owned(), key: names::FIRST.to_owned(), optional: Some(true) };
    vec![
        EnvVar { name: "SHARDPAIR_MEMBER".to_owned(), value: Some(member.to_owned()), value_from: None },
        EnvVar {
            name: "SHARDPAIR_ADDRESS".to_owned(),
            value: None,
            value_from: Some(EnvVarSource { field_ref: Some(ObjectFieldSelector { field_path: "status.podIP".to_owned(), api_version: Some("v1".to_owned()) }), ..EnvVarSource::default() }),
        },
        // From the ConfigMap, so that its change is no change of the template.
        EnvVar {
            name: "SHARDPAIR_FIRST".to_owned(),
            value: None,
            value_from: Some(EnvVarSource { config_map_key_ref: Some(first), ..EnvVarSource::default() }),
        },
    ]
}

fn mount(name: &str, path: &str, read_only: bool) -> VolumeMount {
    VolumeMount {
        name: name.to_owned(),
        mount_path: path.to_owned(),
        read_only: read_only.then_some(true),
        ..VolumeMount::default()
    }
}

fn volumes(cluster: &Valid, member: &str) -> Vec<Volume> {
    let empty = |name: &str, memory: bool| Volume {
        name: name.to_owned(),
        empty_dir: Some(EmptyDirVolumeSource {
            medium: memory.then(|| "Memory".to_owned()),
            size_limit: memory.then(|| Quantity("4Mi".to_owned())),
        }),
        ..Volume::default()
    };
    vec![
        Volume {
            name: "data".to_owned(),
            persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource { claim_name: member.to_owned(), read_only: None }),
            ..Volume::default()
        },
        Volume { name: "config".to_owned(), projected: Some(config(cluster, member)), ..Volume::default() },
        empty("tmp", false),
        // Socket, pid file, and for the first start statements with passwords: never on a disk.
        empty("run", true),
    ]
}

/// my.cnf and the entry script beside `accounts/`, readable by mysqld's group only.
fn config(cluster: &Valid, member: &str) -> ProjectedVolumeSource {
    let item = |key: &str, path: String| KeyToPath { key: key.to_owned(), path, mode: None };
    let accounts = [names::OPERATOR_USERNAME, names::OPERATOR_PASSWORD, names::REPLICATION_USERNAME, names::REPLICATION_PASSWORD];
    ProjectedVolumeSource {
        default_mode: Some(0o440),
        sources: Some(vec![
            VolumeProjection {
                config_map: Some(ConfigMapProjection {
                    name: member.to_owned(),
                    items: Some(["my.cnf", "entry.sh"].iter().map(|k| item(k, (*k).to_owned())).collect()),
                    optional: None,
                }),
                ..VolumeProjection::default()
            },
            VolumeProjection {
                secret: Some(SecretProjection {
                    name: names::operator_secret(&cluster.name),
                    items: Some(accounts.iter().map(|k| item(k, format!("accounts/{k}"))).collect()),
                    optional: None,
                }),
                ..VolumeProjection::default()
            },
        ]),
    }
}
