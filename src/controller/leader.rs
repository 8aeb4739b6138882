//! Who leads: a Lease, held against a monotonic clock.
//!
//! It only avoids double work: safety comes from the record and from who can acknowledge whom (invariant 7). A leader
//! stops acting `MARGIN` before others may take over; whoever takes over waits for the Lease to stand still for its whole
//! duration on its own clock, so no wall clocks are compared.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::PostParams;
use kube::{Api, Client};
use tokio::sync::watch;
use tracing::{info, warn};

/// A Lease stands for this long without renewal.
const DURATION: Duration = Duration::from_secs(6);
/// Renewed this often.
const RENEW: Duration = Duration::from_secs(2);
/// Who doesn't lead looks this often. A look sees a renewal up to this much too late, so it adds to the time without a leader.
const LOOK: Duration = Duration::from_secs(1);
/// Never sooner than this, also after a call that took long.
const BREATH: Duration = Duration::from_millis(200);
/// A leader stops acting this long before its Lease ends.
const MARGIN: Duration = Duration::from_secs(1);
/// A renewal that takes longer than this failed.
const CALL: Duration = Duration::from_millis(1_500);

/// Whether this process leads; cheap to ask, and asked before every command.
#[derive(Clone)]
pub struct Leadership {
    until: Arc<Mutex<Option<Instant>>>,
    terms: watch::Sender<u64>,
}

impl Leadership {
    /// Nobody's yet.
    pub fn new() -> Self {
        Self { until: Arc::default(), terms: watch::Sender::new(0) }
    }

    /// Leads for ever: tests and the simulation.
    pub fn always() -> Self {
        let own = Self::new();
        own.extend(Instant::now() + Duration::from_secs(3600 * 24 * 365));
        own.terms.send_replace(1);
        own
    }

    /// Does this process lead now? Monotonic clock.
    pub fn holds(&self) -> bool {
        self.until.lock().expect("never poisoned").is_some_and(|until| Instant::now() < until)
    }

    /// The number of this process's present term; 0: it doesn't lead. A new term means: others may have led between.
    pub fn term(&self) -> u64 {
        if self.holds() { *self.terms.borrow() } else { 0 }
    }

    /// Changes with every term begun or ended.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.terms.subscribe()
    }

    fn extend(&self, until: Instant) {
        *self.until.lock().expect("never poisoned") = Some(until);
    }

    fn end(&self) {
        *self.until.lock().expect("never poisoned") = None;
    }
}

impl Default for Leadership {
    fn default() -> Self {
        Self::new()
    }
}

/// Runs for the Lease `name` in `namespace` until the process ends; gives it up when `shutdown` says so.
pub async fn run(client: Client, namespace: String, name: String, identity: String, leadership: Leadership, mut shutdown: watch::Receiver<bool>) {
    let leases: Api<Lease> = Api::namespaced(client, &namespace);
    let mut seen: Option<(Option<String>, Instant)> = None;
    while !*shutdown.borrow() {
        let begun = Instant::now();
        match tokio::time::timeout(CALL, attempt(&leases, &name, &identity, &leadership, &mut seen)).await {
            Ok(Ok(true)) => won(&leadership, begun),
            Ok(Ok(false)) => lost(&leadership, "another holds the Lease"),
            Ok(Err(error)) => warn!(%error, "Lease not renewed"),
            Err(_) => warn!("Lease not renewed: no answer from the API server"),
        }
        if !leadership.holds() && *leadership.terms.borrow() > 0 {
            leadership.end();
        }
        let still = seen.as_ref().map(|(_, since)| since.elapsed());
        tokio::select! {
            () = tokio::time::sleep(pause(leadership.holds(), begun.elapsed(), still)) => {}
            _ = shutdown.changed() => {}
        }
    }
    if leadership.holds() {
        leadership.end();
        let _ = tokio::time::timeout(CALL, release(&leases, &name, &identity)).await;
    }
}

/// How long until the next attempt, `spent` after the last one began: a leader renews; another looks, and again just as the Lease, which it
/// has seen `still` for this long, ends.
fn pause(leads: bool, spent: Duration, still: Option<Duration>) -> Duration {
    let every = if leads { RENEW } else { LOOK };
    let ends = still.filter(|_| !leads).and_then(|still| (DURATION + Duration::from_millis(1)).checked_sub(still));
    let pause = every.saturating_sub(spent);
    ends.map_or(pause, |ends| pause.min(ends)).max(BREATH)
}

