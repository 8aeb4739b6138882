//! One runner per pair: observe -> decide -> act -> report, for as long as this operator leads.
//!
//! Nothing is remembered between passes but what the record holds (the `Memory` here only ages facts and avoids saying a
//! thing twice). Kill the operator between any two lines: the next one goes on. The first thing in a term is a claim: a
//! write on the pair's status that makes every older operator's write in flight fail (invariant 7).

mod act;
mod addresses;
mod faultpoint;
mod flip;
pub(in crate::controller) mod hands;
mod memory;
mod observe;
mod provisioning;
mod reporting;
mod rewind;
pub(in crate::controller) mod split;
mod switchover;
mod trail;
mod turn;
pub(in crate::controller) mod write;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::runtime::events::Recorder;
use kube::{Api, Client, ResourceExt};
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinHandle;
use tracing::Instrument;

use crate::api::names;
use crate::api::pair::{ShardPair, ShardPairStatus};
use crate::controller::leader::Leadership;
use crate::controller::members::Members;
use crate::controller::metrics::Metrics;
use crate::controller::prober::{self, Prober, TICK, Target};
use crate::controller::spans;
use crate::controller::stores::{Stores, version};
use crate::controller::waiters::Subscription;
use crate::mysql::session::Credentials;
use crate::pair::decide::{View, decide, open};
use crate::pair::facts::Observation;
use crate::pair::record::Record;
use crate::pair::settings::Settings;
use crate::pair::step::{Decision, Next, Note, Reason, Step};
use crate::routing::Guard;
use memory::Memory;

/// What all runners share.
pub struct Context {
    /// For what may take its time.
    pub client: Client,
    /// For what a failover waits for: short deadlines, no retries.
    pub fast: Client,
    /// The watches.
    pub stores: Stores,
    /// The probers of all pairs.
    pub members: Members,
    /// Does this process lead?
    pub leadership: Leadership,
    /// What is measured.
    pub metrics: Metrics,
    /// Tells events.
    pub recorder: Recorder,
    /// This process, in the claim.
    pub identity: String,
    /// host:port of all replicas of the routing service, if there is one.
    pub route_replicas: Option<String>,
    /// Turns for calls that no move waits for.
    pub unhurried: Semaphore,
}

/// So many calls at a time that no move waits for: Secrets and claims as a term begins, words in the status. With all pairs' at once none was answered in time (seen).
pub const UNHURRIED: usize = 16;

/// A fresh look at a member, in a pass that follows another at once, takes at most this.
const REFRESH: Duration = Duration::from_millis(100);
/// After a step nothing that was said before it counts: the members' next answers are waited for this long, while they answer at all.
const SETTLED: Duration = Duration::from_secs(1);
/// Between two looks at something that is expected any moment.
const SOON: Duration = Duration::from_millis(5);
/// Something expected any moment that doesn't come for this long is looked for at leisure …
const IMPATIENT: Duration = Duration::from_secs(10);
/// … and closely again, as long, when this is over.
const ANEW: Duration = Duration::from_secs(30);
/// Accounts are read again this often while a member refuses them.
const SECRET_AGE: Duration = Duration::from_secs(5);

/// The two accounts of the operator's Secret.
#[derive(Clone)]
struct Accounts {
    operator: Credentials,
    replication: Credentials,
    read: Instant,
}

impl Accounts {
    /// Whose sessions stay when the application's end.
    fn users(&self) -> [&str; 2] {
        [&self.operator.user, &self.replication.user]
    }
}

/// See the module.
pub struct Runner {
    ctx: Arc<Context>,
    namespace: String,
    pair: ShardPair,
    settings: Settings,
    accounts: Option<Accounts>,
    probers: BTreeMap<String, Arc<Prober>>,
    /// What the split asks to be placed.
    guard: Option<Guard>,
    hands: hands::Hands,
    memory: Memory,
    notify: Arc<Notify>,
    subscription: Subscription,
    term: u64,
    must_claim: bool,
    clone: Option<JoinHandle<()>>,
}

/// Runs a pair until it is deleted, this operator stops leading, or the task is aborted.
pub async fn run(ctx: Arc<Context>, pair: Arc<ShardPair>) {
    let namespace = pair.namespace().unwrap_or_default();
    let notify = Arc::new(Notify::new());
    let mut runner = Runner {
        subscription: ctx.stores.subscribe(&namespace, &pair.spec.cluster, notify.clone()),
        hands: hands::Hands::new(ctx.leadership.clone()),
        term: ctx.leadership.term(),
        ctx,
        namespace,
        pair: (*pair).clone(),
        settings: Settings::default(),
        accounts: None,
        probers: BTreeMap::new(),
        guard: None,
        memory: Memory::default(),
        notify,
        must_claim: true,
        clone: None,
    };
    while runner.ctx.leadership.term() == runner.term {
        let begun = Instant::now();
        // On the heap while it lasts: of many pairs few have a pass at any moment, and it can be in the midst of any step.
        let next = Box::pin(runner.pass()).await;
        runner.ctx.metrics.passed(begun.elapsed());
        runner.pause(next).await;
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        if let Some(clone) = self.clone.take() {
            clone.abort();
        }
        self.ctx.metrics.forget(&self.namespace, &self.pair.name_any());
    }
}

