//! Rows, from and to what they stand for: the same in every store that keeps rows.

use chrono::DateTime;
use chrono::Utc;
use serde::de::DeserializeOwned;

use crate::model::account::AccountState;
use crate::model::change::Cause;
use crate::model::history::Intent;
use crate::model::history::OutcomeResult;
use crate::model::history::SeenAccount;
use crate::model::identity::Identity;
use crate::model::identity::IdentityHash;
use crate::model::ids::IntentId;
use crate::model::link::Link;
use crate::model::link::LinkedBy;
use crate::secrets::keys::Keys;
use crate::secrets::keys::KeysError;
use crate::store::intents;

/// Record, account, how it came about, whether we disabled it (0 or 1), memberships as JSON, time.
pub type LinkRow = (String, String, String, i64, String, i64);
/// Id, sealed intent, word and sealed text of the outcome.
pub type IntentRow = (String, Vec<u8>, Option<String>, Option<Vec<u8>>);
/// Account, user name, state, record.
pub type SeenRow = (String, Option<String>, String, Option<String>);

/// Why a row cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum RowError {
    /// It is not the JSON that was written.
    #[error("{0}")]
    Json(#[from] serde_json::Error),
    /// It cannot be sealed or opened.
    #[error("{0}")]
    Keys(#[from] KeysError),
    /// A sentence of our own.
    #[error("{0}")]
    Text(String),
}

/// Nanoseconds since 1970; times past the year 2262 count as its end.
pub fn nanos(at: DateTime<Utc>) -> i64 {
    at.timestamp_nanos_opt().unwrap_or(if at.timestamp() < 0 { i64::MIN } else { i64::MAX })
}

/// The word of a link.
pub fn linked_by(by: LinkedBy) -> &'static str {
    match by {
        LinkedBy::Created => "created",
        LinkedBy::Adopted => "adopted",
        LinkedBy::Person => "person",
    }
}

/// A link.
pub fn link((record, account, by, disabled_by_us, granted, since): LinkRow) -> Result<Link, RowError> {
    let by = [LinkedBy::Created, LinkedBy::Adopted, LinkedBy::Person].into_iter().find(|word| linked_by(*word) == by);
    Ok(Link {
        record: record.into(),
        account: account.into(),
        by: by.ok_or_else(|| unknown_word("link"))?,
        disabled_by_us: disabled_by_us != 0,
        granted: serde_json::from_str(&granted)?,
        since: DateTime::from_timestamp_nanos(since),
    })
}

/// The word of an outcome and its sealed text.
pub fn outcome_columns(
    keys: &Keys,
    id: &IntentId,
    result: &OutcomeResult,
) -> Result<(&'static str, Option<Vec<u8>>), RowError> {
    let (word, text) = match result {
        OutcomeResult::Done => ("done", None),
        OutcomeResult::Refused(text) => ("refused", Some(text)),
        OutcomeResult::Nothing(text) => ("nothing", Some(text)),
    };
    let text = text.map(|text| keys.seal(&outcome_context(id.as_str()), text.as_bytes())).transpose()?;
    Ok((word, text))
}

/// An outcome.
pub fn outcome(keys: &Keys, id: &IntentId, word: &str, text: Option<Vec<u8>>) -> Result<OutcomeResult, RowError> {
    let text = match text {
        Some(sealed) => keys.open(&outcome_context(id.as_str()), &sealed)?.to_vec(),
        None => Vec::new(),
    };
    let text = String::from_utf8_lossy(&text).into_owned();
    match word {
        "done" => Ok(OutcomeResult::Done),
        "refused" => Ok(OutcomeResult::Refused(text)),
        "nothing" => Ok(OutcomeResult::Nothing(text)),
        _ => Err(unknown_word("intent")),
    }
}

/// An account as it was last seen.
pub fn seen((account, user_name, state, record): SeenRow) -> Result<SeenAccount, RowError> {
    let state = AccountState::ALL.into_iter().find(|word| word.as_str() == state);
    Ok(SeenAccount {
        account: account.into(),
        user_name,
        state: state.ok_or_else(|| unknown_word("seen account"))?,
        record: record.map(Into::into),
    })
}

/// A cause.
pub fn cause(word: &str) -> Result<Cause, RowError> {
    [Cause::Explicit, Cause::Inferred]
        .into_iter()
        .find(|cause| cause.as_str() == word)
        .ok_or_else(|| unknown_word("cause"))
}

/// JSON texts.
pub fn parsed<T: DeserializeOwned>(rows: &[String]) -> Result<Vec<T>, RowError> {
    rows.iter().map(|text| Ok(serde_json::from_str(text)?)).collect()
}

/// Sealed JSON.
pub fn opened<T: DeserializeOwned>(keys: &Keys, context: &str, sealed: &[u8]) -> Result<T, RowError> {
    Ok(serde_json::from_slice(&keys.open(context, sealed)?)?)
}

/// A sealed intent.
pub fn opened_intent(keys: &Keys, id: &str, sealed: &[u8]) -> Result<Intent, RowError> {
    Ok(intents::intent(&keys.open(&intent_context(id), sealed)?)?)
}

/// A limit as the database takes it.
pub fn bound(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

/// A row of a later version, or one that another hand wrote.
pub fn unknown_word(table: &str) -> RowError {
    RowError::Text(format!(
        "a {table} in the store holds a word that this rosterd does not know; run the version that wrote it, or put \
         back a copy of the store"
    ))
}

/// What a sealed intent is bound to.
pub fn intent_context(id: &str) -> String {
    format!("store intent {id}")
}

/// What the sealed text of an outcome is bound to.
pub fn outcome_context(id: &str) -> String {
    format!("store outcome {id}")
}

/// What a sealed standing plan is bound to.
pub fn standing_context(space: i64) -> String {
    format!("store standing {space}")
}

/// What a sealed row of [`crate::store::Write::Hand`] is bound to.
pub fn hand_context(space: i64, account: &str) -> String {
    format!("store hand {space} {account}")
}

/// What a sealed request is bound to.
pub fn request_context(space: i64, record: &str, subject: &str) -> String {
    format!("store request {space} {subject} {record}")
}

/// What a sealed part of a snapshot is bound to, so that none can stand in another's place.
pub fn part_context(bucket: i64) -> String {
    format!("store snapshot {bucket}")
}

/// An identity as it is stored: record, account, mail, family name, since. Zero stands for "nothing
/// is known".
pub type IdentityRow = (i64, i64, i64, i64, i64);

/// The row of an identity.
pub fn identity_row(identity: &Identity) -> IdentityRow {
    let Identity { record, account, mail, family, since } = identity;
    let bits = |hash: Option<IdentityHash>| hash.map_or(0, IdentityHash::bits).cast_signed();
    (bits(Some(*record)), bits(Some(*account)), bits(*mail), bits(*family), nanos(*since))
}

/// The identity of a row; `None` where it names no user or no account.
pub fn identity_of((record, account, mail, family, since): IdentityRow) -> Option<Identity> {
    let hash = |bits: i64| IdentityHash::from_bits(bits.cast_unsigned());
    let since = DateTime::from_timestamp_nanos(since);
    Some(Identity { record: hash(record)?, account: hash(account)?, mail: hash(mail), family: hash(family), since })
}

/// What is said of a store with a row that is none.
pub const BAD_IDENTITY: &str = "an identity in the store names no user or no account; put back a copy of the store";
