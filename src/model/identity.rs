//! What is remembered of people after their links: keyed hashes, so that whoever reads the store
//! learns no name from it, and a re-used record id, mail or account is known all the same.

use chrono::DateTime;
use chrono::Utc;

/// A keyed hash of one record id, account id, mail or family name; never zero.
///
/// 64 bits: two of a million values meet by chance about once in ten million stores, and then a
/// person is asked one question too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IdentityHash(u64);

impl IdentityHash {
    /// Takes the number as it was kept; zero stands for "nothing is known".
    pub fn from_bits(bits: u64) -> Option<Self> {
        (bits != 0).then_some(Self(bits))
    }

    /// From a longer keyed hash.
    pub fn from_digest(digest: &[u8]) -> Self {
        let bits = digest.iter().take(8).fold(0_u64, |bits, byte| (bits << 8) | u64::from(*byte));
        Self(bits.max(1))
    }

    /// The number to keep.
    pub fn bits(self) -> u64 {
        self.0
    }
}

/// That a user had an account, and who the user was then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The record id.
    pub record: IdentityHash,
    /// The account.
    pub account: IdentityHash,
    /// The mail of the user's document; `None` where it had none, or nobody knows it.
    pub mail: Option<IdentityHash>,
    /// The family name, likewise.
    pub family: Option<IdentityHash>,
    /// When it was first so.
    pub since: DateTime<Utc>,
}
