//! The cluster controller's plan: what is made of a spec, given what exists.

use jiff::Timestamp;
use serde_json::{Value, json};
use shardpair::api::cluster::Redis;
use shardpair::api::valid::Valid;
use shardpair::api::{ShardCluster, conditions, names};
use shardpair::controller::cluster::compare::{contains, unchanged};
use shardpair::controller::cluster::plan::{Action, Class, Fresh, Kind, Live, Plan, Seen, plan};
use shardpair::controller::cluster::report;

use crate::manifests::example;

fn shop() -> ShardCluster {
    example("shardcluster.yaml")
}

fn classes() -> Vec<Class> {
    vec![Class { name: "std".to_owned(), default: true, grows: true }]
}

fn empty() -> Seen {
    let word = || "x".repeat(32);
    Seen { classes: classes(), fresh: Fresh { operator: word(), replication: word(), app: word(), redis: word() }, ..Seen::default() }
}

fn make(cluster: &ShardCluster, seen: &Seen) -> Plan {
    plan(&Valid::parse(cluster).expect("valid"), seen)
}

/// The world after a plan was carried out by an API server that adds uids and defaults.
fn after(plan: &Plan, mut seen: Seen) -> Seen {
    for action in &plan.actions {
        match action {
            Action::Create(kind, value) | Action::Apply(kind, value, _) => {
                let name = value["metadata"]["name"].as_str().expect("named").to_owned();
                let mut value = value.clone();
                value["metadata"]["uid"] = json!(format!("uid-{}-{name}", kind.as_str()));
                value["metadata"]["generation"] = json!(1);
                if *kind == Kind::Claim {
                    value["spec"]["storageClassName"] = json!("std");
                    value["status"] = json!({"phase": "Bound"});
                }
                if *kind == Kind::StatefulSet {
                    value["status"] = json!({"observedGeneration": 1, "updatedReplicas": 1});
                }
                seen.objects.insert((*kind, name), Live { value });
            }
            Action::Delete(kind, name, _) => drop(seen.objects.remove(&(*kind, name.clone()))),
        }
    }
    seen
}

#[test]
fn a_service_for_reads_is_made_when_it_is_wanted_and_goes_when_it_isnt() {
    let reads = |plan: &Plan| {
        let of_reads = |action: &&Action| match action {
            Action::Apply(Kind::Service, value, _) => value["metadata"]["name"].as_str().is_some_and(|n| n.ends_with("-read")),
            Action::Delete(Kind::Service, name, _) => name.ends_with("-read"),
            _ => false,
        };
        plan.actions.iter().filter(of_reads).map(|a| matches!(a, Action::Delete(..))).collect::<Vec<_>>()
    };
    let mut cluster = shop();
    assert_eq!(reads(&make(&cluster, &provisioned())), [false; 0]);
    cluster.spec.reads.service = true;
    let first = make(&cluster, &provisioned());
    assert_eq!(reads(&first), [false, false], "one for each shard");
    let with = after(&first, provisioned());
    assert_eq!(reads(&make(&cluster, &with)), [false; 0], "they are there");
    assert_eq!(reads(&make(&shop(), &with)), [true, true], "they go");
    let mut foreign = with.clone();
    set(&mut foreign, Kind::Service, "shop-0-read", "/metadata/ownerReferences", json!([]));
    assert_eq!(reads(&make(&shop(), &foreign)), [true], "what isn't ours stays");
}

