//! Signed receipts: made here, and checked here.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;

use crate::audit;
use crate::engine::EngineError;
use crate::model::ids::RecordId;
use crate::secrets::keys::Keys;
use crate::server::Api;
use crate::server::input::At;
use crate::server::input::Body;
use crate::server::problem::Refusal;
use crate::server::problem::invalid;
use crate::server::wire::ReceiptVerdict;
use crate::server::wire::SignedReceipt;
use crate::server::wire::VerifyBody;

/// What signatures of receipts are made for.
const CONTEXT: &str = "receipt v1";

fn keys(api: &Api) -> Result<&Keys, Refusal> {
    let none = || {
        Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "no-keys", "this rosterd has no keys to sign with")
            .hint("put the key file back, and start it again")
    };
    api.keys.as_deref().ok_or_else(none)
}

/// `GET /api/v1/users/{user}/receipt`
pub(crate) async fn of(State(api): State<Arc<Api>>, At(user): At<RecordId>) -> Result<Json<SignedReceipt>, Refusal> {
    let keys = keys(&api)?;
    let receipt = api.engine.receipt(&user).await.map_err(|error: EngineError| Refusal::from(error))?;
    let text =
        audit::canonical(&receipt).map_err(|error| invalid(format!("the receipt cannot be written: {error}")))?;
    let signature = keys.sign(CONTEXT, text.as_bytes());
    Ok(Json(SignedReceipt { receipt, keys: keys.id().to_owned(), signature }))
}

/// `POST /api/v1/receipts/verify`
pub(crate) async fn verify(
    State(api): State<Arc<Api>>,
    Body(body): Body<VerifyBody>,
) -> Result<Json<ReceiptVerdict>, Refusal> {
    let ours = keys(&api)?;
    let VerifyBody { receipt, keys, signature } = body;
    let text = audit::canonical(&receipt).map_err(|error| invalid(format!("the receipt cannot be read: {error}")))?;
    let problem = if ours.verify(CONTEXT, text.as_bytes(), &signature) {
        None
    } else if keys == ours.id() {
        Some("its signature does not fit: it was altered after it was signed".to_owned())
    } else {
        Some("it was signed with the keys of another installation, or altered".to_owned())
    };
    Ok(Json(ReceiptVerdict { genuine: problem.is_none(), problem }))
}
