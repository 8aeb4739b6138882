//! One stack: up, faults in turn until the runs or the time are over, down. A stack that doesn't come up or come back is
//! left out, and that is told, too.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use super::client::Endpoints;
use super::results::{Fault, Measured, Run};
use super::secs;
use super::stack::{Said, Stack};
use super::writer::{Log, Pace, Writer};

/// For the first redundancy, and for the one after a fault.
const REDUNDANT: Duration = secs(60);
/// A stack that takes no write for so long is helped: the fault is healed.
const STUCK: Duration = secs(60);
/// A stack is set up anew so often.
const ANEW: u32 = 2;

/// How much of it.
#[derive(Clone, Debug)]
pub struct Plan {
    pub faults: Vec<Fault>,
    pub runs: u32,
    pub slow_runs: u32,
    /// Of one stack: after it no run is begun, but for the first of each fault.
    pub stack_time: Duration,
}

/// Runs of every fault in turn, so that each has one when the time is over.
pub async fn stack(stack: &Stack, plan: &Plan) -> Measured {
    let about = stack.about().await;
    let mut measured = Measured { name: stack.name.clone(), about: about.clone().unwrap_or_default(), runs: Vec::new(), notes: Vec::new() };
    let (begun, runs) = (Instant::now(), if stack.slow { plan.slow_runs } else { plan.runs });
    let mut todo: VecDeque<Fault> = (0..runs).flat_map(|_| plan.faults.clone()).collect();
    let late = |left: usize| begun.elapsed() > plan.stack_time && left + plan.faults.len() <= runs as usize * plan.faults.len();
    let mut ups = 0;
    while ups <= ANEW && about.is_ok() {
        ups += 1;
        let ended = match up(stack).await {
            Ok(endpoints) => faults(stack, &endpoints, &mut todo, late, &mut measured).await,
            Err(why) => Err(why),
        };
        let down = stack.down().await;
        match ended {
            Ok(()) => break,
            Err(why) => note(&mut measured, why),
        }
        if let Err(why) = down {
            note(&mut measured, why);
            break;
        }
        if measured.runs.is_empty() || todo.is_empty() || late(todo.len()) {
            break;
        }
    }
    if let Err(why) = about {
        note(&mut measured, why);
    }
    measured
}

fn note(measured: &mut Measured, why: String) {
    println!("{}: {why}", measured.name);
    measured.notes.push(why);
}

async fn up(stack: &Stack) -> Result<Endpoints, String> {
    let begun = Instant::now();
    stack.up().await?;
    let endpoints = stack.endpoints().await?;
    endpoints.make_table().await?;
    println!("{}: up in {:.1} s", stack.name, begun.elapsed().as_secs_f64());
    Ok(endpoints)
}

/// An error: the stack must be set up anew.
async fn faults(stack: &Stack, endpoints: &Endpoints, todo: &mut VecDeque<Fault>, late: impl Fn(usize) -> bool, measured: &mut Measured) -> Result<(), String> {
    let mut unknown = BTreeSet::new();
    while !late(todo.len()) {
        let Some(fault) = todo.pop_front() else { return Ok(()) };
        if unknown.contains(&fault) {
            continue;
        }
        match one(stack, endpoints, fault).await? {
            Some(run) => {
                println!("{} {}: {}", stack.name, fault.name(), line(&run));
                let back = run.redundant_ms.is_some();
                measured.runs.push(run);
                if !back {
                    return Err(format!("after {}: not redundant within {} s, set up anew", fault.name(), REDUNDANT.as_secs()));
                }
            }
            None => drop(unknown.insert(fault)),
        }
    }
    Ok(())
}

fn line(run: &Run) -> String {
    let back = run.redundant_ms.map_or("never".to_owned(), |ms| format!("after {:.1} s", ms / 1000.0));
    let helped = if run.healed_first { "; only after the fault was healed" } else { "" };
    let Run { gap_ms, later_ms, acked, lost, wrong, differing, .. } = run;
    format!("gap {gap_ms} ms, later {later_ms} ms, redundant {back}, {acked} rows, {lost} lost, {wrong} wrong, {differing} differ{helped}")
}

/// None: the stack has no such fault.
async fn one(stack: &Stack, endpoints: &Endpoints, fault: Fault) -> Result<Option<Run>, String> {
    stack.redundant(REDUNDANT).await?;
    let writer = Writer::begin(endpoints, Pace::default())?;
    writer.progress(200, secs(20)).await.map_err(|why| format!("before the fault: {why}"))?;
    let begun = Instant::now();
    match stack.fault(fault).await {
        Said::Done(_) => {}
        Said::Unknown => return Ok(None),
        Said::Failed(why) => {
            writer.stop().await;
            let _ = stack.heal().await;
            return Err(why);
        }
    }
    let healed_first = writer.progress(200, STUCK).await.is_err();
    if healed_first {
        stack.heal().await?;
    }
    let went_on = match writer.progress(200, STUCK).await {
        Ok(()) => after_a_second(&writer).await,
        Err(why) => Err(why),
    };
    let moved = Instant::now();
    stack.heal().await?;
    let redundant = stack.redundant(REDUNDANT).await;
    let back = Instant::now();
    let log = writer.stop().await;
    went_on.map_err(|why| format!("after {}: {why}", fault.name()))?;
    // What was written while redundancy was looked for has to arrive everywhere before it is compared.
    let settled = stack.redundant(secs(20)).await;
    let ms = |time: Duration| (time.as_secs_f64() * 10_000.0).round() / 10.0;
    let (lost, wrong, differing) = compare(endpoints, &log).await?;
    Ok(Some(Run {
        fault,
        gap_ms: ms(log.longest_gap_between(begun, moved).length),
        later_ms: ms(log.longest_gap_between(moved, back).length),
        redundant_ms: redundant.and(settled).is_ok().then(|| ms(back - begun)),
        acked: log.acked() as u64,
        lost,
        wrong,
        differing,
        healed_first,
    }))
}

async fn after_a_second(writer: &Writer) -> Result<(), String> {
    let begun = Instant::now();
    while begun.elapsed() < secs(1) {
        writer.progress(1, STUCK).await?;
    }
    Ok(())
}

/// Acknowledged rows that are gone, rows that shouldn't be there (where the clients write), and rows that not all members hold.
async fn compare(endpoints: &Endpoints, log: &Log) -> Result<(u64, u64, u64), String> {
    let problems = log.compare(&endpoints.front(log.run).await?);
    let mut members: Vec<BTreeMap<u64, u64>> = Vec::new();
    for member in &endpoints.members {
        // One that doesn't answer isn't redundant, which is told; what it holds isn't known.
        members.extend(endpoints.rows(*member, log.run).await);
    }
    let lost = problems.iter().filter(|p| p.starts_with("LOST")).count();
    let all: BTreeSet<(u64, u64)> = members.iter().flat_map(|rows| rows.iter().map(|(id, times)| (*id, *times))).collect();
    let differing = all.iter().filter(|(id, times)| members.iter().any(|rows| rows.get(id) != Some(times))).count();
    for problem in problems.iter().take(5) {
        println!("  {problem}");
    }
    Ok((lost as u64, (problems.len() - lost) as u64, differing as u64))
}
