//! Whether a target's document loosens who is asked before access is given: its `approval`.
//!
//! Who decides stands in documents, and whoever may write one must not thereby become who decides. So what lets others
//! or fewer decide, or about less, waits for a person's release like a looser limit; what asks more acts at once.

use std::collections::BTreeSet;

use crate::model::approval::Approval;
use crate::model::approval::Asks;
use crate::model::approval::Escalation;
use crate::model::approval::Gate;
use crate::model::approval::GatedGrants;
use crate::model::approval::Level;
use crate::model::approval::Party;
use crate::model::approval::When;
use crate::model::origin::Origin;

/// A block, judged.
pub(super) struct Judged {
    /// What acts: at no point looser than what was accepted, nor than what is wanted.
    pub(super) acts: Option<Asks>,
    /// What is accepted from now on: what is wanted, but for what is looser.
    pub(super) agreed: Option<Asks>,
}

/// Judges `wanted` where this was accepted.
pub(super) fn judge(accepted: Option<&Asks>, wanted: Option<&Asks>, looser: &mut Vec<String>) -> Judged {
    let all = |asks: &Asks| Judged { acts: Some(asks.clone()), agreed: Some(asks.clone()) };
    let Some(accepted) = accepted else { return Judged { acts: wanted.cloned(), agreed: wanted.cloned() } };
    let Some(wanted) = wanted else {
        looser.push("no `approval`".to_owned());
        return all(accepted);
    };
    let when = when(&accepted.when, &wanted.when);
    let (scope_label, author_label) = (scope(accepted, wanted), accepted.author_label.clone());
    let acts = Asks {
        gates: accepted.gates.union(&wanted.gates).copied().collect(),
        grants: grants(accepted, wanted),
        when,
        rules: accepted.rules.intersection(&wanted.rules).cloned().collect(),
        reopen_on: accepted.reopen_on.intersection(&wanted.reopen_on).cloned().collect(),
        scope_label,
        author_label,
        levels: levels(&accepted.levels, &wanted.levels),
        reopen_by: None,
    };
    let acts = Asks { reopen_by: reopeners(accepted, wanted, &acts.levels), ..acts };
    let agreed = agreed(accepted, wanted, &acts, looser);
    Judged { acts: Some(acts), agreed: Some(agreed) }
}

/// What is accepted from now on, and what is looser than that.
fn agreed(accepted: &Asks, wanted: &Asks, acts: &Asks, looser: &mut Vec<String>) -> Asks {
    fn part<T: Clone + PartialEq>(what: &str, [was, is, acts]: [&T; 3], looser: &mut Vec<String>) -> T {
        if acts == is {
            return is.clone();
        }
        looser.push(format!("another `approval.{what}`"));
        was.clone()
    }
    let held = |levels: &[Level]| levels != wanted.levels;
    Asks {
        gates: part("gates", [&accepted.gates, &wanted.gates, &acts.gates], looser),
        grants: part("grants", [&accepted.grants, &wanted.grants, &acts.grants], looser),
        when: part("when", [&accepted.when, &wanted.when, &acts.when], looser),
        rules: part("rules", [&accepted.rules, &wanted.rules, &acts.rules], looser),
        reopen_on: part("reopenOn", [&accepted.reopen_on, &wanted.reopen_on, &acts.reopen_on], looser),
        scope_label: part("scopeLabel", [&accepted.scope_label, &wanted.scope_label, &acts.scope_label], looser),
        author_label: part("authorLabel", [&accepted.author_label, &wanted.author_label, &acts.author_label], looser),
        levels: part("levels", [&accepted.levels, &wanted.levels, &acts.levels], looser),
        reopen_by: match &acts.reopen_by {
            _ if held(&acts.levels) => accepted.reopen_by.clone(),
            limited if *limited == wanted.reopen_by => limited.clone(),
            limited => {
                looser.push("others who may reopen, by another `approval.levels`".to_owned());
                limited.clone()
            }
        },
    }
}

/// Who may reopen what was refused: an added level asks more of an acceptance, and lets its people undo what others
/// refused. `None`: whoever has a say at the levels that act.
fn reopeners(accepted: &Asks, wanted: &Asks, levels: &[Level]) -> Option<BTreeSet<Party>> {
    let both = parties(&accepted.reopeners(), &wanted.reopeners());
    (both != Asks::with_a_say(levels)).then_some(both)
}

/// Whoever is asked about by one of them is asked about.
fn when(accepted: &BTreeSet<String>, wanted: &BTreeSet<String>) -> BTreeSet<String> {
    if accepted.is_empty() || wanted.is_empty() {
        return BTreeSet::new();
    }
    accepted.union(wanted).cloned().collect()
}

