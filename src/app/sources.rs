//! Where manifests and operator documents are read.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use crate::app::AppError;
use crate::manifest::Allowed;
use crate::manifest::FileDocuments;
use crate::manifest::OperatorDocuments;
use crate::manifest::Rules;
use crate::manifest::parse_file;
use crate::settings::OperatorDocumentsIn;
use crate::settings::Settings;
use crate::source::Source;
use crate::sources::folder::FolderSource;
use crate::sources::folder::Watching;

/// The folder of manifests, judged with the operator documents that the settings include.
pub fn of(settings: &Settings) -> Result<Arc<dyn Source>, AppError> {
    let folder = settings.manifests.as_deref().ok_or(AppError::NoFolder)?;
    let rules = Rules {
        operator_documents_allowed: match settings.operator_documents {
            OperatorDocumentsIn::Include => Allowed::No,
            OperatorDocumentsIn::Manifests => Allowed::Yes,
            OperatorDocumentsIn::TryOut => Allowed::Loopback,
        },
        teams: settings.teams.clone(),
        decision_keys: settings.decision_keys.clone(),
    };
    let watching = Watching { rescan: settings.rescan, ..Watching::default() };
    let operator = OperatorDocuments::new(included(settings)?);
    Ok(Arc::new(FolderSource::new(folder, settings.include.clone(), operator, rules, watching)))
}

/// Every file that `include` names, read once: operator documents change with a restart.
fn included(settings: &Settings) -> Result<Vec<Arc<FileDocuments>>, AppError> {
    let mut files = BTreeSet::new();
    for path in &settings.include {
        collect(path, &mut files).map_err(|error| AppError::Include { path: path.clone(), error })?;
    }
    let parsed = files.into_iter().map(|path| {
        let bytes = fs::read(&path).map_err(|error| AppError::Include { path: path.clone(), error })?;
        Ok(Arc::new(parse_file(&path.to_string_lossy().replace('\\', "/"), &bytes)))
    });
    parsed.collect()
}

fn collect(path: &Path, files: &mut BTreeSet<PathBuf>) -> io::Result<()> {
    if !fs::metadata(path)?.is_dir() {
        files.insert(path.to_owned());
        return Ok(());
    }
    for entry in fs::read_dir(path)? {
        let path = entry?.path();
        // `..data` of a Kubernetes mount holds what the visible links show already.
        let hidden = path.file_name().is_none_or(|name| name.to_string_lossy().starts_with('.'));
        let fits =
            path.extension().is_some_and(|extension| ["yaml", "yml", "json"].iter().any(|known| extension == *known));
        if !hidden && (fits || path.is_dir()) {
            collect(&path, files)?;
        }
    }
    Ok(())
}
