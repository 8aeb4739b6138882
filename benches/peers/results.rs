//! What was measured, as it is kept in a file between a run and its report.

use serde::{Deserialize, Serialize};

/// What is done to the server that takes the writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fault {
    /// kill -9.
    Kill9,
    /// All its processes are stopped by SIGSTOP, until writes go on elsewhere.
    Sigstop,
    /// Its network link is cut, until writes go on elsewhere.
    Cut,
    /// Somebody asks for another primary, in the stack's own way.
    Planned,
}

impl Fault {
    /// In the order of the report.
    pub const ALL: [Self; 4] = [Self::Kill9, Self::Sigstop, Self::Cut, Self::Planned];

    /// In the order in which they are made: what may leave a stack broken comes last.
    pub const IN_TURN: [Self; 4] = [Self::Kill9, Self::Planned, Self::Cut, Self::Sigstop];

    /// As in a stack's verb and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Kill9 => "kill9",
            Self::Sigstop => "sigstop",
            Self::Cut => "cut",
            Self::Planned => "planned",
        }
    }

    /// For people.
    pub fn title(self) -> &'static str {
        match self {
            Self::Kill9 => "kill -9 of the server",
            Self::Sigstop => "SIGSTOP of the server",
            Self::Cut => "cut network link of its node",
            Self::Planned => "planned switchover",
        }
    }
}

/// What a stack says of itself.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct About {
    pub title: String,
    /// Those of another than MySQL are marked.
    pub engine: String,
    pub versions: String,
    pub settings: String,
}

/// One fault.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Run {
    pub fault: Fault,
    /// The longest time without an acknowledged row, from the fault until writes had gone on for a second.
    pub gap_ms: f64,
    /// The longest one after that, until redundancy was back.
    pub later_ms: f64,
    /// From the fault until another one could be stood; none: not in time, the stack was set up anew.
    pub redundant_ms: Option<f64>,
    /// Rows that were acknowledged, and how many of them were gone at the end.
    pub acked: u64,
    pub lost: u64,
    /// Rows that are there twice, that were refused and are there, or that nobody wrote.
    pub wrong: u64,
    /// Rows that some members hold and others don't, at the end.
    pub differing: u64,
    /// Writes went on only after the fault had been healed.
    pub healed_first: bool,
}

/// All runs of a stack.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Measured {
    pub name: String,
    pub about: About,
    pub runs: Vec<Run>,
    /// What went wrong with the stack itself, so that a figure is missing.
    #[serde(default)]
    pub notes: Vec<String>,
}

/// Machine and time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Setting {
    pub date: String,
    pub cores: usize,
    pub cpu: String,
    pub memory: String,
    pub kernel: String,
    pub commit: String,
    pub load_before: String,
    pub command: String,
    pub minutes: f64,
}

/// One run of the whole bench.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Results {
    pub setting: Setting,
    pub stacks: Vec<Measured>,
    /// Commit cost.
    #[serde(default)]
    pub commits: Vec<Commit>,
    /// Ways to bring a shard's data elsewhere.
    #[serde(default)]
    pub copies: Vec<Copied>,
    /// Ways to delete a table's foreign half.
    #[serde(default)]
    pub purges: Vec<Purged>,
}

/// One way, at one size.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Copied {
    pub way: String,
    pub gb: f64,
    pub seconds: f64,
}

/// As benches/purge writes it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Purged {
    pub way: String,
    pub limit: u32,
    pub rows_per_second: f64,
    pub p50_ms: f64,
    pub p99_ms: f64,
}

/// sysbench at one way to replicate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Commit {
    pub way: String,
    pub threads: u32,
    pub per_second: f64,
    pub p50_ms: f64,
    pub p99_ms: f64,
}
