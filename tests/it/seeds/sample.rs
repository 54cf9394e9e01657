//! A copy of one of the samples, to be edited as a scenario needs.

use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use rosterd::manifest::Allowed;
use rosterd::manifest::Documents;
use rosterd::manifest::OperatorDocuments;
use rosterd::manifest::Rules;
use rosterd::manifest::combine;
use rosterd::manifest::parse_file;
use rosterd::settings::Settings;
use tempfile::TempDir;

/// A folder with the sample in `manifests` and room beside it.
pub(crate) struct Sample {
    folder: TempDir,
}

impl Sample {
    pub(crate) fn of(name: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests").join(name);
        fs::create_dir(folder.path().join("manifests")).unwrap();
        for entry in fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), folder.path().join("manifests").join(entry.file_name())).unwrap();
        }
        Self { folder }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn manifests(&self) -> PathBuf {
        self.path("manifests")
    }

    /// Changes a manifest as an editor does: a new file takes the old one's place. Each `from` has
    /// to stand there exactly once.
    #[track_caller]
    pub(crate) fn edit(&self, file: &str, changes: &[(&str, &str)]) {
        let path = self.manifests().join(file);
        let mut text = fs::read_to_string(&path).unwrap();
        for (from, to) in changes {
            assert_eq!(text.matches(from).count(), 1, "{from:?} stands once in {file}");
            text = text.replace(from, to);
        }
        self.put(file, &text);
    }

    /// Changes what one document says, named by a text that only it holds.
    #[track_caller]
    pub(crate) fn edit_document(&self, file: &str, document: &str, changes: &[(&str, &str)]) {
        let text = fs::read_to_string(self.manifests().join(file)).unwrap();
        let mut documents: Vec<String> = text.split("---\n").map(str::to_owned).collect();
        let mut fitting = documents.iter_mut().filter(|text| text.contains(document));
        let found = fitting.next().unwrap_or_else(|| panic!("no document with {document:?} in {file}"));
        assert!(fitting.next().is_none(), "{document:?} names one document");
        for (from, to) in changes {
            assert_eq!(found.matches(from).count(), 1, "{from:?} stands once in {found}");
            *found = found.replace(from, to);
        }
        self.put(file, &documents.join("---\n"));
    }

    /// Writes a manifest.
    pub(crate) fn put(&self, file: &str, text: &str) {
        let beside = self.path("being-saved");
        fs::write(&beside, text).unwrap();
        fs::rename(&beside, self.manifests().join(file)).unwrap();
    }

    /// What the folder says, read at once.
    pub(crate) fn documents(&self) -> Documents {
        let mut files = Vec::new();
        let mut paths: Vec<_> = fs::read_dir(self.manifests()).unwrap().map(|entry| entry.unwrap().path()).collect();
        // A folder lists them as its file system has them.
        paths.sort();
        for path in paths {
            if path.extension().is_none_or(|extension| extension != "yaml") || path.ends_with("rosterd.yaml") {
                continue;
            }
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            files.push(Arc::new(parse_file(&name, &fs::read(&path).unwrap())));
        }
        combine(files, &OperatorDocuments::default(), &Self::rules())
    }

    /// What the sample's configuration says; `None` where it has none.
    pub(crate) fn settings(&self) -> Option<Settings> {
        let path = self.manifests().join("rosterd.yaml");
        path.exists().then(|| Settings::read(&path).unwrap_or_else(|problems| panic!("{problems:#?}")))
    }

    /// A folder alone, for trying out.
    pub(crate) fn rules() -> Rules {
        Rules { operator_documents_allowed: Allowed::Loopback, teams: None, ..Rules::default() }
    }
}
