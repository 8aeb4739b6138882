//! Percentiles of what was measured.

/// Nearest rank, of sorted values: of 30 the 99th percentile is the largest. None: of none.
pub fn percentile<T: Copy>(sorted: &[T], percent: usize) -> Option<T> {
    sorted.get((sorted.len() * percent).div_ceil(100).max(1) - 1).copied()
}

/// 50th and 99th percentile and the largest, of sorted values.
pub fn spread<T: Copy + Default>(sorted: &[T]) -> (T, T, T) {
    let at = |percent| percentile(sorted, percent).unwrap_or_default();
    (at(50), at(99), sorted.last().copied().unwrap_or_default())
}
