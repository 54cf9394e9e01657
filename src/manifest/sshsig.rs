//! Signatures as `ssh-keygen -Y sign` makes them (PROTOCOL.sshsig of OpenSSH), by Ed25519 keys alone.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::digest::SHA256;
use ring::digest::SHA512;
use ring::digest::digest;
use ring::signature::ED25519;
use ring::signature::UnparsedPublicKey;

/// The only kind of key that is taken.
const KIND: &[u8] = b"ssh-ed25519";
/// What a signature begins with.
const MAGIC: &[u8] = b"SSHSIG";
const BEGIN: &str = "-----BEGIN SSH SIGNATURE-----";
const END: &str = "-----END SSH SIGNATURE-----";
/// An Ed25519 signature has 300 characters.
const LONGEST: usize = 4096;

/// A public key: `ssh-ed25519 AAAA... comment`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey {
    /// 32 bytes.
    key: Vec<u8>,
}

impl PublicKey {
    /// From a line of `authorized_keys` or a `.pub` file; `None`: it is none, or of another kind.
    pub fn parse(text: &str) -> Option<Self> {
        let mut words = text.split_whitespace();
        let (kind, key) = (words.next()?, words.next()?);
        if kind.as_bytes() != KIND {
            return None;
        }
        Self::of_blob(&STANDARD.decode(key).ok()?)
    }

    fn of_blob(blob: &[u8]) -> Option<Self> {
        let mut rest = Rest(blob);
        let (kind, key) = (rest.string()?, rest.string()?);
        (kind == KIND && key.len() == 32 && rest.0.is_empty()).then(|| Self { key: key.to_vec() })
    }

    /// Whether the holder of this key signed `message` for `namespace`.
    ///
    /// # Errors
    /// Why not, in words.
    pub fn verify(&self, armored: &str, namespace: &str, message: &[u8]) -> Result<(), &'static str> {
        let blob = unarmored(armored).ok_or("it is no `SSH SIGNATURE`")?;
        let mut rest = Rest(blob.strip_prefix(MAGIC).ok_or("it is no `SSH SIGNATURE`")?);
        let version = rest.number();
        let mut part = || rest.string().ok_or("it is cut short");
        let (key, space, reserved, hash, signature) = (part()?, part()?, part()?, part()?, part()?);
        if version != Some(1) || !rest.0.is_empty() {
            return Err("it is of another version");
        }
        if space != namespace.as_bytes() {
            return Err("it was made for something else: sign with `-n rosterd`");
        }
        if Self::of_blob(key).as_ref() != Some(self) {
            return Err("another key made it");
        }
        let hashed = match hash {
            b"sha512" => digest(&SHA512, message),
            b"sha256" => digest(&SHA256, message),
            _ => return Err("its hash is neither `sha512` nor `sha256`"),
        };
        let mut inner = Rest(signature);
        let (kind, bytes) = (inner.string().unwrap_or_default(), inner.string().unwrap_or_default());
        if kind != KIND || !inner.0.is_empty() {
            return Err("it is of another kind than its key");
        }
        let mut signed = MAGIC.to_vec();
        for part in [space, reserved, hash, hashed.as_ref()] {
            signed.extend(u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes());
            signed.extend(part);
        }
        let key = UnparsedPublicKey::new(&ED25519, &self.key);
        key.verify(&signed, bytes).map_err(|_| "it is not that of this decision: something in it was changed")
    }
}

fn unarmored(armored: &str) -> Option<Vec<u8>> {
    let text = armored.trim().strip_prefix(BEGIN)?.strip_suffix(END)?;
    let letters: String = text.split_whitespace().collect();
    (letters.len() <= LONGEST).then(|| STANDARD.decode(letters).ok()).flatten()
}

