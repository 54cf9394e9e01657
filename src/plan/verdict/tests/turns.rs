//! Whose turn it is to decide, for those who are told so.

use super::*;

#[test]
fn it_is_nobodys_turn_who_spoke_who_may_not_or_where_nothing_waits() {
    let desk = levels(&[level(&["group:desk"], 2)]);
    let waits = account(RequestState::Pending);
    let spoken = |person: &str| {
        let Ok(Request { votes, .. }) = said(&desk, &waits, &who(person, &["desk"]), Word::Accept) else {
            panic!("`{person}` may speak");
        };
        Request { votes, ..waits.clone() }
    };
    let ann = who("ann", &["desk"]);
    let theirs = |request: &Request, approver: &Approver, mail: &str| {
        let also = BTreeSet::from([mail.to_owned()]);
        is_turn_of(&desk, request, &Approver { also, ..approver.clone() }, &user())
    };
    assert!(theirs(&waits, &ann, "ann@x.example"));
    assert!(theirs(&spoken("bob"), &ann, "ann@x.example"));
    assert!(!theirs(&spoken("ann"), &ann, "ann@x.example"));
    assert!(!theirs(&spoken("ann@x.example"), &ann, "ann@x.example"));
    assert!(!theirs(&waits, &who("cid", &["other"]), "cid@x.example"));
    // Nobody is asked about themselves, by whichever name.
    assert!(!theirs(&waits, &who("u-1", &["desk"]), "ann@x.example"));
    assert!(!theirs(&waits, &ann, "ada@x.example"));
    let ended = [RequestState::Accepted, RequestState::Refused, RequestState::Expired];
    assert!(ended.into_iter().all(|state| !theirs(&account(state), &ann, "ann@x.example")));
    // A document that lost levels leaves the last one, and one without any nobody.
    assert!(theirs(&Request { level: 1, ..waits.clone() }, &ann, "ann@x.example"));
    assert!(!is_turn_of(&levels(&[]), &waits, &ann, &user()));
}
