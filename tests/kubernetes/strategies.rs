//! Whole plans of the strategies Range and Table: every row ends on the shard that the map says, and nowhere else.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::PostParams;
use kube::{Api, Client};
use mysql_async::prelude::Queryable;
use serde_json::{Value, json};
use shardpair::api::expansion::Phase;
use shardpair::routing::map::Routes;
use shardpair::routing::{Key, Map};

use crate::support::plan::Plan;
use crate::support::shop::Shop;
use crate::support::{secs, with_temp_ns_for};

/// Rows with the keys 1 to this.
const KEYS: i64 = 120;

/// One shard with rows becomes two; each row is where the new map says.
async fn becomes_two(client: &Client, ns: &str, sharding: Value, routes: Option<Routes>) {
    let shop = Shop::with(client, ns, 1, json!({"sharding": sharding})).await;
    let mut conn = shop.vip().await.connect_patiently(secs(10)).await.expect("the VIP answers");
    conn.query_drop("CREATE TABLE orders (id BIGINT AUTO_INCREMENT PRIMARY KEY, user_id BIGINT NOT NULL)").await.expect("a table");
    let values: Vec<String> = (1..=KEYS).map(|key| format!("({key})")).collect();
    conn.query_drop(format!("INSERT INTO orders (user_id) VALUES {}", values.join(","))).await.expect("rows");
    let plan = Plan::apply(&shop, "to-2", 2, json!({"until": "Complete"})).await;
    let status = plan.reaches(Phase::Complete, secs(200)).await;
    println!("{:?}", status.shards);
    let map = Map { routes, ..shop.map().await.expect("the map") };
    for shard in 0..2 {
        let primary = shop.pairs().get(&format!("shop-{shard}")).await.expect("a pair").status.expect("a status").record.primary;
        let has = shop.ask(&primary, "SELECT group_concat(user_id ORDER BY user_id) FROM shop.orders").await;
        let of_map = (1..=KEYS).filter(|key| map.shard_of("shop.orders", &Key::Int(*key)).expect("a shard").id == shard);
        let should = of_map.map(|key| key.to_string()).collect::<Vec<_>>().join(",");
        assert!(!should.is_empty(), "shard {shard} has no key: {map:?}");
        assert_eq!(has, should, "shard {shard}: {map:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shard_by_range_is_cut_at_its_median_key() {
    with_temp_ns_for("range", secs(300), async |client: Client, ns: String| {
        let sharding = json!({"strategy": "Range", "function": null, "ranges": [{"shard": 0}], "tables": [{"name": "shop.orders", "key": "user_id"}]});
        becomes_two(&client, &ns, sharding, None).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shard_by_a_table_of_routes_is_split_by_the_residue_of_its_keys() {
    with_temp_ns_for("routes", secs(300), async |client: Client, ns: String| {
        let routes = Routes { default: Some(0), ..Routes::default() };
        let mut object = ConfigMap { data: Some([("routes.json".to_owned(), json!(routes).to_string())].into()), ..ConfigMap::default() };
        object.metadata.name = Some("shop-routes".to_owned());
        let maps: Api<ConfigMap> = Api::namespaced(client.clone(), &ns);
        maps.create(&PostParams::default(), &object).await.expect("routes");
        let sharding = json!({"strategy": "Table", "table": {"configMap": "shop-routes"}, "tables": [{"name": "shop.orders", "key": "user_id"}]});
        becomes_two(&client, &ns, sharding, Some(routes)).await;
    })
    .await;
}
