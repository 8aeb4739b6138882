//! The two Secrets of a cluster. Their values come from outside: nothing here is random.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;

use crate::api::names;
use crate::api::valid::Valid;

/// Name of the operator's account.
pub const OPERATOR_USER: &str = "shardpair";
/// Name of the replication account.
pub const REPLICATION_USER: &str = "shardpair_repl";
/// Name of the application's account, where the user doesn't choose one.
pub const APP_USER: &str = "app";

/// The operator's and the replication account.
pub fn operator(cluster: &Valid, operator_password: &str, replication_password: &str) -> Secret {
    let data = [
        (names::OPERATOR_USERNAME, OPERATOR_USER),
        (names::OPERATOR_PASSWORD, operator_password),
        (names::REPLICATION_USERNAME, REPLICATION_USER),
        (names::REPLICATION_PASSWORD, replication_password),
    ];
    build(cluster, (&names::operator_secret(&cluster.name), &[]), "Opaque", &data)
}

/// The application's account, where the user supplies none.
pub fn app(cluster: &Valid, password: &str) -> Secret {
    let data = [("username", APP_USER), ("password", password)];
    build(cluster, (&names::app_secret(&cluster.name), &[]), "kubernetes.io/basic-auth", &data)
}

pub(super) fn build(cluster: &Valid, (name, labels): (&str, &[(&str, &str)]), kind: &str, data: &[(&str, &str)]) -> Secret {
    let bytes = |(k, v): &(&str, &str)| ((*k).to_owned(), ByteString(v.as_bytes().to_vec()));
    Secret {
        metadata: super::meta(cluster, name, labels),
        type_: Some(kind.to_owned()),
        data: Some(data.iter().map(bytes).collect::<BTreeMap<_, _>>()),
        ..Secret::default()
    }
}
