//! Audit chains inside the file.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use sqlx::Connection;
use sqlx::SqliteConnection;

use crate::audit;
use crate::audit::ChainId;
use crate::audit::Head;
use crate::audit::StoredEvent;
use crate::audit::Verifier;
use crate::model::audit::AuditEvent;
use crate::model::audit::ChainedEvent;
use crate::model::ids::TargetName;
use crate::secrets::keys::Keys;
use crate::stores::sqlite::Inner;
use crate::stores::sqlite::fault::Fault;
use crate::stores::sqlite::heads;
use crate::stores::sqlite::heads::Exported;
use crate::stores::sqlite::heads::Reading;

/// Events held at once while a chain is checked.
const PAGE: i64 = 1000;

/// The ends of all chains, as this process wrote or checked them.
///
/// Never read from the file again after the start: what another hand does to the file meanwhile
/// then breaks the chain instead of being signed.
#[derive(Clone)]
pub(super) struct Chains {
    store: String,
    ends: BTreeMap<Option<TargetName>, End>,
}

#[derive(Clone)]
struct End {
    id: i64,
    head: Head,
    /// The head that the file held was not signed by us: the next event must say so.
    doubted: bool,
}

/// What the start found.
pub(super) struct Audited {
    pub(super) export: Export,
    pub(super) warnings: Vec<String>,
    pub(super) note: Option<String>,
}

/// The file of exported heads.
pub(super) enum Export {
    /// It may be written: what it holds of other stores is kept.
    Open(Exported),
    /// It proves that something is wrong, and a person must see it first.
    Kept,
}

impl Export {
    /// Writes the ends of all chains out.
    pub(super) fn write(&mut self, store: &str, path: &Path, chains: &Chains) -> io::Result<()> {
        let Self::Open(exported) = self else { return Ok(()) };
        let ends = chains.ends.iter();
        let heads = ends.map(|(target, end)| (chains.id(target.as_ref()).label(), end.head.clone())).collect();
        exported.set(store, heads);
        heads::write(path, exported)
    }
}

impl Chains {
    fn id(&self, target: Option<&TargetName>) -> ChainId {
        ChainId { store: self.store.clone(), target: target.cloned() }
    }
}

/// Reads the ends of all chains and compares them with the exported ones.
pub(super) async fn load(
    db: &mut SqliteConnection,
    store: &str,
    keys: &Keys,
    exported: &Path,
) -> Result<(Chains, Audited), Fault> {
    let mut chains = Chains { store: store.to_owned(), ends: BTreeMap::new() };
    let mut warnings = Vec::new();
    let rows: Vec<(i64, String)> =
        sqlx::query_as("SELECT id, target FROM chain ORDER BY id").fetch_all(&mut *db).await?;
    for (id, target) in rows {
        let target = named(&target);
        let chain = chains.id(target.as_ref());
        let stored = stored_head(db, id).await?;
        let doubted = !chain.signed(keys, &stored);
        let head = if doubted { last_event(db, &chain, id, stored).await? } else { stored };
        if doubted {
            warnings.push(format!("{chain}: its head is not signed with this installation's key"));
        }
        chains.ends.insert(target, End { id, head, doubted });
    }
    let (export, note) = match heads::read(exported) {
        Reading::Missing => {
            let note = format!(
                "`{}` is missing: whether the store was put back to an earlier state before this start cannot be told",
                exported.display()
            );
            (Export::Open(Exported::default()), (!chains.ends.is_empty()).then_some(note))
        }
        Reading::Broken(reason) => {
            warnings.push(broken(exported, &reason));
            (Export::Kept, None)
        }
        Reading::Heads(heads) => {
            let contradictions = contradicted(db, &chains, &heads, keys).await?;
            let clean = contradictions.is_empty();
            warnings.extend(contradictions);
            warnings.extend(replaced(exported, &heads, store));
            (if clean { Export::Open(heads) } else { Export::Kept }, None)
        }
    };
    warnings.extend(note.clone());
    Ok((chains, Audited { export, warnings, note }))
}

