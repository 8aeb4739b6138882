//! The inverse of a rows event, byte by byte.
//!
//! Pure. A row image is never decoded and written anew: inserted rows become deleted ones, deleted ones inserted, and of an
//! updated row the two images change places; the rows of an event are put in reverse order. So every type that the binlog
//! carries comes back as it was, whatever its charset. Only the length of each value has to be known. What MySQL applies is
//! an event as any replica gets it: no trigger fires, generated columns are taken as they are, foreign keys are not asked.

use super::refusal::Refusal;

/// What a rows event does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Rows are inserted.
    Write,
    /// Rows are changed.
    Update,
    /// Rows are deleted.
    Delete,
}

impl Kind {
    /// By the number that a binlog gives it; None: another event, or rows in a form that can't be undone.
    pub fn of(type_code: u8) -> Option<Self> {
        match type_code {
            30 => Some(Self::Write),
            31 => Some(Self::Update),
            32 => Some(Self::Delete),
            _ => None,
        }
    }

    fn inverse(self) -> Self {
        match self {
            Self::Write => Self::Delete,
            Self::Update => Self::Update,
            Self::Delete => Self::Write,
        }
    }

    fn code(self) -> u8 {
        match self {
            Self::Write => 30,
            Self::Update => 31,
            Self::Delete => 32,
        }
    }
}

const FORMAT_DESCRIPTION: u8 = 15;
const TABLE_MAP: u8 = 19;
/// The last event of its statement.
const STATEMENT_END: u16 = 1;
const NO_FOREIGN_KEY_CHECKS: u16 = 2;

/// A table as its map event describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableMap {
    /// Database.
    pub schema: String,
    /// Table.
    pub table: String,
    /// Is a primary key among the metadata?
    pub has_key: bool,
    columns: Vec<(u8, Vec<u8>)>,
    body: Vec<u8>,
}

/// Reads from the front of a slice.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (front, rest) = self.0.split_at_checked(n)?;
        self.0 = rest;
        Some(front)
    }

    fn little_endian(&mut self, n: usize) -> Option<usize> {
        Some(self.take(n)?.iter().rev().fold(0, |sum, byte| sum << 8 | usize::from(*byte)))
    }

    /// MySQL's packed length.
    fn length(&mut self) -> Option<usize> {
        match self.little_endian(1)? {
            small @ 0..=250 => Some(small),
            252 => self.little_endian(2),
            253 => self.little_endian(3),
            254 => self.little_endian(8),
            _ => None,
        }
    }

    fn name(&mut self) -> Option<String> {
        let length = self.little_endian(1)?;
        let name = String::from_utf8(self.take(length)?.to_vec()).ok()?;
        self.take(1)?;
        Some(name)
    }
}

impl TableMap {
    /// From a map event's body.
    pub fn parse(body: &[u8]) -> Result<Self, Refusal> {
        Self::read(body).unwrap_or_else(|| Err(Refusal::Unreadable("a table map".to_owned())))
    }

    /// `database.table`
    pub fn name(&self) -> String {
        format!("{}.{}", self.schema, self.table)
    }

    fn read(body: &[u8]) -> Option<Result<Self, Refusal>> {
        let mut rest = Bytes(body);
        rest.take(8)?;
        let (schema, table) = (rest.name()?, rest.name()?);
        let count = rest.length()?;
        let types = rest.take(count)?;
        let length = rest.length()?;
        let mut metadata = Bytes(rest.take(length)?);
        let mut columns = Vec::with_capacity(count);
        for kind in types {
            let Some(size) = metadata_size(*kind) else {
                return Some(Err(Refusal::ColumnType { table: format!("{schema}.{table}"), code: *kind }));
            };
            columns.push((*kind, metadata.take(size)?.to_vec()));
        }
        rest.take(count.div_ceil(8))?;
        let mut has_key = false;
        while !rest.0.is_empty() {
            let kind = rest.little_endian(1)?;
            let length = rest.length()?;
            rest.take(length)?;
            // SIMPLE_PRIMARY_KEY, PRIMARY_KEY_WITH_PREFIX
            has_key |= matches!(kind, 8 | 9);
        }
        Some(Ok(Self { schema, table, has_key, columns, body: body.to_vec() }))
    }

