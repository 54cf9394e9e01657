//! Passwords of the embedded directory: taken at creation, kept as hashes, shown to nobody.

use std::collections::BTreeMap;

use ring::hmac;
use ring::rand::SecureRandom;
use ring::rand::SystemRandom;
use serde_json::Value;
use sqlx::SqliteConnection;
use zeroize::Zeroizing;

use crate::connector::ErrorClass;
use crate::connector::document;
use crate::connectors::directory::file::Fault;
use crate::connectors::directory::rows;
use crate::connectors::directory::rows::Namespace;
use crate::model::path::AttributePath;

/// The path of a new password (RFC 7643 section 4.1.1).
pub(super) const VALUE: &str = "password";
/// The path that has it changed at the first sign-in.
pub(super) const MUST_CHANGE: &str = "mustChangePassword";

/// An account that opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignIn {
    /// Whether its password is to be changed now.
    pub must_change: bool,
}

/// A password on its way to its hash.
pub(super) struct Taken {
    password: Zeroizing<String>,
    must_change: bool,
}

/// Values of a creation without those that no resource holds.
pub(super) fn taken_out(values: &BTreeMap<AttributePath, Value>) -> (BTreeMap<AttributePath, Value>, Option<Taken>) {
    let (mut kept, mut password, mut must_change) = (BTreeMap::new(), None, false);
    for (path, value) in values {
        match path.as_str() {
            VALUE => password = value.as_str().map(|text| Zeroizing::new(text.to_owned())),
            MUST_CHANGE => must_change = value == &Value::Bool(true),
            _ => drop(kept.insert(path.clone(), value.clone())),
        }
    }
    (kept, password.map(|password| Taken { password, must_change }))
}

pub(super) async fn keep(db: &mut SqliteConnection, space: i64, user: &str, taken: &Taken) -> Result<(), Fault> {
    let mut salt = [0_u8; 16];
    let random = SystemRandom::new().fill(&mut salt);
    random.map_err(|_| Fault::answer(ErrorClass::Transient, "the system gives no random numbers"))?;
    let key = hmac::Key::new(hmac::HMAC_SHA256, &salt);
    let hash = hmac::sign(&key, taken.password.as_bytes());
    let sql = "INSERT INTO password (namespace, user, salt, hash, must_change) VALUES ($1, $2, $3, $4, $5)
        ON CONFLICT (namespace, user) DO UPDATE SET salt = excluded.salt, hash = excluded.hash,
        must_change = excluded.must_change";
    let query = sqlx::query(sql).bind(space).bind(user).bind(salt.to_vec()).bind(hash.as_ref().to_vec());
    query.bind(i64::from(taken.must_change)).execute(db).await?;
    Ok(())
}

/// Whether the active account of a folded user name opens by `given`.
pub(super) async fn check(
    db: &mut SqliteConnection,
    namespace: &Namespace,
    name: &str,
    given: &str,
) -> Result<Option<SignIn>, Fault> {
    let Some(space) = namespace.known(db).await? else { return Ok(None) };
    let sql = "SELECT user.id, salt, hash, must_change FROM user JOIN password
        ON password.namespace = user.namespace AND password.user = user.id
        WHERE user.namespace = $1 AND user.name = $2";
    let query = sqlx::query_as(sql).bind(space).bind(name);
    let row: Option<(String, Vec<u8>, Vec<u8>, i64)> = query.fetch_optional(&mut *db).await?;
    let Some((id, salt, hash, must_change)) = row else { return Ok(None) };
    let key = hmac::Key::new(hmac::HMAC_SHA256, &salt);
    let right = hmac::verify(&key, given.as_bytes(), &hash).is_ok();
    let resource = rows::user(db, space, &id).await?;
    let active = resource.as_ref().and_then(|resource| document::member(resource, "active"));
    let open = right && active != Some(&Value::Bool(false));
    Ok(open.then_some(SignIn { must_change: must_change != 0 }))
}
