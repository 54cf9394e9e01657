//! Whoever is told, on virtual time: keeps what it was given, and can be told not to take it.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::time::Duration;

use async_trait::async_trait;
use rosterd::engine::outbox::Post;
use rosterd::model::message::Content;
use rosterd::model::message::MAIL;
use rosterd::model::message::Mail;
use rosterd::model::message::Posted;
use rosterd::notify::Notifier;
use rosterd::notify::NotifyClass;
use rosterd::notify::NotifyError;
use tokio::time::Instant;

#[derive(Default)]
pub(crate) struct Inside {
    /// What was tried, taken or not.
    pub(crate) tried: Vec<(Instant, String)>,
    /// What was taken, in order; the same message twice if it came twice.
    pub(crate) taken: Vec<Posted>,
    /// What the next attempts end with.
    pub(crate) faults: VecDeque<NotifyError>,
    /// Addresses that are never taken.
    pub(crate) unknown: BTreeSet<String>,
    /// How long each attempt takes, before and after the message is taken.
    pub(crate) latency: (Duration, Duration),
    pub(crate) refuses_passwords: bool,
    /// How long it may take, where that is not the usual time.
    pub(crate) limit: Option<Duration>,
}

#[derive(Default)]
pub(crate) struct MemoryMail {
    inside: Mutex<Inside>,
}

impl MemoryMail {
    pub(crate) fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap()
    }

    /// A post that has this for its mails and nothing else.
    pub(crate) fn post(self: &Arc<Self>) -> Post {
        let notifier = Arc::clone(self) as Arc<dyn Notifier>;
        Post { channels: BTreeMap::from([(MAIL.to_owned(), notifier)]), ..Post::default() }
    }

    /// The mails that were taken.
    pub(crate) fn mails(&self) -> Vec<Mail> {
        let inside = self.inside();
        let mail = |posted: &Posted| match &posted.content {
            Some(Content::Mail(mail)) => mail.clone(),
            other => panic!("no mail: {other:?}"),
        };
        inside.taken.iter().map(mail).collect()
    }

    /// The one mail to an address.
    pub(crate) fn to(&self, address: &str) -> Mail {
        let mut mails = self.mails();
        mails.retain(|mail| mail.to == address);
        assert_eq!(mails.len(), 1, "one mail to {address}");
        mails.remove(0)
    }

    pub(crate) fn fail(&self, class: NotifyClass, times: usize) {
        let error = NotifyError::new(class, "not now");
        self.inside().faults.extend(std::iter::repeat_n(error, times));
    }
}

#[async_trait]
impl Notifier for MemoryMail {
    fn takes_passwords(&self) -> bool {
        !self.inside().refuses_passwords
    }

    fn limit(&self) -> Duration {
        self.inside().limit.unwrap_or(Duration::from_mins(2))
    }

    async fn deliver(&self, message: &Posted) -> Result<(), NotifyError> {
        let (before, after) = self.inside().latency;
        tokio::time::sleep(before).await;
        {
            let mut inside = self.inside();
            inside.tried.push((Instant::now(), message.id.as_str().to_owned()));
            if let Some(fault) = inside.faults.pop_front() {
                return Err(fault);
            }
            if let Some(Content::Mail(mail)) = &message.content
                && inside.unknown.contains(&mail.to)
            {
                let words = "the mail server refused the mail: 550 5.1.1 no such mailbox";
                return Err(NotifyError::new(NotifyClass::Refused, words));
            }
            inside.taken.push(message.clone());
        }
        tokio::time::sleep(after).await;
        Ok(())
    }
}
