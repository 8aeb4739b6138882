//! The gaps as a picture: a panel a fault, a line a stack from its fastest to its slowest run, time on a log axis. Pure.

use super::report;
use super::results::{Fault, Measured, Results, Run};

const WIDTH: f64 = 900.0;
const LEFT: f64 = 250.0;
const RIGHT: f64 = 30.0;
const ROW: f64 = 22.0;
const HEAD: f64 = 34.0;
const FOOT: f64 = 34.0;

/// A stack and the gaps of its runs, milliseconds.
type Row<'a> = (&'a Measured, Vec<f64>);

/// From 1 ms to 1000 s.
const DECADES: f64 = 6.0;

/// Where a time is on the axis.
fn x(ms: f64) -> f64 {
    let part = ms.clamp(1.0, 1e6).log10() / DECADES;
    LEFT + part * (WIDTH - LEFT - RIGHT)
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// The whole picture.
pub fn svg(results: &Results) -> String {
    let panels: Vec<(Fault, Vec<Row>)> = Fault::ALL.into_iter().map(|fault| (fault, rows(results, fault))).filter(|(_, rows)| !rows.is_empty()).collect();
    let mut body = String::new();
    let mut top = 46.0;
    for (fault, rows) in &panels {
        body += &panel(top, *fault, rows);
        top += HEAD + ROW * rows.len() as f64 + FOOT;
    }
    let date = &results.setting.date;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {top}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{WIDTH}\" height=\"{top}\" fill=\"#fff\"/>\n\
         <text x=\"16\" y=\"24\" font-size=\"16\" fill=\"#222\">Longest gap between acknowledged writes</text>\n\
         <text x=\"16\" y=\"40\" fill=\"#666\">{date}; dots: runs, ring: median, bar: slowest (log axis; shorter is better)</text>\n{body}</svg>\n"
    )
}

fn rows(results: &Results, fault: Fault) -> Vec<Row<'_>> {
    let gaps = |(stack, runs): (_, Vec<&Run>)| (stack, runs.iter().map(|run| run.gap_ms).collect());
    report::fastest_first(results, fault).into_iter().map(gaps).collect()
}

fn panel(top: f64, fault: Fault, rows: &[Row]) -> String {
    let (first, last) = (top + HEAD, top + HEAD + ROW * rows.len() as f64);
    let mut text = format!("<text x=\"16\" y=\"{}\" font-weight=\"bold\" fill=\"#222\">{}</text>\n", top + 20.0, fault.title());
    for (decade, name) in ["1 ms", "10 ms", "100 ms", "1 s", "10 s", "100 s", "1000 s"].iter().enumerate() {
        let at = x(10_f64.powi(decade as i32));
        text += &format!("<line x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{first}\" y2=\"{last}\" stroke=\"#ddd\"/><text x=\"{at:.1}\" y=\"{}\" text-anchor=\"middle\" fill=\"#666\" font-size=\"10\">{name}</text>\n", last + 14.0);
    }
    for (number, (stack, gaps)) in rows.iter().enumerate() {
        text += &line(first + ROW * (number as f64 + 0.5), stack, gaps);
    }
    text
}

fn line(y: f64, stack: &Measured, gaps: &[f64]) -> String {
    let (p50, _, max) = report::of(gaps.to_vec());
    let least = gaps.iter().copied().fold(f64::INFINITY, f64::min);
    let colour = if stack.about.title == "shardpair" { "#0a7d38" } else if stack.about.engine == "MySQL" { "#2b5fb0" } else { "#8a6d1d" };
    let lost: u64 = stack.runs.iter().map(|run| run.lost).sum();
    let mark = if lost > 0 { " (lost rows)" } else { "" };
    let mut text = format!("<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\" fill=\"#222\">{}{mark}</text>\n", LEFT - 10.0, y + 4.0, escape(&stack.name));
    text += &format!("<line x1=\"{:.1}\" x2=\"{:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\" stroke=\"{colour}\" stroke-width=\"2\" opacity=\"0.5\"/>\n", x(least), x(max));
    for gap in gaps {
        text += &format!("<circle cx=\"{:.1}\" cy=\"{y:.1}\" r=\"2.5\" fill=\"{colour}\"/>", x(*gap));
    }
    text += &format!("<circle cx=\"{:.1}\" cy=\"{y:.1}\" r=\"5\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.5\"/>", x(p50));
    text + &format!("<line x1=\"{0:.1}\" x2=\"{0:.1}\" y1=\"{1:.1}\" y2=\"{2:.1}\" stroke=\"{colour}\" stroke-width=\"2\"/>\n", x(max), y - 6.0, y + 6.0)
}
