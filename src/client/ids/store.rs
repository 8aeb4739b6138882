//! Where worker ids are reserved: compare-and-set on one entry each, in Redis or in Kubernetes.

use std::future::Future;

/// One worker id's entry. It is never deleted: `until_ms` outlives its holder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The worker id.
    pub worker: u16,
    /// Changes with every write.
    pub version: String,
    /// Who uses it; empty: given back.
    pub holder: String,
    /// The last millisecond (Unix) that any holder may have used.
    pub until_ms: u64,
}

/// Why the store didn't answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the store of worker ids ({store}): {why}")]
pub struct StoreError {
    /// Which.
    pub store: String,
    /// What happened.
    pub why: String,
}

/// Compare-and-set on entries.
pub trait Store: Send + Sync + 'static {
    /// May it lose what it confirmed (a flush, a restart without a file, a failover of its own)? Then a new holder waits
    /// a whole term before its first id, in which an older one that is still there notices.
    const FORGETS: bool;

    /// All entries.
    fn list(&self) -> impl Future<Output = Result<Vec<Entry>, StoreError>> + Send;

    /// Writes an entry if it still has the version `expected` (None: if there is none yet): its new version. None:
    /// somebody else wrote, or it is gone.
    fn put(&self, worker: u16, expected: Option<&str>, holder: &str, until_ms: u64) -> impl Future<Output = Result<Option<String>, StoreError>> + Send;
}
