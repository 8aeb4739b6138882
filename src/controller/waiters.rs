//! Who is told when an object changes.
//!
//! A pair's runner is told of what its pair is made of, not of all that its cluster is: or each change of one pair would begin a pass of
//! a hundred others. While a split is on, everything of the cluster may matter, and is told.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex};

use kube::ResourceExt;
use tokio::sync::Notify;

use crate::api::names;

/// Namespace and cluster.
type Cluster = (String, String);

struct Waiter {
    notify: Arc<Notify>,
    /// Names of objects and members; None: of all.
    of: Option<BTreeSet<String>>,
}

/// All who wait, by cluster.
#[derive(Clone, Default)]
pub(super) struct Waiters(Arc<Mutex<HashMap<Cluster, Vec<Waiter>>>>);

/// As long as it isn't dropped, changes are told.
pub struct Subscription {
    waiters: Waiters,
    cluster: Cluster,
    notify: Arc<Notify>,
    of: Option<BTreeSet<String>>,
}

impl Waiters {
    /// `notify` is told when any object of the cluster changes.
    pub(super) fn subscribe(&self, namespace: &str, cluster: &str, notify: Arc<Notify>) -> Subscription {
        let cluster = (namespace.to_owned(), cluster.to_owned());
        self.0.lock().expect("never poisoned").entry(cluster.clone()).or_default().push(Waiter { notify: notify.clone(), of: None });
        Subscription { waiters: self.clone(), cluster, notify, of: None }
    }

    /// This object is new, or another than before.
    pub(super) fn wake(&self, object: &impl ResourceExt) {
        let Some(cluster) = object.labels().get(names::LABEL_CLUSTER) else { return };
        let key = (object.namespace().unwrap_or_default(), cluster.clone());
        let (name, member) = (object.name_any(), object.labels().get(names::LABEL_MEMBER));
        let concerns = |w: &&Waiter| w.of.as_ref().is_none_or(|of| of.contains(&name) || member.is_some_and(|m| of.contains(m)));
        if let Some(waiting) = self.0.lock().expect("never poisoned").get(&key) {
            waiting.iter().filter(concerns).for_each(|w| w.notify.notify_one());
        }
    }
}

impl Subscription {
    /// From now on only what has one of these names, or is one of these members'; None: everything.
    pub fn narrow(&mut self, of: Option<BTreeSet<String>>) {
        if self.of == of {
            return;
        }
        self.of.clone_from(&of);
        let mut waiters = self.waiters.0.lock().expect("never poisoned");
        let own = waiters.get_mut(&self.cluster).and_then(|all| all.iter_mut().find(|w| Arc::ptr_eq(&w.notify, &self.notify)));
        if let Some(own) = own {
            own.of = of;
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut waiters = self.waiters.0.lock().expect("never poisoned");
        if let Some(waiting) = waiters.get_mut(&self.cluster) {
            waiting.retain(|w| !Arc::ptr_eq(&w.notify, &self.notify));
            if waiting.is_empty() {
                waiters.remove(&self.cluster);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use k8s_openapi::api::core::v1::Pod;
    use kube::core::ObjectMeta;

    use super::*;

    fn pod(cluster: &str, member: &str) -> Pod {
        let labels = [(names::LABEL_CLUSTER, cluster), (names::LABEL_MEMBER, member)].map(|(k, v)| (k.to_owned(), v.to_owned()));
        let metadata = ObjectMeta { name: Some(names::pod(member)), namespace: Some("ns".to_owned()), labels: Some(labels.into()), ..ObjectMeta::default() };
        Pod { metadata, ..Pod::default() }
    }

    fn told(notify: &Notify) -> bool {
        notify.notified().now_or_never().is_some()
    }

    #[test]
    fn a_change_is_told_to_those_whom_it_concerns() {
        let (waiters, all, one) = (Waiters::default(), Arc::new(Notify::new()), Arc::new(Notify::new()));
        let _all = waiters.subscribe("ns", "shop", all.clone());
        let mut narrowed = waiters.subscribe("ns", "shop", one.clone());
        waiters.wake(&pod("shop", "shop-m4"));
        assert!(told(&all) && told(&one), "everybody hears of everything at first");
        narrowed.narrow(Some(["shop-m0".to_owned()].into()));
        waiters.wake(&pod("shop", "shop-m4"));
        assert!(told(&all) && !told(&one));
        waiters.wake(&pod("shop", "shop-m0"));
        assert!(told(&all) && told(&one));
        narrowed.narrow(None);
        waiters.wake(&pod("shop", "shop-m4"));
        assert!(told(&all) && told(&one));
        waiters.wake(&pod("other", "other-m0"));
        assert!(!told(&all) && !told(&one));
        drop(narrowed);
        waiters.wake(&pod("shop", "shop-m0"));
        assert!(told(&all) && !told(&one));
    }
}
