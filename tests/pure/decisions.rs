//! Decisions as stories: `scenarios/*.txt` say what happens, line by line, and what the operator does about it.
//!
//! Each block is what happens, `---`, then what is decided; `UPDATE=1 cargo test --test pure` writes the second part anew:
//! read the difference before you keep it. Every decision on the way is held against the laws in `law`, and no story may
//! lose a write that a client was told is safe.

pub mod law;
mod nature;
mod script;
mod show;
mod split;
mod steps;
pub mod world;

use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;
use std::path::PathBuf;

use shardpair::pair::step::Reason;
use world::World;

fn stories() -> Vec<PathBuf> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/pure/scenarios");
    let only = std::env::var("STORY").unwrap_or_default();
    let mut paths: Vec<PathBuf> = fs::read_dir(folder).expect("the folder").map(|e| e.expect("a file").path()).filter(|p| p.extension().is_some_and(|e| e == "txt")).collect();
    paths.retain(|p| p.to_string_lossy().contains(&only));
    paths.sort();
    paths
}

/// The story told anew: what happens from the file, what is decided from the code.
fn retell(text: &str) -> String {
    let mut world = World::new();
    let mut told = String::new();
    let mut below = false;
    let mut decided = String::new();
    for line in text.lines().chain([""]) {
        match (below, line.trim_end()) {
            (false, "---") => {
                below = true;
                let _ = write!(told, "---\n{}", std::mem::take(&mut decided));
            }
            (false, line) => {
                let _ = writeln!(told, "{line}");
                if !line.is_empty() && !line.starts_with('#') {
                    decided.push_str(&world.tell(line));
                }
            }
            (true, "") => {
                below = false;
                told.push('\n');
            }
            (true, _) => {}
        }
    }
    assert!(decided.is_empty(), "the last block has no `---`");
    told.trim_end().to_owned() + "\n"
}

/// Lines that differ, with two lines before each.
fn difference(golden: &str, told: &str) -> String {
    let (golden, told): (Vec<&str>, Vec<&str>) = (golden.lines().collect(), told.lines().collect());
    let same = golden.iter().zip(&told).take_while(|(g, t)| g == t).count();
    let tail = golden[same..].iter().rev().zip(told[same..].iter().rev()).take_while(|(g, t)| g == t).count();
    let mut text = String::new();
    golden[same.saturating_sub(2)..same].iter().for_each(|l| { let _ = writeln!(text, "    {l}"); });
    golden[same..golden.len() - tail].iter().for_each(|l| { let _ = writeln!(text, "  - {l}"); });
    told[same..told.len() - tail].iter().for_each(|l| { let _ = writeln!(text, "  + {l}"); });
    text
}

#[test]
fn every_story_ends_as_it_is_told() {
    let mut wrong = String::new();
    for path in stories() {
        let golden = fs::read_to_string(&path).expect("a story");
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        let Ok(told) = std::panic::catch_unwind(|| retell(&golden)) else {
            let _ = writeln!(wrong, "{name}: stopped, see above");
            continue;
        };
        if told.contains("!!!") {
            let _ = writeln!(wrong, "{name}: {}", told.lines().find(|l| l.contains("!!!")).unwrap_or_default());
        }
        if told == golden {
            continue;
        }
        if std::env::var_os("UPDATE").is_some() {
            fs::write(&path, &told).expect("written");
        } else {
            let _ = writeln!(wrong, "{name}:\n{}", difference(&golden, &told));
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}\nUPDATE=1 writes what is decided now into the stories");
}

#[test]
fn every_reason_has_a_story() {
    if std::env::var_os("STORY").is_some() {
        return;
    }
    let told: String = stories().iter().map(|p| fs::read_to_string(p).expect("a story")).collect();
    let missing: BTreeSet<&str> = Reason::ALL.iter().map(|r| r.as_str()).filter(|r| !told.contains(&format!("{r}: "))).collect();
    assert!(missing.is_empty(), "no story shows {missing:?}");
}

/// The state of a world, in short.
pub fn summary(world: &World) -> String {
    show::state(world).trim_end().replace('\n', ";")
}
