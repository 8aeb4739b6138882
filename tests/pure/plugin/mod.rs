//! What `kubectl shardpair` says, held to its golden texts: from plain values to text, no cluster needed.

mod commands;
mod steering;
pub mod world;

use serde_json::json;
use shardpair::plugin::events::Happened;
use shardpair::plugin::explain::{explain, text as explained};
use shardpair::plugin::paint::{Paint, bar};
use shardpair::plugin::plan::{self, Pace, PlanView};
use shardpair::plugin::status::text;
use shardpair::plugin::view::clusters;
use shardpair::plugin::events;

use world::{cluster, condition, lost, night, now, pair, seen, solo, with};

const NARROW: Paint = Paint { colour: false, width: Some(80) };
const COLOURS: Paint = Paint { colour: true, width: Some(120) };

#[test]
fn status_shows_every_pair_in_a_line() {
    let seen = night();
    insta::assert_snapshot!("status", text(&seen, &clusters(&seen), false, Paint::PLAIN));
}

#[test]
fn status_wide_has_epochs_and_last_moves() {
    let seen = night();
    insta::assert_snapshot!("status_wide", text(&seen, &clusters(&seen), true, Paint::PLAIN));
}

#[test]
fn status_fits_a_narrow_terminal() {
    let seen = night();
    let text = text(&seen, &clusters(&seen), false, NARROW);
    assert!(text.lines().all(|l| l.chars().count() <= 80), "{text}");
    insta::assert_snapshot!("status_narrow", text);
}

#[test]
fn colour_is_only_there_when_it_is_wanted() {
    let seen = night();
    let view = clusters(&seen);
    assert!(!text(&seen, &view, true, Paint::PLAIN).contains('\u{1b}'));
    assert!(!text(&seen, &view, true, NARROW).contains('\u{1b}'));
    let coloured = text(&seen, &view, false, COLOURS);
    assert!(coloured.contains("\u{1b}["), "{coloured}");
    insta::assert_snapshot!("status_coloured", coloured.replace('\u{1b}', "<ESC>"));
}

#[test]
fn status_as_json_is_the_same_story() {
    let seen = night();
    insta::assert_json_snapshot!("status_json", clusters(&seen)[0].pairs[1]);
}

#[test]
fn all_namespaces_are_told_apart() {
    let mut seen = seen(vec![cluster("shop", 1), with(&cluster("shop", 1), json!({"metadata": {"namespace": "other"}}))], vec![pair("shop", 0)], Vec::new());
    seen.namespace = None;
    let text = text(&seen, &clusters(&seen), false, Paint::PLAIN);
    assert!(text.contains("default/shop: 1 shard, Ready") && text.contains("other/shop: 1 shard"), "{text}");
}

#[test]
fn an_operator_that_is_away_is_said_first() {
    let mut seen = seen(vec![cluster("shop", 1)], vec![pair("shop", 0)], Vec::new());
    seen.operators.insert("shardpair-system/shardpair".into(), Some("2026-11-23T02:50:00Z".parse().expect("a time")));
    insta::assert_snapshot!("operator_away", text(&seen, &clusters(&seen), false, Paint::PLAIN) + &explained(&seen, &explain(&seen, &seen.pairs[0]), Paint::PLAIN));
}

#[test]
fn explain_tells_every_move_of_a_pair_in_sync() {
    let seen = seen(vec![cluster("shop", 1)], vec![pair("shop", 0)], Vec::new());
    insta::assert_snapshot!("explain_sync", explained(&seen, &explain(&seen, &seen.pairs[0]), Paint::PLAIN));
}

#[test]
fn explain_tells_why_moves_are_refused() {
    let night = night();
    let paused = with(&pair("shop", 0), json!({"metadata": {"annotations": {"shardpair.io/paused": "true", "shardpair.io/switchover-to": "shop-m1"}}}));
    let rebuilt = with(&lost(&pair("shop", 0)), json!({"status": {"rebuild": {"member": "shop-m1", "phase": "Cloning", "reason": "BinlogsPurged"}}}));
    let mut told = String::new();
    for pair in [&solo(&pair("shop", 0)), &lost(&pair("shop", 0)), &rebuilt, &paused, &night.pairs[2], &night.pairs[3]] {
        let seen = seen(vec![cluster("shop", 4)], vec![pair.clone()], Vec::new());
        told += &(explained(&seen, &explain(&seen, pair), Paint::PLAIN) + "\n");
    }
    insta::assert_snapshot!("explain_refused", told);
}

