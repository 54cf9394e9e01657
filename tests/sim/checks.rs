//! Checks of the simulation itself: it is deterministic, and every judge can say no.
//!
//! Each bite takes the log of a run in which nothing went wrong, forges what the law forbids onto
//! its end, and expects the judge of that law to say so. A judge that cannot fail proves nothing.

mod bites;
mod forge;

use crate::case;
use crate::case::Family;
use crate::drive;

/// A check and its name.
type Check = (&'static str, fn());

macro_rules! checks {
    ($($module:ident :: $name:ident;)*) => {
        /// Every check, by name.
        pub(crate) const ALL: &[Check] = &[$((stringify!($name), $module::$name)),*];
    };
}

mod whole {
    use super::*;

    pub(crate) fn equal_seeds_give_equal_traces() {
        for seed in 0..12 {
            let case = case::of(seed, Family::Mixed);
            let (one, other) = (drive::run(&case), drive::run(&case));
            assert_eq!(one.hash, other.hash, "seed {seed} ran two ways");
            assert_eq!(one.log.len(), other.log.len());
        }
    }
}

checks! {
    whole::equal_seeds_give_equal_traces;
    bites::a_log_in_which_nothing_went_wrong_breaks_no_law;
    bites::l1_a_removal_that_no_document_asks_for_is_seen;
    bites::l1_a_broken_load_that_is_accepted_is_seen;
    bites::l1_a_load_that_shrinks_and_is_accepted_is_seen;
    bites::l2_a_second_account_is_seen;
    bites::l2_a_creation_repeated_too_early_is_seen;
    bites::l3_somebody_left_out_is_seen;
    bites::l3_somebody_left_in_is_seen;
    bites::l3_a_plan_that_is_not_empty_is_seen;
    bites::l4_a_window_that_overflows_is_seen;
    bites::l5_a_removal_that_waits_is_seen;
    bites::l6_a_write_of_what_is_not_mapped_is_seen;
    bites::l6_a_write_of_what_did_not_differ_is_seen;
    bites::l8_a_call_without_intent_is_seen;
    bites::l8_a_call_without_audit_event_is_seen;
    bites::l8_a_call_after_a_commit_that_failed_is_seen;
    bites::l10_a_write_to_a_stranger_is_seen;
    bites::l10_a_write_to_a_protected_account_is_seen;
    bites::l10_a_membership_that_we_never_gave_is_seen;
    bites::l11_a_write_to_a_suspended_target_is_seen;
    bites::l12_access_that_nobody_declared_is_seen;
    bites::l13_an_intent_of_another_place_is_seen;
    bites::l15_a_removal_that_waits_for_another_target_is_seen;
    bites::l16_an_end_that_only_a_stepped_clock_brings_is_seen;
    bites::l17_an_account_enabled_against_another_hand_is_seen;
    bites::l17_an_account_made_again_against_another_hand_is_seen;
    bites::l16_a_deletion_before_its_wait_is_seen;
    bites::l17_a_deletion_of_what_another_hand_ended_is_seen;
    bites::l18_access_by_documents_of_yesterday_is_seen;
}
