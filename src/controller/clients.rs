//! Which of the applications' clients still use an older map, as every replica of the routing service tells.
//!
//! A client that holds no map of ours, or reads its ConfigMap, is known to nobody. So this is shown, and waited for with a limit; the
//! guards in the databases are what keys rest on.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use serde::Deserialize;

use crate::client::http;
use crate::expansion::facts::Clients;

/// One replica's answer takes at most this.
const ANSWER: Duration = Duration::from_millis(1_000);
/// Replicas asked, at most.
const REPLICAS: usize = 16;
/// Names told, at most.
const NAMES: usize = 5;

#[derive(Deserialize)]
struct Answer {
    known: u64,
    behind: Vec<Behind>,
}

#[derive(Deserialize)]
struct Behind {
    id: String,
    epoch: i64,
}

/// Asks each address that `replicas` (host:port of a headless Service) has.
pub(super) async fn ask(replicas: &str, namespace: &str, cluster: &str, epoch: i64) -> Clients {
    let addresses: Vec<SocketAddr> = match tokio::time::timeout(ANSWER, tokio::net::lookup_host(replicas)).await {
        Ok(Ok(found)) => found.take(REPLICAS).collect(),
        Ok(Err(error)) => return Clients { error: Some(format!("{replicas}: {error}")), ..Clients::default() },
        Err(_) => return Clients { error: Some(format!("{replicas}: no answer from DNS")), ..Clients::default() },
    };
    let path = format!("/v1/clusters/{namespace}/{cluster}/clients?behind={epoch}");
    let answers = futures::future::join_all(addresses.iter().map(|address| one(*address, &path))).await;
    sum(answers)
}

async fn one(address: SocketAddr, path: &str) -> Result<Answer, String> {
    let reply = http::get(&format!("http://{address}{path}"), &[], ANSWER).await?;
    match reply.status {
        200 => serde_json::from_slice(&reply.body).map_err(|error| format!("{address}: {error}")),
        status => Err(format!("{address}: {status} {}", String::from_utf8_lossy(&reply.body[..reply.body.len().min(200)]))),
    }
}

/// A client that moved from one replica to another is known to both for a while: its newest word counts. Only those behind are named, so a
/// client behind at one and gone from there is waited for until it is forgotten, or the limit.
fn sum(answers: Vec<Result<Answer, String>>) -> Clients {
    let (mut clients, mut behind) = (Clients::default(), BTreeMap::<String, i64>::new());
    for answer in answers {
        match answer {
            Ok(answer) => {
                clients.known += answer.known;
                for client in answer.behind {
                    let epoch = behind.entry(client.id).or_insert(client.epoch);
                    *epoch = (*epoch).max(client.epoch);
                }
            }
            Err(error) => clients.error = Some(error),
        }
    }
    clients.behind = behind.len() as u64;
    clients.names = behind.into_iter().take(NAMES).map(|(id, epoch)| format!("{id} (epoch {epoch})")).collect();
    clients
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(known: u64, behind: &[(&str, i64)]) -> Result<Answer, String> {
        Ok(Answer { known, behind: behind.iter().map(|(id, epoch)| Behind { id: (*id).to_owned(), epoch: *epoch }).collect() })
    }

    #[test]
    fn replicas_are_summed_and_one_that_is_silent_is_told() {
        let clients = sum(vec![answer(3, &[("a", 1), ("b", 2)]), answer(2, &[("a", 2)])]);
        assert_eq!((clients.known, clients.behind, clients.error), (5, 2, None));
        assert_eq!(clients.names, ["a (epoch 2)", "b (epoch 2)"]);
        let clients = sum(vec![answer(1, &[]), Err("no answer".to_owned())]);
        assert_eq!((clients.behind, clients.error.as_deref()), (0, Some("no answer")));
        assert_eq!(sum(Vec::new()), Clients::default());
    }
}
