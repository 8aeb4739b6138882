//! Keys, and how one becomes a number. The hash is a public contract: `docs/routing-vectors.json` pins it.

use std::borrow::Cow;

use serde_json::Value;

use super::{Function, RouteError};

/// A shard key's value, as the column stores it: CHAR without trailing spaces, BINARY(n) with its zero bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Key<'a> {
    /// Any signed integer.
    Int(i64),
    /// Any unsigned integer.
    Uint(u64),
    /// CHAR, VARCHAR, TEXT, whatever the column's character set: in UTF-8.
    Text(&'a str),
    /// BINARY, VARBINARY, BLOB.
    Bytes(&'a [u8]),
}

impl<'a> Key<'a> {
    /// A JSON value as a key. NULL, fractions, booleans and structures are none.
    pub fn from_json(value: &'a Value) -> Result<Self, RouteError> {
        let got = match value {
            Value::Null => return Err(RouteError::NullKey),
            Value::String(text) => return Ok(Self::Text(text)),
            Value::Number(number) => match (number.as_i64(), number.as_u64()) {
                (Some(n), _) => return Ok(Self::Int(n)),
                (None, Some(n)) => return Ok(Self::Uint(n)),
                (None, None) => "a fraction, or beyond 64 bits",
            },
            Value::Bool(_) => "a boolean",
            Value::Array(_) | Value::Object(_) => "a structure",
        };
        Err(RouteError::WrongType { rule: "routing", wanted: "an integer or a text", got })
    }

    /// The key as an integer, where one decides.
    pub fn integer(&self, rule: &'static str) -> Result<i128, RouteError> {
        let got = match self {
            Self::Int(n) => return Ok(i128::from(*n)),
            Self::Uint(n) => return Ok(i128::from(*n)),
            Self::Text(_) => "a text",
            Self::Bytes(_) => "bytes",
        };
        Err(RouteError::WrongType { rule, wanted: "an integer", got })
    }

    /// The bytes that CRC-32 is taken of: a text's UTF-8, an integer's decimal digits, bytes as they are.
    pub fn bytes(&self) -> Cow<'a, [u8]> {
        match self {
            Self::Int(n) => Cow::Owned(n.to_string().into_bytes()),
            Self::Uint(n) => Cow::Owned(n.to_string().into_bytes()),
            Self::Text(text) => Cow::Borrowed(text.as_bytes()),
            Self::Bytes(bytes) => Cow::Borrowed(bytes),
        }
    }

    /// `function(key) mod modulus`, never negative.
    pub fn residue(&self, function: Function, modulus: u32) -> Result<u32, RouteError> {
        let number = match function {
            Function::Mod => self.integer("function Mod")?,
            Function::Crc32 => i128::from(crc32(&self.bytes())),
        };
        // Below the modulus, so it fits.
        Ok(number.rem_euclid(i128::from(modulus.max(1))) as u32)
    }
}

impl From<i64> for Key<'_> {
    fn from(n: i64) -> Self {
        Self::Int(n)
    }
}

impl From<u64> for Key<'_> {
    fn from(n: u64) -> Self {
        Self::Uint(n)
    }
}

impl<'a> From<&'a str> for Key<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(text)
    }
}

impl<'a> From<&'a [u8]> for Key<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self::Bytes(bytes)
    }
}

const TABLE: [u32; 256] = table();

const fn table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut n = 0;
    while n < 256 {
        let (mut c, mut bit) = (n as u32, 0);
        while bit < 8 {
            c = if c & 1 == 1 { 0xEDB8_8320 ^ (c >> 1) } else { c >> 1 };
            bit += 1;
        }
        table[n] = c;
        n += 1;
    }
    table
}

/// CRC-32 as in IEEE 802.3, zlib and MySQL's `CRC32()`.
pub fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0_u32, |c, byte| TABLE[((c ^ u32::from(*byte)) & 0xff) as usize] ^ (c >> 8))
}

/// A short fingerprint (FNV-1a, 64 bits) for names and comparisons; no protection against intent.
pub fn fingerprint(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_sums() {
        assert_eq!(crc32(b""), 0);
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
        // Seen in MySQL: CRC32('é') of utf8mb4.
        assert_eq!(crc32("é".as_bytes()), 235_179_326);
    }

    #[test]
    fn a_negative_key_has_a_residue_and_a_text_has_none() {
        assert_eq!(Key::Int(-3).residue(Function::Mod, 4), Ok(1));
        assert_eq!(Key::Int(i64::MIN).residue(Function::Mod, 3), Ok(1));
        assert_eq!(Key::Uint(u64::MAX).residue(Function::Mod, 4), Ok(3));
        assert!(Key::Text("3").residue(Function::Mod, 4).is_err());
        assert_eq!(Key::Int(123).residue(Function::Crc32, 1 << 16), Key::Text("123").residue(Function::Crc32, 1 << 16));
    }

    #[test]
    fn json_keys() {
        assert_eq!(Key::from_json(&serde_json::json!(18446744073709551615_u64)), Ok(Key::Uint(u64::MAX)));
        assert_eq!(Key::from_json(&Value::Null), Err(RouteError::NullKey));
        for bad in [serde_json::json!(1.5), serde_json::json!(true), serde_json::json!([1])] {
            assert!(Key::from_json(&bad).is_err(), "{bad}");
        }
    }
}