#[test]
fn a_redis_is_made_kept_and_goes_and_a_users_own_is_only_looked_at() {
    let named = |plan: &Plan| plan.actions.iter().map(|a| match a {
        Action::Create(kind, value) | Action::Apply(kind, value, _) => format!("+{} {}", kind.as_str(), value["metadata"]["name"].as_str().expect("named")),
        Action::Delete(kind, name, _) => format!("-{} {name}", kind.as_str()),
    }).collect::<Vec<_>>();
    let mut cluster = shop();
    cluster.spec.cache.redis = Some(Redis::default());
    let first = make(&cluster, &provisioned());
    assert_eq!(named(&first), ["+Secret shop-redis", "+Service shop-redis"]);
    let second = make(&cluster, &after(&first, provisioned()));
    assert_eq!(named(&second), ["+StatefulSet shop-redis"], "with the uid of the Secret that is there");
    let with = after(&second, after(&first, provisioned()));
    assert_eq!(named(&make(&cluster, &with)), [""; 0]);
    let ready = |seen: &Seen| report::status(&cluster, seen, &make(&cluster, seen), Timestamp::now());
    assert_eq!(ready(&with).redis_secret.as_deref(), Some("shop-redis"));
    assert_eq!(named(&make(&shop(), &with)), ["-Service shop-redis", "-StatefulSet shop-redis"]);

    let mut theirs = shop();
    theirs.spec.cache.redis = Some(Redis { secret_name: Some("our-redis".to_owned()), ..Redis::default() });
    let remark = |seen: &Seen| make(&theirs, seen).remarks.first().map(|r| r.message.clone()).unwrap_or_default();
    assert_eq!(named(&make(&theirs, &with)), ["-Service shop-redis", "-StatefulSet shop-redis"]);
    assert!(remark(&with).contains("our-redis") && remark(&with).contains("doesn't exist"), "{}", remark(&with));
    let mut seen = provisioned();
    seen.objects.insert((Kind::Secret, "our-redis".to_owned()), Live { value: json!({"metadata": {"name": "our-redis"}, "data": {"url": "cmVkaXM6Ly9ob3N0OjYzNzk="}}) });
    assert_eq!((remark(&seen), named(&make(&theirs, &seen))), (String::new(), Vec::new()), "it isn't ours, and nothing is made of it");
    seen.objects.insert((Kind::Secret, "our-redis".to_owned()), Live { value: json!({"metadata": {"name": "our-redis"}, "data": {"url": "aHR0cDovL2hvc3Q="}}) });
    assert!(remark(&seen).contains("not Redis'"));

    for bad in [Redis { memory: Some("1Mi".to_owned()), ..Redis::default() }, Redis { image: Some("a b".to_owned()), ..Redis::default() }] {
        let mut cluster = shop();
        cluster.spec.cache.redis = Some(bad);
        assert_eq!(Valid::parse(&cluster).expect_err("refused").reason, "InvalidCache");
    }
}

fn provisioned() -> Seen {
    let seen = empty();
    after(&make(&shop(), &seen), seen)
}

fn set(seen: &mut Seen, kind: Kind, name: &str, pointer: &str, to: Value) {
    let live = seen.objects.get_mut(&(kind, name.to_owned())).expect(name);
    *live.value.pointer_mut(pointer).unwrap_or_else(|| panic!("{name} has no {pointer}")) = to;
}

fn reason(plan: &Plan) -> &str {
    plan.stalled().map_or("", |i| i.reason)
}

fn names_of(plan: &Plan) -> Vec<String> {
    let one = |action: &Action| match action {
        Action::Create(kind, value) => format!("create {} {}", kind.as_str(), value["metadata"]["name"].as_str().unwrap_or_default()),
        Action::Apply(kind, value, _) => format!("apply {} {}", kind.as_str(), value["metadata"]["name"].as_str().unwrap_or_default()),
        Action::Delete(kind, name, _) => format!("delete {} {name}", kind.as_str()),
    };
    plan.actions.iter().map(one).collect()
}

#[test]
fn a_new_cluster_is_made_in_an_order_that_can_be_cut_anywhere() {
    let seen = empty();
    insta::assert_snapshot!("plan-of-a-new-cluster", names_of(&make(&shop(), &seen)).join("\n"));
}

#[test]
fn at_rest_nothing_is_written() {
    let plan = make(&shop(), &provisioned());
    assert_eq!((names_of(&plan), plan.stalled()), (Vec::new(), None));
}

#[test]
fn whatever_was_cut_short_is_completed_and_no_more() {
    let whole = make(&shop(), &empty());
    for made in 0..whole.actions.len() {
        let part = Plan { actions: whole.actions[..made].to_vec(), ..Plan::default() };
        let seen = after(&part, empty());
        let rest = make(&shop(), &seen);
        assert_eq!(rest.stalled(), None, "cut after {made}");
        assert_eq!(names_of(&rest), names_of(&whole)[made..], "cut after {made}");
    }
}

#[test]
fn what_somebody_changed_by_hand_is_put_back() {
    let mut seen = provisioned();
    set(&mut seen, Kind::StatefulSet, "shop-m0", "/spec/replicas", json!(0));
    assert_eq!(names_of(&make(&shop(), &seen)), ["apply StatefulSet shop-m0"]);
}

