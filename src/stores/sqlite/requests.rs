//! Requests, one sealed row a user and subject.

use sqlx::SqliteConnection;

use crate::model::ids::TargetName;
use crate::model::link::Space;
use crate::model::request::Request;
use crate::secrets::keys::Keys;
use crate::store::batch::RequestWrite;
use crate::store::rows::opened;
use crate::store::rows::request_context;
use crate::stores::sqlite::fault::Fault;
use crate::stores::sqlite::write::Spaces;

/// Place, environment, realm, user, subject, sealed request.
type Row = (i64, String, String, String, String, Vec<u8>);

/// Every request of a target.
pub(super) async fn read(
    db: &mut SqliteConnection,
    keys: &Keys,
    target: &TargetName,
) -> Result<Vec<(Space, Request)>, Fault> {
    let sql = "SELECT space.id, environment, realm, record, subject, body FROM request
        JOIN space ON space.id = request.space WHERE target = $1 ORDER BY space.id, record, subject";
    let rows: Vec<Row> = sqlx::query_as(sql).bind(target.as_str()).fetch_all(db).await?;
    let read = |(id, environment, realm, record, subject, body): Row| {
        let space = Space { target: target.clone(), environment: environment.into(), realm: realm.into() };
        Ok((space, opened(keys, &request_context(id, &record, &subject), &body)?))
    };
    rows.into_iter().map(read).collect()
}

pub(super) async fn write(
    db: &mut SqliteConnection,
    spaces: &mut Spaces,
    keys: &Keys,
    writes: &[RequestWrite],
) -> Result<(), Fault> {
    for (space, record, subject, request) in writes {
        let (id, subject) = (spaces.id(db, space).await?, subject.word());
        let query = if let Some(request) = request {
            let body = keys.seal(&request_context(id, record.as_str(), &subject), &serde_json::to_vec(request)?)?;
            let upsert = "INSERT INTO request (space, record, subject, body) VALUES ($1, $2, $3, $4)
                ON CONFLICT (space, record, subject) DO UPDATE SET body = excluded.body";
            sqlx::query(upsert).bind(id).bind(record.as_str()).bind(subject).bind(body)
        } else {
            let delete = "DELETE FROM request WHERE space = $1 AND record = $2 AND subject = $3";
            sqlx::query(delete).bind(id).bind(record.as_str()).bind(subject)
        };
        query.execute(&mut *db).await?;
    }
    Ok(())
}
