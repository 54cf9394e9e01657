//! The small files beside the store, by which commands find a daemon and a folder.

use std::fs;
use std::fs::OpenOptions;
use std::io;
use std::io::Write;
use std::path::Path;
use std::path::PathBuf;

use serde::Deserialize;
use serde::Serialize;

use crate::app::AppError;
use crate::secrets::secret::Secret;
use crate::secrets::vault::is_loopback;

/// Where the small files are.
#[derive(Clone, Debug)]
pub struct Beside {
    folder: PathBuf,
}

/// `rosterd.run`
#[derive(Debug, Default, Serialize, Deserialize)]
struct Note {
    /// Where the daemon answers; absent once it has stopped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    server: Option<String>,
    /// The folder that was read last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    folder: Option<PathBuf>,
}

impl Beside {
    /// Those of the store at `store`.
    pub fn of(store: &Path) -> Self {
        Self { folder: store.parent().unwrap_or_else(|| Path::new("")).to_owned() }
    }

    fn note_path(&self) -> PathBuf {
        self.folder.join("rosterd.run")
    }

    fn token_path(&self) -> PathBuf {
        self.folder.join("rosterd.token")
    }

    fn note(&self) -> Note {
        // A note that cannot be read is one that nobody left.
        let text = fs::read_to_string(self.note_path()).unwrap_or_default();
        serde_json::from_str(&text).unwrap_or_default()
    }

    fn write_note(&self, note: &Note) -> Result<(), AppError> {
        let path = self.note_path();
        let text = serde_json::to_string(note).unwrap_or_default();
        // Whoever reads meanwhile finds the one or the other, and never half of it.
        let draft = self.folder.join("rosterd.run.new");
        let written = fs::write(&draft, text).and_then(|()| fs::rename(&draft, &path));
        written.map_err(|error| AppError::Beside { path, error })
    }

    /// Where the daemon answers. A daemon listens on loopback alone, so a note that names any other
    /// place is not its own: the folder may have come with a checkout, and tokens are sent there.
    pub fn server(&self) -> Option<String> {
        self.note().server.filter(|server| is_loopback(server).unwrap_or(false))
    }

    /// The folder that was read last.
    pub fn folder(&self) -> Option<PathBuf> {
        self.note().folder
    }

    /// The local token of the daemon.
    pub fn token(&self) -> Option<Secret> {
        let text = fs::read_to_string(self.token_path()).ok()?;
        Some(text.trim()).filter(|text| !text.is_empty()).map(Secret::new)
    }

    /// Keeps the folder for commands that name none. Absolute, since those may run elsewhere.
    pub fn remember(&self, folder: Option<&Path>) -> Result<(), AppError> {
        let folder = folder.map(|folder| folder.canonicalize().unwrap_or_else(|_| folder.to_owned()));
        self.write_note(&Note { server: None, folder })
    }

    /// Tells commands where the daemon answers, and lets those of its own user act.
    pub fn announce(&self, server: &str, token: &Secret) -> Result<(), AppError> {
        let path = self.token_path();
        write_private(&path, token.expose()).map_err(|error| AppError::Beside { path, error })?;
        self.write_note(&Note { server: Some(server.to_owned()), folder: self.note().folder })
    }

    /// Takes the announcement back. For whoever made it.
    pub fn leave(&self) {
        let note = self.note();
        // Nobody is hurt by what stays: the token is void, and nothing answers at the address.
        drop(fs::remove_file(self.token_path()));
        drop(self.write_note(&Note { server: None, ..note }));
    }
}

/// Writes a file that only its owner may read; one that was there keeps nothing of its rights.
fn write_private(path: &Path, text: &str) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    writeln!(file, "{text}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_find_the_daemon_until_it_leaves_and_the_folder_ever_after() {
        let folder = tempfile::tempdir().unwrap();
        let beside = Beside::of(&folder.path().join("rosterd.db"));
        assert_eq!((beside.server(), beside.folder()), (None, None));
        beside.remember(Some(folder.path())).unwrap();
        beside.announce("http://127.0.0.1:1", &Secret::new("t")).unwrap();
        assert_eq!(beside.server().as_deref(), Some("http://127.0.0.1:1"));
        assert_eq!(beside.token().unwrap().expose(), "t");
        beside.leave();
        assert!(beside.server().is_none() && beside.token().is_none());
        assert_eq!(beside.folder(), Some(folder.path().canonicalize().unwrap()));
    }

    #[test]
    fn a_note_that_leads_away_from_this_machine_is_not_believed() {
        let folder = tempfile::tempdir().unwrap();
        let beside = Beside::of(&folder.path().join("rosterd.db"));
        for server in
            ["http://evil.example", "http://127.0.0.1@evil.example", "http:evil.example", "http://10.0.0.1:80"]
        {
            let text = serde_json::json!({ "server": server }).to_string();
            fs::write(folder.path().join("rosterd.run"), text).unwrap();
            assert_eq!(beside.server(), None, "{server}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn the_token_is_for_its_owner_alone_even_where_a_file_was_left_open_to_all() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rosterd.token");
        fs::write(&path, "old").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
        Beside::of(&folder.path().join("rosterd.db")).announce("http://127.0.0.1:1", &Secret::new("t")).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
