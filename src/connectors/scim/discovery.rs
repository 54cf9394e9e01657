//! What the target says of itself, and whether it looks at our credential.

use serde_json::Value;

use crate::connector::ConnectorError;
use crate::connector::ErrorClass;
use crate::connector::Probe;
use crate::connector::document;
use crate::connectors::scim::Scim;
use crate::connectors::scim::fault;
use crate::connectors::scim::profile::EtagUse;
use crate::connectors::scim::wire;
use crate::http::Call;
use crate::http::fault::Fault;

/// `ServiceProviderConfig` (RFC 7643 section 5), asked and not believed: it may only make us
/// more careful, or save a call that would be refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Service {
    /// It speaks of real versions.
    pub(crate) etag: bool,
    /// It says that there is no PATCH.
    pub(crate) no_patch: bool,
    /// It says that there are no filters.
    pub(crate) no_filter: bool,
    /// Most results it gives.
    pub(crate) max_results: Option<u64>,
}

impl Scim {
    /// What the target says of itself; asked once. A target without the document says nothing.
    pub(crate) async fn service(&self) -> Service {
        let asked = self.service.get_or_try_init(|| async {
            let url = self.wire.url(&["ServiceProviderConfig"], &[])?;
            let answer = self.wire.read("discover", url).await?;
            match (answer.is_success(), answer.failure().fault) {
                (true, _) => Ok(answer.json().map(|json| said(&json)).unwrap_or_default()),
                (false, Fault::Refused | Fault::Door) => Ok(Service::default()),
                (false, _) => Err(fault::of_read(&answer)),
            }
        });
        // Unanswered for now: nothing is assumed, and it is asked again by the next call.
        asked.await.copied().unwrap_or_default()
    }

    /// Whether versions are real here, so that `If-Match` guards something.
    pub(crate) async fn has_versions(&self) -> bool {
        self.profile.etag == EtagUse::Auto && self.service().await.etag
    }

    pub(crate) async fn knock(&self) -> Result<Probe, ConnectorError> {
        let url = self.wire.url(&["Users"], &[("startIndex", "1"), ("count", "1")])?;
        let answer = self.wire.read("probe", url.clone()).await?;
        if !answer.is_success() {
            return Err(fault::of_read(&answer));
        }
        let page = wire::page_of(&answer)?;
        if self.wire.http.has_token() {
            self.assert_token_matters(Call { authorized: false, ..Call::get("probe", url) }, page.total).await?;
        }
        self.service().await;
        Ok(Probe { realm: self.realm.clone(), own_account: self.own_account().await })
    }

    /// A target that shows the same to anybody does not look at the token, so a wrong one would
    /// pass unseen and a list might be the subset that strangers see. Of an empty list nothing can
    /// be said: a new target is empty for everybody.
    async fn assert_token_matters(&self, anonymous: Call<'_>, total: Option<u64>) -> Result<(), ConnectorError> {
        if total == Some(0) {
            return Ok(());
        }
        let Ok(answer) = self.wire.http.send(anonymous).await else { return Ok(()) };
        let same = answer.is_success() && wire::page_of(&answer).is_ok_and(|page| page.total == total);
        if !same {
            return Ok(());
        }
        let message = "the target lists the same accounts without the token, so it does not look at it and may show a \
                       subset; check the secret, or leave `auth` out if the target needs none";
        Err(ConnectorError { class: ErrorClass::Door, message: message.to_owned(), retry_after: None })
    }

    /// `/Me` (RFC 7644 section 3.11): the account that our own credential belongs to. Most
    /// service credentials have none, and any other answer says just that.
    async fn own_account(&self) -> Option<crate::model::ids::AccountId> {
        let url = self.wire.url(&["Me"], &[]).ok()?;
        let answer = self.wire.read("probe", url).await.ok()?;
        if !answer.is_success() {
            return None;
        }
        let resource = wire::resource_of(&answer)?;
        document::member(&resource, "userName")?;
        document::id(&resource)
    }
}

fn said(json: &Value) -> Service {
    let supported = |name: &str| {
        document::member(json, name).and_then(|part| document::member(part, "supported")).and_then(document::truth)
    };
    let filter = document::member(json, "filter");
    Service {
        etag: supported("etag") == Some(true),
        no_patch: supported("patch") == Some(false),
        no_filter: supported("filter") == Some(false),
        max_results: filter
            .and_then(|filter| document::member(filter, "maxResults"))
            .and_then(document::whole)
            .filter(|most| *most > 0),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_not_said_is_not_assumed() {
        assert_eq!(said(&json!({})), Service::default());
        assert_eq!(said(&json!({"patch": "yes", "filter": {"maxResults": 0}})), Service::default());
    }

    #[test]
    fn texts_count_as_booleans_and_numbers() {
        let config = json!({"patch": {"supported": "False"}, "etag": {"supported": true},
            "filter": {"supported": false, "maxResults": "50"}});
        let expected = Service { etag: true, no_patch: true, no_filter: true, max_results: Some(50) };
        assert_eq!(said(&config), expected);
    }
}
