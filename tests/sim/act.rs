//! What steps do to the world.

use rosterd::model::account::AccountState;
use rosterd::model::ids::AccountId;
use rosterd::model::path::AttributePath;

use crate::case::Death;
use crate::case::Deed;
use crate::case::Step;
use crate::case::record;
use crate::declared::Declared;
use crate::declared::Gift;
use crate::declared::Person;
use crate::declared::Second;
use crate::declared::membership;
use crate::drive::AT_REST;
use crate::judges::facts::second;
use crate::target::text;
use crate::target::values;
use crate::world::Event;
use crate::world::Inner;
use crate::world::World;

/// The record id that a number picks.
fn pick(declared: &Declared, who: u64) -> Option<String> {
    let count = declared.people.len() as u64;
    if count == 0 {
        return None;
    }
    declared.people.keys().nth(usize::try_from(who % count).unwrap()).cloned()
}

pub(crate) fn person(world: &World, who: u64) -> Option<String> {
    pick(&world.open().declared, who)
}

/// An account that has the user name that a user wants.
pub(crate) fn namesake(world: &World, target: usize, record: &str) -> Option<AccountId> {
    let inner = world.open();
    let name = inner.declared.name(record)?;
    let same = |account: &&rosterd::model::account::Account| account.user_name() == Some(name);
    inner.targets[target].accounts().find(same).map(|account| account.id.clone())
}

/// Does what a step says to anything but the engine. `false`: the step is about the engine.
pub(crate) fn upon_the_world(world: &World, step: &Step) -> bool {
    let mut inner = world.open();
    let now = second(inner.now());
    if edit(&mut inner.declared, step, now) {
        drop(inner);
        world.publish();
        return true;
    }
    let targets = inner.targets.len();
    match step {
        Step::SourceFails => inner.source_fails = true,
        Step::SourceMends => {
            inner.source_fails = false;
            inner.declared.unreadable.clear();
        }
        Step::Fault { target, fault, count } => {
            let faults = &mut inner.targets[target % targets].faults;
            faults.extend((0..*count).map(|_| fault.clone()));
            inner.note(Event::Turned { target: Some(target % targets), rough: true });
        }
        Step::Weather { target, weather } => {
            inner.targets[target % targets].weather.push(weather.clone());
            inner.note(Event::Turned { target: Some(target % targets), rough: true });
        }
        Step::Calm(target) => calm(&mut inner, target % targets),
        Step::Hand { target, who, deed } => hand(&mut inner, target % targets, *who, *deed),
        Step::Store(keeping, count) => {
            inner.keeping = Some((*keeping, *count));
            inner.note(Event::Turned { target: None, rough: true });
        }
        Step::StoreFull(seconds) => {
            inner.full_until = inner.now() + seconds * 1_000;
            inner.note(Event::Turned { target: None, rough: true });
        }
        Step::StoreBlind(seconds) => {
            inner.blind_until = inner.now() + seconds * 1_000;
            inner.note(Event::Turned { target: None, rough: true });
        }
        Step::Death(death) => inner.death = (*death != Death::Now).then_some(*death),
        Step::Clock(seconds) => {
            drop(inner);
            world.step_clock(*seconds);
            return true;
        }
        _ => return false,
    }
    drop(inner);
    if matches!(step, Step::SourceFails | Step::SourceMends) {
        world.publish();
    }
    true
}

fn calm(inner: &mut Inner, target: usize) {
    inner.targets[target].weather.clear();
    inner.targets[target].faults.clear();
    inner.note(Event::Turned { target: Some(target), rough: false });
}

/// Nothing goes wrong any more.
pub(crate) fn calm_everything(world: &World) {
    let mut inner = world.open();
    for target in 0..inner.targets.len() {
        calm(&mut inner, target);
    }
    (inner.source_fails, inner.full_until, inner.blind_until) = (false, 0, 0);
    (inner.keeping, inner.death) = (None, None);
    inner.note(Event::Turned { target: None, rough: false });
    inner.declared.unreadable.clear();
    for paper in &mut inner.declared.papers {
        paper.mode = AT_REST;
    }
    inner.note(Event::Step("everything is put right".to_owned()));
    drop(inner);
    world.right_clock();
    world.publish();
}