impl Runner {
    async fn pass(&mut self) -> Next {
        let span = spans::pass("pair", &self.namespace, &self.pair.name_any());
        self.contents().instrument(span).await
    }

    /// The table of contents.
    async fn contents(&mut self) -> Next {
        self.newest();
        if self.pair.metadata.deletion_timestamp.is_some() || !self.settings_read() || !self.accounts_read().await {
            return Next::Tick;
        }
        if self.must_claim && !self.claim().await {
            return Next::Tick;
        }
        let record = self.record();
        self.listen(&record);
        self.aim(&record);
        let seen = spans::part("observe").in_scope(|| self.observe(&record));
        for (name, facts) in seen.members.iter().filter_map(|(n, m)| Some((n, m.answer()?))) {
            self.hands.meet(name, &facts.process);
        }
        let now = Timestamp::now();
        let mut decision = spans::part("decide").in_scope(|| decide(&record, &self.settings, &seen, now));
        let before = self.memory.said.as_ref().map(|(reason, _)| reason.as_str());
        spans::decided(record.epoch, decision.note.reason.as_str(), &decision.note.message, &decision.steps.iter().map(Step::name).collect::<Vec<_>>(), before);
        self.note_trouble(&record, &seen, &decision);
        let next = match self.act(&record, &decision).instrument(spans::part("act")).await {
            Ok(()) => decision.next,
            Err(surprise) => {
                tracing::warn!(pair = %self.pair.name_any(), reason = decision.note.reason.as_str(), %surprise, "stopped at a surprise");
                spans::surprised(&surprise);
                decision.beside.push(Note::new(decision.note.reason, surprise.to_string()));
                self.surprised()
            }
        };
        self.report(&seen, &decision, next).instrument(spans::part("report")).await;
        self.lead_to_members(&record, &seen).await;
        self.lead_reads(&self.record(), &seen).await;
        if next == Next::Tick {
            self.warm(&seen).await;
        }
        next
    }

    /// At rest the command sessions are made ready, so that a failover needs no login.
    async fn warm(&mut self, seen: &Observation) {
        for name in seen.members.iter().filter(|(_, m)| m.answer().is_some()).map(|(n, _)| n) {
            self.hands.warm(name).await;
            if let (Some(id), Some(prober)) = (self.hands.id(name), self.probers.get(name)) {
                prober.keep(id);
            }
        }
    }

    /// Until the next pass is due; one that follows at once begins with a fresh look.
    async fn pause(&mut self, next: Next) {
        let next = match (next, self.memory.soon_since) {
            (Next::Soon, None) => {
                self.memory.soon_since = Some(Instant::now());
                Next::Soon
            }
            (Next::Soon, Some(since)) if since.elapsed() > ANEW => {
                self.memory.soon_since = Some(Instant::now());
                Next::Soon
            }
            (Next::Soon, Some(since)) if since.elapsed() > IMPATIENT => Next::Tick,
            (Next::Tick, _) => {
                self.memory.soon_since = None;
                Next::Tick
            }
            (other, _) => other,
        };
        match next {
            Next::Now => self.refresh(SETTLED).await,
            Next::Soon => {
                tokio::time::sleep(SOON).await;
                self.refresh(REFRESH).await;
            }
            Next::Tick => {
                let woken = tokio::time::timeout(TICK, self.notify.notified()).await.is_ok();
                // Something changed at one member: what does the other say now? (Keys that were ceded to us wait for nothing.)
                if woken && !self.called() {
                    self.refresh(REFRESH).await;
                }
            }
        }
    }

    /// Asks all members, and those of a split's other side.
    async fn refresh(&self, limit: Duration) {
        let own = self.probers.values().cloned().map(|p| (p, limit));
        let all: Vec<(Arc<Prober>, Duration)> = own.chain(self.others().into_iter().map(|p| (p, limit.min(REFRESH)))).collect();
        futures::future::join_all(all.iter().map(|(p, limit)| p.refresh(*limit))).await;
    }

    /// The newer of what the watch brought and what was written last.
    fn newest(&mut self) {
        let Some(watched) = Stores::get(&self.ctx.stores.pairs, &self.namespace, &self.pair.name_any()) else { return };
        if version(watched.as_ref()) > version(&self.pair) {
            self.pair = (*watched).clone();
        }
    }

