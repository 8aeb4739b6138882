//! The report of benches/peers, from results that were recorded: its tables and its plot, without running a stack.

#[path = "../kubernetes/support/spread.rs"]
mod spread;
#[path = "../../benches/peers/plot.rs"]
mod plot;
#[path = "../../benches/peers/report.rs"]
mod report;
#[allow(dead_code, reason = "the bench uses more of it")]
#[path = "../../benches/peers/results.rs"]
mod results;

use results::{Fault, Results};

fn recorded() -> Results {
    serde_json::from_str(include_str!("peers/sample.json")).expect("results")
}

#[test]
fn the_tables_of_the_recorded_results_are_as_they_were() {
    insta::assert_snapshot!(report::tables(&recorded()));
}

#[test]
fn a_stack_that_loses_rows_or_never_comes_back_is_shown_as_such() {
    let mut results = recorded();
    for stack in &mut results.stacks {
        stack.runs.retain(|run| run.fault == Fault::Kill9);
    }
    let run = &mut results.stacks[0].runs[0];
    (run.lost, run.wrong, run.differing, run.redundant_ms, run.healed_first) = (7, 5, 3, None, true);
    let name = results.stacks[0].name.clone();
    let tables = report::tables(&results);
    let row = tables.lines().find(|line| line.starts_with(&format!("| {name} |"))).expect("its row");
    assert!(row.contains("(*)") && row.ends_with("| 7 | 5 | 3 | never | never |"), "{row}");
    assert!(plot::svg(&results).contains(&format!("{name} (lost rows)</text>")));
}

#[test]
fn percentiles_are_by_nearest_rank() {
    assert_eq!(report::of((1..=30).rev().map(f64::from).collect()), (15.0, 30.0, 30.0));
    assert_eq!(report::of(vec![3.0]), (3.0, 3.0, 3.0));
    assert_eq!(report::of(Vec::new()), (0.0, 0.0, 0.0));
}

#[test]
fn the_plot_shows_every_run_within_its_axis() {
    let results = recorded();
    let svg = plot::svg(&results);
    let runs: usize = results.stacks.iter().map(|stack| stack.runs.len()).sum();
    assert_eq!(svg.matches("r=\"2.5\"").count(), runs);
    for at in svg.split("cx=\"").skip(1) {
        let x: f64 = at.split('"').next().and_then(|x| x.parse().ok()).expect("a number");
        assert!((250.0..=870.0).contains(&x), "{x}");
    }
    for fault in Fault::ALL {
        assert_eq!(svg.contains(fault.title()), results.stacks.iter().any(|s| s.runs.iter().any(|r| r.fault == fault)), "{fault:?}");
    }
}

#[test]
fn only_what_lies_between_the_markers_is_replaced() {
    let page = "before\n<!-- peers: begin -->\nold\n<!-- peers: end -->\nafter\n";
    let new = report::between_markers(page, "peers", "new\n").expect("markers");
    assert_eq!(new, "before\n<!-- peers: begin -->\n\nnew\n\n<!-- peers: end -->\nafter\n");
    assert_eq!(report::between_markers(&new, "peers", "new\n").as_deref(), Some(new.as_str()));
    assert!(report::between_markers("no markers", "peers", "new").is_none());
    let ours = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/benchmarks.md")).expect("the page");
    assert!(report::between_markers(&ours, "peers", "").is_some());
}
