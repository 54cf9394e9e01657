//! Who may decide, and about whom.

use super::*;

#[test]
fn it_is_the_turn_of_a_level_and_later_of_those_who_join_it() {
    let escalate = |level: Level| {
        let to = [party("group:chiefs")].into();
        Level { escalate: Some(Escalation { after: HOUR, to }), ..level }
    };
    let waits = account(RequestState::Pending);
    let late = Request { escalated: true, ..waits.clone() };
    let desk = levels(&[escalate(level(&["group:desk", "person:eve"], 1))]);
    for (approver, known, may) in [
        (who("ann", &["desk"]), &waits, true),
        (who("eve", &[]), &waits, true),
        (who("bob", &["chiefs"]), &waits, false),
        (who("bob", &["chiefs"]), &late, true),
        (who("ann", &["desk"]), &late, true),
        (who("cid", &[]), &late, false),
    ] {
        let said = said(&desk, known, &approver, Word::Accept);
        assert_eq!(said.is_ok(), may, "{approver:?}");
        if !may {
            assert!(no_right(&said).contains("whose turn it is; it is that of `group:"), "{said:?}");
        }
    }
    // Where anybody with the right decides, others who join change nothing.
    let anybody = levels(&[escalate(level(&[], 1))]);
    said(&anybody, &late, &who("cid", &[]), Word::Accept).unwrap();
    // Who would have joined may reopen, and so may whoever has a say at any level.
    let refused = account(RequestState::Refused);
    said(&desk, &refused, &who("bob", &["chiefs"]), Word::Reopen).unwrap();
    let two = levels(&[level(&["group:desk"], 1), level(&["group:last"], 1)]);
    said(&two, &refused, &who("bob", &["last"]), Word::Reopen).unwrap();
    no_right(&said(&two, &refused, &who("cid", &["other"]), Word::Reopen));
    said(&anybody, &refused, &who("cid", &[]), Word::Reopen).unwrap();
}

fn scope(labels: &[(&str, &str)]) -> Scope {
    labels.iter().map(|(label, value)| ((*label).to_owned(), [(*value).to_owned()].into())).collect()
}

fn labelled(labels: &[(&str, &str)]) -> User {
    let labels = labels.iter().map(|(label, value)| ((*label).to_owned(), (*value).to_owned())).collect();
    User { labels, ..user() }
}

#[test]
fn a_right_is_good_for_the_users_of_its_scope_alone() {
    let of = |scopes: &[&Scope], token: &Scope| Approver {
        groups: [("desk".to_owned(), scopes.iter().copied().cloned().collect())].into(),
        scope: token.clone(),
        ..who("ann", &[])
    };
    let north = scope(&[("folder", "north")]);
    let both = scope(&[("folder", "north"), ("tier", "one")]);
    let south = scope(&[("folder", "south")]);
    let tier = scope(&[("tier", "two")]);
    let everywhere = Scope::new();
    let mine = labelled(&[("folder", "north"), ("tier", "two")]);
    let bare = labelled(&[]);
    let plain = levels(&[level(&["group:desk"], 1)]);
    let by_folder = Approval { scope_label: Some("folder".to_owned()), ..plain.clone() };
    for (number, (approval, approver, user, may)) in [
        (&plain, of(&[&north], &everywhere), &mine, true),
        (&plain, of(&[&south], &everywhere), &mine, false),
        (&plain, of(&[&north], &everywhere), &bare, false),
        (&plain, of(&[&both], &everywhere), &mine, false),
        (&plain, of(&[&both, &north], &everywhere), &mine, true),
        (&plain, of(&[&everywhere], &everywhere), &mine, true),
        (&plain, of(&[&north], &south), &mine, false),
        (&plain, of(&[&everywhere], &north), &mine, true),
        (&plain, of(&[], &everywhere), &mine, false),
        // Where requests belong to folders, a right that names none is good for none.
        (&by_folder, of(&[&everywhere], &everywhere), &mine, false),
        (&by_folder, of(&[&tier], &everywhere), &mine, false),
        (&by_folder, of(&[&north], &everywhere), &mine, true),
        (&by_folder, of(&[&everywhere], &north), &mine, true),
    ]
    .into_iter()
    .enumerate()
    {
        let said = said_of(approval, &account(RequestState::Pending), &approver, Word::Accept, user);
        assert_eq!(said.is_ok(), may, "row {number}: {said:?}");
    }
    let elsewhere = of(&[&south], &everywhere);
    let told = said_of(&by_folder, &account(RequestState::Pending), &elsewhere, Word::Accept, &mine);
    assert!(no_right(&told).contains("no right for users of folder `north`"), "{told:?}");
}

#[test]
fn where_anybody_decides_that_is_whoever_has_a_right_for_the_user() {
    let waits = account(RequestState::Pending);
    let no_groups = who("ann", &[]);
    said(&approval(), &waits, &no_groups, Word::Accept).unwrap();
    said(&approval(), &waits, &who("ann", &["desk"]), Word::Accept).unwrap();
    let outside = Approver { outside: true, ..no_groups.clone() };
    let told = said(&approval(), &waits, &outside, Word::Accept);
    assert!(no_right(&told).contains("in no group of approvers"), "{told:?}");
    // Whom a level names decides there all the same.
    said(&levels(&[level(&["person:ann"], 1)]), &waits, &outside, Word::Accept).unwrap();
    let south = Approver { groups: [("desk".to_owned(), vec![scope(&[("folder", "south")])])].into(), ..no_groups };
    no_right(&said(&approval(), &waits, &south, Word::Accept));
}

#[test]
fn nobody_decides_about_themselves_or_what_they_wrote() {
    let waits = account(RequestState::Pending);
    let renamed = User {
        formerly: vec!["u-0".into()],
        ..labelled(&[("author", "bob, Cid eve"), ("by", "ann"), ("full", "Ada Lovelace")])
    };
    let by = |label: Option<&str>| Approval { author_label: label.map(str::to_owned), ..approval() };
    for (approval, person, may) in [
        (by(None), "u-1", false),
        (by(None), "U-0", false),
        (by(None), "Ada@X.example", false),
        (by(None), "bob", true),
        (by(Some("author")), "bob", false),
        (by(Some("author")), "cid", false),
        (by(Some("author")), "eve", false),
        (by(Some("author")), "ann", true),
        (by(Some("by")), "ann", false),
        (by(Some("other")), "ann", true),
        (by(Some("full")), "Ada Lovelace", false),
        (by(Some("full")), "Grace Hopper", true),
    ] {
        for word in [Word::Accept, Word::Refuse, Word::Reopen] {
            let known = if word == Word::Reopen { account(RequestState::Refused) } else { waits.clone() };
            let said = said_of(&approval, &known, &who(person, &[]), word, &renamed);
            assert_eq!(said.is_ok(), may, "{person} {word:?}: {said:?}");
            if !may {
                assert!(no_right(&said).contains("cannot decide about"), "{said:?}");
            }
        }
    }
    // Of a user who is gone nobody can say what they wrote.
    let saying = Saying { approver: &who("u-1", &[]), word: Word::Accept, reason: None, user: None };
    assert!(say(&approval(), &waits, saying, at(1)).is_ok());
}
