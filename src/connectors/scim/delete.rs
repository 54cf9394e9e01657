//! Deletions, each checked by what the target shows afterwards (RFC 7644 section 3.6).

use reqwest::Method;

use crate::connector::ConnectorError;
use crate::connector::ErrorClass;
use crate::connector::Shape;
use crate::connectors::scim::Scim;
use crate::connectors::scim::fault;
use crate::connectors::scim::profile::Delete;
use crate::http::Call;
use crate::model::account::Account;

impl Scim {
    /// Deletes an account; gives what the target still shows of it.
    pub(crate) async fn delete(&self, shape: &Shape, seen: &Account) -> Result<Option<Account>, ConnectorError> {
        if self.profile.delete == Delete::Disables {
            return Err(refused("by its profile (`delete: disables`) this target answers DELETE by disabling alone"));
        }
        let url = self.wire.url(&["Users", seen.id.as_str()], &[])?;
        let (operation, method) = ("delete", Method::DELETE);
        let call = Call { operation, method, url: url.clone(), body: None, if_match: None, authorized: true };
        let answer = self.wire.http.send(call).await.map_err(fault::of_http)?;
        if matches!(answer.status, 405 | 501) {
            return Err(refused("this target takes no DELETE"));
        }
        // Whoever took it away, or wherever a proxy sent us: looks some time apart tell, another one at once
        // would be answered by the same.
        if matches!(answer.status, 404 | 410) {
            let message = "the target knows nobody to delete; the account is looked at".to_owned();
            return Err(ConnectorError { class: ErrorClass::Uncertain, message, retry_after: None });
        }
        if !answer.is_success() {
            return Err(fault::of_write(&answer));
        }
        match self.wire.resource("read", url).await {
            Ok((resource, _)) => self.account(&resource, shape, None).await.map(Some),
            Err(error) if error.class == ErrorClass::NotFound => Ok(None),
            Err(error) => {
                let message = format!("the deletion was taken, and could not be looked at: {}", error.message);
                Err(ConnectorError { class: ErrorClass::Uncertain, message, ..error })
            }
        }
    }
}

fn refused(why: &str) -> ConnectorError {
    let message = format!("{why}: delete the account there by hand, or take `deleteAfter` and `delete` out");
    ConnectorError { class: ErrorClass::Refused, message, retry_after: None }
}
