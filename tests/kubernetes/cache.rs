//! The cluster's own Redis, as applications have it: the Secret's url, the client's cache, and the invalidator of the chart.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use k8s_openapi::api::core::v1::{Secret, Service};
use kube::api::DeleteParams;
use kube::{Api, ResourceExt};
use mysql_async::prelude::Queryable;
use serde_json::json;
use shardpair::client::cache::Load;
use shardpair::client::{At, Cache, CacheOptions, Client, ClientOptions, Freshness, MapSource};

use crate::support::cluster::{SYSTEM, install, install_with};
use crate::support::shop::{BACK_IN_SYNC, Shop};
use crate::support::{eventually, kubectl, secs, with_temp_ns};

pub const OUTBOX: &str = "shop.cache_outbox";

pub async fn address(shop: &Shop, service: &str) -> String {
    let services: Api<Service> = Api::namespaced(shop.client.clone(), &shop.ns);
    services.get(service).await.expect("a Service").spec.and_then(|s| s.cluster_ip).expect("a cluster IP")
}

/// As the Secret says; this machine asks no cluster DNS, so the Service's address stands for its name.
pub async fn url(shop: &Shop) -> String {
    let at = format!("shop-redis.{}.svc", shop.ns);
    let secrets: Api<Secret> = Api::namespaced(shop.client.clone(), &shop.ns);
    let data = secrets.get("shop-redis").await.expect("a Secret").data.unwrap_or_default();
    let url = String::from_utf8(data["url"].0.clone()).expect("a text");
    assert!(url.starts_with("redis://:") && url.contains(&at), "{}", url.rsplit('@').next().unwrap_or_default());
    url.replace(&at, &address(shop, "shop-redis").await)
}

/// A client of the map as it is, its place reached by the VIP's address.
async fn client(shop: &Shop) -> Arc<Client> {
    let (mut map, vip) = (shop.map().await.expect("a map"), shop.vip().await);
    map.shards[0].vip = vip.host.to_string();
    let options = ClientOptions::new("test", &vip.user, &vip.password);
    Arc::new(Client::new(MapSource::Fixed(Box::new(map)), options).await.expect("a client"))
}

fn read(client: &Client) -> Load<'_> {
    Box::pin(async move {
        let row = client.read(At::Shard(0), Freshness::Latest, |conn| Box::pin(async move { conn.query_first::<u32, _>("SELECT amount FROM shop.orders WHERE user_id = 7").await })).await?;
        Ok(row.map(|n| n.to_string().into_bytes()))
    })
}

/// Until reads are served by Redis.
async fn in_use(cache: &Cache, client: &Client) {
    let before = cache.counts().hits.load(Ordering::Relaxed);
    eventually("the cache is in use", secs(60), async || {
        cache.get("order:7", || read(client)).await.map_err(|e| e.to_string())?;
        if cache.counts().hits.load(Ordering::Relaxed) > before { Ok(()) } else { Err("no hit yet".to_owned()) }
    })
    .await;
}

async fn is_cached(cache: &Cache, client: &Client, wanted: &str) {
    eventually("the value is the row's", secs(30), async || {
        let value = cache.get("order:7", || read(client)).await.map_err(|e| e.to_string())?;
        if value.as_deref() == Some(wanted.as_bytes()) { Ok(()) } else { Err(format!("{value:?}")) }
    })
    .await;
}

