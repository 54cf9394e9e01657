//! The two keys of an installation: one signs audit heads, one seals what the store must not show.

use std::fmt;
use std::fs;
use std::io;
use std::io::Write;
use std::path::Path;
use std::path::PathBuf;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::aead;
use ring::digest;
use ring::rand::SecureRandom;
use ring::rand::SystemRandom;
use ring::signature;
use ring::signature::KeyPair;
use serde::Deserialize;
use serde::Serialize;
use zeroize::Zeroizing;

use crate::correlate::history::IdentityKey;

/// First byte of everything sealed, so that a later scheme can be told apart.
const SEALED_VERSION: u8 = 1;

/// Why keys could not be read, made or used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeysError {
    /// The file cannot be read or written.
    #[error("the key file `{path}` cannot be {verb}: {reason}; {hint}")]
    File {
        /// Which file.
        path: String,
        /// `read` or `made`.
        verb: &'static str,
        /// What the system said.
        reason: String,
        /// What to do.
        hint: &'static str,
    },
    /// The file is there and holds no keys.
    #[error(
        "`{path}` holds no keys ({reason}); put a copy of the file back, or move it and the store away to start anew"
    )]
    Malformed {
        /// Which file.
        path: String,
        /// What is wrong; never a part of a key.
        reason: String,
    },
    /// Sealed bytes that these keys did not seal, or that were altered.
    #[error(
        "sealed data cannot be opened: it was altered, or sealed with other keys; put the key file it was sealed with back"
    )]
    Sealed,
    /// The system gave no random numbers.
    #[error("the system gives no random numbers; nothing can be sealed until it does")]
    Random,
}

/// The keys of one installation.
pub struct Keys {
    sign: signature::Ed25519KeyPair,
    encrypt: aead::LessSafeKey,
    identity: IdentityKey,
    id: String,
    file: Option<PathBuf>,
}

/// The key file: JSON, both keys 32 random bytes in base64. Borrowed, so that nothing but the wiped
/// buffers of its reader and writer holds a key.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyFile<'a> {
    version: u32,
    /// Seed of an Ed25519 key (RFC 8032): a head can be checked by somebody who cannot sign one.
    sign: &'a str,
    /// ChaCha20-Poly1305 (RFC 8439).
    encrypt: &'a str,
}

impl Keys {
    /// Fresh keys that are kept nowhere.
    pub fn generate() -> Result<Self, KeysError> {
        Self::from_bytes(&*random()?, &*random()?).ok_or(KeysError::Random)
    }

    /// Keys from 32 random bytes each; `None` where a length is wrong.
    pub fn from_bytes(sign: &[u8], encrypt: &[u8]) -> Option<Self> {
        let pair = signature::Ed25519KeyPair::from_seed_unchecked(sign).ok()?;
        let unbound = aead::UnboundKey::new(&aead::CHACHA20_POLY1305, encrypt).ok()?;
        let mut identity = digest::Context::new(&digest::SHA256);
        identity.update(b"rosterd keys v1\0");
        identity.update(pair.public_key().as_ref());
        identity.update(digest::digest(&digest::SHA256, encrypt).as_ref());
        Some(Self {
            sign: pair,
            encrypt: aead::LessSafeKey::new(unbound),
            identity: identity_key(encrypt),
            id: hex(identity.finish().as_ref()),
            file: None,
        })
    }

