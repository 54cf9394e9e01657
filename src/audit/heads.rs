//! Audit heads, exported to a file outside the store.
//!
//! The store's own heads were all signed once: only a head kept elsewhere can tell that
//! yesterday's store was put back.

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

/// Heads of one store by the label of their chain.
pub type Heads = BTreeMap<String, Head>;

/// The file: heads by store.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exported {
    stores: BTreeMap<String, Heads>,
    /// Heads of stores that went on after they were put back to an earlier state: those in `stores`
    /// are kept as the proof, and a second time is found by these.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    since: BTreeMap<String, Heads>,
}

/// What reading the file gave.
#[derive(Debug)]
pub enum Reading {
    /// Heads.
    Heads(Exported),
    /// There is no file.
    Missing,
    /// It cannot be read; why.
    Broken(String),
}

impl Exported {
    /// Every head of one chain that it holds.
    pub fn heads(&self, chain: &ChainId) -> Vec<Head> {
        let (label, all) = (chain.label(), [self.of(&chain.store), self.since(&chain.store)]);
        all.into_iter().flatten().filter_map(|heads| heads.get(&label)).cloned().collect()
    }

    /// The heads of one store.
    pub fn of(&self, store: &str) -> Option<&Heads> {
        self.stores.get(store)
    }

    /// The heads of one store since it was put back to an earlier state.
    pub fn since(&self, store: &str) -> Option<&Heads> {
        self.since.get(store)
    }

    /// Labels of the chains of one store.
    pub fn labels(&self, store: &str) -> impl Iterator<Item = &str> {
        self.stores.get(store).into_iter().flat_map(|heads| heads.keys().map(String::as_str))
    }

    /// Whether it holds anything of a store.
    pub fn knows(&self, store: &str) -> bool {
        self.stores.contains_key(store)
    }

    /// Ids of other stores that stood in this place.
    pub fn others(&self, store: &str) -> Vec<&str> {
        self.stores.keys().map(String::as_str).filter(|other| *other != store).collect()
    }

    /// Replaces what is known of one store.
    pub fn set(&mut self, store: &str, heads: Heads) {
        self.stores.insert(store.to_owned(), heads);
    }

    /// Replaces what is known of one store since it was put back.
    pub fn set_since(&mut self, store: &str, heads: Heads) {
        self.since.insert(store.to_owned(), heads);
    }
}

/// Where the heads of the store at `store` are exported: in the folder of the keys, under the
/// store's name (`rosterd.db` gives `rosterd.heads`).
pub fn place(store: &Path, keys: &Keys) -> PathBuf {
    let name = Path::new(store.file_name().unwrap_or_default()).with_extension("heads");
    keys.file().and_then(Path::parent).or_else(|| store.parent()).unwrap_or(Path::new("")).join(name)
}

/// Reads the file.
pub fn read(path: &Path) -> Reading {
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
pub fn write(path: &Path, exported: &Exported) -> io::Result<()> {
    let fresh = path.with_extension("heads.new");
    let mut file = File::create(&fresh)?;
    file.write_all(&serde_json::to_vec_pretty(exported)?)?;
    file.sync_data()?;
    fs::rename(&fresh, path)
}

/// A store became another one by an import: `own` is no more, and where nothing is known of `id` its
/// heads stand as they came.
///
/// # Errors
/// Where the file cannot be written.
pub fn moved(path: &Path, own: &str, id: &str, heads: Heads) -> io::Result<()> {
    let mut exported = match read(path) {
        Reading::Heads(exported) => exported,
        Reading::Missing => Exported::default(),
        // A person must see it first.
        Reading::Broken(_) => return Ok(()),
    };
    if own != id {
        exported.stores.remove(own);
        exported.since.remove(own);
    }
    exported.stores.entry(id.to_owned()).or_insert(heads);
    write(path, &exported)
}