async fn ping(url: &str) -> Result<String, String> {
    let asked = async { redis::cmd("PING").query_async(&mut redis::Client::open(url)?.get_multiplexed_async_connection().await?).await };
    tokio::time::timeout(secs(3), asked).await.map_err(|_| "no answer".to_owned())?.map_err(|e: redis::RedisError| e.to_string())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_has_a_redis_of_its_own_and_an_invalidator_keeps_it_right() {
    with_temp_ns("cache", async |kube, ns| {
        let shop = Shop::with(&kube, &ns, 1, json!({"cache": {"redis": {"memory": "32Mi"}}})).await;
        assert_eq!(shop.clusters().get("shop").await.expect("a cluster").status.and_then(|s| s.redis_secret).as_deref(), Some("shop-redis"));
        let redis = url(&shop).await;
        assert_eq!(ping(&redis).await.as_deref(), Ok("PONG"));
        let open = format!("redis://{}:6379", address(&shop, "shop-redis").await);
        assert!(ping(&open).await.is_err_and(|e| e.to_lowercase().contains("auth")), "nobody is let in without the password");

        let client = client(&shop).await;
        let mut session = shop.session(&shop.primary().await).await.expect("a session");
        for sql in [
            "CREATE TABLE shop.orders (user_id INT PRIMARY KEY, amount INT NOT NULL)",
            "INSERT INTO shop.orders VALUES (7, 1)",
            "CREATE USER 'invalidator'@'%' IDENTIFIED BY 'a word'",
            "GRANT REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO 'invalidator'@'%'",
            &format!("CREATE TABLE {OUTBOX} (id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY, cache_key VARBINARY(512) NOT NULL)"),
        ] {
            session.exec(sql, secs(10)).await.expect(sql);
        }
        let cache = Cache::new(&redis, client.clone(), CacheOptions { young: secs(600), ..CacheOptions::new("shop", OUTBOX) }).expect("a cache");
        in_use(&cache, &client).await;
        cache.idempotent(At::Shard(0), &["order:7"], |conn| Box::pin(async move { conn.query_drop("UPDATE shop.orders SET amount = 2 WHERE user_id = 7").await })).await.expect("written");
        is_cached(&cache, &client, "2").await;

        // Somebody who never heard of Redis writes; the invalidator of the chart sees to it.
        kubectl(&["-n", &ns, "create", "secret", "generic", "watcher", "--from-literal=username=invalidator", "--from-literal=password=a word"]).await;
        let wanted = json!([{"namespace": ns, "cluster": "shop", "cacheNamespace": "shop", "redisSecret": "shop-redis", "mysqlSecret": "watcher", "keys": ["shop.orders=order:{user_id}"]}]);
        install_with(&["--set-json", &format!("invalidate.clusters={wanted}")]).await;
        kubectl(&["-n", &ns, "rollout", "status", "deployment/shop-invalidate", "--timeout=120s"]).await;
        in_use(&cache, &client).await;
        session.exec("UPDATE shop.orders SET amount = 3 WHERE user_id = 7", secs(10)).await.expect("written");
        is_cached(&cache, &client, "3").await;

        // And over a failover.
        let before = shop.record().await;
        shop.kill_mysqld(&before.primary).await;
        let after = shop.moved_from(&before.primary).await;
        in_use(&cache, &client).await;
        let mut session = shop.session(&after.primary).await.expect("a session");
        session.exec("UPDATE shop.orders SET amount = 4 WHERE user_id = 7", secs(30)).await.expect("written");
        is_cached(&cache, &client, "4").await;
        shop.in_sync(after.epoch, BACK_IN_SYNC).await;
        install().await;

        // Redis dies, and comes back empty.
        shop.pods().delete("shop-redis-0", &DeleteParams::default()).await.expect("deleted");
        assert!(cache.get("order:7", || read(&client)).await.is_ok(), "the database answers");
        shop.ready(secs(120)).await;
        in_use(&cache, &client).await;

        // A new password: the Secret is deleted, and made again with another one.
        let secrets: Api<Secret> = Api::namespaced(kube.clone(), &ns);
        let old = secrets.delete("shop-redis", &DeleteParams::default()).await.expect("deleted").map_left(|s| s.uid());
        eventually("another password is in use", secs(120), async || {
            let there = secrets.get_opt("shop-redis").await.map_err(|e| e.to_string())?;
            if there.is_none() { return Err(format!("{old:?} is gone")) }
            let new = url(&shop).await;
            if new == redis { return Err("still the old one".to_owned()) }
            ping(&new).await.map(drop)
        })
        .await;
        shop.ready(secs(120)).await;
        tokio::time::timeout(secs(20), ping(&redis)).await.expect("an answer").expect_err("the old password is refused");

        // Not wanted any more.
        shop.change(json!({"cache": null})).await.expect("changed");
        eventually("Redis is gone, the databases aren't", secs(60), async || {
            let left = shop.pods().get_opt("shop-redis-0").await.map_err(|e| e.to_string())?;
            if left.is_none() { Ok(()) } else { Err("it still runs".to_owned()) }
        })
        .await;
        shop.ready(secs(60)).await;
        let deployments = kubectl(&["-n", SYSTEM, "get", "deployments", "-o", "name"]).await;
        assert!(!deployments.contains("invalidate"), "{deployments}");
    })
    .await;
}