fn won(leadership: &Leadership, begun: Instant) {
    let led = leadership.holds();
    // Counted from before the write: others count from after they saw it.
    leadership.extend(begun + DURATION - MARGIN);
    if !led {
        leadership.terms.send_modify(|term| *term += 1);
        info!(term = *leadership.terms.borrow(), "leading");
    }
}

fn lost(leadership: &Leadership, why: &str) {
    if leadership.holds() {
        warn!(why, "no longer leading");
        leadership.end();
    }
}

/// One look at the Lease, and one write if it is ours or stands still. True: it is ours.
async fn attempt(
    leases: &Api<Lease>,
    name: &str,
    identity: &str,
    leadership: &Leadership,
    seen: &mut Option<(Option<String>, Instant)>,
) -> kube::Result<bool> {
    let Some(mut lease) = leases.get_opt(name).await? else {
        let lease = Lease { metadata: ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() }, spec: Some(claim(identity, 0)) };
        return taken(leases.create(&PostParams::default(), &lease).await);
    };
    let spec = lease.spec.clone().unwrap_or_default();
    let holder = spec.holder_identity.clone().unwrap_or_default();
    let transitions = spec.lease_transitions.unwrap_or(0);
    if holder == identity {
        // Ours from before a restart of the same name, or lapsed: only a continuous hold is a hold.
        lease.spec = Some(claim(identity, transitions));
        return taken(leases.replace(name, &PostParams::default(), &lease).await);
    }
    lost(leadership, "another holds the Lease");
    if !holder.is_empty() && !stands_still(&lease, &spec, seen) {
        return Ok(false);
    }
    lease.spec = Some(claim(identity, transitions + 1));
    taken(leases.replace(name, &PostParams::default(), &lease).await)
}

/// Has the Lease not changed for its whole duration, on our clock?
fn stands_still(lease: &Lease, spec: &LeaseSpec, seen: &mut Option<(Option<String>, Instant)>) -> bool {
    let version = lease.metadata.resource_version.clone();
    let duration = Duration::from_secs(spec.lease_duration_seconds.unwrap_or(0).max(1) as u64);
    match seen {
        Some((known, since)) if *known == version => since.elapsed() > duration.max(DURATION),
        _ => {
            *seen = Some((version, Instant::now()));
            false
        }
    }
}

fn taken(result: kube::Result<Lease>) -> kube::Result<bool> {
    match result {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
        Err(error) => Err(error),
    }
}

fn claim(identity: &str, transitions: i32) -> LeaseSpec {
    let now = MicroTime(Timestamp::now());
    LeaseSpec {
        holder_identity: Some(identity.to_owned()),
        lease_duration_seconds: Some(DURATION.as_secs() as i32),
        acquire_time: Some(now.clone()),
        renew_time: Some(now),
        lease_transitions: Some(transitions),
        ..LeaseSpec::default()
    }
}

async fn release(leases: &Api<Lease>, name: &str, identity: &str) -> kube::Result<()> {
    let mut lease = leases.get(name).await?;
    let spec = lease.spec.get_or_insert_default();
    if spec.holder_identity.as_deref() == Some(identity) {
        spec.holder_identity = Some(String::new());
        leases.replace(name, &PostParams::default(), &lease).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn who_leads_renews_and_who_does_not_looks_more_often_and_as_the_lease_ends() {
        assert_eq!(pause(true, ms(50), None), RENEW - ms(50));
        assert_eq!(pause(false, ms(50), None), LOOK - ms(50));
        assert_eq!(pause(false, ms(0), Some(ms(500))), LOOK, "it has long to stand yet");
        assert_eq!(pause(false, ms(0), Some(DURATION - ms(300))), ms(301), "it ends before the next look");
        assert_eq!(pause(false, ms(0), Some(DURATION - ms(10))), BREATH);
        assert_eq!(pause(true, ms(3_000), None), BREATH, "a call that took long");
        assert_eq!(pause(false, ms(0), Some(DURATION + ms(5_000))), LOOK, "it has ended, and somebody else was faster or the API server is away");
    }
}
