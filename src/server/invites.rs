//! Invites: who was sent one, sent again, and redeemed by the application that the link leads to.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Deserialize;

use crate::engine::invites::Resent;
use crate::model::ids::MessageId;
use crate::model::ids::RecordId;
use crate::model::ids::TargetName;
use crate::model::invite::Invite;
use crate::model::invite::InviteFilter;
use crate::model::invite::InviteState;
use crate::model::message::MessageFilter;
use crate::model::message::Posted;
use crate::server::Api;
use crate::server::access::Caller;
use crate::server::input::At;
use crate::server::input::Body;
use crate::server::input::Params;
use crate::server::page;
use crate::server::page::Paging;
use crate::server::problem::Refusal;
use crate::server::problem::invalid;
use crate::server::wire::InviteInfo;
use crate::server::wire::Page;
use crate::server::wire::RedeemBody;
use crate::server::wire::Redeemed;
use crate::server::wire::ResendBody;
use crate::server::wire::ResentInfo;
use crate::server::wire::ResentList;

/// Invites that one request sends again: as many mails as a server takes in a minute or so.
const MOST: usize = 1_000;
/// Longer texts are no token of ours.
const LONGEST_TOKEN: usize = 200;

/// `GET /api/v1/invites`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct InviteQuery {
    target: Option<TargetName>,
    user: Option<RecordId>,
    state: Option<InviteState>,
    after: Option<String>,
    limit: Option<usize>,
}

/// `GET /api/v1/invites`
pub(crate) async fn list(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Params(query): Params<InviteQuery>,
) -> Result<Json<Page<InviteInfo>>, Refusal> {
    let InviteQuery { target, user, state, after, limit } = query;
    if let Some(target) = &target {
        caller.reach_target(target)?;
    }
    let filter = InviteFilter { target, record: user, ..InviteFilter::default() };
    let mut invites = api.engine.invites(&filter).await?;
    invites.retain(|invite| caller.reaches(&invite.space.target));
    invites.retain(|invite| state.is_none_or(|state| invite.state == state));
    let mut page = page::of(invites, &Paging { after, limit }, |invite| invite.id.as_str().to_owned())?;
    let mut mails: BTreeMap<RecordId, Vec<Posted>> = BTreeMap::new();
    for invite in &page.items {
        if !mails.contains_key(&invite.record) {
            let filter = MessageFilter { record: Some(invite.record.clone()), ..MessageFilter::default() };
            mails.insert(invite.record.clone(), api.store.messages(&filter).await?);
        }
    }
    let mail = |record: &RecordId, id: &MessageId| mails.get(record)?.iter().find(|mail| mail.id == *id).cloned();
    let shown = page.items.drain(..).map(|invite| {
        let mail = mail(&invite.record, &invite.message);
        info(invite, mail.as_ref())
    });
    Ok(Json(Page { items: shown.collect(), next: page.next }))
}

fn info(invite: Invite, mail: Option<&Posted>) -> InviteInfo {
    let Invite { id, space, record, kind, to, token: _, message: _, made, expires, resent, state, ended } = invite;
    InviteInfo {
        id,
        target: space.target,
        user: record,
        kind,
        to,
        state,
        made,
        expires,
        resent,
        ended,
        mail: mail.map(|mail| mail.state),
        why: mail.and_then(|mail| mail.why.clone()),
    }
}

/// `POST /api/v1/targets/{target}/invites/resend`; the engine audits each.
pub(crate) async fn resend(
    State(api): State<Arc<Api>>,
    caller: Caller,
    At(target): At<TargetName>,
    Body(ResendBody { users }): Body<ResendBody>,
) -> Result<Json<ResentList>, Refusal> {
    if users.is_empty() || users.len() > MOST {
        return Err(invalid(format!("{} users are named; name 1 to {MOST} at once", users.len())));
    }
    let results = api.engine.resend(&target, &users, &caller.actor).await?;
    let items = results.into_iter().map(|Resent { record, result }| match result {
        Ok(invite) => ResentInfo { user: record, sent: true, expires: invite.expires, why: None },
        Err(why) => ResentInfo { user: record, sent: false, expires: None, why: Some(why) },
    });
    Ok(Json(ResentList { items: items.collect() }))
}

/// `POST /api/v1/targets/{target}/invites/redeem`; the engine audits it.
pub(crate) async fn redeem(
    State(api): State<Arc<Api>>,
    caller: Caller,
    At(target): At<TargetName>,
    Body(RedeemBody { token }): Body<RedeemBody>,
) -> Result<Json<Redeemed>, Refusal> {
    if token.is_empty() || token.len() > LONGEST_TOKEN {
        return Err(invalid("`token` is what stands in the place of `TOKEN` in the link"));
    }
    let invite = api.engine.redeem(&target, &token, &caller.actor).await?;
    let account = api.store.link(&invite.space, &invite.record).await?.map(|link| link.account);
    Ok(Json(Redeemed { user: invite.record, account }))
}
