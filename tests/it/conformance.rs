//! One suite that every connector passes, and what only SCIM servers do.
//!
//! A new connector adds one function that makes a [`subject::Subject`] and one `conforms!` line.

mod checks;
mod directory;
mod scim;
mod scim_doors;
mod scim_lists;
mod scim_lookups;
mod scim_writes;
mod subject;

/// Runs every check of the suite against the subjects that an async function makes.
macro_rules! conforms {
    ($($name:ident: $make:expr;)+) => {
        $(mod $name {
            conforms!(@checks $make;
                a_probe_tells_a_realm_that_stays
                a_creation_is_active_and_found_by_id_and_by_both_names
                user_names_are_found_in_any_case_and_external_ids_only_exactly
                what_is_not_there_is_proven_absent
                a_listing_shows_every_account_once_and_proves_it
                an_update_writes_what_it_names_and_nothing_beside_it
                a_cleared_attribute_is_gone
                a_disabled_account_comes_back_with_its_id_and_its_values
                a_user_name_changes_without_a_new_account
                memberships_are_added_and_taken_without_touching_others
                roles_are_added_and_taken_without_touching_others
                a_creation_starts_with_its_memberships
                a_second_account_of_one_name_is_refused_as_existing
                a_change_of_an_account_that_is_gone_says_so
                a_change_may_be_applied_twice
                canonical_values_are_those_that_are_read_back
            );
        })+
    };
    (@checks $make:expr; $($check:ident)+) => {
        $(#[tokio::test]
        async fn $check() {
            crate::conformance::checks::$check($make.await).await;
        })+
    };
}

conforms! {
    embedded_directory: std::future::ready(crate::conformance::directory::empty());
    scim_by_the_book: crate::conformance::scim::by_the_book();
    scim_without_patch: crate::conformance::scim::without_patch();
    scim_with_bare_answers: crate::conformance::scim::with_bare_answers();
    scim_with_text_booleans: crate::conformance::scim::with_text_booleans();
    scim_with_useless_filters: crate::conformance::scim::with_useless_filters();
    scim_that_shows_members_on_users_only: crate::conformance::scim::that_shows_members_on_users_only();
    scim_that_shows_members_when_asked: crate::conformance::scim::that_shows_members_when_asked();
    scim_in_small_pages: crate::conformance::scim::in_small_pages();
}
