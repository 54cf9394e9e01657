//! The port to whatever tells people and programs: mail servers, webhooks, files.
//!
//! # Guarantees a notifier gives
//! - A message goes to the address that it names, or to the one place that the notifier was made for,
//!   and nowhere else; nothing of it stands in an error.
//! - `deliver` may be repeated with the same message: the other side can tell by its id.
//! - It returns: what hangs is given up.

use std::time::Duration;

use async_trait::async_trait;

use crate::model::message::Posted;

/// The port.
#[async_trait]
pub trait Notifier: Send + Sync {
    /// Whether it may be given a generated password.
    fn takes_passwords(&self) -> bool;

    /// Longest time until it says what came of one message.
    fn limit(&self) -> Duration {
        Duration::from_mins(2)
    }

    /// Hands one message over. `Ok`: the other side answers for it from now on.
    async fn deliver(&self, message: &Posted) -> Result<(), NotifyError>;
}

/// Why a message was not handed over.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct NotifyError {
    /// What to do about it.
    pub class: NotifyClass,
    /// What happened and what to do; never anything of the message, and no secret.
    pub message: String,
    /// What the other side asked us to wait.
    pub retry_after: Option<Duration>,
}

/// What to do about a message that was not handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum NotifyClass {
    /// Nothing can be handed over now: the other side is not reached, or does not let us in.
    Door,
    /// This message was not taken now.
    Later,
    /// Nobody knows whether it was taken: it was handed over, and no answer came. Sent again it may come twice.
    Unsure,
    /// This message will never be taken.
    Refused,
}

impl NotifyClass {
    /// Every class, for metrics that show zero.
    pub const ALL: [Self; 4] = [Self::Door, Self::Later, Self::Unsure, Self::Refused];

    /// The word used in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Door => "door",
            Self::Later => "later",
            Self::Unsure => "unsure",
            Self::Refused => "refused",
        }
    }
}

/// What is said of a message that was handed over without an answer.
pub const UNSURE: &str = "the other side did not say whether it takes the message; it is sent again later, and may come \
                          twice";

impl NotifyError {
    /// Nobody knows whether it was taken.
    pub fn unsure() -> Self {
        Self::new(NotifyClass::Unsure, UNSURE)
    }

    /// An error of this class.
    pub fn new(class: NotifyClass, message: impl Into<String>) -> Self {
        Self { class, message: message.into(), retry_after: None }
    }
}