    /// The length of a row image at the beginning of `rows`.
    fn image(&self, rows: &[u8]) -> Result<usize, Refusal> {
        let cut = || Refusal::Unreadable(format!("a row of {}", self.name()));
        let mut rest = Bytes(rows);
        let nulls = rest.take(self.columns.len().div_ceil(8)).ok_or_else(cut)?;
        for (at, (kind, metadata)) in self.columns.iter().enumerate() {
            if nulls[at / 8] & (1 << (at % 8)) == 0 {
                let code = || Refusal::ColumnType { table: self.name(), code: *kind };
                let size = size(*kind, metadata).ok_or_else(code)?;
                let length = match size {
                    Size::Fixed(length) => length,
                    Size::Prefixed(bytes) => rest.little_endian(bytes).ok_or_else(cut)?,
                };
                rest.take(length).ok_or_else(cut)?;
            }
        }
        Ok(rows.len() - rest.0.len())
    }
}

/// Bytes of metadata that a column's type has; None: a type that isn't known here.
fn metadata_size(kind: u8) -> Option<usize> {
    match kind {
        // TINY, SHORT, LONG, NULL, TIMESTAMP, LONGLONG, INT24, DATE, TIME, DATETIME, YEAR, NEWDATE
        1..=3 | 6..=14 => Some(0),
        // FLOAT, DOUBLE, TIMESTAMP2, DATETIME2, TIME2, VECTOR, JSON, the BLOBs, GEOMETRY
        4 | 5 | 17..=19 | 242 | 245 | 249..=252 | 255 => Some(1),
        // VARCHAR, BIT, NEWDECIMAL, ENUM, SET, VAR_STRING, STRING
        15 | 16 | 246 | 247 | 248 | 253 | 254 => Some(2),
        _ => None,
    }
}

enum Size {
    Fixed(usize),
    /// A length of so many bytes comes first.
    Prefixed(usize),
}

fn size(kind: u8, metadata: &[u8]) -> Option<Size> {
    let fraction = |metadata: &[u8]| Some(usize::from(*metadata.first()?).div_ceil(2));
    let text = |longest: usize| Size::Prefixed(if longest < 256 { 1 } else { 2 });
    Some(match kind {
        6 => Size::Fixed(0),
        1 | 13 => Size::Fixed(1),
        2 => Size::Fixed(2),
        9 | 10 | 11 | 14 => Size::Fixed(3),
        3 | 7 => Size::Fixed(4),
        8 | 12 => Size::Fixed(8),
        4 | 5 => Size::Fixed(usize::from(*metadata.first()?)),
        17 => Size::Fixed(4 + fraction(metadata)?),
        18 => Size::Fixed(5 + fraction(metadata)?),
        19 => Size::Fixed(3 + fraction(metadata)?),
        16 => Size::Fixed(usize::from(*metadata.get(1)?) + usize::from(*metadata.first()? > 0)),
        246 => Size::Fixed(decimal(usize::from(*metadata.first()?), usize::from(*metadata.get(1)?))?),
        15 => text(usize::from(*metadata.first()?) | usize::from(*metadata.get(1)?) << 8),
        242 | 245 | 249..=252 | 255 => Size::Prefixed(usize::from(*metadata.first()?)),
        247 | 248 => Size::Fixed(usize::from(*metadata.get(1)?)),
        253 | 254 => {
            let (first, second) = (usize::from(*metadata.first()?), usize::from(*metadata.get(1)?));
            match first {
                247 | 248 => Size::Fixed(second),
                // The two upper bits of a long CHAR's length are hidden, inverted, in its type.
                _ if first & 0x30 != 0x30 => text(second | ((first & 0x30) ^ 0x30) << 4),
                _ => text(second),
            }
        }
        _ => return None,
    })
}

/// Bytes of a DECIMAL: nine digits take four bytes, what remains as few as hold it.
fn decimal(precision: usize, scale: usize) -> Option<usize> {
    const REMAINDER: [usize; 9] = [0, 1, 1, 2, 2, 3, 3, 4, 4];
    let bytes = |digits: usize| digits / 9 * 4 + REMAINDER[digits % 9];
    Some(bytes(precision.checked_sub(scale)?) + bytes(scale))
}

