//! The algebra of GTID sets against a model of plain sets, and the text form.

use std::collections::BTreeSet;

use proptest::prelude::*;
use shardpair::mysql::gtid::{GtidSet, Uuid};

const A: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";
const B: &str = "4e11fa47-71ca-11e1-9e33-c80aa9429562";

fn set(text: &str) -> GtidSet {
    GtidSet::parse(text).expect("a GTID set")
}

type Model = BTreeSet<(u8, u8, u64)>;

fn uuid(n: u8) -> Uuid {
    [A, B][n as usize % 2].parse().expect("a uuid")
}

fn tag(n: u8) -> &'static str {
    ["", "purge", "a_1"][n as usize % 3]
}

fn build(model: &Model) -> GtidSet {
    let mut set = GtidSet::default();
    for &(u, t, n) in model {
        set.add(uuid(u), tag(t), n, n);
    }
    set
}

fn models() -> impl Strategy<Value = Model> {
    prop::collection::btree_set((0u8..2, 0u8..3, 1u64..24), 0..40)
}

proptest! {
    #[test]
    fn union_subtract_and_intersection_are_those_of_plain_sets(a in models(), b in models()) {
        let (x, y) = (build(&a), build(&b));
        prop_assert_eq!(x.union(&y), build(&a.union(&b).copied().collect()));
        prop_assert_eq!(x.subtract(&y), build(&a.difference(&b).copied().collect()));
        prop_assert_eq!(x.intersection(&y), build(&a.intersection(&b).copied().collect()));
        prop_assert_eq!(x.intersects(&y), !a.is_disjoint(&b));
        prop_assert_eq!(x.contains(&y), a.is_superset(&b));
        prop_assert_eq!(x.count(), a.len() as u64);
        prop_assert_eq!(x.is_empty(), a.is_empty());
    }

    #[test]
    fn what_is_printed_is_read_back_in_both_forms(a in models()) {
        let x = build(&a);
        prop_assert_eq!(set(&x.to_string()), x.clone());
        prop_assert_eq!(set(&format!("{x:#}")), x);
    }

    #[test]
    fn the_order_of_insertion_does_not_matter(a in models(), seed in any::<u64>()) {
        let mut shuffled: Vec<_> = a.iter().copied().collect();
        shuffled.sort_by_key(|&(u, t, n)| (u64::from(u) << 40 | u64::from(t) << 32 | n).wrapping_mul(seed | 1));
        let mut x = GtidSet::default();
        for (u, t, n) in shuffled {
            x.add(uuid(u), tag(t), n, n);
        }
        prop_assert_eq!(x, build(&a));
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in ".{0,60}") {
        let _ = GtidSet::parse(&text);
    }
}

#[test]
fn the_text_is_canonical() {
    let messy = format!("\n{}:6-7:1-5 : PURGE:3:2:1-1,\n {A}:9,{A}:20-10,", A.to_uppercase());
    assert_eq!(set(&messy).to_string(), format!("{A}:1-7:9:purge:1-3"));
    assert_eq!(set(&format!("{B}:1,{A}:5")).to_string(), format!("{A}:5,\n{B}:1"));
    assert_eq!(format!("{:#}", set(&format!("{B}:1,{A}:5"))), format!("{A}:5,{B}:1"));
    assert_eq!(set("").to_string(), "");
    assert_eq!(set(" \n").count(), 0);
}

#[test]
fn numbers_at_the_far_end_do_not_overflow() {
    let whole = set(&format!("{A}:1-9223372036854775806"));
    let last = set(&format!("{A}:9223372036854775806"));
    assert_eq!(whole.subtract(&last).to_string(), format!("{A}:1-9223372036854775805"));
    assert_eq!(whole.subtract(&last).union(&last), whole);
    let two = whole.union(&set(&format!("{B}:1-9223372036854775806,{A}:x:1-9223372036854775806")));
    assert_eq!(two.count(), u64::MAX);
}

#[test]
fn what_is_no_set_is_refused_with_its_place() {
    let no = ["x", A, &format!("{A}:"), &format!("{A}:0"), &format!("{A}:1-"), &format!("{A}:tag"), &format!("{A}:1:tag")];
    for text in no {
        assert!(GtidSet::parse(text).is_err(), "{text} was accepted");
    }
    assert!(GtidSet::parse(&format!("{A}:9223372036854775807")).is_err());
    assert!(GtidSet::parse(&format!("{A}:1-t-2:3")).is_err());
    let error = GtidSet::parse(&format!("{A}:1-3,{A}:1x")).expect_err("refused");
    assert_eq!(error.at, "1x");
}