/// Appends events to their chains; `None` where there are none. The caller keeps the ends once the
/// transaction is committed.
pub(super) async fn append(
    db: &mut SqliteConnection,
    keys: &Keys,
    chains: &Chains,
    events: Vec<AuditEvent>,
) -> Result<Option<Chains>, Fault> {
    if events.is_empty() {
        return Ok(None);
    }
    let mut chains = chains.clone();
    let mut by_chain: BTreeMap<Option<TargetName>, Vec<AuditEvent>> = BTreeMap::new();
    for event in events {
        by_chain.entry(event.target.clone()).or_default().push(event);
    }
    for (target, mut events) in by_chain {
        let chain = chains.id(target.as_ref());
        let mut end = match chains.ends.remove(&target) {
            Some(end) => end,
            None => begin(db, keys, &chain).await?,
        };
        if end.doubted {
            events.splice(0..0, events.first().map(tampered));
        }
        let stored = chained(&end.head, &events)?;
        if let Some(last) = stored.last() {
            end.head = chain.sign(keys, last.seq, last.hash.clone());
        }
        end.doubted = false;
        insert(db, &chain, &end, &stored).await?;
        chains.ends.insert(target, end);
    }
    Ok(Some(chains))
}

fn chained(head: &Head, events: &[AuditEvent]) -> Result<Vec<StoredEvent>, Fault> {
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

async fn begin(db: &mut SqliteConnection, keys: &Keys, chain: &ChainId) -> Result<End, Fault> {
    let id: i64 = sqlx::query_scalar("SELECT coalesce(max(id), 0) + 1 FROM chain").fetch_one(db).await?;
    Ok(End { id, head: chain.empty(keys), doubted: false })
}

/// Rows that another hand put where ours belong, or took away, give way.
async fn insert(
    db: &mut SqliteConnection,
    chain: &ChainId,
    End { id, head, .. }: &End,
    events: &[StoredEvent],
) -> Result<(), Fault> {
    let sql = "INSERT INTO chain (id, target, seq, hash, signature) VALUES ($1, $2, $3, $4, $5)
        ON CONFLICT (id) DO UPDATE SET seq = excluded.seq, hash = excluded.hash, signature = excluded.signature";
    let query = sqlx::query(sql).bind(*id).bind(column(chain.target.as_ref())).bind(head.seq.cast_signed());
    query.bind(&head.hash).bind(&head.signature).execute(&mut *db).await?;
    let sql = "INSERT OR REPLACE INTO audit (chain, seq, hash, event)
        SELECT $1, value ->> 0, value ->> 1, value ->> 2 FROM json_each($2)";
    let rows: Vec<_> = events.iter().map(|StoredEvent { seq, hash, text }| (seq, hash, text)).collect();
    sqlx::query(sql).bind(*id).bind(serde_json::to_string(&rows)?).execute(db).await?;
    Ok(())
}

/// Events of one chain from `from` on.
pub(super) async fn events(
    db: &mut SqliteConnection,
    target: Option<&TargetName>,
    from: u64,
    limit: usize,
) -> Result<Vec<ChainedEvent>, Fault> {
    let sql = "SELECT seq, hash, event FROM audit WHERE chain = (SELECT id FROM chain WHERE target = $1) AND seq >= $2
        ORDER BY seq LIMIT $3";
    let query = sqlx::query_as(sql).bind(column(target)).bind(i64::try_from(from).unwrap_or(i64::MAX));
    let rows: Vec<(i64, String, String)> = query.bind(i64::try_from(limit).unwrap_or(i64::MAX)).fetch_all(db).await?;
    let parse = |(seq, hash, text): (i64, String, String)| -> Result<ChainedEvent, Fault> {
        Ok(ChainedEvent { seq: seq.cast_unsigned(), hash, event: serde_json::from_str(&text)? })
    };
    rows.into_iter().map(parse).collect()
}

/// The names of all chains, the installation's first.
pub(super) async fn names(db: &mut SqliteConnection) -> Result<Vec<Option<TargetName>>, Fault> {
    let names: Vec<String> = sqlx::query_scalar("SELECT target FROM chain ORDER BY target").fetch_all(db).await?;
    Ok(names.iter().map(|name| named(name)).collect())
}

/// Checks every chain, its head, and the heads that were exported.
pub(super) async fn verify(db: &mut SqliteConnection, inner: &Inner) -> Result<Vec<String>, Fault> {
    let mut found: Vec<String> = inner.audit_note.iter().cloned().collect();
    // Before the transaction begins: what is exported is committed, so the transaction sees as much.
    let exported = match heads::read(&inner.heads) {
        Reading::Heads(exported) => exported,
        Reading::Broken(reason) => {
            found.push(broken(&inner.heads, &reason));
            Exported::default()
        }
        Reading::Missing => {
            found.push(format!("`{}` is missing: the exported heads were taken away", inner.heads.display()));
            Exported::default()
        }
    };
    found.extend(replaced(&inner.heads, &exported, &inner.id));
    let mut tx = db.begin().await?;
    let rows: Vec<(i64, String)> =
        sqlx::query_as("SELECT id, target FROM chain ORDER BY target").fetch_all(&mut *tx).await?;
    let mut labels = Vec::new();
    for (id, target) in rows {
        let chain = ChainId { store: inner.id.clone(), target: named(&target) };
        labels.push(chain.label());
        let mut verifier = Verifier::new(chain.clone(), exported.head(&chain).cloned());
        push_all(&mut tx, id, &mut verifier).await?;
        let head = stored_head(&mut tx, id).await?;
        found.extend(verifier.finish(Some(&head), &inner.keys));
    }
    found.extend(lost(&exported, &inner.id, &labels));
    tx.rollback().await?;
    Ok(found)
}

async fn push_all(db: &mut SqliteConnection, chain: i64, verifier: &mut Verifier) -> Result<(), Fault> {
    let sql = "SELECT seq, hash, event FROM audit WHERE chain = $1 AND seq > $2 ORDER BY seq LIMIT $3";
    let mut after = i64::MIN;
    loop {
        let query = sqlx::query_as(sql).bind(chain).bind(after).bind(PAGE);
        let page: Vec<(i64, String, String)> = query.fetch_all(&mut *db).await?;
        let Some((last, ..)) = page.last() else { return Ok(()) };
        after = *last;
        for (seq, hash, text) in page {
            verifier.push(&StoredEvent { seq: seq.cast_unsigned(), hash, text });
        }
    }
}

async fn stored_head(db: &mut SqliteConnection, chain: i64) -> Result<Head, Fault> {
    let sql = "SELECT seq, hash, signature FROM chain WHERE id = $1";
    let (seq, hash, signature): (i64, String, String) = sqlx::query_as(sql).bind(chain).fetch_one(db).await?;
    Ok(Head { seq: seq.cast_unsigned(), hash, signature })
}

/// Where a chain goes on whose head cannot be trusted: after whatever stands last.
async fn last_event(db: &mut SqliteConnection, chain: &ChainId, id: i64, stored: Head) -> Result<Head, Fault> {
    let sql = "SELECT seq, hash FROM audit WHERE chain = $1 ORDER BY seq DESC LIMIT 1";
    let last: Option<(i64, String)> = sqlx::query_as(sql).bind(id).fetch_optional(db).await?;
    let (seq, hash) = last.map_or((0, chain.genesis()), |(seq, hash)| (seq.cast_unsigned(), hash));
    Ok(Head { seq, hash, signature: stored.signature })
}

/// Exported heads of this store that the store does not bear out.
async fn contradicted(
    db: &mut SqliteConnection,
    chains: &Chains,
    exported: &Exported,
    keys: &Keys,
) -> Result<Vec<String>, Fault> {
    let mut found = Vec::new();
    let mut labels = Vec::new();
    for (target, end) in &chains.ends {
        let chain = chains.id(target.as_ref());
        labels.push(chain.label());
        let Some(head) = exported.head(&chain) else { continue };
        let sql = "SELECT hash FROM audit WHERE chain = $1 AND seq = $2";
        let query = sqlx::query_scalar(sql).bind(end.id).bind(head.seq.cast_signed());
        let hash: Option<String> = query.fetch_optional(&mut *db).await?;
        let hash = hash.or_else(|| (head.seq == 0).then(|| chain.genesis()));
        if !chain.signed(keys, head) {
            found.push(format!("{chain}: the exported head is not signed with this installation's key"));
        } else if hash.as_ref() != Some(&head.hash) {
            found.push(format!(
                "{chain}: the exported head at event {} is not the store's: the store was put back to an earlier state \
                 or rewritten; nothing is exported until the file of heads is moved away",
                head.seq
            ));
        }
    }
    found.extend(lost(exported, &chains.store, &labels));
    Ok(found)
}

/// Chains that were exported and are not there.
fn lost(exported: &Exported, store: &str, labels: &[String]) -> Vec<String> {
    let gone = exported.labels(store).filter(|label| !labels.iter().any(|known| known == label));
    gone.map(|label| format!("the audit chain `{label}` was exported and is not in the store")).collect()
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

fn named(column: &str) -> Option<TargetName> {
    (!column.is_empty()).then(|| column.into())
}

fn column(target: Option<&TargetName>) -> &str {
    target.map_or("", |name| name.as_str())
}
