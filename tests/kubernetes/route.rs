//! The routing service on a real Kubernetes whose API server is away for a while: only this process's way to it is cut.

use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::{Patch, PatchParams};
use kube::config::Kubeconfig;
use serde_json::{Value, json};

use crate::service::{Service, uniform};
use crate::support::{eventually, holds_for, secs, with_temp_ns};
use crate::vip::Vip;

/// The kubeconfig of this run, by another port. It has a key in it: nobody else's to read, and gone with the test.
struct Config(PathBuf);

impl Config {
    fn new(config: &Kubeconfig, port: u16) -> Self {
        let mut config = config.clone();
        for cluster in config.clusters.iter_mut().filter_map(|named| named.cluster.as_mut()) {
            cluster.tls_server_name = cluster.server.as_deref().map(|server| host_and_port(server).0);
            cluster.server = Some(format!("https://127.0.0.1:{port}"));
        }
        let path = std::env::temp_dir().join(format!("shardpair-kubeconfig-{}", std::process::id()));
        let file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path).expect("a file");
        serde_json::to_writer(file, &config).expect("written");
        Self(path)
    }
}

impl Drop for Config {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn host_and_port(server: &str) -> (String, u16) {
    let address = server.trim_start_matches("https://").trim_end_matches('/');
    let (host, port) = address.rsplit_once(':').unwrap_or((address, "443"));
    (host.to_owned(), port.parse().expect("a port"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_good_map_is_served_while_the_api_server_is_away() {
    with_temp_ns("route", async |kube, ns| {
        let maps: Api<ConfigMap> = Api::namespaced(kube.clone(), &ns);
        let write = async |epoch: i64, shards: u32| {
            let labels = json!({"shardpair.io/cluster": "shop"});
            let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "shop-map", "labels": labels}, "data": {"map.json": uniform(epoch, "Mod", shards)}});
            maps.patch("shop-map", &PatchParams::apply("test").force(), &Patch::Apply(object)).await.expect("a map");
        };
        write(1, 1).await;
        let ours = Kubeconfig::read().expect("a kubeconfig");
        let server = ours.clusters.iter().find_map(|named| named.cluster.as_ref()?.server.clone()).expect("a server");
        let (_, port) = host_and_port(&server);
        let api = Vip::to(port).await;
        let config = Config::new(&ours, api.port);
        let service = Service::of_kubernetes(&config.0, &ns).await;
        let routed = async || {
            let (status, _, body) = service.get(&format!("/v1/clusters/{ns}/shop/route?table=d.t&key=3")).await;
            let answer: Value = serde_json::from_str(&body).unwrap_or_default();
            if status == 200 { Ok((answer["epoch"].as_i64(), answer["shard"].as_i64())) } else { Err(format!("{status} {body}")) }
        };
        assert_eq!(routed().await, Ok((Some(1), Some(0))));
        // What is written meanwhile is seen when it is back, and nothing is forgotten until then.
        api.cut();
        write(2, 2).await;
        holds_for("the last good map is served", secs(5), async || match routed().await? {
            (Some(1), Some(0)) => Ok(()),
            other => Err(format!("{other:?}")),
        })
        .await;
        let metrics = service.get("/metrics").await.2;
        assert!(!metrics.contains("shardpair_route_source_errors_total 0\n"), "it is noticed: {metrics}");
        api.move_to(port);
        eventually("the newer map is served", secs(60), async || match routed().await? {
            (Some(2), Some(1)) => Ok(()),
            other => Err(format!("{other:?}")),
        })
        .await;
    })
    .await;
}
