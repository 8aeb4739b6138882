//! What people and other programs see: the three custom resources, their conditions, events and names.
//!
//! Pure. What the API server can refuse by itself is refused there (CEL, `rules`); what it cannot is refused by parsing
//! into [`valid::Valid`], the only form that builders and reconcilers take. No reconciler looks at a raw spec twice.

#![allow(clippy::duplicated_attributes, reason = "kube's printcolumn(…) repeats type_ by design")]

pub mod cluster;
pub mod conditions;
pub mod events;
pub mod expansion;
pub mod names;
pub mod pair;
pub mod parse;
pub mod rules;
pub mod valid;

pub use cluster::{ShardCluster, ShardClusterSpec, ShardClusterStatus};
pub use expansion::{ExpansionPlan, ExpansionPlanSpec, ExpansionPlanStatus};
pub use pair::{LastMove, ShardPair, ShardPairSpec, ShardPairStatus};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;

/// The three CRDs, as installed.
pub fn crds() -> Vec<CustomResourceDefinition> {
    vec![ShardCluster::crd(), ShardPair::crd(), ExpansionPlan::crd()]
}

/// One CRD as the YAML that `crds/` holds.
pub fn crd_yaml(crd: &CustomResourceDefinition) -> String {
    serde_saphyr::to_string(crd).expect("a CRD is plain data")
}

/// All of them as one YAML stream, as `shardpair crds` prints it.
pub fn crds_yaml() -> String {
    crds().iter().map(|c| format!("---\n{}", crd_yaml(c))).collect()
}
