//! Identity history.

use sqlx::PgConnection;

use crate::model::identity::Identity;
use crate::model::link::Space;
use crate::store::rows::BAD_IDENTITY;
use crate::store::rows::IdentityRow;
use crate::store::rows::identity_of;
use crate::store::rows::identity_row;
use crate::stores::postgres::fault::Fault;
use crate::stores::postgres::read::known;
use crate::stores::postgres::write::ROWS;
use crate::stores::postgres::write::intern;

/// Adds what is not known yet; the first time that something was so stays.
pub(super) async fn write(db: &mut PgConnection, writes: &[(Space, Identity)]) -> Result<(), Fault> {
    let sql = "INSERT INTO identity (space, record, account, mail, family, since)
        SELECT $1, * FROM unnest($2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[])
        ON CONFLICT DO NOTHING";
    for run in writes.chunk_by(|a, b| a.0 == b.0).flat_map(|run| run.chunks(ROWS)) {
        let Some((space, _)) = run.first() else { continue };
        let id = intern(db, space).await?;
        let rows: Vec<IdentityRow> = run.iter().map(|(_, identity)| identity_row(identity)).collect();
        let column = |take: fn(&IdentityRow) -> i64| rows.iter().map(take).collect::<Vec<i64>>();
        let query = sqlx::query(sql).bind(id).bind(column(|row| row.0)).bind(column(|row| row.1));
        let query = query.bind(column(|row| row.2)).bind(column(|row| row.3)).bind(column(|row| row.4));
        query.execute(&mut *db).await?;
    }
    Ok(())
}

/// Everything that is known of a space, oldest first.
pub(super) async fn read(db: &mut PgConnection, space: &Space) -> Result<Vec<Identity>, Fault> {
    let Some(space) = known(db, space).await? else { return Ok(Vec::new()) };
    let sql = "SELECT record, account, mail, family, since FROM identity WHERE space = $1
        ORDER BY since, record, account, mail, family";
    let rows: Vec<IdentityRow> = sqlx::query_as(sql).bind(space).fetch_all(db).await?;
    rows.into_iter().map(|row| identity_of(row).ok_or_else(|| Fault::say(BAD_IDENTITY))).collect()
}