/// What is left to read of a blob.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn number(&mut self) -> Option<u32> {
        let (number, rest) = self.0.split_first_chunk::<4>()?;
        self.0 = rest;
        Some(u32::from_be_bytes(*number))
    }

    /// Bytes after their length (RFC 4251 section 5).
    fn string(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.number()?).ok()?;
        let (string, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(string)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAICy4/CnH7S+bmnXuir4IKRwAReYtwsq33EgkQPgDYr3t alice";
    /// `ssh-keygen -Y sign -n rosterd -f k m`
    const SIGNED: &str = "-----BEGIN SSH SIGNATURE-----
U1NIU0lHAAAAAQAAADMAAAALc3NoLWVkMjU1MTkAAAAgLLj8KcftL5uade6KvggpHABF5i
3CyrfcSCRA+ANive0AAAAHcm9zdGVyZAAAAAAAAAAGc2hhNTEyAAAAUwAAAAtzc2gtZWQy
NTUxOQAAAEDC57HAwyKcGXIlTXk/WGk00liCI+A9pp22e04bxQjXj2vVxRmuSjmEGshBYd
FFH8oruxnvYMX1WiS6EfdBkXEN
-----END SSH SIGNATURE-----
";
    /// The same with `-O hashalg=sha256`.
    const SHORTER: &str = "-----BEGIN SSH SIGNATURE-----
U1NIU0lHAAAAAQAAADMAAAALc3NoLWVkMjU1MTkAAAAgLLj8KcftL5uade6KvggpHABF5i
3CyrfcSCRA+ANive0AAAAHcm9zdGVyZAAAAAAAAAAGc2hhMjU2AAAAUwAAAAtzc2gtZWQy
NTUxOQAAAEDgNdenLcLwVKMVHGyuEwxkZwgfDNYhri5+qKD/9cyRSgAMgsEpTgr+wbmO77
bXRZhgjWOAsBc9Z+MB0XfmtzoB
-----END SSH SIGNATURE-----
";
    /// `-n file`
    const ELSEWHERE: &str = "-----BEGIN SSH SIGNATURE-----
U1NIU0lHAAAAAQAAADMAAAALc3NoLWVkMjU1MTkAAAAgLLj8KcftL5uade6KvggpHABF5i
3CyrfcSCRA+ANive0AAAAEZmlsZQAAAAAAAAAGc2hhNTEyAAAAUwAAAAtzc2gtZWQyNTUx
OQAAAEB0cQ7Nbpk1Vj9431ZwDDyC+X2ordn3BsbRrRaP2ywhxmSWLPSYdsPL7PdT2aH8dv
VkO8PaEdRk0BOEZi4CH8UI
-----END SSH SIGNATURE-----
";
    const MESSAGE: &[u8] = b"{\"by\":\"alice\"}\n";

    fn verify(signature: &str, message: &[u8]) -> Result<(), &'static str> {
        PublicKey::parse(KEY).unwrap().verify(signature, "rosterd", message)
    }

    #[test]
    fn what_ssh_keygen_signed_is_good_and_nothing_else_is() {
        assert_eq!(verify(SIGNED, MESSAGE), Ok(()));
        assert_eq!(verify(SHORTER, MESSAGE), Ok(()));
        assert!(verify(SIGNED, b"{\"by\":\"mallory\"}\n").unwrap_err().contains("changed"));
        assert!(verify(ELSEWHERE, MESSAGE).unwrap_err().contains("-n rosterd"));
        let other = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA bob";
        let other = PublicKey::parse(other).unwrap();
        assert!(other.verify(SIGNED, "rosterd", MESSAGE).unwrap_err().contains("another key"));
    }

    #[test]
    fn whatever_is_cut_or_turned_is_refused_and_breaks_nothing() {
        // Up to the last letter of it.
        for end in 0..SIGNED.find(END).unwrap() - 1 {
            let cut = SIGNED.get(..end).unwrap();
            assert!(verify(cut, MESSAGE).is_err());
            assert!(verify(&format!("{cut}\n{END}"), MESSAGE).is_err());
        }
        let letters: String = SIGNED.lines().filter(|line| !line.starts_with('-')).collect();
        let blob = STANDARD.decode(letters).unwrap();
        for at in 0..blob.len() {
            let mut turned = blob.clone();
            turned[at] ^= 1;
            let armored = format!("{BEGIN}\n{}\n{END}", STANDARD.encode(turned));
            assert!(verify(&armored, MESSAGE).is_err(), "byte {at}");
        }
    }

    #[test]
    fn keys_of_other_kinds_are_none() {
        for text in ["", "ssh-ed25519", "ssh-ed25519 AAAA", "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAgQC3", "alice"] {
            assert_eq!(PublicKey::parse(text), None, "{text}");
        }
    }
}
