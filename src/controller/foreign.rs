//! EndpointSlices by the Service that they are on: so that a foreign one on a VIP is found without looking through all.
//!
//! A watch of names and labels only. Slices that this operator manages are left out.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::TryStreamExt;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::PartialObjectMeta;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, ResourceExt};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::api::names;

const SERVICE: &str = "kubernetes.io/service-name";
const MANAGER: &str = "endpointslice.kubernetes.io/managed-by";

/// Namespace and Service -> names of the slices that aren't ours.
#[derive(Debug, Default)]
struct Index {
    by_service: HashMap<(String, String), BTreeSet<String>>,
    service_of: HashMap<(String, String), String>,
}

/// See the module.
#[derive(Clone)]
pub struct ForeignSlices {
    index: Arc<Mutex<Index>>,
    ready: watch::Receiver<bool>,
}

impl Index {
    fn remove(&mut self, namespace: &str, name: &str) {
        let Some(service) = self.service_of.remove(&(namespace.to_owned(), name.to_owned())) else { return };
        let key = (namespace.to_owned(), service);
        if let Some(slices) = self.by_service.get_mut(&key) {
            slices.remove(name);
            if slices.is_empty() {
                self.by_service.remove(&key);
            }
        }
    }

    /// Its labels may have changed: another Service, another manager.
    fn put(&mut self, slice: &PartialObjectMeta<EndpointSlice>) {
        let (namespace, name) = (slice.namespace().unwrap_or_default(), slice.name_any());
        self.remove(&namespace, &name);
        let labels = slice.labels();
        let Some(service) = labels.get(SERVICE).filter(|_| labels.get(MANAGER).map(String::as_str) != Some(names::SLICE_MANAGER)) else { return };
        self.service_of.insert((namespace.clone(), name.clone()), service.clone());
        self.by_service.entry((namespace, service.clone())).or_default().insert(name);
    }

    fn keep_only(&mut self, listed: &[PartialObjectMeta<EndpointSlice>]) {
        *self = Self::default();
        listed.iter().for_each(|slice| self.put(slice));
    }
}

impl ForeignSlices {
    /// Starts the watch; it ends with the set.
    pub fn start(api: Api<PartialObjectMeta<EndpointSlice>>, tasks: &mut JoinSet<()>) -> Self {
        let index: Arc<Mutex<Index>> = Arc::default();
        let (listed, ready) = watch::channel(false);
        let kept = index.clone();
        tasks.spawn(async move {
            let mut events = std::pin::pin!(watcher(api, watcher::Config::default()).default_backoff());
            let mut list = Vec::new();
            loop {
                match events.try_next().await {
                    Ok(Some(watcher::Event::Init)) => list.clear(),
                    Ok(Some(watcher::Event::InitApply(slice))) => list.push(slice),
                    Ok(Some(watcher::Event::InitDone)) => {
                        kept.lock().expect("never poisoned").keep_only(&std::mem::take(&mut list));
                        listed.send_replace(true);
                    }
                    Ok(Some(watcher::Event::Apply(slice))) => kept.lock().expect("never poisoned").put(&slice),
                    Ok(Some(watcher::Event::Delete(slice))) => {
                        kept.lock().expect("never poisoned").remove(&slice.namespace().unwrap_or_default(), &slice.name_any());
                    }
                    Ok(None) => return,
                    Err(error) => {
                        tracing::warn!(%error, kind = "EndpointSlice", "watch");
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                }
            }
        });
        Self { index, ready }
    }

    /// Until the first list is there.
    pub async fn wait_until_ready(&self) {
        let _ = self.ready.clone().wait_for(|ready| *ready).await;
    }

    /// Slices on this Service that are not ours, in order.
    pub fn on(&self, namespace: &str, service: &str) -> Vec<String> {
        let index = self.index.lock().expect("never poisoned");
        index.by_service.get(&(namespace.to_owned(), service.to_owned())).map(|slices| slices.iter().cloned().collect()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use kube::core::ObjectMeta;

    use super::*;

    fn slice(name: &str, service: &str, manager: &str) -> PartialObjectMeta<EndpointSlice> {
        let labels = BTreeMap::from([(SERVICE.to_owned(), service.to_owned()), (MANAGER.to_owned(), manager.to_owned())]);
        let metadata = ObjectMeta { name: Some(name.to_owned()), namespace: Some("ns".to_owned()), labels: Some(labels), ..ObjectMeta::default() };
        PartialObjectMeta { metadata, ..PartialObjectMeta::default() }
    }

    fn on(index: &Index, service: &str) -> Vec<String> {
        index.by_service.get(&("ns".to_owned(), service.to_owned())).map(|s| s.iter().cloned().collect()).unwrap_or_default()
    }

    #[test]
    fn a_slice_is_found_by_its_service_until_it_moves_or_goes() {
        let mut index = Index::default();
        index.put(&slice("theirs", "shop-0", "somebody"));
        index.put(&slice("ours", "shop-0", names::SLICE_MANAGER));
        assert_eq!(on(&index, "shop-0"), ["theirs"]);
        index.put(&slice("theirs", "shop-1", "somebody"));
        assert!(on(&index, "shop-0").is_empty());
        assert_eq!(on(&index, "shop-1"), ["theirs"]);
        index.remove("ns", "theirs");
        assert!(index.by_service.is_empty() && index.service_of.is_empty());
    }

    #[test]
    fn a_new_list_forgets_what_it_lacks() {
        let mut index = Index::default();
        index.put(&slice("old", "shop-0", "somebody"));
        index.keep_only(&[slice("new", "shop-0", "somebody")]);
        assert_eq!(on(&index, "shop-0"), ["new"]);
    }
}
