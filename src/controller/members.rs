//! The probers of all pairs' members: each member has one, its pair's; the other side of a split looks through it too.
//!
//! One prober a member and process, because at its first contact it ends every older session of the operator's account.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, Weak};

use super::prober::Prober;

/// Namespace and member.
type Name = (String, String);

/// Each member's prober, while there is one.
#[derive(Clone, Default)]
pub struct Members(Arc<Mutex<HashMap<Name, Weak<Prober>>>>);

impl Members {
    /// From now on `member` is seen through this one.
    pub fn publish(&self, namespace: &str, member: &str, prober: &Arc<Prober>) {
        let mut known = self.0.lock().expect("never poisoned");
        known.retain(|_, prober| prober.strong_count() > 0);
        known.insert((namespace.to_owned(), member.to_owned()), Arc::downgrade(prober));
    }

    /// The prober of a member, while there is one.
    pub fn find(&self, namespace: &str, member: &str) -> Option<Arc<Prober>> {
        let known = self.0.lock().expect("never poisoned");
        known.get(&(namespace.to_owned(), member.to_owned()))?.upgrade()
    }
}
