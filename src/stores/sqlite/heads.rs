//! Audit heads, exported to a file outside the store.
//!
//! The store's own heads were all signed once: only a head kept elsewhere can tell that
//! yesterday's file was put back.

use std::collections::BTreeMap;
use std::fs;
use std::fs::File;
use std::io;
use std::io::Write;
use std::path::Path;
use std::path::PathBuf;

use serde::Deserialize;
use serde::Serialize;

use crate::audit::ChainId;
use crate::audit::Head;
use crate::secrets::keys::Keys;

/// The file: heads by chain, by store.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Exported {
    stores: BTreeMap<String, BTreeMap<String, Head>>,
}

/// What reading the file gave.
#[derive(Debug)]
pub(super) enum Reading {
    Heads(Exported),
    Missing,
    Broken(String),
}

impl Exported {
    /// The head of one chain.
    pub(super) fn head(&self, chain: &ChainId) -> Option<&Head> {
        self.stores.get(&chain.store)?.get(&chain.label())
    }

    /// Labels of the chains of one store.
    pub(super) fn labels(&self, store: &str) -> impl Iterator<Item = &str> {
        self.stores.get(store).into_iter().flat_map(|heads| heads.keys().map(String::as_str))
    }

    /// Whether it holds anything of a store.
    pub(super) fn knows(&self, store: &str) -> bool {
        self.stores.contains_key(store)
    }

    /// Ids of other stores that stood in this place.
    pub(super) fn others(&self, store: &str) -> Vec<&str> {
        self.stores.keys().map(String::as_str).filter(|other| *other != store).collect()
    }

    /// Replaces what is known of one store.
    pub(super) fn set(&mut self, store: &str, heads: BTreeMap<String, Head>) {
        self.stores.insert(store.to_owned(), heads);
    }
}

/// Where the heads of the store at `store` are exported: in the folder of the keys, under the
/// store's name (`rosterd.db` gives `rosterd.heads`).
pub(super) fn place(store: &Path, keys: &Keys) -> PathBuf {
    let name = Path::new(store.file_name().unwrap_or_default()).with_extension("heads");
    keys.file().and_then(Path::parent).or_else(|| store.parent()).unwrap_or(Path::new("")).join(name)
}

/// Reads the file.
pub(super) fn read(path: &Path) -> Reading {
    match fs::read(path) {
        Ok(bytes) => match serde_json::from_slice(&bytes) {
            Ok(exported) => Reading::Heads(exported),
            Err(error) => Reading::Broken(error.to_string()),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Reading::Missing,
        Err(error) => Reading::Broken(error.to_string()),
    }
}

/// Writes the file whole or not at all: a torn one would look like tampering.
pub(super) fn write(path: &Path, exported: &Exported) -> io::Result<()> {
    let fresh = path.with_extension("heads.new");
    let mut file = File::create(&fresh)?;
    file.write_all(&serde_json::to_vec_pretty(exported)?)?;
    file.sync_data()?;
    fs::rename(&fresh, path)
}
