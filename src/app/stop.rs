//! The file beside the store by which anybody who has the disk halts calls.

use std::fs;
use std::io;
use std::path::Path;
use std::path::PathBuf;

use crate::engine::StopFile;
use crate::model::decision::Halts;

/// `rosterd.db.stop` beside `rosterd.db`.
#[derive(Clone, Debug)]
pub struct StopBeside(PathBuf);

impl StopBeside {
    /// The one of the store at `store`.
    pub fn of(store: &Path) -> Self {
        let mut name = store.file_name().unwrap_or_default().to_owned();
        name.push(".stop");
        Self(store.with_file_name(name))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl StopFile for StopBeside {
    fn read(&self) -> Option<Halts> {
        match fs::read_to_string(&self.0) {
            Ok(text) if text.trim() == "widening" => Some(Halts::Widening),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            // Somebody in a hurry who wrote nothing, or what nobody can read, means all of it.
            Ok(_) | Err(_) => Some(Halts::All),
        }
    }

    fn remove(&self) -> Result<(), String> {
        match fs::remove_file(&self.0) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(format!(
                "the stop stands: the file `{}` cannot be taken away ({error}); remove it, then start again",
                self.0.display()
            )),
            Ok(()) | Err(_) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_halts_what_it_names_and_everything_where_it_names_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let file = StopBeside::of(&folder.path().join("rosterd.db"));
        assert_eq!(file.path(), folder.path().join("rosterd.db.stop"));
        assert_eq!(file.read(), None);
        for (text, halts) in [("widening\n", Halts::Widening), ("all", Halts::All), ("", Halts::All), ("x", Halts::All)]
        {
            fs::write(file.path(), text).unwrap();
            assert_eq!(file.read(), Some(halts), "{text:?}");
        }
        file.remove().unwrap();
        file.remove().unwrap();
        assert_eq!(file.read(), None);
    }
}