#[test]
fn a_plan_is_drawn_with_bars_pauses_and_what_holds_it() {
    let going = world::plan(json!({"spec": {"until": "Complete"}, "status": {
        "phase": "Dissolved",
        "conditions": [condition("Progressing", "True", "Purging", "foreign rows are deleted", "02:30:00")],
        "shards": [
            {"shard": 0, "newShard": 2, "phase": "Dissolved", "pauseSeconds": 0.0312, "misroutedRows": 0, "rowsScanned": 40_000, "rowsEstimated": 100_000, "rowsDeleted": 19_987},
            {"shard": 1, "newShard": 3, "phase": "Dissolved", "pauseSeconds": 0.0401, "misroutedRows": 2, "rowsScanned": 10_000, "rowsEstimated": 100_000, "rowsDeleted": 5_013, "throttled": {"reason": "StandbyLag"}},
        ],
    }}));
    let mut pace = Pace::default();
    let mut first = PlanView::of(&with(&going, json!({"status": {"shards": [{"shard": 0, "newShard": 2, "rowsScanned": 30_000, "rowsEstimated": 100_000}]}})), now());
    pace.note(&mut first, "2026-11-23T02:59:40Z".parse().expect("a time"));
    let mut view = PlanView::of(&going, now());
    pace.note(&mut view, now());
    // 20,000 rows in 20 s: 150,000 are left.
    assert_eq!(view.eta_seconds, Some(150));
    insta::assert_snapshot!("plan_purging", plan::text(&view, Paint::PLAIN));
    let waits = world::plan(json!({"status": {"phase": "Flipped", "conditions": [condition("Progressing", "False", "AwaitingApproval", "", "02:30:00")]}}));
    let refused = world::plan(json!({"spec": {"until": "Preflight"}, "status": {
        "phase": "Preflight",
        "conditions": [condition("Stalled", "True", "Refused", "2 findings refuse the plan", "02:30:00")],
        "findings": [
            {"severity": "Refused", "reason": "NoPrimaryKey", "object": "shop.carts", "message": "add a primary key: rows without one can't be purged in order"},
            {"severity": "Warning", "reason": "Trigger", "object": "shop.orders", "message": "the trigger audit fires on the new shard as well"},
        ],
    }}));
    let text = [&waits, &refused].map(|p| plan::text(&PlanView::of(p, now()), Paint::PLAIN)).join("\n");
    insta::assert_snapshot!("plan_waits_and_refused", text);
}

#[test]
fn a_bar_is_never_longer_than_itself() {
    for (done, all) in [(0, 0), (0, 10), (5, 10), (10, 10), (11, 10), (-1, 10), (i64::MAX, 1), (1, i64::MAX)] {
        assert_eq!(bar(done, all, 10).chars().count(), 18, "{done} of {all}: {}", bar(done, all, 10));
    }
    assert_eq!(bar(5, 10, 10), "[#####-----]  50 %");
}

#[test]
fn events_are_told_in_order() {
    let at = |minute: i64, reason: &str, warning: bool, count: i32, message: &str| Happened {
        at: jiff::Timestamp::from_second(now().as_second() - minute * 60).expect("a time"),
        namespace: "default".into(),
        kind: "ShardPair".into(),
        object: "shop-0".into(),
        reason: reason.into(),
        warning,
        count,
        message: message.into(),
    };
    let all = [
        at(70, "MoveStarted", true, 1, "Failover to shop-m1 begins: ProcessGone"),
        at(69, "FailedOver", true, 1, "shop-m1 is the primary now, instead of shop-m0"),
        at(68, "Sync", false, 1, "shop-m0 holds all that shop-m1 acknowledges"),
        at(1, "RequestRefused", true, 3, "shop-m9 isn't the standby of this pair"),
    ];
    insta::assert_snapshot!("events", events::text(&all, now(), false, Paint::PLAIN));
}
