//! `approve PLAN`, `rollback PLAN`: a plan goes as far as its `until` says; these raise and lower it.

use kube::ResourceExt;
use serde_json::json;

use super::cli::Cli;
use super::expand::phase;
use super::find;
use super::plan::PHASES;
use super::trouble::Trouble;
use crate::api::ExpansionPlan;
use crate::api::expansion::Phase;

/// `approve [PLAN] [--until PHASE]`
#[derive(Clone, Debug, clap::Args)]
pub struct Approve {
    /// The plan, or its cluster; absent: the only one.
    plan: Option<String>,
    /// How far; absent: one phase further.
    #[arg(long, value_parser = phase)]
    until: Option<Phase>,
    /// Don't ask.
    #[arg(long)]
    yes: bool,
}

/// `rollback [PLAN]`
#[derive(Clone, Debug, clap::Args)]
pub struct Rollback {
    /// The plan, or its cluster; absent: the only one.
    plan: Option<String>,
    /// Undo everything, instead of stopping as prepared.
    #[arg(long)]
    all: bool,
    /// Don't ask.
    #[arg(long)]
    yes: bool,
}

/// Carries it out.
pub async fn approve(cli: &Cli, args: &Approve) -> Result<(), Trouble> {
    let seen = cli.look().await?;
    let plan = find::plan(&seen, args.plan.as_deref())?;
    let to = raised(plan, args.until)?;
    if to >= Phase::Dissolved {
        cli.confirm(&format!("{} goes on to {to:?}: from Dissolved on there is no way back.", plan.name_any()), &plan.name_any(), args.yes)?;
    }
    set(cli, plan, to).await?;
    cli.show(false, &format!("{}: approved until {to:?}\n", plan.name_any()));
    Ok(())
}

/// Carries it out.
pub async fn rollback(cli: &Cli, args: &Rollback) -> Result<(), Trouble> {
    let seen = cli.look().await?;
    let plan = find::plan(&seen, args.plan.as_deref())?;
    let to = lowered(plan, args.all)?;
    cli.confirm(&format!("{} is taken back to {to:?}.", plan.name_any()), &plan.name_any(), args.yes)?;
    set(cli, plan, to).await?;
    cli.show(false, &format!("{}: goes back to {to:?}\n", plan.name_any()));
    Ok(())
}

async fn set(cli: &Cli, plan: &ExpansionPlan, until: Phase) -> Result<(), Trouble> {
    // Against the version that was looked at: what was decided on an older state is not carried out.
    let change = json!({"metadata": {"resourceVersion": plan.resource_version()}, "spec": {"until": until}});
    let set = cli.patch::<ExpansionPlan>(&plan.namespace().unwrap_or_default(), &plan.name_any(), change.clone()).await;
    match set {
        Err(trouble) if trouble.text.contains("changed by somebody else") => {
            // Its status is written all the time; the spec must still be what was looked at.
            let (namespace, name) = (plan.namespace().unwrap_or_default(), plan.name_any());
            let now = cli.api::<ExpansionPlan>(&namespace).get(&name).await.map_err(|e| super::trouble::of_api(super::trouble::Doing { verb: "get", what: "expansionplans.shardpair.io", namespace: Some(&namespace) }, &e))?;
            if now.metadata.generation != plan.metadata.generation {
                return Err(trouble);
            }
            let change = json!({"metadata": {"resourceVersion": now.resource_version()}, "spec": {"until": until}});
            cli.patch::<ExpansionPlan>(&namespace, &name, change).await.map(drop)
        }
        other => other.map(drop),
    }
}

/// One further, or as far as was said; never lower. Pure.
pub fn raised(plan: &ExpansionPlan, wanted: Option<Phase>) -> Result<Phase, Trouble> {
    let name = plan.name_any();
    let until = plan.spec.until;
    let next = PHASES.iter().copied().find(|p| *p > until);
    match (wanted, next) {
        (_, None) => Err(Trouble::failed(format!("{name} may go to its end already (until Complete): nothing to approve"))),
        (Some(wanted), _) if wanted <= until => Err(Trouble::misuse(format!("{name} may go until {until:?} already; to lower it: `kubectl shardpair rollback {name}`"))),
        (Some(wanted), _) => Ok(wanted),
        (None, Some(next)) => Ok(next),
    }
}

/// To Prepared (or Preflight: everything undone), while that is possible. Pure.
pub fn lowered(plan: &ExpansionPlan, all: bool) -> Result<Phase, Trouble> {
    let name = plan.name_any();
    let phase = plan.status.as_ref().and_then(|s| s.phase);
    if phase >= Some(Phase::Dissolved) {
        return Err(Trouble::failed(format!("{name} is {:?}: the way back is gone; a migration from 2N to N shards is another plan", phase.unwrap_or_default())));
    }
    let to = if all { Phase::Preflight } else { Phase::Prepared };
    if plan.spec.until <= to {
        return Err(Trouble::failed(format!("{name} goes until {:?} only: nothing to roll back", plan.spec.until)));
    }
    Ok(to)
}
