//! Listing every account of a namespace, page by page.

use std::collections::BTreeSet;

use serde_json::Value;
use sqlx::SqliteConnection;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use crate::connector::ConnectorError;
use crate::connector::Shape;
use crate::connectors::directory::Directory;
use crate::connectors::directory::blocking;
use crate::connectors::directory::file::Fault;
use crate::connectors::directory::rows;
use crate::connectors::directory::rows::Namespace;
use crate::model::account::Account;
use crate::model::plan::Coverage;

/// Accounts of one page.
const PAGE: i64 = 500;

/// A listing under way: a transaction of its own, so that it sees one state of the file.
struct Listing {
    db: SqliteConnection,
    space: i64,
    total: u64,
    /// Id of the last account seen.
    after: String,
}

/// Sends every account; complete when as many were sent as the file counts.
pub(super) async fn observe(
    directory: &Directory,
    namespace: &Namespace,
    shape: &Shape,
    pages: &mpsc::Sender<Vec<Account>>,
) -> Result<Coverage, ConnectorError> {
    let (file, handle, place) = (directory.file().await?, Handle::current(), namespace.clone());
    let begin = move || handle.block_on(async { begin(file.another_reader().await?, &place).await });
    let Some(mut listing) = blocking(&directory.path, begin).await? else { return Ok(Coverage::Complete) };
    let (mut sent, total) = (0, listing.total);
    loop {
        let (handle, asked) = (Handle::current(), shape.clone());
        let next = blocking(&directory.path, move || handle.block_on(next(listing, &asked))).await;
        let page = match next {
            Ok((rest, page)) => {
                listing = rest;
                page
            }
            Err(error) if sent == 0 => return Err(error),
            Err(error) => return Ok(Coverage::Partial(error.message)),
        };
        if page.is_empty() {
            break;
        }
        sent += page.len() as u64;
        if pages.send(page).await.is_err() {
            return Ok(Coverage::Partial("the listing was given up by its reader".to_owned()));
        }
    }
    if sent == total {
        return Ok(Coverage::Complete);
    }
    Ok(Coverage::Partial(format!("{sent} accounts were listed and {total} are counted")))
}

async fn begin(mut db: SqliteConnection, namespace: &Namespace) -> Result<Option<Listing>, Fault> {
    // Ends when the connection is dropped: nothing was written.
    sqlx::query("BEGIN").execute(&mut db).await?;
    let Some(space) = namespace.known(&mut db).await? else { return Ok(None) };
    let sql = "SELECT count(*) FROM user WHERE namespace = $1";
    let total: i64 = sqlx::query_scalar(sql).bind(space).fetch_one(&mut db).await?;
    Ok(Some(Listing { db, space, total: total.unsigned_abs(), after: String::new() }))
}

async fn next(mut listing: Listing, shape: &Shape) -> Result<(Listing, Vec<Account>), Fault> {
    let Listing { db, space, after, .. } = &mut listing;
    let sql = "SELECT id FROM user WHERE namespace = $1 AND id > $2 ORDER BY id LIMIT $3";
    let ids: Vec<String> = sqlx::query_scalar(sql).bind(*space).bind(&*after).bind(PAGE).fetch_all(&mut *db).await?;
    if let Some(last) = ids.last() {
        after.clone_from(last);
    }
    let resources: Vec<Value> = rows::users(db, *space, &ids.into_iter().collect::<BTreeSet<_>>()).await?;
    let page = resources.iter().map(|resource| rows::account(resource, shape)).collect::<Result<_, _>>()?;
    Ok((listing, page))
}
