//! API tokens: making them, and knowing them again by their hash.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest;
use ring::rand::SecureRandom;
use secrecy::SecretString;
use zeroize::Zeroizing;

use crate::secrets::keys::hex;

/// What every token begins with, so that scanners find one that leaked.
const PREFIX: &str = "rosterd_";

/// Random bytes of a token. 256 bits cannot be guessed, which is why a fast hash is enough.
const RANDOM: usize = 32;

/// A token that was just made.
#[derive(Debug)]
pub struct Minted {
    /// What its holder sends as `Authorization: Bearer`; it is kept nowhere.
    pub secret: SecretString,
    /// What is kept.
    pub hash: String,
}

/// The machine gives no random numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the operating system gives no random numbers, so no token can be made")]
pub struct NoRandomness;

/// Makes a token.
pub fn mint(random: &dyn SecureRandom) -> Result<Minted, NoRandomness> {
    let mut bytes = Zeroizing::new([0_u8; RANDOM]);
    random.fill(bytes.as_mut_slice()).map_err(|_| NoRandomness)?;
    let text = Zeroizing::new(URL_SAFE_NO_PAD.encode(bytes.as_slice()));
    Ok(Minted { secret: format!("{PREFIX}{}", text.as_str()).into(), hash: hex_sha256(text.as_bytes()) })
}

/// The hash under which a token is kept; `None` for a text that is no token at all.
pub fn hash(secret: &str) -> Option<String> {
    secret.strip_prefix(PREFIX).map(|text| hex_sha256(text.as_bytes()))
}

/// Whether two hashes are equal, in a time that does not tell how much of them is.
pub(crate) fn same(left: &str, right: &str) -> bool {
    let differences = left.bytes().zip(right.bytes()).fold(0_u8, |seen, (a, b)| seen | (a ^ b));
    left.len() == right.len() && std::hint::black_box(differences) == 0
}

pub(crate) fn hex_sha256(bytes: &[u8]) -> String {
    hex(digest::digest(&digest::SHA256, bytes).as_ref())
}

#[cfg(test)]
mod tests {
    use ring::rand::SystemRandom;
    use secrecy::ExposeSecret;

    use super::*;

    #[test]
    fn a_token_is_known_again_by_its_hash_alone() {
        let minted = mint(&SystemRandom::new()).unwrap();
        let hashed = hash(minted.secret.expose_secret()).unwrap();
        assert!(same(&hashed, &minted.hash));
        assert_eq!(minted.hash.len(), 64);
        assert!(!minted.secret.expose_secret().contains(&minted.hash));
    }

    #[test]
    fn two_tokens_are_never_alike() {
        let random = SystemRandom::new();
        assert_ne!(mint(&random).unwrap().hash, mint(&random).unwrap().hash);
    }

    #[test]
    fn hashes_that_differ_anywhere_or_in_length_are_not_the_same() {
        assert!(same("ab", "ab"));
        assert!(!same("ab", "bb"));
        assert!(!same("ab", "aa"));
        assert!(!same("ab", "a"));
        assert!(!same("", "a"));
    }

    #[test]
    fn a_text_without_the_prefix_is_no_token() {
        assert_eq!(hash("hunter2"), None);
        assert_eq!(
            hash("rosterd_abc"),
            Some("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad".to_owned())
        );
    }

    #[test]
    fn a_minted_token_hides_its_secret_from_debug_output() {
        let minted = mint(&SystemRandom::new()).unwrap();
        assert!(!format!("{minted:?}").contains(minted.secret.expose_secret()));
    }
}