/// Changes documents. `false`: the step is about something else.
fn edit(declared: &mut Declared, step: &Step, now: Second) -> bool {
    match step {
        Step::Given(who) => change(declared, *who, |person| person.given += 1),
        Step::Off(who) => change(declared, *who, |person| person.active = false),
        Step::On(who) => change(declared, *who, |person| {
            person.active = true;
            person.until = None;
            person.roles.insert(0, None);
        }),
        Step::Leave(who) => {
            if let Some(record) = pick(declared, *who) {
                declared.people.remove(&record);
            }
        }
        Step::Join(number) => join(declared, *number),
        Step::Role { who, role } => change(declared, *who, |person| {
            person.roles.insert(*role, None);
        }),
        Step::Unrole { who, role } => change(declared, *who, |person| {
            person.roles.remove(role);
        }),
        Step::Until { who, seconds } => change(declared, *who, |person| person.until = Some(now + seconds)),
        Step::RoleUntil { who, role, seconds } => {
            change(declared, *who, |person| {
                person.roles.insert(*role, Some(now + seconds));
            });
        }
        Step::Rename { who, declared: told } => rename(declared, *who, *told),
        Step::Mail { who } => change(declared, *who, |person| person.mail = format!("n{}", person.mail)),
        Step::MailOf { who, other } => {
            let mail = pick(declared, *other).and_then(|other| declared.name(&other).map(str::to_owned));
            if let Some(mail) = mail {
                change(declared, *who, |person| person.mail = mail);
            }
        }
        Step::Gift { role, target, word } => gift(declared, *role, *target, *word),
        Step::ManyOff { from, count } => {
            for who in *from..from + count {
                change(declared, who, |person| person.active = false);
            }
        }
        Step::ManyLeave { from, count } => {
            for _ in 0..*count {
                if let Some(record) = pick(declared, *from) {
                    declared.people.remove(&record);
                }
            }
        }
        Step::Mode { target, mode } => {
            let count = declared.papers.len();
            declared.papers[target % count].mode = *mode;
        }
        Step::Limit { target, inferred, explicit } => {
            let count = declared.papers.len();
            let paper = &mut declared.papers[target % count];
            (paper.inferred, paper.explicit) = (*inferred, *explicit);
        }
        Step::Breaks(who) => {
            if let Some(record) = pick(declared, *who) {
                declared.unreadable.insert(record);
            }
        }
        _ => return false,
    }
    true
}

fn change(declared: &mut Declared, who: u64, how: impl FnOnce(&mut Person)) {
    if let Some(record) = pick(declared, who)
        && let Some(person) = declared.people.get_mut(&record)
    {
        how(person);
    }
}

fn join(declared: &mut Declared, number: u64) {
    let id = record(1_000 + number);
    let newcomer = Person {
        mail: format!("{id}@acme.example"),
        given: 0,
        family: format!("Family {number}"),
        active: true,
        from: None,
        until: None,
        roles: [(0, None)].into(),
        formerly: Vec::new(),
    };
    declared.people.entry(id).or_insert(newcomer);
}

fn rename(declared: &mut Declared, who: u64, told: bool) {
    let Some(old) = pick(declared, who) else { return };
    let new = format!("{old}r");
    if declared.people.contains_key(&new) {
        return;
    }
    if let Some(mut person) = declared.people.remove(&old) {
        if told {
            person.formerly.push(old);
        } else {
            person.formerly.clear();
        }
        declared.people.insert(new, person);
    }
}

fn gift(declared: &mut Declared, role: usize, target: usize, word: Option<usize>) {
    let target = target % declared.papers.len();
    let Some(gifts) = declared.roles.get_mut(role) else { return };
    let at = gifts.iter().position(|gift| gift.target == target);
    match (at, word) {
        (None, _) => gifts.push(Gift { target, words: word.into_iter().collect() }),
        (Some(at), None) => drop(gifts.remove(at)),
        (Some(at), Some(word)) => {
            if !gifts[at].words.remove(&word) {
                gifts[at].words.insert(word);
            }
        }
    }
}

fn hand(inner: &mut Inner, target: usize, who: u64, deed: Deed) {
    inner.catch_up();
    let now = inner.now();
    if matches!(deed, Deed::Squat | Deed::Forge) {
        let Some(record) = pick(&inner.declared, who) else { return };
        let mail = inner.declared.name(&record).unwrap_or_default().to_owned();
        let (name, mark) = match deed {
            Deed::Squat => (mail, None),
            _ => (format!("forged-{who}@else.example"), Some(record.as_str())),
        };
        let held = &mut inner.targets[target];
        let taken = held.accounts().any(|account| {
            account.user_name() == Some(name.as_str()) || mark.is_some() && account.external_id() == mark
        });
        if taken {
            return;
        }
        let id = held.insert(now, values(&name, mark), std::collections::BTreeSet::new());
        let after = held.get(&id).cloned();
        inner.note(Event::Hand { target, account: id, what: "makes", after });
        return;
    }
    let held = &mut inner.targets[target];
    let count = held.accounts().count() as u64;
    let Some(mut account) = held.accounts().nth(usize::try_from(who.checked_rem(count).unwrap_or(0)).unwrap()).cloned()
    else {
        return;
    };
    let id = account.id.clone();
    let what = match deed {
        Deed::Disable if account.state == AccountState::Active => {
            account.state = AccountState::Disabled;
            "disables"
        }
        Deed::Delete => "deletes",
        Deed::Edit => {
            let given = AttributePath::parse("name.givenName").unwrap();
            let edited = format!("{} edited", text(&account.values, &given));
            account.values.insert(given, edited.into());
            "edits"
        }
        Deed::Title => {
            account.values.insert(AttributePath::parse("title").unwrap(), format!("title {who}").into());
            "titles"
        }
        Deed::Join(word) => {
            account.memberships.insert(membership(word));
            "adds a membership to"
        }
        Deed::Leave(word) => {
            account.memberships.remove(&membership(word));
            "takes a membership from"
        }
        Deed::Disable | Deed::Squat | Deed::Forge => return,
    };
    let after = (what != "deletes").then_some(account);
    held.put(now, id.clone(), after.clone());
    inner.note(Event::Hand { target, account: id, what, after });
}
