//! What belongs to one shard, and how it splits in two.

use super::key::Key;
use super::{Function, RouteError, SplitError};

/// The keys of one shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keys {
    /// `function(key) mod modulus == residue`
    Residue {
        /// Shards may have different moduli, so that one can flip before another.
        modulus: u32,
        /// Which of them.
        residue: u32,
    },
    /// `from <= key < to`; None: open.
    Range {
        /// Inclusive.
        from: Option<i64>,
        /// Exclusive.
        to: Option<i64>,
    },
    /// Keys that the table of routes sends to `route`, and of these `crc32(key) mod modulus == residue`.
    Route {
        /// The table's value.
        route: u32,
        /// 1 until the route is divided.
        modulus: u32,
        /// Which part.
        residue: u32,
    },
}

/// Moduli stay below this: a cluster has at most 256 shards.
pub const MODULUS_MAX: u32 = 1 << 16;

impl Keys {
    /// Does the key belong here? `route` is what the table of routes says of it (strategy Table).
    pub fn hold(&self, function: Function, key: &Key<'_>, route: Option<u32>) -> Result<bool, RouteError> {
        match *self {
            Self::Residue { modulus, residue } => Ok(key.residue(function, modulus)? == residue),
            Self::Range { from, to } => {
                let key = key.integer("strategy Range")?;
                Ok(from.is_none_or(|from| i128::from(from) <= key) && to.is_none_or(|to| key < i128::from(to)))
            }
            Self::Route { route: own, modulus, residue } => {
                Ok(route == Some(own) && key.residue(Function::Crc32, modulus)? == residue)
            }
        }
    }

    /// What stays and what moves. `at` is for Range, and only for it.
    pub fn split(&self, at: Option<i64>) -> Result<(Self, Self), SplitError> {
        let double = |modulus: u32, residue: u32| {
            let wider = modulus.checked_mul(2).filter(|m| *m <= MODULUS_MAX).ok_or(SplitError::TooFine(modulus))?;
            if at.is_some() { Err(SplitError::BoundGiven) } else { Ok((wider, residue, residue + modulus)) }
        };
        match *self {
            Self::Residue { modulus, residue } => {
                let (modulus, stays, moves) = double(modulus, residue)?;
                Ok((Self::Residue { modulus, residue: stays }, Self::Residue { modulus, residue: moves }))
            }
            Self::Route { route, modulus, residue } => {
                let (modulus, stays, moves) = double(modulus, residue)?;
                Ok((Self::Route { route, modulus, residue: stays }, Self::Route { route, modulus, residue: moves }))
            }
            Self::Range { from, to } => {
                let at = at.ok_or(SplitError::NoBound)?;
                if from.is_some_and(|from| at <= from) || to.is_some_and(|to| to <= at) {
                    let name = |bound: Option<i64>, open: &str| bound.map_or(open.to_owned(), |b| b.to_string());
                    return Err(SplitError::BoundOutside { at, from: name(from, "-∞"), to: name(to, "∞") });
                }
                Ok((Self::Range { from, to: Some(at) }, Self::Range { from: Some(at), to }))
            }
        }
    }
}

/// Does each key belong to exactly one of these? `Err` says what is wrong.
pub(super) fn partition(all: &[Keys]) -> Result<(), String> {
    let mut ranges = Vec::new();
    let mut groups = std::collections::BTreeMap::<Option<u32>, Vec<(u32, u32)>>::new();
    for keys in all {
        match *keys {
            Keys::Range { from, to } => ranges.push((from, to)),
            Keys::Residue { modulus, residue } => groups.entry(None).or_default().push((modulus, residue)),
            Keys::Route { route, modulus, residue } => groups.entry(Some(route)).or_default().push((modulus, residue)),
        }
    }
    if !ranges.is_empty() {
        contiguous(&mut ranges)?;
    }
    groups.values().try_for_each(|parts| residues(parts))
}

fn contiguous(ranges: &mut [(Option<i64>, Option<i64>)]) -> Result<(), String> {
    ranges.sort_by_key(|(from, _)| from.map_or(i128::MIN, i128::from));
    let open = ranges.first().is_some_and(|(from, _)| from.is_none()) && ranges.last().is_some_and(|(_, to)| to.is_none());
    let joined = ranges.windows(2).all(|w| w[0].1.is_some() && w[0].1 == w[1].0);
    let rising = ranges.iter().all(|(from, to)| !matches!((from, to), (Some(f), Some(t)) if f >= t));
    if open && joined && rising { Ok(()) } else { Err("the ranges leave keys out, or overlap".to_owned()) }
}

/// Disjoint, and together everything: the parts 1/modulus add up to 1.
fn residues(parts: &[(u32, u32)]) -> Result<(), String> {
    for &(modulus, residue) in parts {
        if modulus == 0 || modulus > MODULUS_MAX || residue >= modulus {
            return Err(format!("residue {residue} of modulus {modulus} is impossible"));
        }
    }
    for (at, &(m, r)) in parts.iter().enumerate() {
        if let Some(&(n, s)) = parts[at + 1..].iter().find(|&&(n, s)| r % gcd(m, n) == s % gcd(m, n)) {
            return Err(format!("keys with residue {r} of {m} and residue {s} of {n} overlap"));
        }
    }
    // Moduli are N·2^k in practice, so a gap is at least 1/65536: rounding hides none.
    let whole: f64 = parts.iter().map(|(m, _)| 1.0 / f64::from(*m)).sum();
    if (whole - 1.0).abs() < 1e-9 { Ok(()) } else { Err("some keys belong to no shard".to_owned()) }
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_has_no_gap_and_no_overlap() {
        let r = |modulus, residue| Keys::Residue { modulus, residue };
        assert_eq!(partition(&[r(2, 0), r(4, 1), r(4, 3)]), Ok(()));
        assert!(partition(&[r(2, 0), r(4, 1)]).is_err());
        assert!(partition(&[r(2, 0), r(4, 2), r(2, 1)]).is_err());
        assert!(partition(&[r(2, 2)]).is_err());
        assert!(partition(&[r(0, 0)]).is_err());
        let b = |from, to| Keys::Range { from, to };
        assert_eq!(partition(&[b(Some(5), None), b(None, Some(5))]), Ok(()));
        assert!(partition(&[b(None, Some(5)), b(Some(6), None)]).is_err());
        assert!(partition(&[b(None, Some(5)), b(Some(5), Some(9))]).is_err());
    }

    #[test]
    fn the_halves_are_the_whole_again_and_again() {
        let mut all = vec![Keys::Residue { modulus: 3, residue: 0 }, Keys::Residue { modulus: 3, residue: 1 }, Keys::Residue { modulus: 3, residue: 2 }];
        for _ in 0..3 {
            let (stays, moves) = all[0].split(None).expect("split");
            all[0] = stays;
            all.push(moves);
            assert_eq!(partition(&all), Ok(()), "{all:?}");
        }
        let range = Keys::Range { from: Some(1), to: Some(9) };
        assert_eq!(range.split(None), Err(SplitError::NoBound));
        assert!(range.split(Some(1)).is_err() && range.split(Some(9)).is_err());
        assert!(all[0].split(Some(3)).is_err());
    }
}
