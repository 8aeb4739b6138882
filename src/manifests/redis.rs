//! The cluster's own Redis: a Secret, a Service and a StatefulSet of one. A cache: nothing of it is kept on a disk, and an
//! empty one is as right as a full one (docs/clients.md, *The cache*).

use k8s_openapi::api::apps::v1::{StatefulSet, StatefulSetSpec};
use k8s_openapi::api::core::v1::{
    Container, EmptyDirVolumeSource, EnvVar, EnvVarSource, ExecAction, KeyToPath, PodSpec, PodTemplateSpec, Probe, ResourceRequirements, Secret, SecretKeySelector,
    SecretVolumeSource, Service, ServiceSpec, Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};

use super::{labels, meta, pod, secret, service};
use crate::api::names;
use crate::api::valid::{OwnRedis, Valid};

/// Redis' port.
pub const PORT: i32 = 6379;
const DIR: &str = "/etc/shardpair-redis";
/// Of the Secret: what redis-server reads, so that the password is in no list of processes.
const CONF: &str = "auth.conf";
const PASSWORD: &str = "password";
/// User and group; the stock images' own, and any other would do.
const ID: i64 = 999;
/// Both names are tried: Valkey's images may lack Redis'.
const START: &str = r#"exec "$(command -v redis-server || command -v valkey-server)" "$@""#;
const PING: &str = r#"case "$(redis-cli ping 2>/dev/null || valkey-cli ping)" in *PONG*) ;; *) exit 1 ;; esac"#;

fn component() -> [(&'static str, &'static str); 1] {
    [(names::COMPONENT, names::REDIS)]
}

/// `url` is what `Cache` and `shardpair invalidate` take.
pub fn secret(cluster: &Valid, password: &str) -> Secret {
    let name = names::redis(&cluster.name);
    let url = format!("redis://:{password}@{}:{PORT}", names::service_host(&name, &cluster.namespace));
    let data = [("url", url.as_str()), (PASSWORD, password), (CONF, &format!("requirepass {password}\n"))];
    secret::build(cluster, (&name, &component()), "Opaque", &data)
}

/// Leads to the one pod.
pub fn service(cluster: &Valid) -> Service {
    Service {
        metadata: meta(cluster, &names::redis(&cluster.name), &component()),
        spec: Some(ServiceSpec {
            selector: Some(super::pairs([(names::LABEL_CLUSTER, cluster.name.clone()), (names::COMPONENT, names::REDIS.to_owned())])),
            ..service::port(names::REDIS, PORT)
        }),
        ..Service::default()
    }
}

/// The server. `redis.memory` is for values; beside it the container has half as much again and 64 MiB, for connections and fragments.
/// `secret`: uid of its Secret; with another one (somebody deleted it for a new password) the pod is made anew.
pub fn statefulset(cluster: &Valid, redis: &OwnRedis, secret: &str) -> StatefulSet {
    let name = names::redis(&cluster.name);
    StatefulSet {
        metadata: meta(cluster, &name, &component()),
        spec: Some(StatefulSetSpec {
            replicas: Some(1),
            service_name: Some(name.clone()),
            revision_history_limit: Some(2),
            selector: LabelSelector {
                match_labels: Some(super::pairs([(names::LABEL_CLUSTER, cluster.name.clone()), (names::COMPONENT, names::REDIS.to_owned())])),
                ..LabelSelector::default()
            },
            template: PodTemplateSpec {
                metadata: Some(ObjectMeta {
                    labels: Some(labels(cluster, &component())),
                    annotations: Some(super::pairs([(names::SECRET_UID, secret.to_owned())])),
                    ..ObjectMeta::default()
                }),
                spec: Some(spec(cluster, redis, &name)),
            },
            ..StatefulSetSpec::default()
        }),
        status: None,
    }
}

fn spec(cluster: &Valid, redis: &OwnRedis, name: &str) -> PodSpec {
    let user = &cluster.pod_template;
    PodSpec {
        automount_service_account_token: Some(false),
        enable_service_links: Some(false),
        containers: vec![container(redis, name)],
        image_pull_secrets: pod::pull_secrets(cluster),
        node_selector: (!user.node_selector.is_empty()).then(|| user.node_selector.clone()),
        priority_class_name: user.priority_class_name.clone(),
        security_context: Some(pod::restricted(ID)),
        termination_grace_period_seconds: Some(5),
        tolerations: pod::some(user.tolerations.clone()),
        volumes: Some(vec![
            Volume { name: "data".to_owned(), empty_dir: Some(EmptyDirVolumeSource::default()), ..Volume::default() },
            Volume {
                name: "auth".to_owned(),
                secret: Some(SecretVolumeSource {
                    secret_name: Some(name.to_owned()),
                    items: Some(vec![KeyToPath { key: CONF.to_owned(), path: CONF.to_owned(), mode: None }]),
                    default_mode: Some(0o440),
                    ..SecretVolumeSource::default()
                }),
                ..Volume::default()
            },
        ]),
        ..PodSpec::default()
    }
}

fn container(redis: &OwnRedis, name: &str) -> Container {
    let words = |words: &[&str]| words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>();
    let probe = |period: i32, failures: i32| Probe {
        exec: Some(ExecAction { command: Some(words(&["sh", "-c", PING])) }),
        period_seconds: Some(period),
        timeout_seconds: Some(2),
        failure_threshold: Some(failures),
        ..Probe::default()
    };
    let memory = Quantity((redis.memory_bytes + redis.memory_bytes / 2 + (64 << 20)).to_string());
    let limits = Some([("memory".to_owned(), memory)].into());
    let mount = |volume: &str, path: &str, read_only: bool| VolumeMount { name: volume.to_owned(), mount_path: path.to_owned(), read_only: read_only.then_some(true), ..VolumeMount::default() };
    Container {
        name: names::REDIS.to_owned(),
        image: Some(redis.image.clone()),
        command: Some(words(&["sh", "-c", START, "redis"])),
        // No entry is kept on a disk; a full one drops what has a time limit, which is every value, and not what tells them apart.
        args: Some(words(&[&format!("{DIR}/{CONF}"), "--maxmemory", &redis.memory_bytes.to_string(), "--maxmemory-policy", "volatile-ttl", "--save", "", "--appendonly", "no", "--dir", "/data"])),
        env: Some(vec![EnvVar {
            name: "REDISCLI_AUTH".to_owned(),
            value: None,
            value_from: Some(EnvVarSource {
                secret_key_ref: Some(SecretKeySelector { name: name.to_owned(), key: PASSWORD.to_owned(), optional: None }),
                ..EnvVarSource::default()
            }),
        }]),
        ports: Some(vec![pod::port(names::REDIS, PORT)]),
        resources: Some(ResourceRequirements { requests: limits.clone(), limits, ..ResourceRequirements::default() }),
        security_context: Some(pod::confined()),
        liveness_probe: Some(probe(10, 6)),
        readiness_probe: Some(probe(3, 2)),
        volume_mounts: Some(vec![mount("data", "/data", false), mount("auth", DIR, true)]),
        ..Container::default()
    }
}
