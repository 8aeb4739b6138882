//! Our schema, the databases and the application's account on the primary; made again when they change.

use k8s_openapi::api::core::v1::Secret;
use kube::{Api, ResourceExt};

use super::act::{QUICK, SLOW, surprise};
use super::hands::Surprise;
use super::{Runner, SECRET_AGE};
use crate::api::names;
use crate::controller::stores::Stores;
use crate::mysql::heartbeat::{self, Outcome};
use crate::mysql::{Credentials, accounts, settings};
use crate::pair::record::{AppliedSettings, Record};

impl Runner {
    /// The application's account, as its Secret says now.
    pub(super) async fn read_app_account(&mut self) {
        let secrets: Api<Secret> = Api::namespaced(self.ctx.client.clone(), &self.namespace);
        let name = names::app_secret(&self.pair.spec.cluster);
        let Ok(Ok(secret)) = tokio::time::timeout(SECRET_AGE, secrets.get(&name)).await else { return };
        let version = format!("{}/{}", secret.uid().unwrap_or_default(), secret.resource_version().unwrap_or_default());
        let data = secret.data.unwrap_or_default();
        let text = |key: &str| data.get(key).and_then(|v| String::from_utf8(v.0.clone()).ok());
        if let (Some(user), Some(password)) = (text("username"), text("password")) {
            self.memory.app = Some((version, Credentials { user, password }));
        }
    }

    pub(super) fn databases(&self) -> Vec<String> {
        let cluster = Stores::get(&self.ctx.stores.clusters, &self.namespace, &self.pair.spec.cluster);
        cluster.and_then(|c| c.0.as_ref().ok().map(|c| c.spec.databases.clone())).unwrap_or_default()
    }

    /// Changed my.cnf entries, on the running process; the record keeps what became of them.
    pub(super) async fn apply_settings(&mut self, member: &str, hash: &str) -> Result<(), Surprise> {
        let named = surprise("ApplySettings");
        let cluster = Stores::get(&self.ctx.stores.clusters, &self.namespace, &self.pair.spec.cluster);
        let wanted = cluster.and_then(|c| c.0.as_ref().ok().map(|c| c.spec.mysql.config.clone())).unwrap_or_default();
        let session = self.at(member).await?;
        let process = session.scalar("SELECT @@report_user", QUICK).await.map_err(&named)?.unwrap_or_default();
        let outcome = settings::apply(session, &wanted, QUICK).await.map_err(&named)?;
        let mut record = self.record();
        record.member_mut(member).settings =
            Some(AppliedSettings { process, hash: hash.to_owned(), restart_for: outcome.restart_for, refused: outcome.refused });
        self.write_record(&record).await
    }

    /// Names what databases and account are made from; no secret goes into it.
    fn provision_key(&self) -> Option<String> {
        let (version, _) = self.memory.app.as_ref()?;
        Some(format!("{version}/{}", self.databases().join(",")))
    }

    pub(super) fn unprovisioned(&self) -> bool {
        let key = self.provision_key();
        key.is_some() && self.status().provisioned != key
    }

    /// All idempotent.
    pub(super) async fn provision(&mut self, record: &Record, member: &str) -> Result<(), Surprise> {
        let named = surprise("Provision");
        let (databases, key) = (self.databases(), self.provision_key());
        let Some((_, app)) = self.memory.app.clone() else {
            self.read_app_account().await;
            return Err(Surprise::new("Provision", format!("Secret {} isn't there, or lacks username or password", names::app_secret(&self.pair.spec.cluster))));
        };
        let row = super::split::heartbeat_row(&self.pair);
        let session = self.at(member).await?;
        heartbeat::create_schema(session, SLOW).await.map_err(&named)?;
        accounts::bootstrap_primary(session, &databases, &app, SLOW).await.map_err(&named)?;
        match heartbeat::beat(session, row, record.epoch, SLOW).await {
            Outcome::Written => {}
            other => return Err(Surprise::new("Provision", format!("{other:?}"))),
        }
        let mut status = self.status();
        status.provisioned = key;
        self.put_status(status).await
    }
}
