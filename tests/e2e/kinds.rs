//! Every scenario on every kind of server.

/// One test for each kind and scenario: `kinds::scim2_put_only::a_declared_user_gets_an_account`.
macro_rules! on_every_kind {
    ($($file:ident::$scenario:ident)*) => {
        on_every_kind! { @kind scimmy Scimmy $($file::$scenario)* }
        on_every_kind! { @kind scimmy_small_pages ScimmySmallPages $($file::$scenario)* }
        on_every_kind! { @kind scim2 Scim2 $($file::$scenario)* }
        on_every_kind! { @kind scim2_put_only Scim2PutOnly $($file::$scenario)* }
        on_every_kind! { @kind scim2_no_filter Scim2NoFilter $($file::$scenario)* }
        on_every_kind! { @kind scim2_no_etag Scim2NoEtag $($file::$scenario)* }
        on_every_kind! { @kind scim2_bare Scim2Bare $($file::$scenario)* }
    };
    (@kind $module:ident $kind:ident $($file:ident::$scenario:ident)*) => {
        mod $module {
            $(
                #[tokio::test]
                async fn $scenario() {
                    crate::$file::$scenario(crate::world::Kind::$kind).await;
                }
            )*
        }
    };
}

on_every_kind! {
    life::a_declared_user_gets_an_account
    life::an_update_sends_only_what_changed_and_leaves_what_is_not_mapped
    life::an_edit_of_ours_made_in_the_target_is_put_back
    life::who_leaves_is_disabled_and_comes_back_to_the_same_account
    life::another_user_name_is_an_update_of_the_same_account
    life::an_account_that_somebody_else_disabled_stays_so
    life::who_is_out_is_deleted_once_a_person_says_so_and_comes_back_as_somebody_new
    adoption::first_contact_writes_nothing_until_a_person_says_so_for_that_digest
    adoption::unmanaged_accounts_are_reported_and_not_touched
    adoption::an_account_that_a_trusted_key_proves_is_adopted
    adoption::an_account_that_only_its_user_name_suggests_is_not_taken
    adoption::an_account_that_only_its_mail_suggests_is_not_taken
    adoption::a_person_links_the_account_that_was_proposed
    adoption::a_name_that_a_stranger_has_is_a_conflict_before_the_target_must_say_so
    adoption::a_name_that_only_the_target_finds_taken_fails_for_that_user_alone
    groups::a_group_gains_and_loses_those_who_are_granted_it_and_keeps_the_others
    groups::a_membership_that_another_hand_gave_stays
    groups::a_role_taken_away_is_a_narrowing_and_first_in_line
}
