//! Audit chains inside the file.

use std::path::Path;

use sqlx::Connection;
use sqlx::SqliteConnection;

use crate::audit::ChainId;
use crate::audit::Head;
use crate::audit::StoredEvent;
use crate::audit::Verifier;
use crate::audit::ends;
use crate::audit::ends::Ends;
use crate::audit::ends::Found;
use crate::audit::ends::Grown;
use crate::audit::ends::Hashes;
use crate::audit::ends::Kept;
use crate::audit::heads;
use crate::model::audit::AuditEvent;
use crate::model::audit::ChainedEvent;
use crate::model::ids::TargetName;
use crate::secrets::keys::Keys;
use crate::stores::sqlite::Inner;
use crate::stores::sqlite::fault::Fault;
use crate::stores::sqlite::script::Script;

/// Events held at once while a chain is checked.
const PAGE: i64 = 1000;

/// Reads the ends of all chains and compares them with the exported ones.
pub(super) async fn load(
    db: &mut SqliteConnection,
    store: &str,
    keys: &Keys,
    exported: &Path,
) -> Result<(Ends, Found), Fault> {
    let rows: Vec<(i64, String)> =
        sqlx::query_as("SELECT id, target FROM chain ORDER BY id").fetch_all(&mut *db).await?;
    let reading = heads::read(exported);
    let (mut kept, mut hashes) = (Vec::new(), Hashes::new());
    for (id, target) in rows {
        let chain = ChainId { store: store.to_owned(), target: named(&target) };
        for seq in ends::asked(&chain, &reading) {
            let sql = "SELECT hash FROM audit WHERE chain = $1 AND seq = $2";
            let hash: Option<String> =
                sqlx::query_scalar(sql).bind(id).bind(seq.cast_signed()).fetch_optional(&mut *db).await?;
            hashes.extend(hash.map(|hash| ((chain.label(), seq), hash)));
        }
        let (head, last) = (stored_head(db, id).await?, last_event(db, id).await?);
        kept.push(Kept { id, target: chain.target, head, last });
    }
    let (ends, mut warnings) = Ends::of(store, keys, kept);
    let mut found = ends.compare(keys, exported, reading, &hashes);
    warnings.append(&mut found.warnings);
    Ok((ends, Found { warnings, ..found }))
}

/// Appends events to their chains; `None` where there are none. The caller keeps the ends once the
/// transaction is committed.
pub(super) async fn append(
    db: &mut SqliteConnection,
    script: &mut Script,
    keys: &Keys,
    ends: &Ends,
    events: Vec<AuditEvent>,
) -> Result<Option<Ends>, Fault> {
    let Some((ends, grown)) = ends.grow(keys, events)? else { return Ok(None) };
    for grown in &grown {
        insert(db, script, grown).await?;
    }
    Ok(Some(ends))
}

/// Rows that another hand put where ours belong, or took away, give way.
async fn insert(
    db: &mut SqliteConnection,
    script: &mut Script,
    Grown { chain, end, events }: &Grown,
) -> Result<(), Fault> {
    let sql = "INSERT INTO chain (id, target, seq, hash, signature) VALUES ($1, $2, $3, $4, $5)
        ON CONFLICT (id) DO UPDATE SET seq = excluded.seq, hash = excluded.hash, signature = excluded.signature";
    let values = [
        end.id.into(),
        column(chain.target.as_ref()).into(),
        end.head.seq.cast_signed().into(),
        end.head.hash.clone().into(),
        end.head.signature.clone().into(),
    ];
    script.add(db, sql, values).await?;
    let sql = "INSERT OR REPLACE INTO audit (chain, seq, hash, event)
        SELECT $1, value ->> 0, value ->> 1, value ->> 2 FROM json_each($2)";
    let rows: Vec<_> = events.iter().map(|StoredEvent { seq, hash, text }| (seq, hash, text)).collect();
    script.add(db, sql, [end.id.into(), serde_json::to_string(&rows)?.into()]).await
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
    // Before the transaction begins: what is exported is committed, so the transaction sees as much.
    let (exported, wrong) = ends::exported(&inner.heads, &inner.id);
    let mut found: Vec<String> = inner.audit_note.iter().cloned().chain(wrong).collect();
    let mut tx = db.begin().await?;
    let rows: Vec<(i64, String)> =
        sqlx::query_as("SELECT id, target FROM chain ORDER BY target").fetch_all(&mut *tx).await?;
    let mut labels = Vec::new();
    for (id, target) in rows {
        let chain = ChainId { store: inner.id.clone(), target: named(&target) };
        labels.push(chain.label());
        let mut verifier = Verifier::new(chain.clone(), exported.heads(&chain));
        push_all(&mut tx, id, &mut verifier).await?;
        let head = stored_head(&mut tx, id).await?;
        found.extend(verifier.finish(Some(&head), &inner.keys));
    }
    found.extend(ends::missing(&exported, &inner.id, &labels));
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

async fn last_event(db: &mut SqliteConnection, chain: i64) -> Result<Option<(u64, String)>, Fault> {
    let sql = "SELECT seq, hash FROM audit WHERE chain = $1 ORDER BY seq DESC LIMIT 1";
    let last: Option<(i64, String)> = sqlx::query_as(sql).bind(chain).fetch_optional(db).await?;
    Ok(last.map(|(seq, hash)| (seq.cast_unsigned(), hash)))
}

fn named(column: &str) -> Option<TargetName> {
    (!column.is_empty()).then(|| column.into())
}

fn column(target: Option<&TargetName>) -> &str {
    target.map_or("", |name| name.as_str())
}