    /// Only what this pair is made of wakes it; while a split is on, everything of the cluster.
    fn listen(&mut self, record: &Record) {
        let alone = self.pair.spec.split.is_none() && record.follows.is_none() && record.ceded.is_none();
        let name = self.pair.name_any();
        let reads = u32::try_from(self.pair.spec.shard).map(|shard| names::read(&self.pair.spec.cluster, shard));
        let wanted = alone.then(|| self.member_names(record).into_iter().chain([name]).chain(reads).collect());
        self.subscription.narrow(wanted);
    }

    fn record(&self) -> Record {
        self.pair.status.as_ref().map(|s| s.record.clone()).unwrap_or_default()
    }

    fn status(&self) -> ShardPairStatus {
        self.pair.status.clone().unwrap_or_default()
    }

    /// From the cluster's spec; false while it is absent or wrong (its own conditions say so).
    fn settings_read(&mut self) -> bool {
        let Some(cluster) = Stores::get(&self.ctx.stores.clusters, &self.namespace, &self.pair.spec.cluster) else { return false };
        let Ok(cluster) = &cluster.0 else { return false };
        if cluster.metadata.deletion_timestamp.is_some() || !write::ours(cluster, &self.ctx.identity) {
            return false;
        }
        match cluster.spec.settings(self.pair.spec.members.clone()) {
            Ok(mut settings) => {
                settings.paused |= names::paused(self.pair.annotations());
                settings.split = self.split_wanted(&cluster.spec.sharding);
                self.settings = settings;
                true
            }
            Err(_) => self.settings.members == self.pair.spec.members,
        }
    }

    async fn accounts_read(&mut self) -> bool {
        let denied = self.probers.values().any(|p| p.denied());
        match &self.accounts {
            Some(known) if !denied || known.read.elapsed() < SECRET_AGE => return true,
            _ => {}
        }
        let ctx = self.ctx.clone();
        let _turn = ctx.unhurried.acquire().await;
        let secrets: Api<Secret> = Api::namespaced(self.ctx.client.clone(), &self.namespace);
        let Ok(Ok(secret)) = tokio::time::timeout(SECRET_AGE, secrets.get(&names::operator_secret(&self.pair.spec.cluster))).await else {
            return self.accounts.is_some();
        };
        let data = secret.data.unwrap_or_default();
        let text = |key: &str| data.get(key).and_then(|v| String::from_utf8(v.0.clone()).ok());
        let pair = |user: &str, password: &str| Some(Credentials { user: text(user)?, password: text(password)? });
        let (operator, replication) = (
            pair(names::OPERATOR_USERNAME, names::OPERATOR_PASSWORD),
            pair(names::REPLICATION_USERNAME, names::REPLICATION_PASSWORD),
        );
        if let (Some(operator), Some(replication)) = (operator, replication) {
            self.accounts = Some(Accounts { operator, replication, read: Instant::now() });
            self.read_app_account().await;
        }
        self.accounts.is_some()
    }

    /// Points the probers at the pods as they are now; the heartbeat is the open primary's.
    fn aim(&mut self, record: &Record) {
        let Some(accounts) = self.accounts.clone() else { return };
        let wanted = self.member_names(record);
        self.probers.retain(|name, _| wanted.contains(name));
        for name in wanted {
            let pod = Stores::get(&self.ctx.stores.pods, &self.namespace, &names::pod(&name));
            let open = self.probers.get(&name).is_some_and(|p| p.last(open).unwrap_or(false));
            let beats = record.primary == name && record.transition.is_none() && record.follows.is_none() && open && !self.settings.paused;
            let target = Target {
                at: pod.as_ref().and_then(|p| prober::endpoint(&name, p)),
                pod_uid: pod.as_ref().and_then(|p| p.uid()).unwrap_or_default(),
                credentials: accounts.operator.clone(),
                beat: beats.then_some(record.epoch),
                asked: self.asked(record),
            };
            self.hands.aim(&name, &target);
            match self.probers.get(&name) {
                Some(prober) => prober.aim(target),
                None => {
                    let prober = Arc::new(Prober::start(name.clone(), target, self.notify.clone(), self.ctx.leadership.clone()));
                    self.ctx.members.publish(&self.namespace, &name, &prober);
                    self.probers.insert(name, prober);
                }
            }
        }
    }

    /// When did the trouble begin that a move ends? For the gap that is told.
    fn note_trouble(&mut self, record: &Record, seen: &Observation, decision: &Decision) {
        let now = Timestamp::now();
        let view = View { record, settings: &self.settings, seen, now };
        let away = view.primary().map_or(0, |p| p.away_ms());
        if away > 0 && self.memory.trouble.is_none() {
            self.memory.trouble = Instant::now().checked_sub(Duration::from_millis(away));
        } else if away == 0 && record.transition.is_none() && decision.steps.is_empty() {
            self.memory.trouble = None;
        }
        if decision.note.reason == Reason::SwitchingOver {
            self.memory.trouble = Some(Instant::now());
        }
    }
}
