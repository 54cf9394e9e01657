//! Where the chains of one store end, and what the start of a store finds about them.
//!
//! Kept by the store that writes the chains, in memory: what another hand does to the store
//! meanwhile then breaks the chain instead of being signed.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use crate::audit;
use crate::audit::ChainId;
use crate::audit::Head;
use crate::audit::StoredEvent;
use crate::audit::heads;
use crate::audit::heads::Exported;
use crate::audit::heads::Heads;
use crate::audit::heads::Reading;
use crate::model::audit::AuditEvent;
use crate::model::ids::TargetName;
use crate::secrets::keys::Keys;

/// The ends of all chains of a store.
#[derive(Clone, Debug)]
pub struct Ends {
    store: String,
    ends: BTreeMap<Option<TargetName>, End>,
}

/// The end of one chain.
#[derive(Clone, Debug)]
pub struct End {
    /// What the store numbers the chain by.
    pub id: i64,
    /// Its head.
    pub head: Head,
    /// The head that the store held was not signed by us: the next event must say so.
    pub doubted: bool,
}

/// A chain as the store holds it at the start.
#[derive(Clone, Debug)]
pub struct Kept {
    /// What the store numbers the chain by.
    pub id: i64,
    /// Whose it is.
    pub target: Option<TargetName>,
    /// The head in the store.
    pub head: Head,
    /// Position and hash of the event that stands last.
    pub last: Option<(u64, String)>,
}

/// Events to put at the end of one chain, and what its end is then.
#[derive(Clone, Debug)]
pub struct Grown {
    /// The chain.
    pub chain: ChainId,
    /// Its new end.
    pub end: End,
    /// The events, in order.
    pub events: Vec<StoredEvent>,
}

/// What the start of a store found.
#[derive(Debug)]
pub struct Found {
    /// Where heads go from now on.
    pub export: Export,
    /// What the operator should know.
    pub warnings: Vec<String>,
    /// Said by every check of the audit log of this process.
    pub note: Option<String>,
    /// Why the store may be older than what it once knew: everything that it says of access is to
    /// be confirmed by a person first.
    pub doubt: Option<String>,
}

/// The file of exported heads.
#[derive(Debug)]
pub enum Export {
    /// It is written; what it holds of other stores is kept.
    Open(Exported),
    /// What it holds of this store proves that something is wrong, and stays: newer heads are
    /// written beside that.
    Beside(Exported),
    /// It cannot be read, and a person must see it first.
    Kept,
}

impl Export {
    /// Writes the ends of all chains out.
    ///
    /// # Errors
    /// Where the file cannot be written; the one that was there is whole then.
    pub fn write(&mut self, path: &Path, ends: &Ends) -> io::Result<()> {
        let heads = ends.heads();
        let exported = match self {
            Self::Open(exported) => {
                exported.set(&ends.store, heads);
                exported
            }
            Self::Beside(exported) => {
                exported.set_since(&ends.store, heads);
                exported
            }
            Self::Kept => return Ok(()),
        };
        heads::write(path, exported)
    }
}

impl Ends {
    /// From the chains of a store, and a warning for each head that these keys did not sign.
    pub fn of(store: &str, keys: &Keys, chains: Vec<Kept>) -> (Self, Vec<String>) {
        let mut ends = Self { store: store.to_owned(), ends: BTreeMap::new() };
        let mut warnings = Vec::new();
        for Kept { id, target, head, last } in chains {
            let chain = ends.chain(target.as_ref());
            let doubted = !chain.signed(keys, &head);
            let head = if doubted {
                warnings.push(format!("{chain}: its head is not signed with this installation's key"));
                // It goes on after whatever stands last.
                let (seq, hash) = last.unwrap_or_else(|| (0, chain.genesis()));
                Head { seq, hash, signature: head.signature }
            } else {
                head
            };
            ends.ends.insert(target, End { id, head, doubted });
        }
        (ends, warnings)
    }

