//! A connector that always comes to an end: what hangs is given up, what panics is an error.
//!
//! Every connector of the engine stands behind this one, so that neither a target nor the code that
//! talks to it can keep a user busy for ever, end a worker, or hold up another target (L15).

use std::any::Any;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::panic::catch_unwind;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::DateTime;
use chrono::Utc;
use futures_util::FutureExt;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::connector::Applied;
use crate::connector::Capabilities;
use crate::connector::Connector;
use crate::connector::ConnectorError;
use crate::connector::ErrorClass;
use crate::connector::Found;
use crate::connector::Look;
use crate::connector::Operation;
use crate::connector::PasswordPaths;
use crate::connector::Probe;
use crate::connector::Shape;
use crate::http::rate;
use crate::metrics::TargetMetrics;
use crate::model::account::Account;
use crate::model::path::AttributePath;
use crate::model::plan::Coverage;

/// A probe or a write may take several calls (a PATCH, the groups, a read-back); each has the
/// connector's own limit, and all together this many of them.
pub const CALLS_OF_ONE: u32 = 3;
/// The same for a look-up, which may read the groups, too. At the usual limit of 10 s it ends in time
/// for a removal to be tried once a minute.
const CALLS_OF_ONE_LOOK: u32 = 6;
/// So many call limits may pass without a page: a listing may read every group of a large target
/// before it shows the first account.
const CALLS_WITHOUT_A_PAGE: u32 = 60;

/// A connector behind time limits.
pub struct Bounded {
    inner: Arc<dyn Connector>,
    metrics: Arc<TargetMetrics>,
}

impl Bounded {
    /// Puts `inner` behind limits; its panics are counted in `metrics`.
    pub fn new(inner: Arc<dyn Connector>, metrics: Arc<TargetMetrics>) -> Self {
        Self { inner, metrics }
    }

    fn limit(&self) -> Duration {
        self.capabilities().call_limit * CALLS_OF_ONE
    }

    /// What `work` gives, or an error of this class where it gives nothing.
    async fn surely<T>(
        &self,
        what: &str,
        class: ErrorClass,
        limit: Duration,
        work: impl Future<Output = Result<T, ConnectorError>>,
    ) -> Result<T, ConnectorError> {
        match within(limit, caught(work)).await {
            Some(Ok(result)) => result,
            Some(Err(panic)) => Err(self.panicked(what, class, &panic)),
            None => {
                let message = format!("{what} was given up after {} s without an answer", limit.as_secs());
                Err(error(class, message))
            }
        }
    }

    /// What was thrown may hold anything, so only its place is told (L7): the hook wrote it to the log.
    fn panicked(&self, what: &str, class: ErrorClass, _: &Panic) -> ConnectorError {
        self.metrics.connector_panicked();
        tracing::error!(what, "the connector failed in itself; please report this with the lines above");
        error(class, format!("the connector failed in itself during {what}; the log says where, please report it"))
    }
}

/// What a panic threw.
pub type Panic = Box<dyn Any + Send>;

/// Runs `work` and catches its panic: everything it borrowed is dropped with it or replaced whole.
pub async fn caught<T>(work: impl Future<Output = T>) -> Result<T, Panic> {
    AssertUnwindSafe(work).catch_unwind().await
}

/// Runs a task's work so that whoever waits for it hears of its end: a panic is an error of this class.
pub async fn contained<T>(
    class: ErrorClass,
    work: impl Future<Output = Result<T, ConnectorError>>,
) -> Result<T, ConnectorError> {
    let failed = "rosterd failed in itself here; the log says where, please report it";
    caught(work).await.unwrap_or_else(|_panic| Err(error(class, failed.to_owned())))
}

fn error(class: ErrorClass, message: String) -> ConnectorError {
    ConnectorError { class, message, retry_after: None }
}

#[async_trait]
impl Connector for Bounded {
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    fn canonicalize(&self, path: &AttributePath, value: &serde_json::Value) -> serde_json::Value {
        catch_unwind(AssertUnwindSafe(|| self.inner.canonicalize(path, value))).unwrap_or_else(|panic| {
            self.panicked("comparing a value", ErrorClass::Refused, &panic);
            value.clone()
        })
    }

    fn time(&self) -> Option<DateTime<Utc>> {
        self.inner.time()
    }

    fn password(&self) -> Option<PasswordPaths> {
        self.inner.password()
    }

    async fn probe(&self) -> Result<Probe, ConnectorError> {
        self.surely("the check of the connection", ErrorClass::Transient, self.limit(), self.inner.probe()).await
    }

