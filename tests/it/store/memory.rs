//! What the tests of the engine rely on in their store that is kept in memory, as it is in the real ones.

use crate::store::suite::store_suite;
use crate::support::store::MemoryStore;

async fn made() -> Option<(MemoryStore, ())> {
    std::future::ready(Some((MemoryStore::default(), ()))).await
}

store_suite!(made; a_link_is_found_in_its_space_alone, an_account_is_linked_to_one_user, writes_of_one_table_keep_their_order);