fn grants(accepted: &Asks, wanted: &Asks) -> GatedGrants {
    match (&accepted.grants, &wanted.grants) {
        (_, grants) if !accepted.gates.contains(&Gate::Grant) => grants.clone(),
        (GatedGrants::All, _) | (_, GatedGrants::All) => GatedGrants::All,
        (
            GatedGrants::Only { entitlements, privileged },
            GatedGrants::Only { entitlements: others, privileged: other },
        ) => GatedGrants::Only {
            entitlements: entitlements.union(others).cloned().collect(),
            privileged: *privileged || *other,
        },
    }
}

/// Rights that name a label are fewer than all of them.
fn scope(accepted: &Asks, wanted: &Asks) -> Option<String> {
    accepted.scope_label.clone().or_else(|| wanted.scope_label.clone())
}

fn levels(accepted: &[Level], wanted: &[Level]) -> Vec<Level> {
    let at = |index: usize| match (accepted.get(index), wanted.get(index)) {
        (Some(accepted), Some(wanted)) => Some(level(accepted, wanted)),
        (one, other) => one.or(other).cloned(),
    };
    (0..accepted.len().max(wanted.len())).filter_map(at).collect()
}

fn level(accepted: &Level, wanted: &Level) -> Level {
    let any_of = parties(&accepted.any_of, &wanted.any_of);
    let escalate = match (&accepted.escalate, &wanted.escalate) {
        (Some(before), Some(now)) => {
            let to: BTreeSet<_> = before.to.intersection(&now.to).cloned().collect();
            (!to.is_empty()).then(|| Escalation { after: before.after.max(now.after), to })
        }
        (None, Some(_)) | (_, None) => None,
    };
    Level { any_of, quorum: accepted.quorum.max(wanted.quorum), escalate }
}

/// Those whom both let decide; where there is nobody, nobody decides until a person says who. Who has the right in a
/// group is one of those who have it anywhere; a person who is named needs none.
fn parties(accepted: &BTreeSet<Party>, wanted: &BTreeSet<Party>) -> BTreeSet<Party> {
    let groups = |parties: &BTreeSet<Party>| {
        parties.iter().filter(|party| matches!(party, Party::Group(_))).cloned().collect::<BTreeSet<_>>()
    };
    let both = match (accepted.is_empty(), wanted.is_empty()) {
        (true, true) => return BTreeSet::new(),
        (true, false) => groups(wanted),
        (false, true) => groups(accepted),
        (false, false) => accepted.intersection(wanted).cloned().collect(),
    };
    if both.is_empty() { BTreeSet::from([Party::nobody()]) } else { both }
}