    async fn observe(&self, shape: &Shape, pages: mpsc::Sender<Vec<Account>>) -> Result<Coverage, ConnectorError> {
        let (sender, receiver) = mpsc::channel(1);
        let patience = self.capabilities().call_limit * CALLS_WITHOUT_A_PAGE;
        let listing = caught(self.inner.observe(shape, sender));
        let (shown, ended) = forward(listing, receiver, pages, patience).await;
        let error = match ended {
            Some(Ok(result)) => return result,
            Some(Err(panic)) => self.panicked("the listing", ErrorClass::Transient, &panic),
            None => {
                let seconds = patience.as_secs();
                let message = format!("the target showed no account for {seconds} s; the listing was given up");
                error(ErrorClass::Transient, message)
            }
        };
        // What came before proves nothing about the rest.
        if shown { Ok(Coverage::Partial(error.message)) } else { Err(error) }
    }

    async fn fetch(&self, shape: &Shape, look: &Look) -> Result<Found, ConnectorError> {
        let limit = self.capabilities().call_limit * CALLS_OF_ONE_LOOK;
        self.surely("the look-up", ErrorClass::Transient, limit, self.inner.fetch(shape, look)).await
    }

    async fn apply(&self, shape: &Shape, operations: &[Operation]) -> Vec<Result<Applied, ConnectorError>> {
        let limit = self.limit() * u32::try_from(operations.len()).unwrap_or(u32::MAX).max(1);
        let work = async { Ok(self.inner.apply(shape, operations).await) };
        match self.surely("the write", ErrorClass::Uncertain, limit, work).await {
            Ok(answers) => answers,
            Err(error) => operations.iter().map(|_| Err(error.clone())).collect(),
        }
    }
}

/// How long is waited for an answer. What a call waits for permits of the rate is no slowness of the target.
struct Patience {
    limit: Duration,
    begun: Instant,
    waited: Duration,
}

impl Patience {
    fn of(limit: Duration) -> Self {
        Self { limit, begun: Instant::now(), waited: rate::waited() }
    }

    fn end(&self) -> Instant {
        self.begun + self.limit + rate::waited().saturating_sub(self.waited)
    }

    async fn is_over(&self) {
        let mut end = self.begun;
        while end < self.end() {
            end = self.end();
            tokio::time::sleep_until(end).await;
        }
    }
}

/// What `work` gives within this time, else `None`.
async fn within<T>(limit: Duration, work: impl Future<Output = T>) -> Option<T> {
    let patience = Patience::of(limit);
    tokio::select! {
        biased;
        result = work => Some(result),
        () = patience.is_over() => None,
    }
}

/// Hands pages on until the listing ends. Gives whether any came, and the end; `None` where nothing
/// came for too long. The time that the reader of the pages takes does not count.
async fn forward<T>(
    listing: impl Future<Output = T>,
    mut receiver: mpsc::Receiver<Vec<Account>>,
    pages: mpsc::Sender<Vec<Account>>,
    patience: Duration,
) -> (bool, Option<T>) {
    tokio::pin!(listing);
    let mut shown = false;
    let mut ended = None;
    let mut silence = Patience::of(patience);
    loop {
        tokio::select! {
            biased;
            page = receiver.recv() => match page {
                Some(page) => {
                    shown = true;
                    if pages.send(page).await.is_err() {
                        // Nobody reads on: the connector learns it by its next page.
                        receiver.close();
                    }
                }
                None => break,
            },
            result = &mut listing, if ended.is_none() => ended = Some(result),
            () = silence.is_over() => return (shown, None),
        }
        silence = Patience::of(patience);
    }
    if ended.is_none() {
        ended = within(patience, listing).await;
    }
    (shown, ended)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::rate::Caller;
    use crate::http::rate::Rate;

    async fn requests(count: u32) {
        for _ in 0..count {
            rate::permit().await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_for_the_rate_is_not_given_up_and_who_hangs_is() {
        let rate = Rate::new(Some(1.0), Instant::now());
        let limit = Duration::from_secs(10);
        assert_eq!(rate::in_turn(&rate, Caller::Other, within(limit, requests(50))).await, Some(()));
        let begun = Instant::now();
        let hangs = async {
            requests(7).await;
            std::future::pending::<()>().await;
        };
        assert_eq!(rate::in_turn(&rate, Caller::Other, within(limit, hangs)).await, None);
        // The permits of two of its own, and of all that was sent before.
        assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    }
}
