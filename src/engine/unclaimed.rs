//! Messages for channels that are taken out of the settings: nobody hands them over, so they are given up by
//! the same rule as others, and what they say, passwords too, does not stay for ever.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crate::engine::invites;
use crate::engine::outbox::BATCH;
use crate::engine::outbox::FAR;
use crate::engine::outbox::ended;
use crate::engine::outbox::since;
use crate::engine::shared::Running;
use crate::engine::shared::Shared;
use crate::model::message::MessageFilter;
use crate::model::message::MessageState;
use crate::model::message::MessageWrite;
use crate::model::message::Posted;
use crate::store::StoreError;
use crate::store::Write;

/// How often they are looked at: giving up takes days.
const EVERY: Duration = Duration::from_mins(15);

/// Gives up what no channel takes any more.
pub(crate) async fn watch(shared: Arc<Shared>, running: Running) {
    let mut shown = BTreeSet::new();
    loop {
        if let Err(error) = look(&shared, &mut shown).await {
            tracing::error!(%error, "messages of channels that are gone cannot be looked at; this is tried again");
        }
        if running == Running::Once {
            return;
        }
        tokio::select! {
            biased;
            () = shared.cancel.cancelled() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
    }
}

async fn look(shared: &Shared, shown: &mut BTreeSet<String>) -> Result<(), StoreError> {
    let Some(post) = shared.post.get() else { return Ok(()) };
    let mut backlogs = shared.store.backlogs().await?;
    backlogs.retain(|backlog| !post.channels.contains_key(&backlog.channel));
    shown.extend(backlogs.iter().map(|backlog| backlog.channel.clone()));
    for channel in &*shown {
        let waits = backlogs.iter().find(|backlog| backlog.channel == *channel);
        shared.metrics.outbox.waits(channel, waits, shared.now());
    }
    for backlog in backlogs {
        give_up(shared, &backlog.channel).await?;
    }
    Ok(())
}

/// Goes through what is due in a channel. What is put off is not due any more, so this ends.
async fn give_up(shared: &Shared, channel: &str) -> Result<(), StoreError> {
    loop {
        let now = shared.now();
        let due = Some((channel.to_owned(), now, now + FAR));
        let filter = MessageFilter { due, limit: BATCH, ..MessageFilter::default() };
        let messages = shared.store.messages(&filter).await?;
        let mut writes = Vec::new();
        for message in &messages {
            writes.extend(judged(shared, message).await?);
        }
        if writes.is_empty() {
            return Ok(());
        }
        shared.store.commit(writes, shared.store.fence()).await?;
        if messages.len() < BATCH || shared.cancel.is_cancelled() {
            return Ok(());
        }
    }
}

async fn judged(shared: &Shared, message: &Posted) -> Result<Vec<Write>, StoreError> {
    let why = format!("no `{}` is in rosterd.yaml (any more)", message.channel);
    let now = shared.now();
    let given_up = match since(shared, message, true) {
        Ok(since) => {
            let (id, attempts) = (message.id.clone(), message.attempts);
            return Ok(vec![Write::Message(MessageWrite::Later { id, due: now + FAR, attempts, since, why })]);
        }
        Err(given_up) => given_up,
    };
    let invite = invites::brought_by(shared, message).await?;
    let mut writes = ended(message, MessageState::Refused, Some(format!("{given_up}: {why}")), now).to_vec();
    writes.extend(invite.and_then(|invite| invites::ended_with_its_mail(&invite, MessageState::Refused, now)));
    Ok(writes)
}
