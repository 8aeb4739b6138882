//! Encodes what is known when it is asked for: nothing is kept per series.

use std::fmt::Error;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

use super::data::MemberData;
use super::series::{Kind, MEMBER, Of, PAIR, PLAN, SPLIT, kind, special};
use super::{Known, Shared};
use crate::mysql::status::VALUES;

impl Collector for Shared {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), Error> {
        let known = self.0.lock().expect("never poisoned");
        pairs(&known, &mut encoder)?;
        members(&known, &mut encoder)?;
        expansions(&known, &mut encoder)?;
        let mut info = encoder.encode_descriptor(special::BUILD.0, special::BUILD.1, None, MetricType::Gauge)?;
        info.encode_family(&[("version", env!("CARGO_PKG_VERSION"))])?.encode_gauge(&1i64)
    }
}

fn type_of(kind: Kind) -> MetricType {
    match kind {
        Kind::Gauge => MetricType::Gauge,
        Kind::Counter => MetricType::Counter,
        Kind::Histogram => MetricType::Histogram,
    }
}

fn put(encoder: &mut MetricEncoder, kind: Kind, labels: &[(&str, &str)], value: f64) -> Result<(), Error> {
    let mut one = encoder.encode_family(&labels)?;
    match kind {
        Kind::Counter => one.encode_counter::<NoLabelSet, f64, u64>(&value, None),
        Kind::Gauge | Kind::Histogram => one.encode_gauge(&value),
    }
}

/// One series of each value of the table, over all that there are of it.
fn table<'a, T: 'static, I>(encoder: &mut DescriptorEncoder, prefix: &str, table: &[Of<T>], all: impl Fn() -> I) -> Result<(), Error>
where
    I: Iterator<Item = (Vec<(&'a str, &'a str)>, &'a T)>,
{
    for series in table {
        let name = format!("{prefix}{}", series.name);
        let mut metric = encoder.encode_descriptor(&name, series.help, None, type_of(series.kind))?;
        for (labels, of) in all() {
            if let Some(value) = (series.value)(of) {
                put(&mut metric, series.kind, &labels, value)?;
            }
        }
    }
    Ok(())
}

fn labels((namespace, pair): &(String, String)) -> [(&'static str, &str); 2] {
    [("namespace", namespace), ("pair", pair)]
}

fn pairs(known: &Known, encoder: &mut DescriptorEncoder) -> Result<(), Error> {
    table(encoder, "pair_", PAIR, || known.pairs.iter().map(|(key, p)| (labels(key).to_vec(), p)))?;
    let with = |key, more: &[(&'static str, &'static str)]| labels(key).into_iter().chain(more.iter().copied()).collect::<Vec<_>>();
    let mut metric = encoder.encode_descriptor(special::STATE.0, special::STATE.1, None, MetricType::Gauge)?;
    for (key, reason) in known.pairs.iter().filter_map(|(k, p)| Some((k, p.reason?))) {
        put(&mut metric, Kind::Gauge, &with(key, &[("reason", reason.as_str())]), 1.0)?;
    }
    let mut metric = encoder.encode_descriptor(special::MOVES.0, special::MOVES.1, None, MetricType::Counter)?;
    for (key, pair) in &known.pairs {
        for ((kind, reason), times) in &pair.moves {
            put(&mut metric, Kind::Counter, &with(key, &[("kind", kind), ("reason", reason)]), *times as f64)?;
        }
    }
    let mut metric = encoder.encode_descriptor(special::REFUSALS.0, special::REFUSALS.1, None, MetricType::Counter)?;
    for (key, pair) in &known.pairs {
        for (reason, times) in &pair.refusals {
            put(&mut metric, Kind::Counter, &with(key, &[("reason", reason)]), *times as f64)?;
        }
    }
    gaps(known, encoder)
}

fn gaps(known: &Known, encoder: &mut DescriptorEncoder) -> Result<(), Error> {
    let mut metric = encoder.encode_descriptor(special::GAP.0, special::GAP.1, None, MetricType::Histogram)?;
    for (key, pair) in &known.pairs {
        let gaps = &pair.gaps;
        metric.encode_family(&labels(key))?.encode_histogram::<NoLabelSet>(gaps.sum, gaps.count(), &gaps.buckets(), None)?;
    }
    Ok(())
}

fn each(known: &Known) -> impl Iterator<Item = (Vec<(&str, &str)>, &MemberData)> {
    known.pairs.iter().flat_map(|(key, pair)| {
        pair.members.iter().map(move |(name, member)| {
            let all: Vec<(&str, &str)> = vec![("namespace", &key.0), ("pair", &key.1), ("member", name)];
            (all, member)
        })
    })
}

fn members(known: &Known, encoder: &mut DescriptorEncoder) -> Result<(), Error> {
    table(encoder, "member_", MEMBER, || each(known))?;
    let mut metric = encoder.encode_descriptor(special::ROLE.0, special::ROLE.1, None, MetricType::Gauge)?;
    for (mut labels, member) in each(known) {
        labels.push(("role", member.role));
        put(&mut metric, Kind::Gauge, &labels, 1.0)?;
    }
    for (at, value) in VALUES.iter().enumerate() {
        let name = format!("member_{}", value.name);
        let kind = kind(value.kind);
        let mut metric = encoder.encode_descriptor(&name, value.help, None, type_of(kind))?;
        for (labels, member) in each(known) {
            if let Some(value) = member.measured.status.get(at).copied().flatten() {
                put(&mut metric, kind, &labels, value)?;
            }
        }
    }
    Ok(())
}

fn expansions(known: &Known, encoder: &mut DescriptorEncoder) -> Result<(), Error> {
    let numbers: Vec<_> = known.plans.iter().flat_map(|(key, plan)| plan.shards.iter().map(move |(n, s)| (key, plan, n.to_string(), s))).collect();
    table(encoder, "expansion_", PLAN, || {
        known.plans.iter().map(|(key, plan)| (vec![("namespace", key.0.as_str()), ("plan", &key.1), ("cluster", &plan.cluster)], plan))
    })?;
    let split = || numbers.iter().map(|(key, plan, n, s)| (vec![("namespace", key.0.as_str()), ("plan", &key.1), ("cluster", &plan.cluster), ("shard", n)], *s));
    table(encoder, "expansion_shard_", SPLIT, split)?;
    let mut metric = encoder.encode_descriptor(special::THROTTLED.0, special::THROTTLED.1, None, MetricType::Gauge)?;
    for (mut labels, shard) in split() {
        if let Some(reason) = &shard.throttled {
            labels.push(("reason", reason));
            put(&mut metric, Kind::Gauge, &labels, 1.0)?;
        }
    }
    Ok(())
}
