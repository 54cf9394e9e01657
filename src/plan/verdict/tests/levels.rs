//! Progress of what waits, where a document changes its levels.

use super::*;
use crate::plan::verdict::levels::realigned;

fn desk() -> Level {
    level(&["group:desk"], 1)
}

fn chiefs() -> Level {
    level(&["group:chiefs"], 1)
}

/// A request that the desk agreed to by `ann`, and that waits for the chiefs.
fn half() -> Request {
    let waits = account(RequestState::Pending);
    let half = said(&levels(&[desk(), chiefs()]), &waits, &who("ann", &["desk"]), Word::Accept).unwrap();
    assert_eq!((half.state, half.level), (RequestState::Pending, 1));
    half
}

fn now_at(approval: &Approval, request: &Request) -> Request {
    realigned(approval, request, at(5)).unwrap_or_else(|| request.clone())
}

#[test]
fn what_waits_waits_on_where_no_level_is_another() {
    for approval in [
        levels(&[desk(), chiefs()]),
        // When others join is no part of who decides.
        levels(&[desk(), chiefs(), level(&["group:last"], 1)]),
    ] {
        assert_eq!(realigned(&approval, &half(), at(5)), None);
    }
    let refused = Request { state: RequestState::Refused, ..half() };
    assert_eq!(realigned(&levels(&[chiefs()]), &refused, at(5)), None, "what ended is no progress");
}

#[test]
fn a_level_that_is_put_before_others_decides_though_those_agreed() {
    let more = levels(&[level(&["group:law"], 1), desk(), chiefs()]);
    let waits = now_at(&more, &half());
    assert_eq!((waits.level, waits.level_begun), (0, at(5).window));
    no_right(&said(&more, &waits, &who("bob", &["chiefs"]), Word::Accept));
    // Also where nobody looked since the document is another.
    no_right(&said(&more, &half(), &who("bob", &["chiefs"]), Word::Accept));
    let lawful = said(&more, &waits, &who("law", &["law"]), Word::Accept).unwrap();
    assert_eq!((lawful.state, lawful.level), (RequestState::Pending, 2), "the desk has agreed");
    assert_eq!(said(&more, &lawful, &who("bob", &["chiefs"]), Word::Accept).unwrap().state, RequestState::Accepted);
}

#[test]
fn another_order_keeps_what_was_agreed_where_it_was_agreed() {
    let turned = levels(&[chiefs(), desk()]);
    let waits = now_at(&turned, &half());
    assert_eq!(waits.level, 0);
    no_right(&said(&turned, &waits, &who("bob", &["desk"]), Word::Accept));
    assert_eq!(said(&turned, &waits, &who("bob", &["chiefs"]), Word::Accept).unwrap().state, RequestState::Accepted);
}

#[test]
fn nobodys_voice_counts_for_a_level_at_which_they_did_not_speak() {
    let escalates = |level: Level| {
        let to = [party("group:late")].into();
        Level { escalate: Some(Escalation { after: HOUR, to }), ..level }
    };
    for other in [
        level(&["group:desk"], 2),
        level(&["group:desk", "person:eve"], 1),
        level(&["group:other", "group:desk"], 1),
        escalates(desk()),
    ] {
        let approval = levels(&[other.clone(), chiefs()]);
        let waits = now_at(&approval, &half());
        assert_eq!((waits.level, waits.passed.len()), (0, 0), "{other:?}");
        // Whose voice is lost may speak again, and is one voice.
        let again = said(&approval, &waits, &who("ann", &["desk"]), Word::Accept).unwrap();
        assert_eq!(again.level, usize::from(other.quorum == 1));
        settled_by(&said(&approval, &again, &who("ann", &["desk", "chiefs"]), Word::Accept));
        // A level that comes back finds nobody's voice.
        let back = now_at(&levels(&[desk(), chiefs()]), &waits);
        assert_eq!((back.level, back.passed.len()), (0, 0));
    }
}

#[test]
fn one_voice_is_not_two_by_a_document_that_goes_and_comes_back() {
    let approval = levels(&[level(&["group:other"], 1), chiefs()]);
    let waits = now_at(&approval, &half());
    let ann = who("ann", &["desk", "other", "chiefs"]);
    let again = said(&approval, &waits, &ann, Word::Accept).unwrap();
    let back = now_at(&levels(&[desk(), chiefs()]), &again);
    assert_eq!(back.level, 0);
    let desk_again = said(&levels(&[desk(), chiefs()]), &back, &ann, Word::Accept).unwrap();
    settled_by(&said(&levels(&[desk(), chiefs()]), &desk_again, &ann, Word::Accept));
}

#[test]
fn a_document_that_lost_levels_accepts_nothing_by_itself() {
    let fewer = levels(&[desk()]);
    let waits = now_at(&fewer, &half());
    assert_eq!((waits.state, waits.level, waits.passed.len()), (RequestState::Pending, 0, 0));
    assert_eq!(waits.votes.last().map(|vote| vote.by.as_str()), Some("rule:levels"));
    assert_eq!(said(&fewer, &waits, &who("ann", &["desk"]), Word::Accept).unwrap().state, RequestState::Accepted);
}

#[test]
fn of_levels_that_are_alike_each_has_its_own_voice() {
    let twice = levels(&[desk(), desk()]);
    let first = said(&twice, &account(RequestState::Pending), &who("ann", &["desk"]), Word::Accept).unwrap();
    assert_eq!((first.state, first.level), (RequestState::Pending, 1));
    settled_by(&said(&twice, &first, &who("ann", &["desk"]), Word::Accept));
    assert_eq!(said(&twice, &first, &who("bob", &["desk"]), Word::Accept).unwrap().state, RequestState::Accepted);
}

#[test]
fn who_reopens_is_limited_while_nobody_released_others() {
    let refused = account(RequestState::Refused);
    let two = levels(&[desk(), level(&["person:writer"], 1)]);
    said(&two, &refused, &who("writer", &[]), Word::Reopen).unwrap();
    let limited = Approval { reopen_by: Some(desk().any_of), ..two };
    no_right(&said(&limited, &refused, &who("writer", &[]), Word::Reopen));
    said(&limited, &refused, &who("ann", &["desk"]), Word::Reopen).unwrap();
}

#[test]
fn all_names_that_entries_have_of_one_person_are_one_voice() {
    let told = [
        told_at("rose", "rose@desk.example"),
        told_at("rose", "r@home.example"),
        told_at("r@home.example", "x@y.example"),
    ];
    let approval = levels(&[level(&["group:desk"], 2)]);
    let names = ["rose", "rose@desk.example", "r@home.example", "x@y.example"];
    let by =
        |known: &Request, person: &str| said(&approval, known, &who(person, &["desk"]).known_by(&told), Word::Accept);
    for first in names {
        for second in names {
            settled_by(&by(&by(&account(RequestState::Pending), first).unwrap(), second));
        }
    }
}
