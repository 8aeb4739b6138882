//! Worker ids as Kubernetes Leases `<name>-<worker>`: they survive whatever etcd survives.
//!
//! The application's ServiceAccount needs get, list, create and update on leases of its namespace.

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::{ListParams, PostParams};
use kube::{Api, Client};

use super::store::{Entry, Store, StoreError};

const LABEL: &str = "shardpair.io/ids";
const UNTIL: &str = "shardpair.io/until-ms";

/// Leases of one namespace.
pub struct KubernetesStore {
    leases: Api<Lease>,
    name: String,
}

impl KubernetesStore {
    /// Worker ids of `name` in `namespace`: those who make ids for the same tables share both. A client without long
    /// retries is best: a term is seconds.
    pub fn new(client: Client, namespace: &str, name: &str) -> Self {
        Self { leases: Api::namespaced(client, namespace), name: name.to_owned() }
    }

    fn error(&self, why: impl std::fmt::Display) -> StoreError {
        StoreError { store: format!("Leases {}-*", self.name), why: why.to_string() }
    }

    fn entry(&self, lease: &Lease) -> Option<Entry> {
        let worker = lease.metadata.name.as_deref()?.strip_prefix(&self.name)?.strip_prefix('-')?.parse().ok()?;
        let until_ms = lease.metadata.annotations.as_ref()?.get(UNTIL)?.parse().ok()?;
        let holder = lease.spec.as_ref().and_then(|s| s.holder_identity.clone()).unwrap_or_default();
        Some(Entry { worker, version: lease.metadata.resource_version.clone()?, holder, until_ms })
    }
}

impl Store for KubernetesStore {
    const FORGETS: bool = false;

    async fn list(&self) -> Result<Vec<Entry>, StoreError> {
        let found = self.leases.list(&ListParams::default().labels(&format!("{LABEL}={}", self.name))).await.map_err(|e| self.error(e))?;
        let unreadable = |lease: &Lease| self.error(format!("Lease {} can't be read", lease.metadata.name.as_deref().unwrap_or("?")));
        found.items.iter().map(|lease| self.entry(lease).ok_or_else(|| unreadable(lease))).collect()
    }

    async fn put(&self, worker: u16, expected: Option<&str>, holder: &str, until_ms: u64) -> Result<Option<String>, StoreError> {
        let name = format!("{}-{worker}", self.name);
        let lease = Lease {
            metadata: ObjectMeta {
                name: Some(name.clone()),
                resource_version: expected.map(str::to_owned),
                labels: Some([(LABEL.to_owned(), self.name.clone())].into()),
                annotations: Some([(UNTIL.to_owned(), until_ms.to_string())].into()),
                ..ObjectMeta::default()
            },
            spec: Some(LeaseSpec {
                holder_identity: Some(holder.to_owned()),
                lease_duration_seconds: Some(super::snowflake::TERM.as_secs() as i32),
                renew_time: Some(MicroTime(Timestamp::now())),
                ..LeaseSpec::default()
            }),
        };
        let written = match expected {
            None => self.leases.create(&PostParams::default(), &lease).await,
            Some(_) => self.leases.replace(&name, &PostParams::default(), &lease).await,
        };
        match written {
            Ok(lease) => Ok(lease.metadata.resource_version),
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(None),
            Err(error) => Err(self.error(error)),
        }
    }
}
