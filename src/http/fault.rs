//! Why a call failed, before any protocol has its say.

use std::error::Error;
use std::io;
use std::time::Duration;

/// A call that failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct HttpError {
    /// What kind of failure it is.
    pub fault: Fault,
    /// A short word for metrics where there is no status: `timeout`, `connect`, `dns`, `tls`, `cut`, `refused`.
    pub code: &'static str,
    /// What happened and what to do; never a secret.
    pub message: String,
    /// What the target asked us to wait.
    pub retry_after: Option<Duration>,
}

/// Kinds of failure, as the engine must treat them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Shut for everybody: DNS, TLS, credentials, a redirect or a link to elsewhere.
    Door,
    /// Too many calls.
    RateLimited,
    /// It was not done; again later.
    Transient,
    /// A write whose outcome nobody knows.
    Uncertain,
    /// This call will never be taken as it is.
    Refused,
}

impl HttpError {
    /// The door is shut.
    pub fn door(message: impl Into<String>) -> Self {
        Self { fault: Fault::Door, code: "refused", message: message.into(), retry_after: None }
    }

    /// This call cannot be made.
    pub fn refused(message: impl Into<String>) -> Self {
        Self { fault: Fault::Refused, code: "refused", message: message.into(), retry_after: None }
    }
}

/// The error of a call that got no answer.
///
/// A connection that never stood has sent nothing. After that a write is uncertain: the target
/// may have done it before the line was cut.
pub(crate) fn of_call(operation: &str, writes: bool, error: &reqwest::Error) -> HttpError {
    let (fault, code, message) = if error.is_dns() {
        (Fault::Door, "dns", "the host name cannot be resolved; check `url`".to_owned())
    } else if let Some(reason) = tls_reason(error) {
        (Fault::Door, "tls", format!("no trusted connection can be made ({reason}); check the certificate and `ca`"))
    } else if error.is_connect() {
        let why = if error.is_timeout() { "no connection in time" } else { "the connection was refused" };
        (Fault::Transient, "connect", format!("{why}; check that the target runs"))
    } else {
        let (code, why) = if error.is_timeout() {
            ("timeout", "no answer in time")
        } else {
            ("cut", "the connection was cut before the answer ended")
        };
        if writes {
            (Fault::Uncertain, code, format!("{why}; whether it was done must be looked up"))
        } else {
            (Fault::Transient, code, why.to_owned())
        }
    };
    HttpError { fault, code, message: format!("`{operation}`: {message}"), retry_after: None }
}

/// The error of an answer that was cut off for its size.
pub(crate) fn too_big(operation: &str, writes: bool, limit: usize) -> HttpError {
    let fault = if writes { Fault::Uncertain } else { Fault::Transient };
    let message = format!("`{operation}` was answered with more than {limit} bytes; ask for smaller pages");
    HttpError { fault, code: "too-big", message, retry_after: None }
}

/// The TLS error among the sources, if there is one. `io::Error` hides what it wraps from
/// `source`, so that is opened by hand.
fn tls_reason(error: &reqwest::Error) -> Option<String> {
    let mut source: Option<&(dyn Error + 'static)> = error.source();
    while let Some(inner) = source {
        if let Some(tls) = inner.downcast_ref::<rustls::Error>() {
            return Some(tls.to_string());
        }
        let wrapped = inner.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        source = match wrapped {
            Some(wrapped) => Some(wrapped),
            None => inner.source(),
        };
    }
    None
}
