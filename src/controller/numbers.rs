//! A member's number is given out once, whoever asks: pairs that replace a member at the same moment, a plan that makes a pair, an
//! older leader whose write is still on its way.
//!
//! `status.nextMember` of the ShardCluster is the next one. It is raised, by a write that names the version it read, before any pair
//! names a member of that number; so two pairs can never name the same new member. A number that was taken and not used is skipped.

use std::time::Duration;

use kube::api::{Patch, PatchParams};
use kube::{Api, Client, ResourceExt};
use serde_json::json;

use super::stores::Stores;
use crate::api::cluster::ShardCluster;
use crate::api::names;

/// The API server's answer.
const CALL: Duration = Duration::from_millis(1_500);

/// Why a number isn't the asker's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Somebody was first: `next` is free, as far as is known.
    #[error("the member's number is given out: {next} is the next one")]
    Given {
        /// Free when it was looked.
        next: u32,
    },
    /// Not known whether it was taken: whoever goes on takes another.
    #[error("the member's number can't be taken: {0}")]
    Unknown(String),
}

/// What `status.nextMember` becomes when `many` numbers from `first` on are taken.
fn raised(next: Option<i64>, first: u32, many: u32) -> Result<i64, Refused> {
    let next = next.unwrap_or(0);
    let given = u32::try_from(next).ok().filter(|next| *next > first);
    given.map_or(Ok(i64::from(first) + i64::from(many)), |next| Err(Refused::Given { next }))
}

/// Takes `many` numbers from `first` on.
pub async fn take(client: &Client, namespace: &str, cluster: &str, first: u32, many: u32) -> Result<(), Refused> {
    let api: Api<ShardCluster> = Api::namespaced(client.clone(), namespace);
    let taking = async {
        // Not from the watch: a quorum read.
        let found = api.get(cluster).await.map_err(|e| Refused::Unknown(e.to_string()))?;
        let next = raised(found.status.as_ref().and_then(|s| s.next_member), first, many)?;
        let change = json!({"metadata": {"resourceVersion": found.resource_version()}, "status": {"nextMember": next}});
        api.patch_status(cluster, &PatchParams::default(), &Patch::Merge(&change)).await.map_err(|e| Refused::Unknown(e.to_string()))
    };
    match tokio::time::timeout(CALL, taking).await {
        Ok(done) => done.map(drop),
        Err(_) => Err(Refused::Unknown("no answer from the API server".to_owned())),
    }
}

/// The same, and what is learnt of it is told to who looks for a number next.
pub(super) async fn take_told(stores: &Stores, client: &Client, namespace: &str, cluster: &str, first: u32, many: u32) -> Result<(), Refused> {
    let taken = take(client, namespace, cluster, first, many).await;
    match &taken {
        Ok(()) => stores.given_out(namespace, cluster, first + many),
        Err(Refused::Given { next }) => stores.given_out(namespace, cluster, *next),
        Err(Refused::Unknown(_)) => {}
    }
    taken
}

/// Members that nobody named before: their numbers are to be taken.
pub(super) fn new_numbers<'a>(cluster: &'a str, named: &'a [&str], wanted: impl Iterator<Item = &'a str> + 'a) -> impl Iterator<Item = u32> + 'a {
    wanted.filter(|name| !named.contains(name)).filter_map(|name| names::member_number(cluster, name))
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use axum::extract::State;
    use axum::http::StatusCode;
    use axum::routing::{get, patch};
    use axum::Router;
    use serde_json::Value;

    use super::*;

    #[test]
    fn a_number_is_raised_and_never_lowered() {
        assert_eq!(raised(None, 4, 1), Ok(5));
        assert_eq!(raised(Some(4), 4, 2), Ok(6));
        assert_eq!(raised(Some(3), 9, 1), Ok(10), "what was named before there was a count is beyond it");
        assert_eq!(raised(Some(5), 4, 1), Err(Refused::Given { next: 5 }));
    }

    #[test]
    fn only_a_name_that_nobody_had_is_new() {
        let new: Vec<u32> = new_numbers("shop", &["shop-m0", "shop-m1"], ["shop-m0", "shop-m7", "other-m9"].into_iter()).collect();
        assert_eq!(new, [7]);
    }

    type Object = Arc<Mutex<(u64, Option<i64>)>>;

    fn answer((version, next): (u64, Option<i64>)) -> String {
        let cluster = json!({
            "apiVersion": "shardpair.io/v1alpha1", "kind": "ShardCluster", "metadata": {"name": "shop", "namespace": "n", "resourceVersion": version.to_string()},
            "spec": {"shards": 2, "mysql": {"storage": {"size": "1Gi"}}, "databases": ["d"]}, "status": {"nextMember": next},
        });
        cluster.to_string()
    }

    /// What the API server does with a patch that names a version.
    async fn change(State(object): State<Object>, body: String) -> (StatusCode, String) {
        let body: Value = serde_json::from_str(&body).expect("JSON");
        let mut object = object.lock().expect("never poisoned");
        if body["metadata"]["resourceVersion"].as_str() != Some(object.0.to_string().as_str()) {
            let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Conflict", "message": "the object has been modified", "code": 409});
            return (StatusCode::CONFLICT, status.to_string());
        }
        *object = (object.0 + 1, body["status"]["nextMember"].as_i64());
        (StatusCode::OK, answer(*object))
    }

    #[tokio::test]
    async fn of_all_who_take_one_number_at_the_same_moment_one_gets_it() {
        let object = Object::new(Mutex::new((7, None)));
        let path = "/apis/shardpair.io/v1alpha1/namespaces/n/shardclusters/shop";
        let app = Router::new()
            .route(path, get(|State(object): State<Object>| async move { answer(*object.lock().expect("never poisoned")) }))
            .route(&format!("{path}/status"), patch(change))
            .with_state(object.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = format!("http://{}", listener.local_addr().expect("an address"));
        tokio::spawn(async move { axum::serve(listener, app).await });
        let client = Client::try_from(kube::Config::new(address.parse().expect("a URI"))).expect("a client");
        // As pairs do: each looks for the number that it saw, and for the next one when somebody was first.
        let mut given = Vec::new();
        for first in 4..10 {
            let all = futures::future::join_all((0..8).map(|_| take(&client, "n", "shop", first, 1))).await;
            given.extend(all.iter().filter(|taken| taken.is_ok()).map(|_| first));
            let late = take(&client, "n", "shop", first, 1).await;
            assert_eq!(late, Err(Refused::Given { next: first + 1 }), "it is given out");
        }
        assert_eq!(given, [4, 5, 6, 7, 8, 9], "each to one");
        assert_eq!(object.lock().expect("never poisoned").1, Some(10));
    }
}
