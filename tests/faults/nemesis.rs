//! The faults, singly and in pairs: what strikes whom is chosen by the dice, and how it is done stands here.

use std::time::Duration;

use kube::api::{Patch, PatchParams};
use serde_json::json;
use shardpair::simulation::dice::Dice;

use super::aim::{Aim, kill_now, still, try_run};
use super::support::faults::{self, Process};
use super::support::shop::{Shop, pod};

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Kind { $($(#[$doc])* $name,)* }
        impl Kind {
            pub const ALL: &[Kind] = &[$(Kind::$name,)*];
        }
    };
}

kinds! {
    KillPrimary, KillStandby, HangPrimary, HangStandby, DeletePrimary, DeleteStandby,
    /// The primary is told to stop while its standby is gone.
    SigtermAlone,
    CutLink, CloneInterrupted, Switchover,
    // The operator's.
    KillOperator, HangOperator, CutOperator, PointKill, PointPause, ClockJump,
    // These strike all pairs that are there.
    CutPrimaryNode, CutStandbyNode, CutPrimaryApi, CutStandbyApi, FillStandbyDisk, FillPrimaryDisk, ReadOnlyStandby, ReadOnlyPrimary,
    PowerCutPrimary, PowerCutStandby, ApiDies, ApiHangs,
    /// By design a person's matter: the only member with all data loses it.
    EmptiedSolo,
}

/// Struck at this pair, this long after the round's beginning.
#[derive(Clone, Copy, Debug)]
pub struct Strike {
    pub shop: usize,
    pub kind: Kind,
    pub after_ms: u64,
}

const PAIR: &[Kind] = &[
    Kind::KillPrimary, Kind::KillStandby, Kind::HangPrimary, Kind::HangStandby, Kind::DeletePrimary, Kind::DeleteStandby, Kind::SigtermAlone, Kind::CutLink,
    Kind::CloneInterrupted, Kind::Switchover,
];
const OPERATOR: &[Kind] = &[Kind::KillOperator, Kind::HangOperator, Kind::CutOperator];
const POINTS: &[Kind] = &[Kind::PointKill, Kind::PointPause, Kind::PointKill, Kind::ClockJump];
const WORLD: &[Kind] = &[
    Kind::CutPrimaryNode, Kind::CutStandbyNode, Kind::CutPrimaryApi, Kind::CutStandbyApi, Kind::FillStandbyDisk, Kind::FillPrimaryDisk, Kind::ReadOnlyStandby,
    Kind::ReadOnlyPrimary, Kind::PowerCutPrimary, Kind::PowerCutStandby, Kind::ApiDies, Kind::ApiHangs,
];

/// What the next round holds.
pub fn plan(dice: &mut Dice, shops: usize, points: bool) -> Vec<Strike> {
    if dice.once(25) {
        return vec![Strike { shop: dice.roll(shops as u64) as usize, kind: Kind::EmptiedSolo, after_ms: 0 }];
    }
    let mut strikes = Vec::new();
    // One that all feel, or none; beside it each pair's own.
    match dice.roll(10) {
        0..=2 => strikes.push(Strike { shop: dice.roll(shops as u64) as usize, kind: dice.of(WORLD), after_ms: dice.roll(3_000) }),
        3 | 4 => strikes.push(Strike { shop: 0, kind: dice.of(OPERATOR), after_ms: dice.roll(1_500) }),
        5 | 6 if points => strikes.push(Strike { shop: dice.roll(shops as u64) as usize, kind: dice.of(POINTS), after_ms: 0 }),
        _ => {}
    }
    for shop in 0..shops {
        for _ in 0..1 + dice.roll(2) {
            strikes.push(Strike { shop, kind: dice.of(PAIR), after_ms: 200 + dice.roll(3_000) });
        }
    }
    strikes.sort_by_key(|s| s.after_ms);
    strikes
}

/// `KillPrimary+CutLink`, at every pair.
pub fn chosen(kinds: &str, shops: usize) -> Result<Vec<Strike>, String> {
    let mut strikes = Vec::new();
    for (place, name) in kinds.split('+').enumerate() {
        let kind = Kind::ALL.iter().find(|k| format!("{k:?}") == name).ok_or(format!("no kind {name}: {:?}", Kind::ALL))?;
        let alone = !PAIR.contains(kind) && !matches!(kind, Kind::PointKill | Kind::PointPause);
        strikes.extend((0..if alone { 1 } else { shops }).map(|shop| Strike { shop, kind: *kind, after_ms: place as u64 * 1_000 }));
    }
    Ok(strikes)
}

/// A round of its own kind.
pub fn special(plan: &[Strike]) -> Option<(usize, Kind)> {
    plan.iter().find(|s| s.kind == Kind::EmptiedSolo).map(|s| (s.shop, s.kind))
}

/// Points that are passed, and what makes the operator pass them.
const MOVES: &[&str] = &["SwitchOver", "SwitchOver.close", "SwitchOver.drain", "SwitchOver.record", "SwitchOver.open", "SwitchOver.vip", "SwitchOver.attach", "SwitchOver.end"];
const FAILOVERS: &[&str] = &[
    "WriteRecord", "StopReceiver", "OpenPrimary", "PointVip", "KillProcess", "SaveTail", "Rewind", "CompareRows", "CloseStandby", "Attach", "RequireAcks", "ProveSync",
];
const REBUILDS: &[&str] = &["WriteRecord", "RelaxAcks", "PlaceMarker", "Clone", "CloseStandby", "Attach", "RequireAcks", "ProveSync"];

async fn annotate(shop: &Shop, key: &str, value: Option<&str>) -> Result<(), String> {
    annotate_pair(shop, 0, key, value).await
}

/// Key of the annotation that names a fault point.
pub const FAULT: &str = "shardpair.io/fault";

/// The pair of this shard; None takes it away.
pub async fn annotate_pair(shop: &Shop, shard: u64, key: &str, value: Option<&str>) -> Result<(), String> {
    let change = json!({"metadata": {"annotations": {key: value}}});
    let name = format!("{}-{shard}", shop.name);
    shop.pairs().patch(&name, &PatchParams::default(), &Patch::Merge(change)).await.map(drop).map_err(|e| e.to_string())
}

/// At a named point: what leads there is asked for too.
async fn at_point(shop: &Shop, aim: &Aim, what: &str, dice: &mut Dice) -> Result<String, String> {
    let (points, kind) = dice.of(&[(MOVES, 0), (FAILOVERS, 1), (FAILOVERS, 2), (REBUILDS, 3)]);
    let point = dice.of(points);
    annotate(shop, FAULT, Some(&format!("{point}={what}"))).await?;
    tokio::time::sleep(Duration::from_millis(300)).await;
    match kind {
        0 => annotate(shop, "shardpair.io/switchover-to", Some(&aim.standby.name)).await?,
        1 => Process(still(aim.primary.pid.as_ref(), "mysqld")?).kill().await,
        // With a tail: commits wait for a standby that doesn't hear.
        2 => {
            aim.primary.node().cut_link(&aim.standby.node()).await;
            tokio::time::sleep(Duration::from_millis(700)).await;
            delete(shop, &aim.primary.name).await?;
        }
        _ => annotate(shop, "shardpair.io/rebuild", Some(&aim.standby.name)).await?,
    }
    Ok(format!("{point}={what}"))
}

async fn delete(shop: &Shop, member: &str) -> Result<(), String> {
    shop.pods().delete(&pod(member), &Default::default()).await.map(drop).map_err(|e| e.to_string())
}

/// Faults that are healed with a round are gone from the pair, too.
pub async fn forget(shop: &Shop) {
    let _ = annotate(shop, FAULT, None).await;
}

/// Strikes. An error: it couldn't be done, since an earlier fault has changed what there is.
pub async fn strike(shop: &Shop, aim: &Aim, kind: Kind, dice: &mut Dice) -> Result<String, String> {
    let name = format!("{kind:?}");
    let (primary, standby) = (&aim.primary, &aim.standby);
    match kind {
        Kind::KillPrimary => Process(still(primary.pid.as_ref(), "mysqld")?).kill().await,
        Kind::KillStandby => Process(still(standby.pid.as_ref(), "mysqld")?).kill().await,
        Kind::HangPrimary => Process(still(primary.pid.as_ref(), "mysqld")?).hang().await,
        Kind::HangStandby => Process(still(standby.pid.as_ref(), "mysqld")?).hang().await,
        Kind::DeletePrimary => delete(shop, &primary.name).await?,
        Kind::DeleteStandby => delete(shop, &standby.name).await?,
        Kind::SigtermAlone => {
            Process(still(standby.pid.as_ref(), "mysqld")?).hang().await;
            tokio::time::sleep(Duration::from_millis(500)).await;
            delete(shop, &primary.name).await?;
        }
        Kind::CutLink if primary.node == standby.node => return Err("both on one node".to_owned()),
        Kind::CutLink => primary.node().cut_link(&standby.node()).await,
        Kind::CloneInterrupted => interrupt_clone(shop, aim, dice).await?,
        Kind::Switchover => annotate(shop, "shardpair.io/switchover-to", Some(&standby.name)).await?,
        Kind::KillOperator => Process(still(aim.operator.as_ref(), "shardpair")?).kill().await,
        Kind::HangOperator => Process(still(aim.operator.as_ref(), "shardpair")?).hang().await,
        Kind::CutOperator => cut_operator(aim).await?,
        Kind::ClockJump => jump(aim, dice).await?,
        Kind::PointKill => return Ok(format!("{name} {}", at_point(shop, aim, "kill", dice).await?)),
        Kind::PointPause => return Ok(format!("{name} {}", at_point(shop, aim, "pause", dice).await?)),
        Kind::CutPrimaryNode => primary.node().cut().await,
        Kind::CutStandbyNode => standby.node().cut().await,
        Kind::CutPrimaryApi => primary.node().cut_api().await,
        Kind::CutStandbyApi => standby.node().cut_api().await,
        Kind::FillStandbyDisk => standby.node().fill().await,
        Kind::FillPrimaryDisk => primary.node().fill().await,
        Kind::ReadOnlyStandby => standby.node().read_only().await,
        Kind::ReadOnlyPrimary => primary.node().read_only().await,
        Kind::PowerCutPrimary => primary.node().power_cut().await,
        Kind::PowerCutStandby => standby.node().power_cut().await,
        Kind::ApiDies => faults::api_dies().await,
        Kind::ApiHangs => faults::api_hangs().await,
        Kind::EmptiedSolo => return Err("a round of its own".to_owned()),
    }
    Ok(name)
}

/// The standby is rebuilt, and its server dies somewhere in it.
async fn interrupt_clone(shop: &Shop, aim: &Aim, dice: &mut Dice) -> Result<(), String> {
    annotate(shop, "shardpair.io/rebuild", Some(&aim.standby.name)).await?;
    let begun = std::time::Instant::now();
    while begun.elapsed() < Duration::from_secs(10) && shop.record().await.rebuild.is_none() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    tokio::time::sleep(Duration::from_millis(dice.roll(2_500))).await;
    kill_now(&shop.ns, &pod(&aim.standby.name), "mysqld").await
}

/// Nothing gets through to the operator that leads, or from it.
async fn cut_operator(aim: &Aim) -> Result<(), String> {
    let pid = still(aim.operator.as_ref(), "shardpair")?;
    faults::later(&["nsenter", "-t", &pid, "-n", "nft", "delete", "table", "inet", "fault"]);
    let rules = "add table inet fault; add chain inet fault in { type filter hook input priority 0; policy drop; }; \
                 add chain inet fault out { type filter hook output priority 0; policy drop; }";
    try_run("nsenter", &["-t", &pid, "-n", "nft", rules]).await
}

/// Its clock, not the machine's.
async fn jump(aim: &Aim, dice: &mut Dice) -> Result<(), String> {
    let pid = still(aim.operator.as_ref(), "shardpair")?;
    let path = format!("/proc/{pid}/root/dev/shm/offset");
    faults::later(&["sh", "-c", &format!("echo +0 >{path}")]);
    let offset = dice.of(&["+3600", "-3600", "+86400", "-20", "+20"]);
    std::fs::write(&path, format!("{offset}\n")).map_err(|e| format!("{path}: {e}"))
}
