//! One round: writers, strikes, healing, and the checker.

use std::fmt;
use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

use futures::FutureExt;
use futures::future::join_all;
use kube::Client;
use shardpair::simulation::dice::Dice;

use super::aim::Aim;
use super::nemesis::{self, Strike};
use super::support::faults;
use super::support::secs;
use super::support::shop::{READY, Shop, small};
use super::support::writer::{Log, Pace, Writer};

/// After all faults are healed a pair has this long to be in Sync again, without anybody's help.
const BACK: Duration = secs(240);
/// A fault that isn't made in this time isn't made.
const STRIKE: Duration = secs(20);
/// In Sync for this long is in Sync.
const STAYS: Duration = secs(4);
/// Logs that are held against the tables once more at the end.
const KEPT: usize = 400;

/// What strikes, and what is struck.
pub struct World {
    pub shops: Vec<Shop>,
    logs: Vec<(usize, Log)>,
}

/// What became of one pair in a round.
pub struct Told {
    pub faults: Vec<String>,
    pub skipped: Vec<String>,
    pub gap: Duration,
    pub back: Duration,
    pub acked: usize,
    pub in_doubt: usize,
}

/// What became of a round: each pair's.
pub struct Round(pub Vec<Told>);

impl fmt::Display for Round {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for told in &self.0 {
            let skipped = if told.skipped.is_empty() { String::new() } else { format!(" (not done: {})", told.skipped.join("; ")) };
            let faults = if told.faults.is_empty() { "nothing of its own".to_owned() } else { told.faults.join(" + ") };
            write!(f, "\n  {faults}{skipped}: {} acknowledged, {} in doubt, gap {} ms, in Sync after {:.1} s", told.acked, told.in_doubt, told.gap.as_millis(), told.back.as_secs_f64())?;
        }
        Ok(())
    }
}

/// A failed assertion as an error.
pub async fn attempt<T>(what: &str, trying: impl Future<Output = T>) -> Result<T, String> {
    AssertUnwindSafe(trying).catch_unwind().await.map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned().or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned()));
        format!("{what}: {}", text.unwrap_or_default())
    })
}

impl World {
    pub async fn new(client: &Client, ns: &str, pairs: usize, _points: bool) -> Self {
        let shops: Vec<Shop> = (0..pairs).map(|n| Shop { client: client.clone(), ns: ns.to_owned(), name: format!("s{n}") }).collect();
        for shop in &shops {
            shop.apply(&small(1)).await.expect("the ShardCluster is accepted");
        }
        for shop in &shops {
            shop.ready(READY + secs(60)).await;
        }
        Self { shops, logs: Vec::new() }
    }

    /// Kept for the last look.
    pub fn keep(&mut self, shop: usize, log: Log) {
        self.logs.push((shop, log));
        if self.logs.len() > KEPT {
            self.logs.remove(0);
        }
    }

    /// Every row of every round, once more.
    pub async fn check_all(&self) -> Result<(), String> {
        for (shop, log) in &self.logs {
            let shop = &self.shops[*shop];
            let mut conn = shop.vip().await.connect_patiently(secs(10)).await?;
            let problems = log.problems(&mut conn).await?;
            if !problems.is_empty() {
                return Err(format!("at the end, {}: {} problems: {:?}", shop.name, problems.len(), &problems[..problems.len().min(20)]));
            }
        }
        Ok(())
    }
}

/// A writer that writes.
pub async fn writer(shop: &Shop, pairs: usize) -> Result<Writer, String> {
    // Slow enough that two cores are left for those who are tested, however many they are.
    let pace = Pace { connections: 3, pause: Duration::from_millis(4 * pairs as u64), ..Pace::default() };
    let writer = attempt("a writer", shop.writer(pace)).await?;
    writer.progress(30, secs(30)).await?;
    Ok(writer)
}

