//! Documents from a folder of files.
//!
//! Only files that changed are read and parsed again. Where events name them nothing else is looked at;
//! every now and then, and whenever somebody asks, the folder is walked whole. Nothing here knows what a document means; nothing here decides whether a load counts.

mod files;
mod read;
mod walk;
mod watch;

use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use async_trait::async_trait;

use crate::manifest::Combiner;
use crate::manifest::Documents;
use crate::manifest::FileDocuments;
use crate::manifest::OperatorDocuments;
use crate::manifest::Rules;
use crate::manifest::add_snippets;
use crate::manifest::parse_file;
use crate::source::Source;
use crate::source::SourceError;
use crate::sources::folder::files::Files;
use crate::sources::folder::read::Loaded;
use crate::sources::folder::walk::Walk;
pub use crate::sources::folder::watch::Watching;

/// A watched folder of manifests.
///
/// # Guarantees
/// - A load is of one moment as far as a file system allows: a file that changes while it is read
///   is read again, and what changes later is told by [`Source::changed`].
/// - Nothing outside the folder is read, whatever links stand in it.
/// - What cannot be read is a problem of the load. It is never taken as absent.
pub struct FolderSource {
    files: Files<FileDocuments>,
    combiner: Arc<Mutex<Combiner>>,
}

impl FolderSource {
    /// A source over `folder`, which need not exist yet. `exclude` names files and folders that
    /// are never read as manifests; a `rosterd.yaml` anywhere in the folder, and what it includes,
    /// is left out without being named.
    pub fn new(
        folder: &Path,
        exclude: Vec<PathBuf>,
        operator: OperatorDocuments,
        rules: Rules,
        watching: Watching,
    ) -> Self {
        let files = Files::new(folder, exclude, watching, parse_file);
        Self { files, combiner: Arc::new(Mutex::new(Combiner::new(operator, rules))) }
    }

    /// Files read since the start.
    pub fn files_read(&self) -> u64 {
        self.files.files_read()
    }
}

#[async_trait]
impl Source for FolderSource {
    fn name(&self) -> &'static str {
        "folder"
    }

    async fn load(&self) -> Result<Documents, SourceError> {
        let combiner = Arc::clone(&self.combiner);
        self.files.load(move |loaded, walk| documents(loaded, walk, &combiner)).await
    }

    async fn follow(&self) -> Result<Documents, SourceError> {
        let combiner = Arc::clone(&self.combiner);
        self.files.follow(move |loaded, walk| documents(loaded, walk, &combiner)).await
    }

    async fn changed(&self) {
        self.files.changed().await;
    }
}

fn documents(loaded: Loaded<'_, FileDocuments>, walk: &Walk, combiner: &Mutex<Combiner>) -> Documents {
    let mut combiner = combiner.lock().unwrap_or_else(PoisonError::into_inner);
    if loaded.anew {
        combiner.forget();
    }
    let mut documents = combiner.combine(&loaded.changed, || loaded.parsed());
    documents.problems.extend(loaded.problems);
    add_snippets(&mut documents.problems, |name| fs::read(&walk.files.get(name)?.path).ok());
    documents.problems.sort();
    documents
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    const ADA: &str = "\
apiVersion: rosterd.dev/v1
kind: User
metadata: { name: u-1 }
spec: { givenName: Ada, familyName: Lovelace, email: ada@acme.example, roles: [] }
";

    fn source(folder: &TempDir) -> FolderSource {
        let rules = Rules::default();
        FolderSource::new(folder.path(), Vec::new(), OperatorDocuments::default(), rules, Watching::default())
    }

    #[tokio::test]
    async fn users_come_from_files() {
        let folder = TempDir::new().expect("a folder");
        fs::write(folder.path().join("ada.yaml"), ADA).expect("written");
        let source = source(&folder);
        let documents = source.load().await.expect("documents");
        assert_eq!(documents.problems, []);
        assert_eq!(documents.users.len(), 1);
        assert_eq!(source.files_read(), 1);
    }

    #[tokio::test]
    async fn a_file_that_cannot_be_read_is_a_problem_and_the_sound_ones_stand() {
        let folder = TempDir::new().expect("a folder");
        fs::write(folder.path().join("ada.yaml"), ADA).expect("written");
        fs::write(folder.path().join("bob.yaml"), "").expect("written");
        let documents = source(&folder).load().await.expect("documents");
        assert_eq!(documents.users.len(), 1);
        let problems: Vec<_> = documents.problems.iter().map(|found| (found.file.as_str(), found.code)).collect();
        assert_eq!(problems, [("bob.yaml", "empty-file")]);
    }

    #[tokio::test]
    async fn a_reference_that_leads_nowhere_shows_its_line() {
        let folder = TempDir::new().expect("a folder");
        let text = ADA.replace("roles: []", "roles: [no-such-role]");
        fs::write(folder.path().join("ada.yaml"), text).expect("written");
        let documents = source(&folder).load().await.expect("documents");
        let problem = documents.problems.first().expect("a problem");
        assert_eq!(problem.code, "unknown-role");
        let snippet = problem.snippet.as_deref().expect("a snippet");
        assert!(snippet.contains("no-such-role"), "{snippet}");
    }
}