#[test]
fn a_field_no_longer_wanted_is_taken_away() {
    let mut with = shop();
    with.spec.mysql.pod_template.node_selector.insert("disk".to_owned(), "ssd".to_owned());
    let seen = empty();
    let seen = after(&make(&with, &seen), seen);
    assert_eq!(names_of(&make(&shop(), &seen)).len(), 4, "one StatefulSet per member");
}

#[test]
fn a_foreign_object_of_our_name_stops_everything_before_anything_is_made() {
    for (kind, name) in [(Kind::Service, "shop-1"), (Kind::StatefulSet, "shop-m3"), (Kind::Secret, "shop-operator"), (Kind::Claim, "shop-m0"), (Kind::ConfigMap, "shop-map")] {
        let mut seen = empty();
        seen.objects.insert((kind, name.to_owned()), Live { value: json!({"metadata": {"name": name, "uid": "x"}}) });
        let plan = make(&shop(), &seen);
        assert_eq!((reason(&plan), plan.actions.len()), ("NameTaken", 0), "{name}");
        assert!(plan.stalled().expect("stalled").message.contains(name));
    }
}

#[test]
fn the_users_own_secret_is_taken_as_it_is() {
    let secret = |data: Value| {
        let mut seen = empty();
        seen.objects.insert((Kind::Secret, "shop-app".to_owned()), Live { value: json!({"metadata": {"name": "shop-app"}, "data": data}) });
        make(&shop(), &seen)
    };
    let good = secret(json!({"username": "bWU=", "password": "eA=="}));
    assert_eq!(reason(&good), "");
    assert!(!names_of(&good).iter().any(|a| a.contains("shop-app")));
    for bad in [json!({"username": "bWU="}), json!({"password": "eA=="}), json!({"username": "cm9vdA==", "password": "eA=="}), json!({})] {
        assert_eq!(reason(&secret(bad)), "BadSecret");
    }
}

#[test]
fn a_missing_storage_class_is_told_and_only_matters_for_new_volumes() {
    assert_eq!(reason(&make(&shop(), &Seen { classes: Vec::new(), ..empty() })), "StorageClassMissing");
    let mut named = shop();
    named.spec.mysql.storage.storage_class_name = Some("fast".to_owned());
    assert_eq!(reason(&make(&named, &empty())), "StorageClassMissing");
    assert_eq!(reason(&make(&shop(), &Seen { classes: Vec::new(), ..provisioned() })), "");
}

#[test]
fn a_volume_grows_where_its_class_allows_and_never_shrinks() {
    let mut bigger = shop();
    bigger.spec.mysql.storage.size = "2Gi".to_owned();
    let claims: Vec<_> = (0..4).map(|k| format!("apply PersistentVolumeClaim shop-m{k}")).collect();
    assert_eq!(names_of(&make(&bigger, &provisioned())), claims);

    let rigid = Seen { classes: vec![Class { name: "std".to_owned(), default: true, grows: false }], ..provisioned() };
    let plan = make(&bigger, &rigid);
    assert_eq!((reason(&plan), plan.actions.len()), ("VolumeCannotGrow", 0));

    let mut smaller = shop();
    smaller.spec.mysql.storage.size = "500Mi".to_owned();
    assert_eq!(reason(&make(&smaller, &provisioned())), "StorageShrinks");
}

#[test]
fn mysql_never_gets_older_than_its_data() {
    let mut older = shop();
    older.spec.mysql.image = "mysql:8.4".to_owned();
    assert_eq!(reason(&make(&older, &provisioned())), "Downgrade");

    // The template says 9.7 already, but every pod still runs 8.4: the way back is open.
    let images = (0..4).map(|k| (names::member("shop", k), "mysql:8.4".to_owned())).collect();
    assert_eq!(reason(&make(&older, &Seen { images, ..provisioned() })), "");
}

#[test]
fn a_lost_record_is_not_made_up() {
    let mut seen = provisioned();
    seen.objects.remove(&(Kind::Pair, "shop-1".to_owned()));
    let plan = make(&shop(), &seen);
    assert_eq!((reason(&plan), plan.actions.len()), ("RecordLost", 0));
}

#[test]
fn a_known_volume_that_is_gone_is_not_made_anew_and_is_no_first_start() {
    let mut seen = provisioned();
    let record = json!({"epoch": 3, "primary": "shop-m0", "members": [{"name": "shop-m1", "volume": "v1"}]});
    seen.objects.get_mut(&(Kind::Pair, "shop-0".to_owned())).expect("pair").value["status"] = record;
    seen.objects.remove(&(Kind::Claim, "shop-m1".to_owned()));
    assert_eq!(names_of(&make(&shop(), &seen)), ["apply ConfigMap shop-m1"]);
    let seen = after(&make(&shop(), &seen), seen);
    assert_eq!(seen.get(Kind::ConfigMap, "shop-m1").expect("there").value["data"][names::FIRST], "0");
    assert_eq!(seen.get(Kind::ConfigMap, "shop-m0").expect("there").value["data"][names::FIRST], "1");
}

