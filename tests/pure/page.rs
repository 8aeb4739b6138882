//! What the live page is told: the same as `kubectl shardpair status`, and then only what changed.

use serde_json::json;
use shardpair::controller::page::change::Told;
use shardpair::controller::page::snapshot::{Health, Snapshot, snapshot};

use crate::plugin::world::{self, night, pair, with};

#[test]
fn the_page_is_told_what_status_shows() {
    let seen = night();
    let pairs: Vec<_> = seen.pairs.iter().collect();
    let plan = world::plan(json!({"status": {"phase": "Prepared", "shards": [{"shard": 0, "newShard": 2, "phase": "Prepared"}]}}));
    let told = snapshot(seen.clusters.iter(), &pairs, &[&plan]);
    let health: Vec<Health> = told.pairs.values().map(|p| p.health).collect();
    assert_eq!(health, [Health::Well, Health::Single, Health::Down, Health::New]);
    insta::assert_json_snapshot!("page", told);
}

fn look(pairs: &[shardpair::api::ShardPair]) -> Snapshot {
    let cluster = world::cluster("shop", pairs.len() as i32);
    snapshot([&cluster].into_iter(), &pairs.iter().collect::<Vec<_>>(), &[])
}

#[test]
fn a_page_hears_everything_once_and_then_only_what_changed() {
    let mut told = Told::default();
    assert!(told.take(look(&[pair("shop", 0), pair("shop", 1)]), true));
    let first = told.since(None, 7);
    assert_eq!((first.reset, first.now, first.pairs.len(), first.clusters.len()), (true, 7, 2, 1));
    assert!(!told.take(look(&[pair("shop", 0), pair("shop", 1)]), true), "nothing changed");
    let before = told.clone();
    let moved = with(&pair("shop", 0), json!({"status": {"epoch": 9}}));
    assert!(told.take(look(&[moved]), true));
    let change = told.since(Some(&before), 8);
    assert!(!change.reset && change.clusters.is_empty() && change.moves.is_empty());
    let pairs: Vec<_> = change.pairs.iter().map(|(k, p)| (k.as_str(), p.as_ref().map(|p| p.epoch))).collect();
    assert_eq!(pairs, [("default/shop-0", Some(9)), ("default/shop-1", None)]);
}

#[test]
fn moves_are_remembered_when_the_status_has_a_newer_one_but_not_without_limit() {
    let mut told = Told::default();
    for second in 0..300 {
        let at = format!("2026-11-23T02:{:02}:{:02}.000000Z", second / 60, second % 60);
        told.take(look(&[with(&pair("shop", 0), json!({"status": {"lastMove": {"at": at}}}))]), true);
    }
    assert_eq!(told.all.moves.len(), 200);
    assert!(told.all.moves.keys().next().is_some_and(|k| k.starts_with("2026-11-23T02:01:40")), "the oldest went");
}