    /// The name of a chain of this store.
    pub fn chain(&self, target: Option<&TargetName>) -> ChainId {
        ChainId { store: self.store.clone(), target: target.cloned() }
    }

    /// Every chain and its end.
    pub fn iter(&self) -> impl Iterator<Item = (ChainId, &End)> {
        self.ends.iter().map(|(target, end)| (self.chain(target.as_ref()), end))
    }

    /// Every head, as it is exported.
    pub fn heads(&self) -> Heads {
        self.iter().map(|(chain, end)| (chain.label(), end.head.clone())).collect()
    }

    /// Puts events at the end of their chains; `None` where there are none. The caller keeps the
    /// ends once the transaction that holds the events is committed.
    ///
    /// # Errors
    /// Where an event is no JSON.
    pub fn grow(&self, keys: &Keys, events: Vec<AuditEvent>) -> Result<Option<(Self, Vec<Grown>)>, serde_json::Error> {
        if events.is_empty() {
            return Ok(None);
        }
        let mut by_chain: BTreeMap<Option<TargetName>, Vec<AuditEvent>> = BTreeMap::new();
        for event in events {
            by_chain.entry(event.target.clone()).or_default().push(event);
        }
        let mut ends = self.clone();
        let mut grown = Vec::with_capacity(by_chain.len());
        for (target, mut events) in by_chain {
            let chain = ends.chain(target.as_ref());
            let mut end = ends.ends.get(&target).cloned().unwrap_or_else(|| ends.begin(keys, &chain));
            if end.doubted {
                events.splice(0..0, events.first().map(tampered));
            }
            let events = chained(&end.head, &events)?;
            if let Some(last) = events.last() {
                end.head = chain.sign(keys, last.seq, last.hash.clone());
            }
            end.doubted = false;
            ends.ends.insert(target, end.clone());
            grown.push(Grown { chain, end, events });
        }
        Ok(Some((ends, grown)))
    }

    fn begin(&self, keys: &Keys, chain: &ChainId) -> End {
        let id = self.ends.values().map(|end| end.id).max().unwrap_or(0) + 1;
        End { id, head: chain.empty(keys), doubted: false }
    }

    /// Compares the chains with the file of exported heads. `at` holds the hash that the store has
    /// at the position of each head asked for ([`asked`]).
    pub fn compare(&self, keys: &Keys, path: &Path, reading: Reading, at: &Hashes) -> Found {
        let clean = |export| Found { export, warnings: Vec::new(), note: None, doubt: None };
        match reading {
            Reading::Missing if self.ends.is_empty() => clean(Export::Open(Exported::default())),
            Reading::Missing => {
                let note = format!(
                    "`{}` is missing: whether the store was put back to an earlier state before this start cannot be \
                     told",
                    path.display()
                );
                let export = Export::Open(Exported::default());
                Found { export, warnings: vec![note.clone()], note: Some(note.clone()), doubt: Some(note) }
            }
            Reading::Broken(reason) => {
                let text = broken(path, &reason);
                let doubt = (!self.ends.is_empty()).then(|| text.clone());
                Found { doubt, warnings: vec![text], ..clean(Export::Kept) }
            }
            Reading::Heads(exported) => self.judged(keys, path, exported, at),
        }
    }

    fn judged(&self, keys: &Keys, path: &Path, exported: Exported, at: &Hashes) -> Found {
        let former = self.contradicted(keys, exported.of(&self.store), at);
        let since = exported.since(&self.store);
        // What was found once and is written down beside needs no second decision.
        let news = if since.is_some() { self.contradicted(keys, since, at) } else { former.clone() };
        let stranger = (!exported.knows(&self.store) && !self.ends.is_empty()).then(|| {
            format!(
                "`{}` holds heads of other stores and none of this one: it is not the store that stood here",
                path.display()
            )
        });
        let mut warnings = former.clone();
        warnings.extend(replaced(path, &exported, &self.store));
        warnings.extend(news.iter().filter(|text| !former.contains(text)).cloned());
        let beside = since.is_some() || !former.is_empty();
        let export = if beside { Export::Beside(exported) } else { Export::Open(exported) };
        Found { export, warnings, note: None, doubt: news.into_iter().next().or(stranger) }
    }

