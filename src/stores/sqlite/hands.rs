//! What is remembered of other hands, one sealed row an account.

use sqlx::SqliteConnection;

use crate::model::hand::Hand;
use crate::model::hand::Hands;
use crate::model::ids::AccountId;
use crate::model::link::Space;
use crate::secrets::keys::Keys;
use crate::store::rows::hand_context;
use crate::store::rows::opened;
use crate::stores::sqlite::fault::Fault;
use crate::stores::sqlite::read;
use crate::stores::sqlite::write::Spaces;

pub(super) async fn read(db: &mut SqliteConnection, keys: &Keys, space: &Space) -> Result<Hands, Fault> {
    let Some(space) = read::known(db, space).await? else { return Ok(Hands::new()) };
    let rows: Vec<(String, Vec<u8>)> =
        sqlx::query_as("SELECT account, body FROM hand WHERE space = $1").bind(space).fetch_all(db).await?;
    let read = |(account, body): (String, Vec<u8>)| {
        let hand = opened(keys, &hand_context(space, &account), &body)?;
        Ok((account.into(), hand))
    };
    rows.into_iter().map(read).collect()
}

pub(super) async fn write(
    db: &mut SqliteConnection,
    spaces: &mut Spaces,
    keys: &Keys,
    writes: &[(Space, AccountId, Hand)],
) -> Result<(), Fault> {
    for (space, account, hand) in writes {
        let id = spaces.id(db, space).await?;
        let query = if hand.is_blank() {
            sqlx::query("DELETE FROM hand WHERE space = $1 AND account = $2").bind(id).bind(account.as_str())
        } else {
            let body = keys.seal(&hand_context(id, account.as_str()), &serde_json::to_vec(hand)?)?;
            let upsert = "INSERT INTO hand (space, account, body) VALUES ($1, $2, $3)
                ON CONFLICT (space, account) DO UPDATE SET body = excluded.body";
            sqlx::query(upsert).bind(id).bind(account.as_str()).bind(body)
        };
        query.execute(&mut *db).await?;
    }
    Ok(())
}
