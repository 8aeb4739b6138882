//! How gently rows are deleted. Pure: what was seen of the foreground and the standby in, the next pace out.
//!
//! The foreground's latency is that of a probe, a write of one row as an application's is; what it is without the purge is
//! the baseline. Slower than allowed: half as many rows a transaction, and pauses. Fast: more rows, up to the limit.

use std::time::Duration;

/// Rows a transaction, and the pause after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Rows that one transaction deletes, about.
    pub rows: u32,
    /// Rest after it.
    pub pause: Duration,
}

/// What bounds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Rows a transaction, at most.
    pub rows: u32,
    /// The standby may be this far behind.
    pub standby_lag: Duration,
    /// The probe may take this many times its baseline…
    pub slower: u32,
    /// …and as long as this in any case.
    pub allowed: Duration,
}

impl Limits {
    /// As a plan says.
    pub fn new(rows: u32, standby_lag: Duration) -> Self {
        Self { rows: rows.max(1), standby_lag, slower: 2, allowed: Duration::from_millis(10) }
    }
}

/// What was seen after the last transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// How long the probe takes without the purge.
    pub baseline: Duration,
    /// How long it takes now.
    pub probe: Duration,
    /// How far the standby is behind, at most; None: further than allowed.
    pub standby: Option<Duration>,
}

/// Why it holds back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Throttle {
    /// The standby is further behind than allowed.
    StandbyLag,
    /// Writes of the application take longer than allowed.
    ForegroundLatency,
}

impl Throttle {
    /// One word, for the status.
    pub fn word(self) -> &'static str {
        match self {
            Self::StandbyLag => "StandbyLag",
            Self::ForegroundLatency => "ForegroundLatency",
        }
    }
}

/// The fewest rows a transaction, and the longest pause: it never stands still for good.
const LEAST_ROWS: u32 = 50;
const LONGEST: Duration = Duration::from_millis(500);
const SHORTEST: Duration = Duration::from_millis(5);

impl Pace {
    /// Half of the limit: it finds out.
    pub fn first(limits: &Limits) -> Self {
        Self { rows: (limits.rows / 2).max(1), pause: Duration::ZERO }
    }

    /// The next one, and why it is slower, if it is.
    pub fn next(self, limits: &Limits, seen: &Seen) -> (Self, Option<Throttle>) {
        let least = LEAST_ROWS.min(limits.rows);
        let slower = Self { rows: (self.rows / 2).max(least), pause: (self.pause * 2).clamp(SHORTEST, LONGEST) };
        let behind = seen.standby.is_none_or(|took| took > limits.standby_lag);
        if behind {
            return (slower, Some(Throttle::StandbyLag));
        }
        if seen.probe > (seen.baseline * limits.slower).max(limits.allowed) {
            return (slower, Some(Throttle::ForegroundLatency));
        }
        let pause = if self.pause <= SHORTEST { Duration::ZERO } else { self.pause / 2 };
        let rows = if self.pause.is_zero() { self.rows.saturating_add((self.rows / 4).max(1)).min(limits.rows) } else { self.rows };
        (Self { rows, pause }, None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn it_yields_at_once_and_comes_back_slowly() {
        let limits = Limits::new(1000, ms(1000));
        let fine = Seen { baseline: ms(2), probe: ms(3), standby: Some(ms(4)) };
        let mut pace = Pace::first(&limits);
        for _ in 0..10 {
            pace = pace.next(&limits, &fine).0;
        }
        assert_eq!(pace, Pace { rows: 1000, pause: Duration::ZERO });
        let slow = Seen { probe: ms(30), ..fine };
        let (yielding, why) = pace.next(&limits, &slow);
        assert_eq!((yielding, why), (Pace { rows: 500, pause: SHORTEST }, Some(Throttle::ForegroundLatency)));
        let mut worst = yielding;
        for _ in 0..20 {
            worst = worst.next(&limits, &Seen { standby: None, ..fine }).0;
        }
        assert_eq!(worst, Pace { rows: LEAST_ROWS, pause: LONGEST });
        // Pauses go first, then rows grow.
        let (better, why) = worst.next(&limits, &fine);
        assert_eq!((better.rows, better.pause, why), (LEAST_ROWS, LONGEST / 2, None));
        assert_eq!(pace.next(&limits, &Seen { standby: None, ..slow }).1, Some(Throttle::StandbyLag));
    }

    #[test]
    fn a_fast_server_may_be_twice_as_slow_and_ten_milliseconds_in_any_case() {
        let limits = Limits::new(10, ms(1000));
        let seen = |baseline, probe| Seen { baseline: ms(baseline), probe: ms(probe), standby: Some(ms(0)) };
        let pace = Pace::first(&limits);
        assert_eq!(pace.next(&limits, &seen(1, 9)).1, None);
        assert_eq!(pace.next(&limits, &seen(20, 39)).1, None);
        assert_eq!(pace.next(&limits, &seen(20, 41)).1, Some(Throttle::ForegroundLatency));
    }
}
