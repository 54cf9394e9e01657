//! Mails about requests, judged once more right before they leave: whether their reader decides about anything of
//! it still.
//!
//! # Guarantees
//! - Who decides no more, by the documents and the configuration as they are, is told nothing more, whatever was
//!   written to them before: what was not handed over is void.
//! - What nobody can tell yet (no documents, a target whose document nobody accepted) waits.

use std::collections::BTreeMap;

use crate::engine::digests;
use crate::engine::shared::Shared;
use crate::engine::turns;
use crate::engine::turns::Matter;
use crate::engine::turns::Teams;
use crate::model::approval::Approval;
use crate::model::ids::TargetName;
use crate::model::link::Space;
use crate::model::message::MAIL;
use crate::model::message::Posted;
use crate::model::request::Request;
use crate::store::StoreError;

/// What is to be done with a message.
pub(crate) enum Addressed {
    /// It leaves, as it is here.
    Goes(Box<Posted>),
    /// Nobody can tell yet, for this reason.
    NotYet(Box<Posted>, &'static str),
    /// It never leaves, for this reason.
    Over(Box<Posted>, &'static str),
}

/// What is known while the messages of one batch are judged. A request that is decided meanwhile makes its mails
/// void by itself.
#[derive(Default)]
pub(crate) struct Known {
    teams: Teams,
    requests: BTreeMap<TargetName, Vec<(Space, Request)>>,
}

impl Known {
    /// Another batch begins: requests are read again. Who is in which team follows the documents.
    pub(crate) fn begin(&mut self) {
        self.requests.clear();
    }

    async fn requests(&mut self, shared: &Shared, target: &TargetName) -> Result<&[(Space, Request)], StoreError> {
        if !self.requests.contains_key(target) {
            let rows = shared.store.requests(target).await?;
            self.requests.insert(target.clone(), rows);
        }
        Ok(self.requests.get(target).map(Vec::as_slice).unwrap_or_default())
    }
}

/// Judges a message that is about to be handed over.
pub(crate) async fn judged(shared: &Shared, known: &mut Known, message: Box<Posted>) -> Result<Addressed, StoreError> {
    let is_digest = digests::is_one(&message);
    if message.channel != MAIL || !(is_digest || turns::is_one(&message.id)) {
        return Ok(Addressed::Goes(message));
    }
    let Some(snapshot) = shared.snapshot() else {
        return Ok(Addressed::NotYet(message, "no documents are accepted yet"));
    };
    if let Some(post) = shared.post.get() {
        known.teams.read(&snapshot, &post.addressees);
    }
    if is_digest { digests::judged(shared, &known.teams, message).await } else { turn(shared, known, message).await }
}

async fn turn(shared: &Shared, known: &mut Known, message: Box<Posted>) -> Result<Addressed, StoreError> {
    let handle = message.target.as_ref().and_then(|target| shared.handle(target).ok());
    let (Some(handle), Some(post), Some(snapshot)) = (handle, shared.post.get(), shared.snapshot()) else {
        return Ok(Addressed::NotYet(message, "its target is not declared, so nobody can tell whose turn it is"));
    };
    if handle.unaccepted {
        return Ok(Addressed::NotYet(message, "the document that says whose turn it is is not accepted yet"));
    }
    let address = turns::address_of(&message.id, &post.addressees, &known.teams);
    let rows = known.requests(shared, &handle.target.name).await?;
    let request = rows.iter().map(|(_, request)| request).find(|request| turns::is_about(&message.id, request));
    // Whoever is renamed is still under their former record id until the task of the target has looked.
    let user = request.and_then(|request| snapshot.users.by_any_id(&request.record));
    let (Some(address), Some(request), Some(user)) = (address, request.cloned(), user) else {
        return Ok(Addressed::Over(message, "it is their turn no longer"));
    };
    let approval = handle.target.approval.clone().unwrap_or_else(Approval::ungated);
    let matter = Matter { target: &handle.target, approval: &approval, request: &request, user: &user };
    let (now, only) = (shared.judged(), Some(address.as_str()));
    let mut readers = post.addressees.iter().flat_map(|to| turns::readers_of(to, &known.teams, matter, (now, only)));
    Ok(match readers.next() {
        Some(_) => Addressed::Goes(message),
        None => Addressed::Over(message, "it is their turn no longer"),
    })
}