/// What undoes a rows event: the bytes of a table map event and of the inverse rows event, without checksums.
pub fn invert(map: &TableMap, kind: Kind, body: &[u8]) -> Result<Vec<u8>, Refusal> {
    if !map.has_key {
        return Err(Refusal::NoPrimaryKey { table: map.name() });
    }
    let cut = || Refusal::Unreadable(format!("rows of {}", map.name()));
    let mut rest = Bytes(body);
    let table_id = rest.take(6).ok_or_else(cut)?;
    let flags = rest.little_endian(2).ok_or_else(cut)? as u16;
    let extra = rest.little_endian(2).ok_or_else(cut)?;
    rest.take(extra.checked_sub(2).ok_or_else(cut)?).ok_or_else(cut)?;
    let count = rest.length().ok_or_else(cut)?;
    if count != map.columns.len() {
        return Err(cut());
    }
    let bitmap_length = count.div_ceil(8);
    let bitmaps = rest.take(bitmap_length * if kind == Kind::Update { 2 } else { 1 }).ok_or_else(cut)?;
    if bitmaps.chunks(bitmap_length).any(|bitmap| (0..count).any(|at| bitmap[at / 8] & (1 << (at % 8)) == 0)) {
        return Err(Refusal::PartialImages { table: map.name() });
    }
    let images = images(map, rest.0)?;
    let mut inverse = table_id.to_vec();
    inverse.extend_from_slice(&(flags | STATEMENT_END | NO_FOREIGN_KEY_CHECKS).to_le_bytes());
    inverse.extend_from_slice(&2_u16.to_le_bytes());
    packed(count, &mut inverse);
    inverse.extend_from_slice(bitmaps);
    // Reversed, an update's images come after first: what they are changes with it.
    images.iter().rev().for_each(|image| inverse.extend_from_slice(image));
    if kind == Kind::Update && images.len() % 2 != 0 {
        return Err(cut());
    }
    let mut events = event(TABLE_MAP, &map.body);
    events.extend(event(kind.inverse().code(), &inverse));
    Ok(events)
}

fn images<'a>(map: &TableMap, mut rows: &'a [u8]) -> Result<Vec<&'a [u8]>, Refusal> {
    let mut images = Vec::new();
    while !rows.is_empty() {
        let (image, rest) = rows.split_at(map.image(rows)?);
        images.push(image);
        rows = rest;
    }
    Ok(images)
}

fn packed(length: usize, to: &mut Vec<u8>) {
    match length {
        0..=250 => to.push(length as u8),
        251..=0xffff => {
            to.push(252);
            to.extend_from_slice(&(length as u16).to_le_bytes());
        }
        // A table has 4096 columns at most.
        _ => {
            to.push(254);
            to.extend_from_slice(&(length as u64).to_le_bytes());
        }
    }
}

/// Header and body.
fn event(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut event = vec![0; 4];
    event.push(kind);
    event.extend_from_slice(&0_u32.to_le_bytes());
    event.extend_from_slice(&(19 + body.len() as u32).to_le_bytes());
    event.extend_from_slice(&[0; 6]);
    event.extend_from_slice(body);
    event
}

/// The format description event that has to come before others, from the server's own: no checksums follow.
pub fn format_description(body: &[u8]) -> Vec<u8> {
    let mut body = body.to_vec();
    body.push(0);
    body.extend_from_slice(&[0; 4]);
    event(FORMAT_DESCRIPTION, &body)
}

/// As the inside of a BINLOG statement.
pub fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let three = [chunk[0], chunk.get(1).copied().unwrap_or(0), chunk.get(2).copied().unwrap_or(0)];
        let bits = three.iter().fold(0_usize, |sum, byte| sum << 8 | usize::from(*byte));
        for place in 0..4 {
            let digit = DIGITS[bits >> (18 - 6 * place) & 63] as char;
            text.push(if place > chunk.len() { '=' } else { digit });
        }
    }
    text
}
