//! Named points between any two actions, at which an operator built with the feature `faultpoints` dies or pauses.
//!
//! The annotation `shardpair.io/fault: <point>=kill|pause` on the pair asks for it, once: it is taken away first. Points are
//! the steps' names (before the step), and those inside a switchover. Without the feature there is nothing here.

use super::Runner;

impl Runner {
    #[cfg(not(feature = "faultpoints"))]
    #[allow(clippy::unused_async, reason = "it waits with the feature")]
    pub(super) async fn point(&mut self, _name: &str) {}

    /// Before something is done.
    #[cfg(feature = "faultpoints")]
    pub(super) async fn point(&mut self, name: &str) {
        use kube::ResourceExt;
        const FAULT: &str = "shardpair.io/fault";
        /// Longer than a Lease, and than what anybody waits for.
        const PAUSE: std::time::Duration = std::time::Duration::from_secs(20);
        let asked = self.pair.annotations().get(FAULT).cloned().unwrap_or_default();
        let Some((point, what)) = asked.split_once('=').filter(|(point, _)| *point == name) else { return };
        if let Err(surprise) = self.clear_request(FAULT).await {
            tracing::warn!(point, %surprise, "fault point not taken");
            return;
        }
        tracing::warn!(pair = %self.pair.name_any(), point, what, "fault point");
        match what {
            "kill" => std::process::abort(),
            _ => tokio::time::sleep(PAUSE).await,
        }
    }
}
