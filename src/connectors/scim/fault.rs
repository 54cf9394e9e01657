//! What a failed call means for an account: duplicates, seats, versions.

use crate::connector::ConnectorError;
use crate::connector::ErrorClass;
use crate::http::answer::Answer;
use crate::http::fault::Fault;
use crate::http::fault::HttpError;

/// Words by which targets tell of a duplicate, whatever the status (RFC 7644 wants 409 and `uniqueness`).
const DUPLICATE: [&str; 9] = [
    "uniqueness",
    "already exist",
    "already in use",
    "already taken",
    "already been taken",
    "is taken",
    "duplicate",
    "must be unique",
    "unique constraint",
];

/// Words by which targets tell that nobody more fits in.
const SEATS: [&str; 8] = [
    "seat",
    "license limit",
    "licence",
    "no licenses",
    "quota",
    "user limit",
    "limit of users",
    "maximum number of users",
];

/// Most bytes of a body that are searched for those words.
const SEARCHED: usize = 4096;

/// A call that got no usable answer.
pub(crate) fn of_http(error: HttpError) -> ConnectorError {
    let HttpError { fault, code: _, message, retry_after } = error;
    let class = match fault {
        Fault::Door => ErrorClass::Door,
        Fault::RateLimited => ErrorClass::RateLimited,
        Fault::Transient => ErrorClass::Transient,
        Fault::Uncertain => ErrorClass::Uncertain,
        Fault::Refused => ErrorClass::Refused,
    };
    ConnectorError { class, message, retry_after }
}

/// A refused read.
pub(crate) fn of_read(answer: &Answer) -> ConnectorError {
    of_http(answer.failure())
}

/// A refused read of one resource.
pub(crate) fn of_one(answer: &Answer) -> ConnectorError {
    let error = of_read(answer);
    let class = if matches!(answer.status, 404 | 410) { ErrorClass::NotFound } else { error.class };
    ConnectorError { class, ..error }
}

/// A refused write to an account.
pub(crate) fn of_write(answer: &Answer) -> ConnectorError {
    let error = of_http(answer.failure());
    let words = words(answer);
    let says = |list: &[&str]| list.iter().any(|word| words.contains(word));
    let class = match answer.status {
        402 => ErrorClass::Quota,
        409 if says(&SEATS) && !says(&DUPLICATE) => ErrorClass::Quota,
        409 => ErrorClass::Exists,
        412 => ErrorClass::Changed,
        404 | 410 => ErrorClass::NotFound,
        400 | 422 | 500 if says(&DUPLICATE) => ErrorClass::Exists,
        400 | 403 | 422 if says(&SEATS) => ErrorClass::Quota,
        // A target that explains itself speaks of this account; a bare 403 of us.
        403 if answer.detail().is_some() => ErrorClass::Refused,
        _ => error.class,
    };
    let message = if class == ErrorClass::Quota {
        format!("{}; seats are used up", error.message)
    } else if class == ErrorClass::Refused && answer.status == 403 {
        format!("`{}` was refused for this account ({})", answer.operation, answer.detail().unwrap_or_default())
    } else {
        error.message
    };
    ConnectorError { class, message, retry_after: error.retry_after }
}

/// Whether a target says that it takes no PATCH at all.
pub(crate) fn refuses_patch(answer: &Answer) -> bool {
    match answer.status {
        405 | 501 => true,
        400 | 403 | 415 => {
            let words = words(answer);
            words.contains("patch") && (words.contains("support") || words.contains("not allowed"))
        }
        // A router that knows no PATCH answers with a page; a missing account with an error message.
        404 => answer.json().is_none(),
        _ => false,
    }
}

/// Whether a target understood PATCH and not the path in it (RFC 7644 table 9).
pub(crate) fn refuses_path(answer: &Answer) -> bool {
    answer.status == 400 && ["invalidpath", "notarget", "invalidfilter"].iter().any(|word| words(answer).contains(word))
}

/// Whether a target says that it takes no such filter.
pub(crate) fn refuses_filter(answer: &Answer) -> bool {
    matches!(answer.status, 400 | 405 | 414 | 422 | 500 | 501)
}

fn words(answer: &Answer) -> String {
    let cut = answer.body.get(..SEARCHED).unwrap_or(&answer.body);
    String::from_utf8_lossy(cut).to_ascii_lowercase()
}
