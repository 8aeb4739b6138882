//! `expand CLUSTER [--to 2N] [--dry-run] [--watch]`: makes an ExpansionPlan, or looks at the one that there is.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt;
use kube::api::PostParams;

use super::cli::Cli;
use super::plan::{Pace, PlanView, text};
use super::seen::Seen;
use super::steer;
use super::trouble::{Doing, Trouble, of_api};
use super::{Output, find};
use crate::api::expansion::{ClusterRef, ExpansionPlan, ExpansionPlanSpec, Phase, Purge, Standbys, default_reverse_window, default_wait_for_clients};
use crate::api::{ShardCluster, conditions};

/// See the module.
#[derive(Clone, Debug, clap::Args)]
pub struct Expand {
    /// The cluster; absent: the only one.
    cluster: Option<String>,
    /// Shards afterwards: exactly twice what it has now.
    #[arg(long)]
    to: Option<i32>,
    /// Look at everything, change nothing: the plan stops after its preflight.
    #[arg(long)]
    dry_run: bool,
    /// How far to go by itself: preflight, prepared, flipped, dissolved, complete.
    #[arg(long, value_parser = phase, conflicts_with = "dry_run")]
    until: Option<Phase>,
    /// Make the new standbys after the flip instead of before: fewer machines, and a while without a second copy.
    #[arg(long)]
    standbys_after: bool,
    /// Stay and show how far it is.
    #[arg(short, long)]
    watch: bool,
    /// Don't ask.
    #[arg(long)]
    yes: bool,
}

/// `--watch` draws bars.
const WATCH_WIDTH: u16 = 72;

/// A phase as it is typed.
pub fn phase(word: &str) -> Result<Phase, String> {
    let found = super::plan::PHASES.iter().find(|p| format!("{p:?}").eq_ignore_ascii_case(word));
    found.copied().ok_or_else(|| "one of preflight, prepared, flipped, dissolved, complete".to_owned())
}

/// Carries it out.
pub async fn run(cli: &Cli, args: &Expand) -> Result<(), Trouble> {
    if args.watch {
        cli.can_watch(WATCH_WIDTH)?;
    }
    let seen = cli.look().await?;
    let cluster = find::cluster_or_only(&seen, args.cluster.as_deref())?;
    let (namespace, name) = match in_flight(&seen, cluster) {
        Some(plan) => {
            known(args, cluster, plan)?;
            (plan.namespace().unwrap_or_default(), plan.name_any())
        }
        None => {
            let plan = make(&seen, cluster, args)?;
            let name = plan.name_any();
            let namespace = cluster.namespace().unwrap_or_default();
            if !args.dry_run {
                let question = format!("{} grows from {} to {} shards, up to {:?}; until it is dissolved, `kubectl shardpair rollback {name}` undoes it.", cluster.name_any(), plan.spec.to_shards / 2, plan.spec.to_shards, plan.spec.until);
                cli.confirm(&question, &cluster.name_any(), args.yes)?;
            }
            let made = cli.api::<ExpansionPlan>(&namespace).create(&PostParams::default(), &plan).await;
            made.map_err(|e| of_api(Doing { verb: "create", what: "expansionplans.shardpair.io", namespace: Some(&namespace) }, &e))?;
            cli.note(&format!("made ExpansionPlan {namespace}/{name}, until {:?}", plan.spec.until));
            (namespace, name)
        }
    };
    follow(cli, &namespace, &name, args.watch || args.dry_run).await
}

/// Shows it once, or until it is done, stalls or waits for a person.
async fn follow(cli: &Cli, namespace: &str, name: &str, stay: bool) -> Result<(), Trouble> {
    let mut pace = Pace::default();
    loop {
        let read = cli.api::<ExpansionPlan>(namespace).get(name).await;
        let plan = read.map_err(|e| of_api(Doing { verb: "get", what: "expansionplans.shardpair.io", namespace: Some(namespace) }, &e))?;
        let now = jiff::Timestamp::now();
        let mut view = PlanView::of(&plan, now);
        pace.note(&mut view, now);
        let ended = view.complete || view.stalled || view.needs_approval();
        let machine = matches!(cli.output, Some(Output::Json | Output::Yaml));
        match machine {
            true if ended || !stay => cli.print(&view)?,
            true => {}
            false => cli.show(stay, &text(&view, cli.paint())),
        }
        if ended && view.stalled {
            return Err(Trouble::failed(format!("{name} is stalled: {}: {}", view.reason, view.message)));
        }
        if ended || !stay {
            return Ok(());
        }
        cli.next_look().await;
    }
}

/// The cluster's plan that isn't complete.
fn in_flight<'a>(seen: &'a Seen, cluster: &ShardCluster) -> Option<&'a ExpansionPlan> {
    let own = |p: &&ExpansionPlan| p.namespace() == cluster.namespace() && p.spec.cluster_ref.name == cluster.name_any();
    let done = |p: &ExpansionPlan| p.status.as_ref().is_some_and(|s| conditions::is_true(&s.conditions, conditions::COMPLETE));
    seen.plans.iter().filter(own).find(|p| !done(p))
}

/// A plan is there already: it must be what was asked for. Pure.
fn known(args: &Expand, cluster: &ShardCluster, plan: &ExpansionPlan) -> Result<(), Trouble> {
    let name = plan.name_any();
    if args.to.is_some_and(|to| to != plan.spec.to_shards) {
        return Err(Trouble::misuse(format!("{name} is taking {} to {} shards already: let it end, or `kubectl shardpair rollback {name}`", cluster.name_any(), plan.spec.to_shards)));
    }
    if args.until.is_some() {
        return Err(Trouble::misuse(format!("{name} is there already: `kubectl shardpair approve {name}` lets it go on")));
    }
    Ok(())
}

/// The plan that is asked for; what can't work is said at once. Pure.
pub fn make(seen: &Seen, cluster: &ShardCluster, args: &Expand) -> Result<ExpansionPlan, Trouble> {
    let name = cluster.name_any();
    let shards = cluster.status.as_ref().and_then(|s| s.shards).unwrap_or(cluster.spec.shards);
    let to = args.to.unwrap_or(2 * shards);
    if to != 2 * shards {
        return Err(Trouble::misuse(format!("{name} has {shards} shards: --to must be exactly twice that, {}", 2 * shards)));
    }
    if to > 256 {
        return Err(Trouble::failed(format!("{name} has {shards} shards: 256 is the most that a cluster may have")));
    }
    if let Some(pair) = seen.pairs_of(cluster).next() {
        steer::answerable(seen, pair)?;
    } else if let Some(why) = seen.unmanaged(cluster) {
        return Err(Trouble::failed(format!("{name}: {why}")));
    }
    let until = if args.dry_run { Phase::Preflight } else { args.until.unwrap_or(Phase::Prepared) };
    Ok(ExpansionPlan {
        metadata: ObjectMeta { name: Some(format!("{name}-to-{to}")), namespace: cluster.namespace(), ..ObjectMeta::default() },
        spec: ExpansionPlanSpec {
            cluster_ref: ClusterRef { name },
            to_shards: to,
            standbys: if args.standbys_after { Standbys::After } else { Standbys::Before },
            until,
            wait_for_clients: default_wait_for_clients(),
            reverse_window: default_reverse_window(),
            split_at: Vec::new(),
            purge: Purge::default(),
        },
        status: None,
    })
}