    /// Reads the key file, or makes it (mode 0600) where there is none.
    ///
    /// The second value holds warnings for the operator: that keys were made and need a copy
    /// somewhere else, or that others may read the file.
    pub fn load_or_make(path: &Path) -> Result<(Self, Vec<String>), KeysError> {
        match fs::read(path) {
            Ok(bytes) => {
                let warnings = readable_by_others(path).into_iter().collect();
                Ok((parse(path, &Zeroizing::new(bytes))?, warnings))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => make(path),
            Err(error) => Err(cannot_read(path, &error)),
        }
    }

    /// Reads the key file.
    pub fn load(path: &Path) -> Result<Self, KeysError> {
        let bytes = fs::read(path).map_err(|error| cannot_read(path, &error))?;
        parse(path, &Zeroizing::new(bytes))
    }

    /// The file that they were read from.
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// Names the pair without telling anything about it: hex SHA-256.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The key under which people are remembered (`correlate::history`).
    pub fn identity_key(&self) -> IdentityKey {
        self.identity.clone()
    }

    /// Signs `message` for `context`; base64. A signature made for one context is void in another.
    pub fn sign(&self, context: &str, message: &[u8]) -> String {
        STANDARD.encode(self.sign.sign(&framed(context, message)))
    }

    /// Whether `signature` is this key's over `message` for `context`.
    pub fn verify(&self, context: &str, message: &[u8], signature: &str) -> bool {
        let Ok(signature) = STANDARD.decode(signature) else { return false };
        let public = signature::UnparsedPublicKey::new(&signature::ED25519, self.sign.public_key().as_ref());
        public.verify(&framed(context, message), &signature).is_ok()
    }

    /// Encrypts and authenticates `plain`. What was sealed for one context opens for no other.
    pub fn seal(&self, context: &str, plain: &[u8]) -> Result<Vec<u8>, KeysError> {
        let mut nonce = [0_u8; aead::NONCE_LEN];
        SystemRandom::new().fill(&mut nonce).map_err(|_| KeysError::Random)?;
        let mut body = Vec::with_capacity(plain.len() + aead::MAX_TAG_LEN);
        body.extend_from_slice(plain);
        self.encrypt
            .seal_in_place_append_tag(
                aead::Nonce::assume_unique_for_key(nonce),
                aead::Aad::from(context.as_bytes()),
                &mut body,
            )
            .map_err(|_| KeysError::Sealed)?;
        let mut sealed = Vec::with_capacity(1 + nonce.len() + body.len());
        sealed.push(SEALED_VERSION);
        sealed.extend_from_slice(&nonce);
        sealed.append(&mut body);
        Ok(sealed)
    }

    /// The reverse of [`Keys::seal`].
    pub fn open(&self, context: &str, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, KeysError> {
        let (version, rest) = sealed.split_first().ok_or(KeysError::Sealed)?;
        let (nonce, body) = rest.split_at_checked(aead::NONCE_LEN).ok_or(KeysError::Sealed)?;
        if *version != SEALED_VERSION {
            return Err(KeysError::Sealed);
        }
        let nonce = aead::Nonce::try_assume_unique_for_key(nonce).map_err(|_| KeysError::Sealed)?;
        let mut body = Zeroizing::new(body.to_vec());
        let plain = self
            .encrypt
            .open_in_place(nonce, aead::Aad::from(context.as_bytes()), &mut body)
            .map_err(|_| KeysError::Sealed)?
            .len();
        body.truncate(plain);
        Ok(body)
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys").field("id", &self.id).field("file", &self.file).finish_non_exhaustive()
    }
}

/// Derived, so that neither key can be learned from hashes in the store.
fn identity_key(encrypt: &[u8]) -> IdentityKey {
    let derive = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, encrypt);
    IdentityKey::new(ring::hmac::sign(&derive, b"rosterd identity v1").as_ref())
}

/// Lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: [char; 16] = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];
    let digit = |nibble: u8| DIGITS.get(usize::from(nibble)).copied().unwrap_or('0');
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 0xf)]).collect()
}

/// Context and message with the length between them, so that neither can pass for a part of the other.
fn framed(context: &str, message: &[u8]) -> Vec<u8> {
    let mut framed = format!("rosterd\0{}\0{context}\0", context.len()).into_bytes();
    framed.extend_from_slice(message);
    framed
}

fn random() -> Result<Zeroizing<[u8; 32]>, KeysError> {
    let mut bytes = Zeroizing::new([0_u8; 32]);
    SystemRandom::new().fill(&mut *bytes).map_err(|_| KeysError::Random)?;
    Ok(bytes)
}

fn parse(path: &Path, bytes: &[u8]) -> Result<Keys, KeysError> {
    let malformed = |reason: &str| KeysError::Malformed { path: path.display().to_string(), reason: reason.to_owned() };
    // serde_json's own text may quote the value that it trips over.
    let file: KeyFile<'_> = serde_json::from_slice(bytes)
        .map_err(|error| malformed(&format!("not the expected JSON at line {}", error.line())))?;
    if file.version != 1 {
        return Err(malformed("made by a newer rosterd"));
    }
    let decode = |text: &str| STANDARD.decode(text).map(Zeroizing::new);
    let sign = decode(file.sign).map_err(|_| malformed("`sign` is not base64"))?;
    let encrypt = decode(file.encrypt).map_err(|_| malformed("`encrypt` is not base64"))?;
    let mut keys = Keys::from_bytes(&sign, &encrypt).ok_or_else(|| malformed("a key is not 32 bytes long"))?;
    keys.file = Some(path.to_owned());
    Ok(keys)
}

