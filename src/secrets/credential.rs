//! What lets people in: generated passwords, and the tokens of links.
//!
//! # The policy of generated passwords
//! - Each character is drawn by itself from the system's randomness, all with equal chance.
//! - Capital and small letters without `I`, `O`, `l`, `o`; digits without `0` and `1`; the marks `-`,
//!   `.`, `_` and `~`, which stand for themselves in addresses, JSON and HTML.
//! - At least one of each of these four kinds: a draw without is thrown away whole, so that those that
//!   remain are still equally likely.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest;
use ring::rand::SecureRandom;
use zeroize::Zeroizing;

use crate::secrets::keys::hex;
use crate::secrets::secret::Secret;

const UPPER: &[u8] = b"ABCDEFGHJKLMNPQRSTUVWXYZ";
const LOWER: &[u8] = b"abcdefghijkmnpqrstuvwxyz";
const DIGITS: &[u8] = b"23456789";
const MARKS: &[u8] = b"-._~";
const KINDS: [&[u8]; 4] = [UPPER, LOWER, DIGITS, MARKS];

/// Characters to draw from.
const LETTERS: usize = UPPER.len() + LOWER.len() + DIGITS.len() + MARKS.len();
/// Bytes from here on are drawn again: 240 is the highest multiple of 60 in a byte, so none of the
/// characters is likelier than another.
const FAIR: usize = 256 - 256 % LETTERS;
/// A password of twelve characters lacks a kind in two draws of three; this many in a row come in no lifetime.
const DRAWS: usize = 1_000;
/// Random bytes of a token: 256 bits cannot be guessed, which is why a fast hash is enough.
const TOKEN: usize = 32;

/// The machine gives no random numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the operating system gives no random numbers, so no credential can be made; look at the machine")]
pub struct NoRandomness;

/// A new password of so many characters, at least four.
pub fn password(length: usize, random: &dyn SecureRandom) -> Result<Secret, NoRandomness> {
    for _ in 0..DRAWS {
        let drawn = draw(length.max(KINDS.len()), random)?;
        if KINDS.iter().all(|kind| drawn.bytes().any(|letter| kind.contains(&letter))) {
            return Ok(Secret::new(drawn.as_str()));
        }
    }
    Err(NoRandomness)
}

fn draw(length: usize, random: &dyn SecureRandom) -> Result<Zeroizing<String>, NoRandomness> {
    // Never grown, so that no copy is left behind.
    let mut drawn = Zeroizing::new(String::with_capacity(length));
    let mut bytes = Zeroizing::new([0_u8; 64]);
    while drawn.len() < length {
        random.fill(bytes.as_mut_slice()).map_err(|_| NoRandomness)?;
        let fair = bytes.iter().map(|byte| usize::from(*byte)).filter(|byte| *byte < FAIR);
        let letters = fair.filter_map(|byte| KINDS.iter().copied().flatten().nth(byte % LETTERS));
        let missing = length - drawn.len();
        drawn.extend(letters.take(missing).map(|letter| char::from(*letter)));
    }
    Ok(drawn)
}

/// The token of a new link.
pub fn token(random: &dyn SecureRandom) -> Result<Secret, NoRandomness> {
    let mut bytes = Zeroizing::new([0_u8; TOKEN]);
    random.fill(bytes.as_mut_slice()).map_err(|_| NoRandomness)?;
    Ok(Secret::new(URL_SAFE_NO_PAD.encode(bytes.as_slice())))
}

/// The hash under which a token is kept: hex SHA-256.
pub fn hash(token: &str) -> String {
    hex(digest::digest(&digest::SHA256, token.as_bytes()).as_ref())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::collections::BTreeSet;

    use proptest::prelude::*;
    use ring::rand::SystemRandom;

    use super::*;

    proptest! {
        #[test]
        fn a_password_has_its_length_and_every_kind_of_character_and_no_other(length in 4_usize..80) {
            let password = password(length, &SystemRandom::new()).unwrap();
            let text = password.expose();
            prop_assert_eq!(text.len(), length);
            prop_assert!(text.bytes().all(|letter| KINDS.iter().any(|kind| kind.contains(&letter))));
            prop_assert!(KINDS.iter().all(|kind| text.bytes().any(|letter| kind.contains(&letter))));
            prop_assert!(!text.contains(['I', 'O', 'l', 'o', '0', '1']), "{text}");
        }
    }

    #[test]
    fn no_two_passwords_and_no_two_tokens_are_alike() {
        let random = SystemRandom::new();
        let passwords: BTreeSet<_> = (0..2_000).map(|_| password(12, &random).unwrap().expose().to_owned()).collect();
        assert_eq!(passwords.len(), 2_000);
        let tokens: BTreeSet<_> = (0..2_000).map(|_| token(&random).unwrap().expose().to_owned()).collect();
        assert_eq!(tokens.len(), 2_000);
        assert!(tokens.iter().all(|token| token.len() == 43));
    }

    #[test]
    fn every_character_is_drawn_about_equally_often() {
        let random = SystemRandom::new();
        let mut counts: BTreeMap<char, f64> = BTreeMap::new();
        for letter in (0..600).flat_map(|_| draw(100, &random).unwrap().chars().collect::<Vec<_>>()) {
            *counts.entry(letter).or_default() += 1.0;
        }
        assert_eq!(counts.len(), LETTERS);
        // 60,000 draws from 60: 1,000 each, with a standard deviation of 32; chi squared of 59 degrees of
        // freedom lies under 130 but once in a million runs.
        let chi: f64 = counts.values().map(|count| (count - 1_000.0).powi(2) / 1_000.0).sum();
        assert!(chi < 130.0, "{chi}: {counts:?}");
    }
}
