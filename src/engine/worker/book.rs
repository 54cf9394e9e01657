//! What passes between a worker and the store: what it reads again, what it commits, and what it
//! does while the store does not answer.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::time::Instant;

use crate::engine::identity::Identities;
use crate::engine::look;
use crate::engine::shared::Running;
use crate::engine::worker::STORE_PAUSE;
use crate::engine::worker::Worker;
use crate::engine::worker::full::FullRequest;
use crate::engine::worker::keyed::PATIENCE;
use crate::model::history::Trigger;
use crate::model::identity::Identity;
use crate::model::ids::RecordId;
use crate::model::link::Link;
use crate::model::link::Space;
use crate::store::StoreError;
use crate::store::Write;

impl Worker {
    /// Reads this target's decisions again, and acts on them.
    pub(super) async fn decided(&mut self) {
        // A person acts: what failed is tried again at once.
        self.door.retry_now();
        self.list_after = None;
        if self.place.is_none() {
            return;
        }
        let before = self.suspended();
        self.read_again().await;
        if before && !self.suspended() {
            self.hurry_owed();
        }
        if self.running == Running::Daemon {
            self.full_requests.push(FullRequest::of(Trigger::Decision));
        }
    }

    /// Reads decisions and causes again. While the store does not tell them, no look and no call
    /// is begun: a person may have said stop.
    pub(super) async fn read_again(&mut self) {
        let Some(mut guardrail) = self.place.as_ref().map(|place| place.guardrail.clone()) else { return };
        let (store, target) = (Arc::clone(&self.shared.store), Arc::clone(&self.handle.target));
        let read = async {
            guardrail.decided(&*store, &target.name).await?;
            let snapshot = self.shared.snapshot();
            self.read_requests().await?;
            Ok((guardrail, look::causes(&*store, &self.handle.projector, snapshot.as_deref()).await?))
        };
        let read = read.await;
        let read = self.note(read);
        self.unread = read.is_none();
        if let (Some((mut guardrail, causes)), Some(place)) = (read, self.place.as_mut()) {
            guardrail.permits = guardrail.permits.without(&self.writes);
            place.guardrail = guardrail;
            place.causes = Arc::new(causes);
            self.read_regained().await;
        }
        if self.suspended() {
            self.turn_away(&self.is_suspended());
        }
    }

    /// Whether the store is left alone for a moment, or has not told what it must.
    pub(super) fn store_is_away(&self) -> bool {
        self.unread || self.store_error.as_ref().is_some_and(|(_, until)| *until > Instant::now())
    }

    /// Takes up what the store did not do.
    pub(super) async fn ask_store_again(&mut self) {
        let paused = self.store_error.as_ref().is_some_and(|(_, until)| *until > Instant::now());
        if self.unread && !paused {
            self.read_again().await;
        }
        if self.away.refused == 1 && !paused {
            // A person may have linked an account whose creation was not recorded yet.
            self.reload_links(None).await;
        }
        if self.store_failures >= PATIENCE
            && let Some((error, _)) = self.store_error.clone()
        {
            self.turn_away(&error);
        }
    }

    /// Reads the links again. `said`: the one that a person just recorded.
    pub(super) async fn reload_links(&mut self, said: Option<Link>) {
        // What calls that ended just now say of links is to be among what is read, also where the store is left
        // alone or does not take it now.
        self.commit_rest().await;
        let Some(space) = self.place.as_ref().map(|place| place.space.clone()) else { return };
        let store = Arc::clone(&self.shared.store);
        let read = async {
            let links = with_waiting(store.links(&space).await?, &space, &self.writes);
            let mut identities = Identities::of(&*store, &space, &links).await?;
            let waiting = self.writes.iter().filter_map(|write| identity_in(write, &space));
            waiting.for_each(|row| identities.learn(row));
            Ok((links, identities))
        };
        let read = read.await;
        if let (Some((links, identities)), Some(place)) = (self.note(read), self.place.as_mut()) {
            let before = Arc::clone(&place.links);
            place.set_links(links);
            place.identities = identities;
            self.cede(&before);
            self.obey_link(said);
            self.review_identities(None);
        }
    }

    /// The same of a commit, after which the store may refuse the same writes for ever.
    pub(super) fn note_commit(&mut self, result: Result<(), StoreError>) -> Option<()> {
        let refused = matches!(result, Err(StoreError::Refused(_)));
        self.away.refused = if refused { self.away.refused.saturating_add(1) } else { 0 };
        let name = &self.handle.target.name;
        self.note(result.map_err(|error| match error {
            StoreError::Refused(why) => StoreError::Refused(format!(
                "the store refuses what target `{name}` has to remember, and nothing is done there meanwhile: {why}; if \
                 this stays, stop rosterd and start it again, which looks at everything anew, and report it"
            )),
            StoreError::Held(_) | StoreError::Fenced(_) | StoreError::Unavailable(_) => error,
        }))
    }

    /// Keeps a store error for `status`, and waits a little before the store is asked again.
    pub(super) fn note<T>(&mut self, result: Result<T, StoreError>) -> Option<T> {
        match result {
            Ok(value) => {
                self.store_error = None;
                self.store_failures = 0;
                self.away.is_now = false;
                // That it can be read says nothing of what it did not take yet.
                if self.writes.is_empty() {
                    self.shared.store_answered(Some(&self.handle.target.name), None);
                }
                Some(value)
            }
            Err(error) => {
                tracing::error!(target = %self.handle.target.name, %error, "the store did not do what it was asked");
                self.shared.store_answered(Some(&self.handle.target.name), Some(&error));
                self.away.is_now = error.is_away();
                self.store_error = Some((error.to_string(), Instant::now() + STORE_PAUSE));
                self.store_failures = self.store_failures.saturating_add(1);
                None
            }
        }
    }

    /// Commits what nothing else carried along. On failure it stays for the next try.
    pub(super) async fn commit_rest(&mut self) {
        self.settle_repeats();
        self.note_windows();
        let paused = self.store_error.as_ref().is_some_and(|(_, until)| *until > Instant::now());
        if self.writes.is_empty() || paused {
            return;
        }
        let writes = self.writes.clone();
        let committed = self.shared.store.commit(writes, self.shared.store.fence()).await;
        if self.note_commit(committed).is_some() {
            self.writes.clear();
            self.shared.store_answered(Some(&self.handle.target.name), None);
            self.committed_all().await;
        }
    }
}

/// What the store says of the links of a place, with what waits for its next commit.
fn with_waiting(mut links: BTreeMap<RecordId, Link>, space: &Space, writes: &[Write]) -> BTreeMap<RecordId, Link> {
    for write in writes {
        if let Write::Link(of, link) = write
            && of == space
        {
            links.insert(link.record.clone(), link.clone());
        } else if let Write::Unlink(of, record) = write
            && of == space
        {
            links.remove(record);
        }
    }
    links
}

/// What a write tells of who had which account of a place.
fn identity_in<'w>(write: &'w Write, space: &Space) -> Option<&'w Identity> {
    if let Write::Identity(of, row) = write { Some(row).filter(|_| of == space) } else { None }
}