/// The block of a document as it acts while nobody released the rest.
pub fn acting(wanted: Option<&Approval>, target: &Origin, acts: Option<&Asks>) -> Option<Approval> {
    let acts = acts?;
    let asks = wanted.map(Asks::from);
    if asks.as_ref() == Some(acts) {
        return wanted.cloned();
    }
    let wanted = wanted.cloned().unwrap_or_else(|| Approval { origin: target.clone(), ..Approval::ungated() });
    // Joined in one expression, what one of them reads could decide about the other.
    let own = wanted.when.clone().filter(|when| acts.when.contains(&when.condition));
    let others = acts.when.iter().filter(|condition| own.as_ref().is_none_or(|own| own.condition != **condition));
    let others = others.map(|condition| When { condition: condition.clone(), origin: wanted.origin.clone() });
    let others: Vec<_> = others.collect();
    let mut conditions = own.into_iter().chain(others);
    let (when, accepted_when) = (conditions.next(), conditions.collect());
    let holds = |name: &String, condition: &String| acts.rules.contains(&(name.clone(), condition.clone()));
    let rules = wanted.rules.iter().filter(|rule| holds(&rule.name, &rule.when.condition)).cloned().collect();
    let Asks { gates, grants, when: _, rules: _, reopen_on, scope_label, author_label, levels, reopen_by } =
        acts.clone();
    let limited = Approval { scope_label, author_label, levels, reopen_by, ..wanted };
    Some(Approval { gates, grants, when, accepted_when, rules, reopen_on, ..limited })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::approval::AcceptRule;

    fn level_of(parties: &[&str], quorum: usize) -> Level {
        let any_of = parties.iter().map(|word| Party::parse(word).unwrap()).collect();
        Level { any_of, quorum, escalate: None }
    }

    fn asks(levels: &[Level]) -> Asks {
        Asks::from(&Approval { gates: Gate::ALL.into(), levels: levels.to_vec(), ..Approval::ungated() })
    }

    fn judged(accepted: &Asks, wanted: &Asks) -> (Asks, Vec<String>) {
        let mut looser = Vec::new();
        let Judged { acts, agreed } = judge(Some(accepted), Some(wanted), &mut looser);
        let (acts, agreed) = (acts.unwrap(), agreed.unwrap());
        let mut again = Vec::new();
        let stays = judge(Some(&agreed), Some(wanted), &mut again);
        assert_eq!((stays.acts.as_ref(), stays.agreed.as_ref()), (Some(&acts), Some(&agreed)), "and it stays so");
        assert_eq!(again, looser);
        assert_eq!(judge(Some(accepted), Some(&acts), &mut Vec::new()).acts.as_ref(), Some(&acts));
        // Whoever takes back what waits is where they were, but for what got stricter beside it.
        let mut back = Vec::new();
        if judge(Some(&agreed), Some(accepted), &mut back).acts.as_ref() != Some(accepted) {
            assert_ne!(agreed, *accepted, "{back:?}");
        }
        (acts, looser)
    }

    #[test]
    fn others_or_fewer_who_decide_are_looser_and_whoever_is_taken_out_decides_no_more() {
        let late = |level: Level, hours: u64| {
            let to = [Party::Group("heads".to_owned())].into();
            Level { escalate: Some(Escalation { after: Duration::from_hours(hours), to }), ..level }
        };
        let desk = || level_of(&["group:desk", "person:ann"], 2);
        for (accepted, wanted, acts) in [
            (desk(), level_of(&["group:desk", "person:ann", "person:bob"], 2), Some(desk())),
            (desk(), level_of(&["group:desk"], 1), Some(level_of(&["group:desk"], 2))),
            (desk(), level_of(&["group:desk", "person:bob"], 2), Some(level_of(&["group:desk"], 2))),
            (desk(), level_of(&["person:bob"], 2), Some(Level { any_of: [Party::nobody()].into(), ..desk() })),
            (desk(), level_of(&[], 2), Some(level_of(&["group:desk"], 2))),
            (
                level_of(&[], 1),
                level_of(&["person:bob"], 1),
                Some(Level { any_of: [Party::nobody()].into(), ..Level::anybody() }),
            ),
            (desk(), late(desk(), 8), Some(desk())),
            (late(desk(), 8), late(desk(), 4), Some(late(desk(), 8))),
            // Fewer who decide, more who must, and later for others.
            (desk(), level_of(&["person:ann"], 2), None),
            (desk(), level_of(&["group:desk", "person:ann"], 3), None),
            (level_of(&[], 1), level_of(&["group:desk"], 1), None),
            (late(desk(), 8), late(desk(), 9), None),
            (late(desk(), 8), desk(), None),
        ] {
            let (accepted, wanted) = (asks(&[accepted]), asks(&[wanted]));
            let (found, looser) = judged(&accepted, &wanted);
            let expected = acts.as_ref().map_or_else(|| wanted.clone(), |acts| asks(std::slice::from_ref(acts)));
            assert_eq!(found, expected, "{accepted:?} {wanted:?}");
            assert_eq!(looser, if acts.is_some() { vec!["another `approval.levels`"] } else { Vec::new() });
        }
        let two = asks(&[desk(), level_of(&["group:chiefs"], 1)]);
        // Who is taken out reopens nothing from then on.
        let fewer = Asks { reopen_by: Some(desk().any_of), ..two.clone() };
        assert_eq!(judged(&two, &asks(&[desk()])), (fewer, vec!["another `approval.levels`".to_owned()]));
        // Whom an added level names is asked at once, and undoes no refusal before a person says so.
        let (acts, looser) = judged(&asks(&[desk()]), &two);
        assert_eq!((&acts.levels, &acts.reopen_by), (&two.levels, &Some(desk().any_of)));
        assert_eq!(looser, ["others who may reopen, by another `approval.levels`"]);
        let same = asks(&[desk(), level_of(&["group:desk"], 1)]);
        assert_eq!(judged(&asks(&[desk()]), &same), (same, Vec::new()));
    }

    #[test]
    fn asking_about_less_is_looser_and_asking_about_more_acts_at_once() {
        let all = asks(&[level_of(&[], 1)]);
        let some = |words: &[&str]| GatedGrants::Only {
            entitlements: words.iter().map(|word| (*word).into()).collect(),
            privileged: true,
        };
        let of =
            |conditions: &[&str]| Asks { when: conditions.iter().map(|it| (*it).to_owned()).collect(), ..all.clone() };
        let by_rule = Asks { rules: [("staff".to_owned(), "true".to_owned())].into(), ..all.clone() };
        let reopened = Asks { reopen_on: ["userType".to_owned()].into(), ..all.clone() };
        let labelled = Asks { scope_label: Some("folder".to_owned()), ..all.clone() };
        for (accepted, wanted, acts, looser) in [
            (&all, &Asks { gates: [Gate::Create].into(), ..all.clone() }, &all, Some("gates")),
            (&all, &Asks { grants: some(&["admin"]), ..all.clone() }, &all, Some("grants")),
            (&all, &of(&["a"]), &all, Some("when")),
            (&of(&["a"]), &of(&["b"]), &of(&["a", "b"]), Some("when")),
            (&of(&["a"]), &all, &all, None),
            (&all, &by_rule, &all, Some("rules")),
            (&by_rule, &all, &all, None),
            (&all, &reopened, &all, Some("reopenOn")),
            (&reopened, &all, &all, None),
            (&all, &labelled, &labelled, None),
            (&labelled, &all, &labelled, Some("scopeLabel")),
            (&all, &Asks { author_label: None, ..all.clone() }, &all, Some("authorLabel")),
        ] {
            let (found, words) = judged(accepted, wanted);
            assert_eq!(&found, acts, "{accepted:?} {wanted:?}");
            assert_eq!(words, looser.map(|what| format!("another `approval.{what}`")).into_iter().collect::<Vec<_>>());
        }
        let mut looser = Vec::new();
        assert_eq!(judge(Some(&all), None, &mut looser).acts, Some(all.clone()));
        assert_eq!(looser, ["no `approval`"]);
        assert_eq!(judge(None, Some(&by_rule), &mut looser).acts, Some(by_rule), "the first word stands as written");
        assert_eq!(looser.len(), 1);
    }

    #[test]
    fn what_is_taken_back_before_anybody_released_it_falls_away() {
        let desk = || level_of(&["group:desk"], 1);
        let when = |text: &str| Asks { when: [text.to_owned()].into(), ..asks(&[desk()]) };
        let ruled = |name: &str| Asks { rules: [(name.to_owned(), "true".to_owned())].into(), ..asks(&[desk()]) };
        for (accepted, wanted) in [
            (asks(&[desk()]), asks(&[level_of(&["person:bob"], 1)])),
            (asks(&[desk(), desk()]), asks(&[level_of(&["person:bob"], 1), desk()])),
            (asks(&[level_of(&[], 1)]), asks(&[level_of(&["person:bob"], 1)])),
            (when("a"), when("b")),
            (ruled("a"), ruled("b")),
        ] {
            let mut looser = Vec::new();
            let Judged { acts, agreed } = judge(Some(&accepted), Some(&wanted), &mut looser);
            assert_ne!(acts.as_ref(), Some(&wanted));
            let back = judge(agreed.as_ref(), Some(&accepted), &mut Vec::new());
            assert_eq!((back.acts.as_ref(), back.agreed.as_ref()), (Some(&accepted), Some(&accepted)), "{looser:?}");
        }
    }

    #[test]
    fn conditions_that_act_together_ask_about_whomever_one_of_them_means() {
        let when = |text: &str| When { condition: text.to_owned(), origin: Approval::ungated().origin };
        let rule = AcceptRule { name: "staff".to_owned(), when: when("true") };
        let approval = Approval { when: Some(when("user.userType == 'b'")), rules: vec![rule], ..Approval::ungated() };
        let acts = Asks {
            when: ["user.userType == 'a'", "user.userType == 'b'"].map(str::to_owned).into(),
            rules: BTreeSet::new(),
            ..Asks::from(&approval)
        };
        let (wanted, origin) = (Some(&approval), &approval.origin);
        let found = acting(wanted, origin, Some(&acts)).unwrap();
        assert_eq!(found.when.as_ref(), approval.when.as_ref());
        assert_eq!(
            found.accepted_when.iter().map(|when| when.condition.as_str()).collect::<Vec<_>>(),
            ["user.userType == 'a'"]
        );
        assert_eq!(Asks::from(&found).when, acts.when);
        assert_eq!(found.rules, []);
        assert_eq!(acting(wanted, origin, Some(&Asks::from(&approval))).as_ref(), wanted);
        assert_eq!(acting(wanted, origin, None), None);
        let kept = acting(None, origin, Some(&Asks::from(&approval))).unwrap();
        assert_eq!(kept.levels, approval.levels, "who took the block out is asked all the same");
    }
}
