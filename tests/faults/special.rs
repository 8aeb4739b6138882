//! Rounds in which by design a person has to help: the checker sees to it that nothing is done without that word.

use std::time::{Duration, Instant};

use kube::Api;
use kube::api::DeleteParams;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use shardpair::pair::record::Mode;
use shardpair::simulation::dice::Dice;

use super::nemesis::Kind;
use super::round::{Round, Told, World, attempt, settle, writer};
use super::support::cluster::events;
use super::support::shop::MOVED;
use super::support::{faults, secs};

/// The primary's volume is emptied while the pair is Solo: nobody is promoted until a person names the loss; what was
/// acknowledged before Solo is never lost.
pub async fn play(world: &mut World, at: usize, kind: Kind, dice: &mut Dice) -> Result<Round, String> {
    let shop = &world.shops[at];
    let before = shop.record().await;
    let standby = before.standby.clone().ok_or("no standby")?;
    let writer = writer(shop, world.shops.len()).await?;
    let hung = Instant::now();
    attempt("a fault", async { shop.mysqld(&standby).await.hang().await }).await?;
    attempt("Solo", shop.recorded("Solo", MOVED, |r| r.mode == Mode::Solo)).await?;
    writer.progress(50, secs(20)).await?;
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(shop.client.clone(), &shop.ns);
    claims.delete(&before.primary, &DeleteParams::default()).await.map_err(|e| e.to_string())?;
    attempt("a fault", shop.delete_pod(&before.primary)).await?;
    tokio::time::sleep(Duration::from_millis(3_000 + dice.roll(4_000))).await;
    faults::heal_all().await?;
    // The standby is back; it lacks rows, and is left alone.
    let waited = Instant::now();
    while waited.elapsed() < secs(8) {
        let now = shop.record().await;
        if now.primary != before.primary {
            return Err(format!("{kind:?}: {} was promoted from Solo, unasked: {now:?}", now.primary));
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let told = events(&shop.ns, &format!("{}-0", shop.name)).await;
    if !told.contains("NoSafeMove") {
        return Err(format!("{kind:?}: nobody was told: {told}"));
    }
    shop.annotate("shardpair.io/promote-with-data-loss", &standby).await;
    attempt("promoted on request", shop.recorded("another primary", secs(60), |r| r.primary == standby && r.transition.is_none())).await?;
    // Its volume is gone for good, and replaceAfter is never: that is a person's word, too.
    shop.annotate("shardpair.io/replace", &before.primary).await;
    let (log, back) = settle(shop, before.epoch, writer, Some(hung)).await?;
    let (gap, acked) = (log.longest_gap().length, log.acked());
    let in_doubt = log.writes.len() - acked;
    world.keep(at, log);
    // What is said of the other pairs' earlier rows stays true; this pair's rows since the standby hung were given up.
    Ok(Round(vec![Told { faults: vec![format!("{kind:?}")], skipped: Vec::new(), gap, back, acked, in_doubt }]))
}