#[test]
fn a_replaced_member_goes_and_its_volume_stays() {
    let mut seen = provisioned();
    set(&mut seen, Kind::Pair, "shop-1", "/spec/members", json!(["shop-m2", "shop-m4"]));
    let actions = names_of(&make(&shop(), &seen));
    for expected in ["apply StatefulSet shop-m4", "apply PersistentVolumeClaim shop-m4", "delete StatefulSet shop-m3", "delete Service shop-m3", "delete ConfigMap shop-m3"] {
        assert!(actions.iter().any(|a| a == expected), "{expected} is not in {actions:?}");
    }
    assert!(!actions.iter().any(|a| a.contains("delete PersistentVolumeClaim")));
}

#[test]
fn a_member_that_changed_shards_keeps_its_template() {
    let mut seen = provisioned();
    set(&mut seen, Kind::Pair, "shop-0", "/spec/members", json!(["shop-m0", "shop-m2"]));
    set(&mut seen, Kind::Pair, "shop-1", "/spec/members", json!(["shop-m1", "shop-m3"]));
    assert_eq!(names_of(&make(&shop(), &seen)), Vec::<String>::new());
}

/// The pair that a plan makes, and that follows shop-0.
fn with_child(mut seen: Seen, cluster: &ShardCluster) -> Seen {
    let valid = Valid::parse(cluster).expect("valid");
    let mut pair = serde_json::to_value(shardpair::manifests::pair::build(&valid, 2)).expect("plain data");
    pair["metadata"]["uid"] = json!("uid-child");
    pair["status"] = json!({"epoch": 1, "primary": "shop-m4", "mode": "Sync", "follows": {"pair": "shop-0"}});
    seen.objects.insert((Kind::Pair, "shop-2".to_owned()), Live { value: pair });
    seen
}

#[test]
fn the_pair_that_a_plan_makes_gets_its_members_and_its_vip_and_counts_for_nothing_yet() {
    let seen = with_child(provisioned(), &shop());
    let plan = make(&shop(), &seen);
    let actions = names_of(&plan);
    for expected in ["apply PersistentVolumeClaim shop-m4", "apply StatefulSet shop-m5", "apply Service shop-2", "apply PodDisruptionBudget shop-2"] {
        assert!(actions.iter().any(|a| a == expected), "{expected} is not in {actions:?}");
    }
    assert!(!actions.iter().any(|a| a.contains("shop-map") || a.contains("ShardPair")), "{actions:?}");
    let seen = after(&plan, seen);
    assert_eq!(names_of(&make(&shop(), &seen)), Vec::<String>::new(), "nothing is made twice");
    let status = report::status(&shop(), &seen, &make(&shop(), &seen), Timestamp::UNIX_EPOCH);
    assert_eq!((status.shards, status.pairs.len()), (Some(2), 3));
    let available = conditions::find(&status.conditions, conditions::AVAILABLE).expect("there");
    assert!(available.message.starts_with("0 of 2 pairs"), "{}", available.message);
}

#[test]
fn an_announced_map_has_the_new_shards_and_taken_back_their_vips_go() {
    let mut announced = shop();
    announced.status = Some(serde_json::from_value(json!({"shards": 3, "epoch": 2})).expect("a status"));
    let seen = after(&make(&shop(), &with_child(provisioned(), &shop())), with_child(provisioned(), &shop()));
    let plan = make(&announced, &seen);
    assert_eq!(names_of(&plan), ["apply ConfigMap shop-map"]);
    let mut seen = after(&plan, seen);
    // The pair is gone though its shard counts: never made up again.
    let lost = seen.objects.remove(&(Kind::Pair, "shop-2".to_owned())).expect("it was there");
    assert_eq!((reason(&make(&announced, &seen)), make(&announced, &seen).actions.len()), ("RecordLost", 0));
    seen.objects.insert((Kind::Pair, "shop-2".to_owned()), lost);
    // Taken back: the map first, then the pair.
    let mut back = shop();
    back.status = Some(serde_json::from_value(json!({"shards": 2, "epoch": 3})).expect("a status"));
    assert_eq!(names_of(&make(&back, &seen)), ["apply ConfigMap shop-map"]);
    let mut seen = after(&make(&back, &seen), seen);
    seen.objects.remove(&(Kind::Pair, "shop-2".to_owned()));
    let actions = names_of(&make(&back, &seen));
    for expected in ["delete Service shop-2", "delete PodDisruptionBudget shop-2", "delete StatefulSet shop-m4", "delete ConfigMap shop-m5"] {
        assert!(actions.iter().any(|a| a == expected), "{expected} is not in {actions:?}");
    }
    assert!(actions.iter().all(|a| a.starts_with("delete") && !a.contains("PersistentVolumeClaim")), "{actions:?}");
    let seen = after(&make(&back, &seen), seen);
    assert_eq!(names_of(&make(&back, &seen)), Vec::<String>::new());
}

