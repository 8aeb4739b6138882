//! Sets of global transaction identifiers, and their algebra.
//!
//! Pure. Every question of the protocol ("does B hold what A executed?", "what is A's tail?") is a subset or a
//! difference of such sets, so it is answered here and not by a round trip to a server that may be the one in question.
//! Invariant: intervals are sorted, disjoint and not adjacent, and no entry is empty; so equal sets are equal values
//! and `Display` prints what MySQL prints.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// The largest transaction number of MySQL (`GNO_END - 1`).
pub const MAX_NUMBER: u64 = i64::MAX as u64 - 1;
/// A tag's longest form.
const MAX_TAG: usize = 32;

/// A source's identity: the `server_uuid` part of a GTID.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Uuid(u128);

/// An interval of transaction numbers, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interval {
    /// First number, at least 1.
    pub first: u64,
    /// Last number, at least `first`.
    pub last: u64,
}

/// A set of GTIDs, tagged ones among them.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct GtidSet {
    /// The empty tag is the untagged part: it sorts first, as MySQL prints it.
    entries: BTreeMap<(Uuid, String), Vec<Interval>>,
}

/// Why a text is no GTID set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a GTID set, at {at:?}: {why}")]
pub struct GtidError {
    /// The part that can't be read.
    pub at: String,
    /// What is wrong with it.
    pub why: &'static str,
}

fn error(at: &str, why: &'static str) -> GtidError {
    GtidError { at: at.chars().take(80).collect(), why }
}

impl FromStr for Uuid {
    type Err = GtidError;

    fn from_str(text: &str) -> Result<Self, GtidError> {
        let dashes_right = text.len() == 36 && [8, 13, 18, 23].iter().all(|&at| text.as_bytes()[at] == b'-');
        let digits: String = text.chars().filter(|c| *c != '-').collect();
        if !dashes_right || digits.len() != 32 || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(error(text, "a UUID is 8-4-4-4-12 hexadecimal digits"));
        }
        u128::from_str_radix(&digits, 16).map(Self).map_err(|_| error(text, "a UUID is 8-4-4-4-12 hexadecimal digits"))
    }
}

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hex = format!("{:032x}", self.0);
        write!(f, "{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
    }
}

impl fmt::Debug for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl GtidSet {
    /// Reads MySQL's text form: newlines and spaces anywhere between parts, upper case, tags, and intervals in any order.
    /// An interval that ends before it begins is empty, as MySQL has it.
    pub fn parse(text: &str) -> Result<Self, GtidError> {
        let mut set = Self::default();
        for part in text.split(',').map(str::trim).filter(|p| !p.is_empty()) {
            set.parse_source(part)?;
        }
        Ok(set)
    }

    /// One `uuid:interval[:interval…][:tag:interval…]`.
    fn parse_source(&mut self, part: &str) -> Result<(), GtidError> {
        let mut fields = part.split(':').map(str::trim);
        let uuid: Uuid = fields.next().unwrap_or_default().parse()?;
        let mut tag = String::new();
        let mut waits_for_interval = true;
        for field in fields {
            if field.starts_with(|c: char| c.is_ascii_digit()) {
                let (first, last) = parse_interval(field)?;
                self.add(uuid, &tag, first, last);
                waits_for_interval = false;
            } else {
                tag = parse_tag(field)?;
                waits_for_interval = true;
            }
        }
        if waits_for_interval { Err(error(part, "no interval follows the UUID or the tag")) } else { Ok(()) }
    }

    /// Adds `first..=last`; nothing if `last < first`.
    pub fn add(&mut self, uuid: Uuid, tag: &str, first: u64, last: u64) {
        if last >= first {
            let entry = self.entries.entry((uuid, tag.to_owned())).or_default();
            entry.push(Interval { first, last });
            normalise(entry);
        }
    }

