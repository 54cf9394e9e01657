//! Identity history.

use sqlx::SqliteConnection;

use crate::model::identity::Identity;
use crate::model::link::Space;
use crate::store::rows::BAD_IDENTITY;
use crate::store::rows::IdentityRow;
use crate::store::rows::bound;
use crate::store::rows::identity_of;
use crate::store::rows::identity_row;
use crate::stores::sqlite::fault::Fault;
use crate::stores::sqlite::read::ROWS_AT_ONCE;
use crate::stores::sqlite::read::known;
use crate::stores::sqlite::read::many;
use crate::stores::sqlite::script::Script;
use crate::stores::sqlite::write::ROWS;
use crate::stores::sqlite::write::Spaces;

/// Adds what is not known yet; the first time that something was so stays.
pub(super) async fn write(
    db: &mut SqliteConnection,
    script: &mut Script,
    spaces: &mut Spaces,
    writes: &[(Space, Identity)],
) -> Result<(), Fault> {
    let sql = "INSERT INTO identity (space, record, account, mail, family, since)
        SELECT $1, value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4 FROM json_each($2) WHERE true
        ON CONFLICT DO NOTHING";
    for run in writes.chunk_by(|a, b| a.0 == b.0).flat_map(|run| run.chunks(ROWS)) {
        let Some((space, _)) = run.first() else { continue };
        let id = spaces.id(db, space).await?;
        let rows: Vec<IdentityRow> = run.iter().map(|(_, identity)| identity_row(identity)).collect();
        script.add(db, sql, [id.into(), serde_json::to_string(&rows)?.into()]).await?;
    }
    Ok(())
}

/// Everything that is known of a space, oldest first.
pub(super) async fn read(db: &mut SqliteConnection, space: &Space) -> Result<Vec<Identity>, Fault> {
    let Some(space) = known(db, space).await? else { return Ok(Vec::new()) };
    let sql = "SELECT json_group_array(json_array(record, account, mail, family, since))
        FROM (SELECT * FROM identity WHERE space = $1 AND (record, account, mail, family) > ($2, $3, $4, $5)
            ORDER BY record, account, mail, family LIMIT $6)";
    let behind = |(record, account, mail, family): (i64, i64, i64, i64)| {
        let query = sqlx::query_scalar(sql).bind(space).bind(record).bind(account).bind(mail).bind(family);
        query.bind(bound(ROWS_AT_ONCE))
    };
    let first = (i64::MIN, i64::MIN, i64::MIN, i64::MIN);
    let mut rows = many(db, first, behind, |row: &IdentityRow| (row.0, row.1, row.2, row.3)).await?;
    rows.sort_by_key(|(record, account, mail, family, since)| (*since, *record, *account, *mail, *family));
    rows.into_iter().map(|row| identity_of(row).ok_or_else(|| Fault::say(BAD_IDENTITY))).collect()
}