/// Waits for Sync, then for more rows, and holds everything against the log.
pub async fn settle(shop: &Shop, epoch: i64, writer: Writer, doubt_after: Option<Instant>) -> Result<(Log, Duration), String> {
    let begun = Instant::now();
    let back = stays_in_sync(shop, epoch, begun).await?;
    let went_on = writer.progress(30, secs(30)).await;
    let mut log = writer.stop().await;
    went_on.map_err(|why| format!("{}: writes don't go on: {why}", shop.name))?;
    for write in log.writes.iter_mut().filter(|w| doubt_after.is_some_and(|at| w.ended > at)) {
        write.outcome = super::support::writer::Outcome::InDoubt("given up by a person".to_owned());
    }
    println!("{}: {}", shop.name, log.summary());
    let mut conn = shop.vip().await.connect_patiently(secs(10)).await?;
    let problems = log.problems(&mut conn).await?;
    if !problems.is_empty() {
        return Err(format!("{}: {} problems: {:#?}", shop.name, problems.len(), &problems[..problems.len().min(20)]));
    }
    // A fault's last waves: a member that isn't reached just then is asked again, one that differs isn't.
    loop {
        match attempt(&format!("{}'s members", shop.name), shop.members_are_equal()).await {
            Ok(()) => return Ok((log, back)),
            Err(why) if begun.elapsed() > BACK || why.contains("checksums of") || why.contains("has transactions that") => return Err(why),
            Err(_) => stays_in_sync(shop, epoch, begun).await?,
        };
    }
}

/// In Sync, and still so a little later: what the status says may be as old as the operator's last look. How long it took.
async fn stays_in_sync(shop: &Shop, epoch: i64, begun: Instant) -> Result<Duration, String> {
    loop {
        let what = format!("{} comes back", shop.name);
        let record = attempt(&what, shop.in_sync(epoch, BACK.saturating_sub(begun.elapsed()))).await?;
        let back = begun.elapsed();
        let looked = Instant::now();
        while looked.elapsed() < STAYS {
            tokio::time::sleep(Duration::from_millis(300)).await;
            let (now, standby) = (shop.record().await, record.standby.clone().unwrap_or_default());
            let answers = shop.session(&record.primary).await.is_ok() && shop.session(&standby).await.is_ok();
            if (now.epoch, now.mode) != (record.epoch, record.mode) || !answers {
                break;
            }
        }
        if looked.elapsed() >= STAYS {
            return Ok(back);
        }
        if begun.elapsed() > BACK {
            return Err(format!("{what}: it doesn't stay in Sync"));
        }
    }
}

pub async fn play(world: &mut World, plan: &[Strike], dice: &mut Dice) -> Result<Round, String> {
    let mut writers = Vec::new();
    let mut aims = Vec::new();
    let mut epochs = Vec::new();
    for shop in &world.shops {
        writers.push(writer(shop, world.shops.len()).await?);
        aims.push(attempt("an aim", Aim::take(shop)).await??);
        epochs.push(shop.record().await.epoch);
    }
    let begun = Instant::now();
    let mut done: Vec<(Vec<String>, Vec<String>)> = vec![Default::default(); world.shops.len()];
    for Strike { shop, kind, after_ms } in plan {
        tokio::time::sleep(Duration::from_millis(*after_ms).saturating_sub(begun.elapsed())).await;
        // An earlier one may have taken the API server away: kube's client would wait for it without end.
        let striking = tokio::time::timeout(STRIKE, nemesis::strike(&world.shops[*shop], &aims[*shop], *kind, dice));
        let struck = attempt("a fault", async { striking.await.unwrap_or_else(|_| Err("no answer".to_owned())) });
        match struck.await.flatten() {
            Ok(name) => done[*shop].0.push(name),
            Err(why) => done[*shop].1.push(format!("{kind:?}: {}", why.chars().take(120).collect::<String>())),
        }
    }
    // The world stays as it is for a while: shorter and longer than what anybody waits for.
    tokio::time::sleep(Duration::from_millis(dice.of(&[300, 1_500, 4_000, 8_000, 14_000]))).await;
    faults::heal_all().await?;
    let settled = join_all(world.shops.iter().zip(writers).zip(&epochs).map(|((shop, writer), epoch)| settle(shop, *epoch, writer, None))).await;
    let mut round = Vec::new();
    for (shop, ((log, back), (faults, skipped))) in settled.into_iter().collect::<Result<Vec<_>, _>>()?.into_iter().zip(done).enumerate() {
        nemesis::forget(&world.shops[shop]).await;
        let in_doubt = log.writes.iter().filter(|w| matches!(w.outcome, super::support::writer::Outcome::InDoubt(_))).count();
        round.push(Told { faults, skipped, gap: log.longest_gap().length, back, acked: log.acked(), in_doubt });
        world.keep(shop, log);
    }
    Ok(Round(round))
}
