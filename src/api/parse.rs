//! Reads the small languages that specs contain: durations, quantities, image versions. Pure.

/// Milliseconds of a duration as Go writes it: `3s`, `1500ms`, `1h30m`, `0.5s`. None: not one.
///
/// Units: ms, s, m, h. The API server accepts ns and us too; nothing here is that short.
pub fn duration_ms(text: &str) -> Option<u64> {
    let mut rest = text.trim();
    let mut total = 0f64;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let unit_end = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        total += number
            * match &rest[..unit_end] {
                "ms" => 1.0,
                "s" => 1_000.0,
                "m" => 60_000.0,
                "h" => 3_600_000.0,
                _ => return None,
            };
        rest = &rest[unit_end..];
    }
    (total <= 1e15).then_some(total.round() as u64)
}

/// Bytes (or whole units) of a Kubernetes quantity, rounded up: `10Gi`, `500M`, `1e9`. None: not one, or negative.
pub fn quantity_bytes(text: &str) -> Option<u128> {
    const SUFFIXES: &[(&str, f64)] = &[
        ("Ki", 1024.0),
        ("Mi", 1_048_576.0),
        ("Gi", 1_073_741_824.0),
        ("Ti", 1_099_511_627_776.0),
        ("Pi", 1_125_899_906_842_624.0),
        ("Ei", 1_152_921_504_606_846_976.0),
        ("k", 1e3),
        ("M", 1e6),
        ("G", 1e9),
        ("T", 1e12),
        ("P", 1e15),
        ("E", 1e18),
    ];
    let text = text.trim();
    let (number, factor) = SUFFIXES
        .iter()
        .find_map(|(suffix, factor)| text.strip_suffix(suffix).map(|n| (n, *factor)))
        .unwrap_or((text, 1.0));
    let first = number.chars().next()?;
    if !(first.is_ascii_digit() || first == '.' || first == '+') {
        return None;
    }
    let number: f64 = number.parse().ok()?;
    let bytes = number * factor;
    (bytes.is_finite() && bytes >= 0.0).then_some(bytes.ceil() as u128)
}

/// The version that an image's tag tells, `(9, 7, Some(4))`; None when it tells none (`latest`, a digest, a name of one's own).
pub fn image_version(image: &str) -> Option<Version> {
    let image = image.split('@').next()?;
    let (_, tag) = image.rsplit_once(':')?;
    if tag.contains('/') {
        return None; // the colon was a registry's port
    }
    let mut numbers = tag.split(['-', '_', '+']).next()?.trim_start_matches('v').split('.').map(str::parse::<u32>);
    let major = numbers.next()?.ok()?;
    let minor = numbers.next()?.ok()?;
    let patch = numbers.next().and_then(Result::ok);
    Some(Version { major, minor, patch })
}

/// A MySQL version, as far as a tag tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version {
    /// 9 of 9.7.4
    pub major: u32,
    /// 7 of 9.7.4
    pub minor: u32,
    /// 4 of 9.7.4
    pub patch: Option<u32>,
}

impl Version {
    /// Would going from `running` to `self` be a downgrade? An absent patch level is not known to be one.
    pub fn is_older_than(self, running: Version) -> bool {
        match (self.major, self.minor).cmp(&(running.major, running.minor)) {
            std::cmp::Ordering::Less => true,
            std::cmp::Ordering::Greater => false,
            std::cmp::Ordering::Equal => matches!((self.patch, running.patch), (Some(new), Some(old)) if new < old),
        }
    }
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)?;
        self.patch.map_or(Ok(()), |p| write!(f, ".{p}"))
    }
}
