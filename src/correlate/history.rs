//! Identity history: who had which account, known again by keyed hashes.
//!
//! A record id, a mail and an account id may each be given to somebody else one day. Nothing is
//! decided from that here; it only tells when a person must be asked.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use chrono::DateTime;
use chrono::Utc;
use ring::hmac;

use crate::model::identity::Identity;
use crate::model::identity::IdentityHash;
use crate::model::ids::AccountId;
use crate::model::ids::RecordId;
use crate::model::user::User;

/// The key of an installation's identity hashes.
#[derive(Clone)]
pub struct IdentityKey(Arc<hmac::Key>);

impl IdentityKey {
    /// A key from secret bytes.
    pub fn new(secret: &[u8]) -> Self {
        Self(Arc::new(hmac::Key::new(hmac::HMAC_SHA256, secret)))
    }

    /// The hash of a record id.
    pub fn record(&self, record: &RecordId) -> IdentityHash {
        self.hash("record", record.as_str())
    }

    /// The hash of an account id.
    pub fn account(&self, account: &AccountId) -> IdentityHash {
        self.hash("account", account.as_str())
    }

    /// The hash of a user's mail: one mailbox however its letters are written.
    pub fn mail(&self, user: &User) -> Option<IdentityHash> {
        self.folded("mail", user.email.as_deref())
    }

    /// The hash of a user's family name.
    pub fn family(&self, user: &User) -> Option<IdentityHash> {
        self.folded("family", user.family_name.as_deref())
    }

    fn folded(&self, kind: &str, text: Option<&str>) -> Option<IdentityHash> {
        let text = text.map(|text| text.trim().to_lowercase()).filter(|text| !text.is_empty())?;
        Some(self.hash(kind, &text))
    }

    /// The kind is part of what is hashed, so that a mail that reads like a record id is not one.
    fn hash(&self, kind: &str, text: &str) -> IdentityHash {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(kind.as_bytes());
        context.update(&[0]);
        context.update(text.as_bytes());
        IdentityHash::from_digest(context.sign().as_ref())
    }
}

impl fmt::Debug for IdentityKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IdentityKey")
    }
}

/// The identity history of one space.
#[derive(Clone, Debug)]
pub struct History {
    key: IdentityKey,
    /// Account, record.
    owners: BTreeSet<(IdentityHash, IdentityHash)>,
    /// Record, mail.
    mails: BTreeSet<(IdentityHash, IdentityHash)>,
    /// Mail, record.
    by_mail: BTreeSet<(IdentityHash, IdentityHash)>,
    /// Record, family name.
    families: BTreeSet<(IdentityHash, IdentityHash)>,
}

impl History {
    /// What rows tell.
    pub fn new(key: IdentityKey, rows: impl IntoIterator<Item = Identity>) -> Self {
        let (mut owners, mut mails, mut families) = (Vec::new(), Vec::new(), Vec::new());
        for Identity { record, account, mail, family, since: _ } in rows {
            owners.push((account, record));
            mails.extend(mail.map(|mail| (record, mail)));
            families.extend(family.map(|family| (record, family)));
        }
        // Collected whole, sets are full; filled one by one, they are little more than half full.
        let by_mail = mails.iter().map(|(record, mail)| (*mail, *record)).collect();
        let (owners, families) = (owners.into_iter().collect(), families.into_iter().collect());
        Self { key, owners, by_mail, mails: mails.into_iter().collect(), families }
    }

    /// The key of its hashes.
    pub fn key(&self) -> &IdentityKey {
        &self.key
    }

    /// What is to be remembered of a user who has an account; `user` is `None` where no document
    /// tells who it is.
    pub fn identity(
        &self,
        record: &RecordId,
        account: &AccountId,
        user: Option<&User>,
        since: DateTime<Utc>,
    ) -> Identity {
        Identity {
            record: self.key.record(record),
            account: self.key.account(account),
            mail: user.and_then(|user| self.key.mail(user)),
            family: user.and_then(|user| self.key.family(user)),
            since,
        }
    }

    /// Takes a row in.
    pub fn insert(&mut self, row: &Identity) {
        let Identity { record, account, mail, family, since: _ } = *row;
        self.owners.insert((account, record));
        if let Some(mail) = mail {
            self.mails.insert((record, mail));
            self.by_mail.insert((mail, record));
        }
        self.families.extend(family.map(|family| (record, family)));
    }

    /// Whether a row says nothing new.
    pub fn knows(&self, row: &Identity) -> bool {
        let Identity { record, account, mail, family, since: _ } = *row;
        self.owners.contains(&(account, record))
            && mail.is_none_or(|mail| self.mails.contains(&(record, mail)))
            && family.is_none_or(|family| self.families.contains(&(record, family)))
    }

    /// Whether the record id seems to have gone to somebody else: its user has neither a mail nor a
    /// family name that was ever known of it. One of the two alone changes in every life.
    pub fn is_somebody_else(&self, now: &Identity) -> bool {
        let changed = |known: &BTreeSet<(IdentityHash, IdentityHash)>, value: Option<IdentityHash>| {
            let mut ever = seconds(known, now.record).peekable();
            ever.peek().is_some() && !ever.any(|then| Some(then) == value)
        };
        changed(&self.mails, now.mail) && changed(&self.families, now.family)
    }