    /// Exported heads of this store that the store does not bear out.
    fn contradicted(&self, keys: &Keys, exported: Option<&Heads>, at: &Hashes) -> Vec<String> {
        let mut found = Vec::new();
        let mut exported = exported.cloned().unwrap_or_default();
        for (chain, _) in self.iter() {
            let Some(head) = exported.remove(&chain.label()) else { continue };
            let stands = (head.seq == 0).then(|| chain.genesis());
            let stands = stands.as_ref().or_else(|| at.get(&(chain.label(), head.seq)));
            if !chain.signed(keys, &head) {
                found.push(format!("{chain}: the exported head is not signed with this installation's key"));
            } else if stands != Some(&head.hash) {
                found.push(format!(
                    "{chain}: the exported head at event {} is not the store's: the store was put back to an earlier \
                     state or rewritten; the proof stays in the file of heads until that is moved away",
                    head.seq
                ));
            }
        }
        found.extend(exported.keys().map(|label| lost(label)));
        found
    }
}

/// Hashes that the store has, by label of the chain and position.
pub type Hashes = BTreeMap<(String, u64), String>;

/// The positions of one chain whose hashes [`Ends::compare`] needs.
pub fn asked(chain: &ChainId, reading: &Reading) -> Vec<u64> {
    let Reading::Heads(exported) = reading else { return Vec::new() };
    exported.heads(chain).iter().map(|head| head.seq).collect()
}

/// What a check of the whole audit log starts from: the exported heads, and what is wrong with them.
pub fn exported(path: &Path, store: &str) -> (Exported, Vec<String>) {
    let mut found = Vec::new();
    let exported = match heads::read(path) {
        Reading::Heads(exported) => exported,
        Reading::Broken(reason) => {
            found.push(broken(path, &reason));
            Exported::default()
        }
        Reading::Missing => {
            found.push(format!("`{}` is missing: the exported heads were taken away", path.display()));
            Exported::default()
        }
    };
    found.extend(replaced(path, &exported, store));
    (exported, found)
}

/// Chains that were exported and are not among `labels`.
pub fn missing(exported: &Exported, store: &str, labels: &[String]) -> Vec<String> {
    let gone = exported.labels(store).filter(|label| !labels.iter().any(|known| known == label));
    gone.map(lost).collect()
}

fn lost(label: &str) -> String {
    format!("the audit chain `{label}` was exported and is not in the store")
}

/// Stores that stood here before this one.
fn replaced(path: &Path, exported: &Exported, store: &str) -> Option<String> {
    let others = exported.others(store);
    let fresh = if exported.knows(store) { "" } else { " by a new one" };
    (!others.is_empty()).then(|| {
        format!(
            "the store {} was replaced{fresh}; if that was meant, move `{}` away",
            others.join(", "),
            path.display()
        )
    })
}

fn broken(path: &Path, reason: &str) -> String {
    format!("`{}` cannot be read ({reason}): put back a copy, or move it away", path.display())
}

fn chained(head: &Head, events: &[AuditEvent]) -> Result<Vec<StoredEvent>, serde_json::Error> {
    let mut stored: Vec<StoredEvent> = Vec::with_capacity(events.len());
    for event in events {
        let (previous, seq) = stored.last().map_or((&head.hash, head.seq), |last| (&last.hash, last.seq));
        let next = audit::append(previous, seq, event)?;
        stored.push(next);
    }
    Ok(stored)
}

/// The event that keeps a doubted chain from looking whole again.
fn tampered(next: &AuditEvent) -> AuditEvent {
    AuditEvent {
        at: next.at,
        target: next.target.clone(),
        kind: audit::TAMPERED.to_owned(),
        actor: "store".to_owned(),
        record: None,
        cycle: None,
        details: BTreeMap::new(),
    }
}