/// Written beside and linked into place: a second process that starts at the same moment sees no
/// file or the whole file, and whoever links first wins for both.
fn make(path: &Path) -> Result<(Keys, Vec<String>), KeysError> {
    let sign = Zeroizing::new(STANDARD.encode(*random()?));
    let encrypt = Zeroizing::new(STANDARD.encode(*random()?));
    let file = KeyFile { version: 1, sign: &sign, encrypt: &encrypt };
    let text = Zeroizing::new(serde_json::to_vec_pretty(&file).map_err(|_| KeysError::Random)?);
    let fresh = path.with_extension(format!("keys.{}", uuid::Uuid::new_v4().simple()));
    let linked = write_private(&fresh, &text).and_then(|()| fs::hard_link(&fresh, path));
    let removed = fs::remove_file(&fresh);
    match linked {
        Ok(()) => removed.map_err(|error| cannot_make(&fresh, &error))?,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok((Keys::load(path)?, Vec::new())),
        Err(error) => return Err(cannot_make(path, &error)),
    }
    let warning = format!(
        "made new keys in `{}`: keep a copy apart from the store, since the store cannot be read and its audit log \
         not be verified without them",
        path.display()
    );
    Ok((Keys::load(path)?, vec![warning]))
}

fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(unix)]
fn readable_by_others(path: &Path) -> Option<String> {
    let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(path).ok()?.permissions());
    (mode & 0o077 != 0).then(|| {
        format!("others may read the keys in `{0}` (mode {1:04o}): `chmod 600 {0}`", path.display(), mode & 0o7777)
    })
}

#[cfg(not(unix))]
fn readable_by_others(_path: &Path) -> Option<String> {
    None
}

fn cannot_read(path: &Path, error: &io::Error) -> KeysError {
    KeysError::File {
        path: path.display().to_string(),
        verb: "read",
        reason: error.to_string(),
        hint: "let the user that runs rosterd read it",
    }
}

fn cannot_make(path: &Path, error: &io::Error) -> KeysError {
    KeysError::File {
        path: path.display().to_string(),
        verb: "made",
        reason: error.to_string(),
        hint: "let the user that runs rosterd write that folder, or name existing keys under `keys`",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sealed_data_opens_for_its_context_and_its_keys_alone() {
        let keys = Keys::generate().unwrap();
        let sealed = keys.seal("snapshot", b"Ada").unwrap();
        assert!(!sealed.windows(3).any(|window| window == b"Ada"));
        assert_eq!(*keys.open("snapshot", &sealed).unwrap(), b"Ada");
        assert_eq!(keys.open("intent", &sealed), Err(KeysError::Sealed));
        assert_eq!(Keys::generate().unwrap().open("snapshot", &sealed), Err(KeysError::Sealed));
        for at in 0..sealed.len() {
            let mut altered = sealed.clone();
            altered[at] ^= 1;
            assert_eq!(keys.open("snapshot", &altered), Err(KeysError::Sealed), "byte {at}");
        }
        assert_eq!(keys.open("snapshot", &[]), Err(KeysError::Sealed));
    }

    #[test]
    fn a_signature_holds_for_its_message_and_context_alone() {
        let keys = Keys::generate().unwrap();
        let signature = keys.sign("head", b"7 abc");
        assert!(keys.verify("head", b"7 abc", &signature));
        assert!(!keys.verify("head", b"8 abc", &signature));
        assert!(!keys.verify("hea", b"d7 abc", &signature));
        assert!(!Keys::generate().unwrap().verify("head", b"7 abc", &signature));
        assert!(!keys.verify("head", b"7 abc", "not base64!"));
    }

    #[test]
    fn the_first_start_makes_a_private_key_file_and_says_so_the_next_one_reads_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rosterd.keys");
        let (made, warnings) = Keys::load_or_make(&path).unwrap();
        assert!(warnings[0].contains("made new keys"), "{warnings:?}");
        let (read, warnings) = Keys::load_or_make(&path).unwrap();
        assert_eq!((read.id(), warnings.len()), (made.id(), 0));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
            fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
            assert!(Keys::load_or_make(&path).unwrap().1[0].contains("others may read"));
        }
    }

    #[test]
    fn a_broken_key_file_is_refused_without_showing_what_it_holds() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rosterd.keys");
        for text in ["", "topsecret", r#"{"version":1,"sign":"topsecret","encrypt":"AAAA"}"#] {
            fs::write(&path, text).unwrap();
            let error = Keys::load_or_make(&path).unwrap_err().to_string();
            assert!(error.contains("put a copy of the file back") && !error.contains("topsecret"), "{error}");
        }
    }

    #[test]
    fn keys_print_their_name_alone() {
        let keys = Keys::from_bytes(&[1; 32], &[2; 32]).unwrap();
        assert_eq!(format!("{keys:?}"), format!("Keys {{ id: {:?}, file: None, .. }}", keys.id()));
    }
}