    /// All that is in either.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        let mut result = self.clone();
        for (key, intervals) in &other.entries {
            let entry = result.entries.entry(key.clone()).or_default();
            entry.extend_from_slice(intervals);
            normalise(entry);
        }
        result
    }

    /// What is in `self` and not in `other`.
    #[must_use]
    pub fn subtract(&self, other: &Self) -> Self {
        let mut entries = BTreeMap::new();
        for (key, intervals) in &self.entries {
            let rest = match other.entries.get(key) {
                Some(taken) => difference(intervals, taken),
                None => intervals.clone(),
            };
            if !rest.is_empty() {
                entries.insert(key.clone(), rest);
            }
        }
        Self { entries }
    }

    /// What is in both.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        self.subtract(&self.subtract(other))
    }

    /// Without the transactions of one source (all its tags). A uuid that can't be read takes nothing away.
    pub fn without_source(&self, uuid: &str) -> Self {
        let mut rest = Self::default();
        let own = Self::parse(&format!("{uuid}:1")).ok().and_then(|set| set.iter().next().map(|(uuid, _, _)| uuid));
        for (uuid, tag, intervals) in self.iter().filter(|(uuid, _, _)| Some(*uuid) != own) {
            intervals.iter().for_each(|i| rest.add(uuid, tag, i.first, i.last));
        }
        rest
    }

    /// Is all of `other` in `self`?
    pub fn contains(&self, other: &Self) -> bool {
        other.subtract(self).is_empty()
    }

    /// Is anything in both?
    pub fn intersects(&self, other: &Self) -> bool {
        !self.intersection(other).is_empty()
    }

    /// Is the one transaction in the set?
    pub fn has(&self, uuid: Uuid, tag: &str, number: u64) -> bool {
        let entry = self.entries.get(&(uuid, tag.to_owned()));
        entry.is_some_and(|intervals| intervals.iter().any(|i| i.first <= number && number <= i.last))
    }

    /// Is nothing in it?
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many transactions; at most `u64::MAX`.
    pub fn count(&self) -> u64 {
        let sizes = self.entries.values().flatten().map(|i| i.last - i.first + 1);
        sizes.fold(0, u64::saturating_add)
    }

    /// The set by source and tag (empty: untagged), in order.
    pub fn iter(&self) -> impl Iterator<Item = (Uuid, &str, &[Interval])> {
        self.entries.iter().map(|((uuid, tag), intervals)| (*uuid, tag.as_str(), intervals.as_slice()))
    }
}

fn parse_interval(field: &str) -> Result<(u64, u64), GtidError> {
    let number = |text: &str| match text.trim().parse::<u64>() {
        Ok(n) if n <= MAX_NUMBER => Ok(n),
        _ => Err(error(field, "an interval is N or N-M, each at most 2^63-2")),
    };
    let (first, last) = match field.split_once('-') {
        Some((first, last)) => (number(first)?, number(last)?),
        None => (number(field)?, number(field)?),
    };
    if first == 0 { Err(error(field, "transaction numbers begin at 1")) } else { Ok((first, last)) }
}

fn parse_tag(field: &str) -> Result<String, GtidError> {
    let begins_well = field.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    let rest_well = field.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if begins_well && rest_well && field.len() <= MAX_TAG {
        Ok(field.to_ascii_lowercase())
    } else {
        Err(error(field, "neither an interval nor a tag (a letter or _, then letters, digits or _, at most 32)"))
    }
}

/// Sorts and merges what overlaps or touches.
fn normalise(intervals: &mut Vec<Interval>) {
    intervals.sort_unstable_by_key(|i| i.first);
    let mut merged: Vec<Interval> = Vec::with_capacity(intervals.len());
    for next in intervals.drain(..) {
        match merged.last_mut() {
            Some(open) if next.first <= open.last + 1 => open.last = open.last.max(next.last),
            _ => merged.push(next),
        }
    }
    *intervals = merged;
}

/// `from` without `taken`; both normalised.
fn difference(from: &[Interval], taken: &[Interval]) -> Vec<Interval> {
    let mut rest = Vec::new();
    let mut at = 0;
    for &Interval { mut first, last } in from {
        while at < taken.len() && taken[at].last < first {
            at += 1;
        }
        let mut hole = at;
        while hole < taken.len() && taken[hole].first <= last && first <= last {
            if taken[hole].first > first {
                rest.push(Interval { first, last: taken[hole].first - 1 });
            }
            first = taken[hole].last + 1;
            hole += 1;
        }
        if first <= last {
            rest.push(Interval { first, last });
        }
    }
    rest
}

impl FromStr for GtidSet {
    type Err = GtidError;

    fn from_str(text: &str) -> Result<Self, GtidError> {
        Self::parse(text)
    }
}

/// As MySQL prints it: one line a source. `{:#}` prints it in one line.
impl fmt::Display for GtidSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let between = if f.alternate() { "," } else { ",\n" };
        let mut before: Option<Uuid> = None;
        for (uuid, tag, intervals) in self.iter() {
            if before != Some(uuid) {
                write!(f, "{}{uuid}", if before.is_some() { between } else { "" })?;
            }
            before = Some(uuid);
            if !tag.is_empty() {
                write!(f, ":{tag}")?;
            }
            for Interval { first, last } in intervals {
                if first == last { write!(f, ":{first}")? } else { write!(f, ":{first}-{last}")? }
            }
        }
        Ok(())
    }
}

impl fmt::Debug for GtidSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GtidSet({self:#})")
    }
}
