//! A tar archive (ustar) in memory: enough for a support bundle. Pure.

/// Header and data come in blocks of this many bytes.
const BLOCK: usize = 512;

/// Files in the order they were added.
#[derive(Debug, Default)]
pub struct Tar(Vec<u8>);

impl Tar {
    /// Adds a text file. `path` is cut to 100 characters, which is what the header holds.
    pub fn add(&mut self, path: &str, text: &str, modified: i64) {
        let mut header = [0u8; BLOCK];
        let mut put = |at: usize, text: &str| header[at..at + text.len()].copy_from_slice(text.as_bytes());
        let end = path.char_indices().map(|(i, c)| i + c.len_utf8()).take_while(|e| *e <= 100).last().unwrap_or(0);
        put(0, &path[..end]);
        put(100, "0000644\0");
        put(108, "0000000\0");
        put(116, "0000000\0");
        put(124, &format!("{:011o}\0", text.len()));
        put(136, &format!("{:011o}\0", modified.max(0)));
        put(148, "        ");
        put(156, "0");
        put(257, "ustar\0");
        put(263, "00");
        let sum: u32 = header.iter().map(|b| u32::from(*b)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        self.0.extend_from_slice(&header);
        self.0.extend_from_slice(text.as_bytes());
        self.0.resize(self.0.len().next_multiple_of(BLOCK), 0);
    }

    /// The archive.
    pub fn finish(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 2 * BLOCK, 0);
        self.0
    }
}