/// Each map's shards hold each key exactly once: it is read as clients read it.
#[test]
fn maps_of_two_four_and_eight_shards_hold_each_key_once_whatever_the_strategy() {
    use shardpair::api::cluster::{Range, RouteTable, Strategy};
    use shardpair::manifests::map;
    use shardpair::routing::Keys;
    for strategy in [Strategy::Hash, Strategy::Range, Strategy::Table] {
        let mut cluster = shop();
        cluster.spec.sharding.strategy = strategy;
        match strategy {
            Strategy::Range => cluster.spec.sharding.ranges = vec![Range { shard: 0, to: Some(1000) }, Range { shard: 1, to: None }],
            Strategy::Table => cluster.spec.sharding.table = Some(RouteTable { config_map: Some("routes".to_owned()), mysql_table: None }),
            Strategy::Hash => {}
        }
        let mut ranges = cluster.spec.sharding.ranges.clone();
        for (shards, epoch) in [(2, 1), (4, 2), (8, 3)] {
            cluster.status = Some(serde_json::from_value(json!({"shards": shards, "epoch": epoch, "ranges": ranges})).expect("a status"));
            let valid = Valid::parse(&cluster).expect("valid");
            let read = shardpair::routing::Map::parse(&map::map(&valid).json()).expect("a map without holes");
            assert_eq!((read.shards.len(), read.epoch), (shards as usize, epoch));
            // What the next map says of each shard and its new one are the halves of what it was.
            let bound = |s: u32| match map::keys(&valid, s) {
                Keys::Range { from, to } => Some((from.unwrap_or(-8_000) + to.unwrap_or(8_000)) / 2),
                _ => None,
            };
            let chosen = (0..shards).filter_map(|s| Some((s, bound(s)?))).collect();
            let next = map::split(&ranges, &chosen, shards);
            assert_eq!(map::join(&next, shards), ranges, "there and back");
            let wider = Valid { shards: 2 * shards, ranges: next.clone(), ..valid.clone() };
            for s in 0..shards {
                assert_eq!((map::keys(&wider, s), map::keys(&wider, s + shards)), map::keys(&valid, s).split(bound(s)).expect("halves"));
            }
            ranges = next;
        }
    }
}

