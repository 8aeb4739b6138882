//! What is made of a ShardCluster, as golden files (`cargo insta review` or INSTA_UPDATE=always to accept changes).
//!
//! A change of the pod template here means that every pod of every user becomes outdated: is it worth that?

use k8s_openapi::api::core::v1::Pod;
use serde::Serialize;
use serde_json::{Value, json};
use shardpair::api::cluster::Redis;
use shardpair::api::valid::{self, Valid};
use shardpair::api::{ExpansionPlan, ShardCluster, names};
use shardpair::manifests::{self, claim, config, map, pair, pdb, redis, secret, service, slice, statefulset};

const MY_CNF: &str = "[mysqld]\nserver_id=2\n";

pub(crate) fn example(name: &str) -> ShardCluster {
    let path = format!("{}/examples/{name}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).expect(&path);
    let mut cluster: ShardCluster = serde_saphyr::from_str(&text).unwrap_or_else(|e| panic!("{path}: {e}"));
    cluster.metadata.namespace = Some("default".to_owned());
    cluster.metadata.uid = Some("11111111-2222-3333-4444-555555555555".to_owned());
    cluster
}

fn shop() -> Valid {
    Valid::parse(&example("shardcluster.yaml")).expect("valid")
}

fn golden(name: &str, object: impl Serialize) {
    insta::assert_snapshot!(name, serde_saphyr::to_string(&object).expect("plain data"));
}

fn value(object: impl Serialize) -> Value {
    serde_json::to_value(object).expect("plain data")
}

#[test]
fn a_member_is_a_statefulset_of_one() {
    golden("statefulset", statefulset::build(&shop(), "shop-m1", 0, MY_CNF, "w"));
}

#[test]
fn a_members_volume_has_no_owner() {
    golden("claim", claim::build(&shop(), "shop-m1"));
}

#[test]
fn a_members_config_map_tells_whether_it_is_new() {
    let mut made = value(config::build(&shop(), "shop-m1", MY_CNF, true));
    assert_eq!(made["data"]["entry.sh"], config::ENTRY);
    made["data"]["entry.sh"] = json!("…");
    golden("config", made);
}

#[test]
fn a_clusters_redis_is_a_secret_a_service_and_a_statefulset() {
    let mut cluster = example("shardcluster.yaml");
    cluster.spec.cache.redis = Some(Redis::default());
    let valid = Valid::parse(&cluster).expect("valid");
    let Some(valid::Redis::Own(own)) = &valid.redis else { panic!("{:?}", valid.redis) };
    golden("redis-secret", redis::secret(&valid, "s3cr3t"));
    golden("redis-service", redis::service(&valid));
    let set = redis::statefulset(&valid, own, "uid");
    assert!(!serde_json::to_string(&set).expect("plain data").contains("s3cr3t"), "no password outside the Secret");
    golden("redis-statefulset", set);
}

#[test]
fn a_member_and_a_pair_have_a_service_each() {
    golden("service-member", service::member(&shop(), "shop-m1"));
    golden("service-vip", service::vip(&shop(), 0));
    golden("service-read", service::read(&shop(), 0));
}

#[test]
fn a_pairs_budget_protects_its_primary() {
    golden("budget", pdb::build(&shop(), 0));
}

#[test]
fn a_pair_begins_with_its_two_members() {
    golden("pair", pair::build(&shop(), 1));
}

#[test]
fn the_secrets_hold_the_accounts() {
    golden("secret-operator", secret::operator(&shop(), "operators", "replications"));
    golden("secret-app", secret::app(&shop(), "apps"));
}

#[test]
fn the_vip_leads_to_one_pod() {
    let pod: Pod = serde_json::from_value(json!({
        "metadata": {"name": "shop-m1-0", "namespace": "default", "uid": "p1"}, "spec": {"nodeName": "n2", "containers": []},
    }))
    .expect("a pod");
    let mut of = pair::build(&shop(), 0);
    of.metadata.uid = Some("pair-uid".to_owned());
    golden("slice", slice::build(&of, "shop-m1", "10.244.2.7", &pod));
    let (mut reads, mut placed) = (service::read(&shop(), 0), pod.clone());
    reads.metadata.owner_references.iter_mut().flatten().for_each(|o| o.uid = "cluster-uid".to_owned());
    placed.status = Some(serde_json::from_value(json!({"podIP": "10.244.2.7"})).expect("a status"));
    golden("slice-read", slice::of_reads(&of, &reads, Some(("shop-m1", &placed))));
    assert_eq!(value(slice::of_reads(&of, &reads, None))["endpoints"], json!([]));
    assert_eq!(slice::build(&of, "shop-m1", "fd00::7", &pod).address_type, "IPv6");
}

#[test]
fn the_map_tells_every_shard_and_its_vip() {
    let cluster = shop();
    golden("map", serde_json::from_str::<Value>(&map::map(&cluster).json()).expect("JSON"));
}

#[test]
fn a_map_of_ranges_gives_each_shard_its_bounds() {
    let mut cluster = example("shardcluster.yaml");
    cluster.spec.sharding = serde_json::from_value(json!({"strategy": "Range", "ranges": [{"shard": 1, "to": 100}, {"shard": 0}]})).expect("sharding");
    let cluster = Valid::parse(&cluster).expect("valid");
    let json: Value = serde_json::from_str(&map::map(&cluster).json()).expect("JSON");
    assert_eq!(json["shards"][0]["from"], 100);
    assert_eq!(json["shards"][0]["to"], Value::Null);
    assert_eq!(json["shards"][1]["to"], 100);
    assert_eq!(json["function"], Value::Null);
}

#[test]
fn a_pod_keeps_to_the_restricted_standard() {
    let pod = value(statefulset::build(&shop(), "shop-m0", 0, MY_CNF, "w"))["spec"]["template"]["spec"].clone();
    let (of_pod, of_container) = (&pod["securityContext"], &pod["containers"][0]["securityContext"]);
    assert_eq!(of_pod["runAsNonRoot"], true);
    assert_eq!(of_pod["seccompProfile"]["type"], "RuntimeDefault");
    assert_eq!(of_container["allowPrivilegeEscalation"], false);
    assert_eq!(of_container["capabilities"], json!({"drop": ["ALL"]}));
    assert_eq!(of_container["readOnlyRootFilesystem"], true);
    assert_eq!(pod["automountServiceAccountToken"], false);
    let allowed = ["configMap", "emptyDir", "persistentVolumeClaim", "projected", "secret"];
    for volume in pod["volumes"].as_array().expect("volumes") {
        assert!(allowed.iter().any(|kind| volume[kind].is_object()), "{volume}");
    }
}

#[test]
fn the_users_affinity_is_combined_with_ours() {
    let cluster = Valid::parse(&example("shardcluster-required.yaml")).expect("valid");
    let set = value(statefulset::build(&cluster, "ledger-m0", 0, MY_CNF, "w"));
    let apart = &set["spec"]["template"]["spec"]["affinity"]["podAntiAffinity"];
    assert_eq!(apart["requiredDuringSchedulingIgnoredDuringExecution"].as_array().map(Vec::len), Some(1));
    assert_eq!(apart["preferredDuringSchedulingIgnoredDuringExecution"][0]["weight"], 100);
}

#[test]
fn neither_my_cnf_nor_the_role_nor_a_known_volume_changes_the_pod_template() {
    let template = |my_cnf: &str| value(statefulset::build(&shop(), "shop-m0", 0, my_cnf, "w"))["spec"]["template"].clone();
    assert_eq!(template("a"), template("b"));
    let text = template("a").to_string();
    assert!(!text.contains(names::LABEL_ROLE) && !text.contains(names::CONFIG_HASH));
}

#[test]
fn everything_but_volumes_is_controlled_by_the_cluster() {
    let cluster = shop();
    let owned = [
        value(statefulset::build(&cluster, "shop-m0", 0, MY_CNF, "w")),
        value(config::build(&cluster, "shop-m0", MY_CNF, false)),
        value(service::member(&cluster, "shop-m0")),
        value(service::vip(&cluster, 0)),
        value(pdb::build(&cluster, 0)),
        value(pair::build(&cluster, 0)),
        value(secret::app(&cluster, "x")),
        value(map::build(&cluster)),
    ];
    for object in owned {
        assert_eq!(object["metadata"]["ownerReferences"][0]["uid"], cluster.uid, "{object}");
    }
    let mut delete = cluster.clone();
    delete.storage.delete = true;
    assert_eq!(value(claim::build(&cluster, "shop-m0"))["metadata"]["ownerReferences"], Value::Null);
    assert_eq!(value(claim::build(&delete, "shop-m0"))["metadata"]["ownerReferences"][0]["uid"], cluster.uid);
}

#[test]
fn the_stamp_follows_the_content() {
    let stamp = |cluster: &Valid| value(manifests::stamp(claim::build(cluster, "shop-m0")))["metadata"]["annotations"][names::APPLIED_HASH].clone();
    let mut other = shop();
    other.storage.size = "2Gi".to_owned();
    assert_eq!(stamp(&shop()), stamp(&shop()));
    assert_ne!(stamp(&shop()), stamp(&other));
}

#[test]
fn every_example_can_be_carried_out() {
    for name in ["shardcluster.yaml", "shardcluster-small.yaml", "shardcluster-required.yaml"] {
        Valid::parse(&example(name)).unwrap_or_else(|e| panic!("{name}: {e}"));
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/expansionplan.yaml");
    let plan: ExpansionPlan = serde_saphyr::from_str(&std::fs::read_to_string(path).expect(path)).expect("an ExpansionPlan");
    assert_eq!(plan.spec.to_shards, 2 * example("shardcluster.yaml").spec.shards);
}
