//! What is refused before anything is asked, in one line each; and what is asked.

use serde_json::json;
use shardpair::api::expansion::Phase;
use shardpair::plugin::trouble::{Doing, Trouble, of_api};
use shardpair::plugin::{Args, approve, expand, find, mysql, pause, promote, request, route, switchover, versions};
use clap::Parser;

use super::world::{cluster, condition, lost, pair, plan, seen, solo, with};

fn told(trouble: Trouble) -> String {
    assert!(!trouble.text.contains('\n'), "{trouble}");
    format!("{} {}", trouble.code, trouble.text)
}

fn refused<T: std::fmt::Debug>(result: Result<T, Trouble>) -> String {
    told(result.expect_err("a refusal"))
}

#[test]
fn names_are_found_and_what_is_wrong_is_said_in_a_line() {
    let one = seen(vec![cluster("shop", 2)], vec![pair("shop", 0), pair("shop", 1)], Vec::new());
    let named = |word: &str| find::pair(&one, word).map(|p| p.spec.shard);
    assert_eq!((named("shop-1"), named("shp/shop-1"), named("1"), named("shardpairs.shardpair.io/shop-0")), (Ok(1), Ok(1), Ok(1), Ok(0)));
    let two = seen(vec![cluster("bar", 1), cluster("shop", 2)], vec![pair("bar", 0), pair("shop", 0)], vec![plan(json!({})), plan(json!({"metadata": {"name": "other"}}))]);
    let none = seen(Vec::new(), Vec::new(), Vec::new());
    let lines = [
        refused(find::pair(&one, "shop-9")),
        refused(find::pair(&one, "pod/shop-0")),
        refused(find::pair(&two, "0")),
        refused(find::pair(&none, "shop-0")),
        refused(find::cluster(&two, "shpo")),
        refused(find::cluster_or_only(&two, None)),
        refused(find::cluster_or_only(&none, None)),
        refused(find::plan(&two, None)),
        refused(find::plan(&two, Some("shop"))),
        refused(find::plan(&none, None)),
    ];
    insta::assert_snapshot!("names", lines.join("\n"));
}

#[test]
fn moves_that_the_status_refuses_are_not_even_asked() {
    let ask = |p: &shardpair::api::ShardPair, away: bool| {
        let mut seen = seen(vec![cluster("shop", 1)], vec![p.clone()], Vec::new());
        if away {
            seen.operators.insert("shardpair-system/shardpair".into(), None);
        }
        seen
    };
    let sync = pair("shop", 0);
    let paused = with(&sync, json!({"metadata": {"annotations": {"shardpair.io/paused": "true"}}}));
    let alone = with(&solo(&sync), json!({"status": {"standby": null}}));
    assert_eq!(switchover::check(&ask(&sync, false), &sync, None), Ok("shop-m1".to_owned()));
    assert_eq!(switchover::check(&ask(&sync, false), &sync, Some("shop-m1")), Ok("shop-m1".to_owned()));
    assert_eq!(request::check(&ask(&solo(&sync), false), &solo(&sync), "replace", None), Ok("shop-m1".to_owned()));
    let (to, what) = promote::check(&ask(&lost(&sync), false), &lost(&sync), None).expect("no safe move is left");
    let lines = [
        refused(switchover::check(&ask(&sync, false), &sync, Some("shop-m0"))),
        refused(switchover::check(&ask(&sync, false), &sync, Some("shop-m9"))),
        refused(switchover::check(&ask(&sync, true), &sync, None)),
        refused(switchover::check(&ask(&paused, false), &paused, None)),
        refused(switchover::check(&ask(&solo(&sync), false), &solo(&sync), None)),
        refused(switchover::check(&ask(&alone, false), &alone, None)),
        refused(promote::check(&ask(&sync, false), &sync, None)),
        refused(promote::check(&ask(&solo(&sync), false), &solo(&sync), None)),
        refused(request::check(&ask(&lost(&sync), false), &lost(&sync), "rebuild", None)),
        promote::question(&lost(&sync), &to, &what),
    ];
    insta::assert_snapshot!("refused_moves", lines.join("\n"));
}

#[test]
fn a_plan_is_approved_one_phase_further_and_never_past_no_return_unasked() {
    let at = |until: &str, phase: Option<&str>| plan(json!({"spec": {"until": until}, "status": {"phase": phase}}));
    assert_eq!(approve::raised(&at("Prepared", Some("Prepared")), None), Ok(Phase::Flipped));
    assert_eq!(approve::raised(&at("Preflight", None), Some(Phase::Complete)), Ok(Phase::Complete));
    assert_eq!(approve::lowered(&at("Complete", Some("Flipped")), false), Ok(Phase::Prepared));
    assert_eq!(approve::lowered(&at("Flipped", Some("Flipped")), true), Ok(Phase::Preflight));
    let lines = [
        refused(approve::raised(&at("Complete", Some("Flipped")), None)),
        refused(approve::raised(&at("Flipped", Some("Flipped")), Some(Phase::Prepared))),
        refused(approve::lowered(&at("Complete", Some("Dissolved")), false)),
        refused(approve::lowered(&at("Prepared", Some("Prepared")), false)),
    ];
    insta::assert_snapshot!("refused_plans", lines.join("\n"));
}