#[test]
fn a_newer_map_is_a_plans_and_stays() {
    let mut seen = provisioned();
    set(&mut seen, Kind::ConfigMap, "shop-map", "/data/map.json", json!(r#"{"epoch": 2}"#));
    assert_eq!(names_of(&make(&shop(), &seen)), Vec::<String>::new());
}

#[test]
fn paused_means_that_nothing_is_written() {
    let mut paused = shop();
    paused.spec.paused = true;
    let seen = empty();
    let plan = make(&paused, &seen);
    assert!(plan.actions.is_empty() && plan.held_back);
    let status = report::status(&paused, &seen, &plan, Timestamp::UNIX_EPOCH);
    assert_eq!(conditions::find(&status.conditions, conditions::READY).expect("there").reason, "Paused");
}

#[test]
fn ready_means_that_every_pair_is_and_every_member_is_up_to_date() {
    let mut cluster = shop();
    let mut seen = provisioned();
    let said = |cluster: &ShardCluster, seen: &Seen| {
        let status = report::status(cluster, seen, &make(cluster, seen), Timestamp::UNIX_EPOCH);
        let ready = conditions::find(&status.conditions, conditions::READY).expect("there").clone();
        (format!("{} {}", ready.status, ready.reason), status)
    };
    assert_eq!(said(&cluster, &seen).0, "False Provisioning");
    let good = |type_: &str| json!({"type": type_, "status": "True", "reason": "Sync", "message": "", "lastTransitionTime": "2026-11-22T10:00:00Z"});
    for pair in ["shop-0", "shop-1"] {
        let status = json!({"epoch": 1, "primary": "shop-m0", "mode": "Sync", "members": [], "conditions": [good("Ready"), good("Available"), good("Redundant")]});
        seen.objects.get_mut(&(Kind::Pair, pair.to_owned())).expect(pair).value["status"] = status;
    }
    let (ready, status) = said(&cluster, &seen);
    assert_eq!(ready, "True AllPairs");
    assert_eq!((status.shards, status.epoch, status.pairs.len()), (Some(2), Some(1), 2));
    assert!(conditions::find(&status.conditions, conditions::RECONCILING).is_none());
    cluster.status = Some(status.clone());
    assert_eq!(said(&cluster, &seen).1, status, "a second look changes nothing");
    let outdated = json!({"observedGeneration": 1, "currentRevision": "a", "updateRevision": "b"});
    set(&mut seen, Kind::StatefulSet, "shop-m1", "/status", outdated);
    assert_eq!(said(&cluster, &seen).0, "False Updating");
    set(&mut seen, Kind::StatefulSet, "shop-m1", "/status", json!({"observedGeneration": 1, "currentRevision": "b", "updateRevision": "b"}));
    assert_eq!(said(&cluster, &seen).0, "True AllPairs");
    let settings = |restart: Value| json!([{"name": "shop-m3", "volume": "", "serverUUID": "", "settings": {"process": "p", "hash": "h", "restartFor": restart, "refused": []}}]);
    set(&mut seen, Kind::Pair, "shop-1", "/status/members", settings(json!(["back_log"])));
    let (ready, status) = said(&cluster, &seen);
    let message = &conditions::find(&status.conditions, conditions::READY).expect("there").message;
    assert!(ready == "False Updating" && message.ends_with(": shop-m3"), "{ready}: {message}");
    set(&mut seen, Kind::Pair, "shop-1", "/status/members", settings(json!([])));
    assert_eq!(said(&cluster, &seen).0, "True AllPairs");
}

#[test]
fn all_members_are_told_alike_what_they_are_to_become() {
    let told = |cluster: &ShardCluster| {
        let plan = make(cluster, &empty());
        let sets = plan.actions.iter().filter_map(|a| match a {
            Action::Apply(Kind::StatefulSet, set, _) => set["metadata"]["annotations"][names::WANTED_HASH].as_str().map(str::to_owned),
            _ => None,
        });
        let all: Vec<String> = sets.collect();
        assert!(all.len() == 4 && all.iter().all(|hash| *hash == all[0]), "{all:?}");
        all[0].clone()
    };
    let cluster = shop();
    let (mut image, mut config, mut other) = (cluster.clone(), cluster.clone(), cluster.clone());
    image.spec.mysql.image = "mysql:9.7.99".to_owned();
    config.spec.mysql.config.insert("back_log".to_owned(), "77".into());
    other.spec.databases.push("more".to_owned());
    assert_eq!(told(&cluster), told(&other), "no member is restarted for it");
    assert!(told(&cluster) != told(&image) && told(&cluster) != told(&config));
}

#[test]
fn what_the_api_server_rewrites_counts_as_the_same() {
    let same = [
        (json!({"memory": "1Gi", "more": 1}), json!({"memory": "1024Mi"})),
        (json!({"cpu": "500m"}), json!({"cpu": "0.5"})),
        (json!({"a": 1}), json!({"a": 1, "b": {}, "c": [], "d": null})),
    ];
    for (live, wanted) in same {
        assert!(contains(&live, &wanted), "{live} {wanted}");
    }
    let different = [
        (json!({"a": "1Gi"}), json!({"a": "2Gi"})),
        (json!({"a": [1, 2]}), json!({"a": [1]})),
        (json!({}), json!({"a": false})),
        (json!({"a": "x"}), json!({"a": "y"})),
    ];
    for (live, wanted) in different {
        assert!(!contains(&live, &wanted), "{live} {wanted}");
    }
    let hashed = |hash: &str| json!({"metadata": {"annotations": {names::APPLIED_HASH: hash}}});
    assert!(unchanged(&hashed("1"), &hashed("1")) && !unchanged(&hashed("1"), &hashed("2")));
}