    /// Whether the account was ever anybody else's.
    pub fn was_anothers(&self, account: &AccountId, record: &RecordId, formerly: &[RecordId]) -> bool {
        let mut owners = seconds(&self.owners, self.key.account(account)).peekable();
        if owners.peek().is_none() {
            return false;
        }
        let own: Vec<_> = formerly.iter().chain([record]).map(|record| self.key.record(record)).collect();
        owners.any(|owner| !own.contains(&owner))
    }

    /// Hashes of the record ids that ever had this mail.
    pub fn records_with_mail(&self, mail: IdentityHash) -> impl Iterator<Item = IdentityHash> {
        seconds(&self.by_mail, mail)
    }

    /// Hashes of the mails that a record id ever had.
    pub fn mails_of(&self, record: IdentityHash) -> impl Iterator<Item = IdentityHash> {
        seconds(&self.mails, record)
    }
}

/// The second halves of the pairs that begin with `first`.
fn seconds(pairs: &BTreeSet<(IdentityHash, IdentityHash)>, first: IdentityHash) -> impl Iterator<Item = IdentityHash> {
    let from = IdentityHash::from_digest(&[0]);
    pairs.range((first, from)..).take_while(move |(begin, _)| *begin == first).map(|(_, second)| *second)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(id: &str, mail: Option<&str>, family: Option<&str>) -> User {
        User { family_name: family.map(str::to_owned), email: mail.map(str::to_owned), ..User::plain(id) }
    }

    fn history(known: &[(&User, &str)]) -> History {
        let empty = History::new(IdentityKey::new(b"secret"), []);
        let rows = known
            .iter()
            .map(|(user, account)| empty.identity(&user.id, &(*account).into(), Some(user), DateTime::UNIX_EPOCH));
        History::new(IdentityKey::new(b"secret"), rows.collect::<Vec<_>>())
    }

    fn is_somebody_else(history: &History, user: &User) -> bool {
        history.is_somebody_else(&history.identity(&user.id, &"1".into(), Some(user), DateTime::UNIX_EPOCH))
    }

    #[test]
    fn what_is_known_says_nothing_new() {
        let ada = user("u-1", Some("ada@acme.example"), Some("Byron"));
        let history = history(&[(&ada, "1")]);
        let knows = |user: &User, account: &str| {
            history.knows(&history.identity(&user.id, &account.into(), Some(user), DateTime::UNIX_EPOCH))
        };
        assert!(knows(&ada, "1"));
        assert!(knows(&user("u-1", None, None), "1"));
        assert!(!knows(&ada, "2"));
        assert!(!knows(&User { email: Some("a.byron@acme.example".into()), ..ada.clone() }, "1"));
        assert!(!knows(&User { family_name: Some("Lovelace".into()), ..ada }, "1"));
    }

    #[test]
    fn a_record_id_is_somebody_elses_only_when_mail_and_family_name_are_both_new() {
        let ada = user("u-1", Some("ada@acme.example"), Some("Byron"));
        let history = history(&[(&ada, "1")]);
        for (mail, family, other) in [
            (Some("ada@acme.example"), Some("Byron"), false),
            (Some("ADA@acme.example "), Some("byron"), false),
            (Some("ada@acme.example"), Some("Lovelace"), false),
            (Some("a.byron@acme.example"), Some("Byron"), false),
            (Some("bob@acme.example"), Some("Babbage"), true),
            (None, Some("Babbage"), true),
        ] {
            assert_eq!(is_somebody_else(&history, &user("u-1", mail, family)), other, "{mail:?} {family:?}");
        }
        assert!(!is_somebody_else(&history, &user("u-2", Some("bob@acme.example"), Some("Babbage"))), "never seen");
    }

    #[test]
    fn what_was_never_known_cannot_have_changed() {
        let history = history(&[(&user("u-1", Some("ada@acme.example"), None), "1")]);
        assert!(!is_somebody_else(&history, &user("u-1", Some("bob@acme.example"), Some("Babbage"))));
    }

    #[test]
    fn an_account_is_anothers_unless_all_who_had_it_are_this_user() {
        let history = history(&[(&user("u-1", None, None), "1"), (&user("u-2", None, None), "2")]);
        assert!(!history.was_anothers(&"1".into(), &"u-1".into(), &[]));
        assert!(history.was_anothers(&"1".into(), &"u-2".into(), &[]));
        assert!(!history.was_anothers(&"1".into(), &"u-9".into(), &["u-1".into()]));
        assert!(!history.was_anothers(&"3".into(), &"u-2".into(), &[]), "nobody ever had it");
    }

    #[test]
    fn hashes_differ_by_kind_and_by_key() {
        let key = IdentityKey::new(b"secret");
        assert_ne!(key.record(&"1".into()), key.account(&"1".into()));
        assert_ne!(key.record(&"1".into()), IdentityKey::new(b"another").record(&"1".into()));
        assert_eq!(format!("{key:?}"), "IdentityKey");
    }
}
