//! One secret text.

use std::fmt;

use secrecy::ExposeSecret;
use secrecy::SecretString;

/// A text that nobody prints: wiped when dropped, `***` in every output, and without `Serialize`,
/// so that a struct which holds one cannot be written anywhere by accident.
#[derive(Clone)]
pub struct Secret(SecretString);

impl Secret {
    /// Takes a text out of circulation.
    pub fn new(text: impl Into<String>) -> Self {
        Self(SecretString::from(text.into()))
    }

    /// The text itself, for the one call that must send it.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_prints_as_stars_and_gives_its_text_only_when_asked() {
        let secret = Secret::new("hunter2");
        assert_eq!(format!("{secret} {secret:?} {:?}", Some(&secret)), "*** *** Some(***)");
        assert_eq!(secret.expose(), "hunter2");
    }
}
