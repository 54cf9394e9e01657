//! Documents from files: the samples are sound, and every broken document is told of with its
//! place and with what would be right.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use rosterd::manifest;
use rosterd::manifest::Allowed;
use rosterd::manifest::Documents;
use rosterd::manifest::OperatorDocuments;
use rosterd::manifest::Rules;

fn load(files: &[(&str, &[u8])], rules: &Rules) -> Documents {
    let parsed = files.iter().map(|(name, bytes)| Arc::new(manifest::parse_file(name, bytes)));
    let mut documents = manifest::combine(parsed, &OperatorDocuments::default(), rules);
    manifest::add_snippets(&mut documents.problems, |file| {
        files.iter().find(|(name, _)| *name == file).map(|(_, bytes)| bytes.to_vec())
    });
    documents
}

fn try_out() -> Rules {
    Rules { operator_documents_allowed: Allowed::Loopback, teams: None }
}

#[test]
fn all_samples_load_without_a_problem() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests");
    let mut files = Vec::new();
    let mut folders = vec![root];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ext| ext == "yaml") && path.file_name().unwrap() != "rosterd.yaml" {
                files.push((path.to_string_lossy().into_owned(), fs::read(&path).unwrap()));
            }
        }
    }
    let files: Vec<_> = files.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())).collect();
    let documents = load(&files, &try_out());
    let told: Vec<String> = documents.problems.iter().map(|problem| manifest::render(problem, false)).collect();
    assert!(told.is_empty(), "{}", told.join("\n\n"));
    assert!(documents.users.len() > 5 && documents.targets.len() > 5);
}