#[test]
fn an_expansion_doubles_and_its_dry_run_changes_nothing() {
    let expand = |words: &[&str], cluster: &shardpair::api::ShardCluster| {
        #[derive(clap::Parser)]
        struct One {
            #[command(flatten)]
            expand: expand::Expand,
        }
        let parsed = One::try_parse_from([&["expand"], words].concat()).expect("words");
        expand::make(&seen(vec![cluster.clone()], vec![pair("shop", 0)], Vec::new()), cluster, &parsed.expand)
    };
    let shop = cluster("shop", 2);
    let made = expand(&["--dry-run"], &shop).expect("a plan");
    assert_eq!((made.spec.until, made.spec.to_shards), (Phase::Preflight, 4));
    assert_eq!(expand(&["--until", "flipped", "--to", "4"], &shop).expect("a plan").spec.until, Phase::Flipped);
    let many = with(&shop, json!({"status": {"shards": 256}}));
    insta::assert_snapshot!("refused_expansions", [refused(expand(&["--to", "3"], &shop)), refused(expand(&[], &many))].join("\n"));
}

#[test]
fn pause_takes_a_pair_or_a_cluster() {
    let shop = seen(vec![cluster("shop", 1)], vec![pair("shop", 0)], Vec::new());
    assert_eq!(pause::target(&shop, "shop"), Ok(pause::Target::Cluster("default".into(), "shop".into())));
    assert_eq!(pause::target(&shop, "shop-0"), Ok(pause::Target::Pair("default".into(), "shop-0".into())));
    assert_eq!(pause::target(&shop, "nix").expect_err("unknown").code, 1);
}

#[test]
fn the_mysql_client_reads_the_password_that_was_meant() {
    let text = mysql::options("app", r#"a"b\c d#e"#).expect("an option file");
    assert_eq!(text, "[client]\nuser=\"app\"\npassword=\"a\\\"b\\\\c d#e\"\nsocket=/run/mysqld/mysqld.sock\n");
    assert_eq!(mysql::options("app", "a\nb").expect_err("a line break").code, 1);
    assert_eq!(mysql::member(&pair("shop", 0), true), Ok("shop-m1".into()));
}

#[test]
fn a_row_is_routed_by_the_map_that_clients_read() {
    let map = r#"{"version": 1, "cluster": "shop", "epoch": 9, "strategy": "Hash", "function": "Mod", "tables": [{"name": "shop.orders", "key": "user_id"}, {"name": "shop.country", "class": "Reference"}],
        "shards": [{"id": 0, "modulus": 2, "residue": 0, "vip": "shop-0.default.svc", "port": 3306}, {"id": 1, "modulus": 2, "residue": 1, "vip": "shop-1.default.svc", "port": 3306}]}"#;
    let map = shardpair::routing::Map::parse(map).expect("a map");
    let shard = |key: &str| route::route(&map, "shop.orders", key, false).map(|r| (r.shard, r.vip));
    assert_eq!(shard("7"), Ok((1, "shop-1.default.svc:3306".into())));
    assert_eq!(shard("-2").map(|s| s.0), Ok(0));
    assert_eq!(shard("18446744073709551615").map(|s| s.0), Ok(1));
    let lines = [
        refused(route::route(&map, "shop.orders", "seven", false)),
        refused(route::route(&map, "shop.orders", "7", true)),
        refused(route::route(&map, "shop.country", "7", false)),
        refused(route::route(&map, "shop.carts", "7", false)),
    ];
    insta::assert_snapshot!("refused_routes", lines.join("\n"));
}

#[test]
fn the_api_servers_refusals_are_told_in_a_line() {
    let answer = |code: u16, message: &str| {
        let status: kube::core::Status = serde_json::from_value(json!({"code": code, "message": message, "reason": "x", "status": "Failure"})).expect("a status");
        kube::Error::Api(Box::new(status))
    };
    let doing = |verb| Doing { verb, what: "shardpairs.shardpair.io", namespace: Some("default") };
    let lines = [
        told(of_api(doing("list"), &answer(403, "forbidden"))),
        told(of_api(Doing { namespace: None, ..doing("patch") }, &answer(403, "forbidden"))),
        told(of_api(doing("get"), &answer(401, "Unauthorized"))),
        told(of_api(doing("list"), &answer(404, "page not found"))),
        told(of_api(doing("patch"), &answer(409, "conflict"))),
        told(of_api(doing("patch"), &answer(422, "spec.until: Invalid value: the plan\nis dissolved"))),
        told(of_api(doing("patch"), &answer(500, "etcd is away"))),
        told(versions("shardpairs.shardpair.io", &[])),
        told(versions("expansionplans.shardpair.io", &["v1alpha1".into()])),
        told(versions("shardpairs.shardpair.io", &["v1".into(), "v1beta1".into()])),
    ];
    insta::assert_snapshot!("api_refusals", lines.join("\n").replace(env!("CARGO_PKG_VERSION"), "X.Y.Z"));
}

#[test]
fn wrong_use_is_exit_code_two() {
    for words in [&["status", "--what"][..], &["statsu"], &["explain"], &["status", "-A", "-n", "x"], &["status", "-o", "xml"], &["approve", "--until", "never"], &["switchover", "shop-0", "--timeout", "0"]] {
        let error = Args::try_parse_from([&["kubectl-shardpair"], words].concat()).expect_err("wrong use");
        assert_eq!(error.exit_code(), 2, "{words:?}");
    }
    let old = with(&pair("shop", 0), json!({"status": {"conditions": [condition("Ready", "False", "Unheard", "of", "02:00:00")]}}));
    // A reason of a newer operator is shown, not stumbled over.
    let seen = seen(vec![cluster("shop", 1)], vec![old], Vec::new());
    assert_eq!(shardpair::plugin::view::clusters(&seen)[0].pairs[0].reason, "Unheard");
}
