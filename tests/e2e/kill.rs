//! `kill -9` again and again, at any moment or in the middle of a call: nobody is there twice, nobody is
//! lost, nobody who left is in, and the audit log is whole.
//!
//! `ROSTERD_KILLS` is how often (30 by default, over all kinds of servers), `ROSTERD_SEED` replays
//! what is edited and how long each kill waits; when a call is under way is the machine's own.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rosterd::secrets::keys::Keys;
use rosterd::store::Store as _;
use rosterd::stores::sqlite::SqliteStore;
use serde_json::Value;
use serde_json::json;
use tempfile::TempDir;

use crate::cable::Cable;
use crate::chance::Chance;
use crate::chance::asked;
use crate::chance::say;
use crate::daemon::Daemon;
use crate::daemon::LIMIT;
use crate::servers::Knobs;
use crate::servers::Scim2Features;
use crate::servers::Server;
use crate::world::DONE;
use crate::world::ERROR;
use crate::world::Kind;
use crate::world::Person;
use crate::world::TARGET;
use crate::world::World;
use crate::world::id;

/// Who is declared at the start, and at most.
const PEOPLE: usize = 120;
const MOST_PEOPLE: usize = 300;

/// Accounts that are nobody's.
const STRANGERS: usize = 5;

/// After so many kills everything is given time, and looked at.
const LOOK_EVERY: u64 = 25;

/// How long the target takes at least, so that there is a middle of a call.
const LATENCY: Duration = Duration::from_millis(80);

/// How long a kill waits for the call in whose middle it is to come: edits may have cancelled each
/// other out, and then there is none.
const CALL_WITHIN: Duration = Duration::from_secs(30);

/// One person, whether their document is there, and what of them is edited: the family name, or the
/// mail. Both at once would be another person under an old record id, and between two kills any
/// number of edits come at once.
struct Declared {
    person: Person,
    there: bool,
    marries: bool,
}

impl Declared {
    fn is_in(&self) -> bool {
        self.there && self.person.active
    }
}

/// What the manifests say by now.
struct Company {
    world: World,
    cable: Cable,
    people: BTreeMap<String, Declared>,
    /// How often anything was edited: no mail and no name is used twice.
    edits: u64,
    staff: String,
    strangers: BTreeMap<String, Value>,
    chance: Chance,
}

impl Company {
    /// Everybody has an account, and rosterd is known to the target.
    async fn new(server: Server, kind: Kind, seed: u64) -> Self {
        let cable = Cable::to(server.port(), LATENCY).await;
        let world = World::around(server.behind(&cable), kind);
        // What a lost call left behind is looked for soon; and no limit is what holds anybody up.
        let limit = call_limit(world.kind);
        world.target(|spec| unlimited(spec, limit, None));
        world.settings(|settings| settings["maxShrink"] = json!(100));
        world.user(&Person::named("first"));
        assert_eq!(world.apply().await, json!({ "create": 1 }));
        let guest = world.stranger(&json!({ "userName": "guest" })).await;
        let staff = world.group("Staff", &[&guest]).await;
        world.target(|spec| unlimited(spec, limit, Some(&staff)));
        world.role("chair", &["staff"]);
        let mut strangers = BTreeMap::new();
        for number in 0..STRANGERS {
            let made = world.stranger(&json!({ "userName": format!("svc-{number}"), "title": "Guest" })).await;
            strangers.insert(made.clone(), seen(&world, &made).await);
        }
        let chance = Chance::of(seed);
        let mut company = Self { world, cable, people: BTreeMap::new(), edits: 0, staff, strangers, chance };
        for _ in 0..PEOPLE {
            company.joins();
        }
        company
    }

    fn joins(&mut self) {
        self.edits += 1;
        let person = Person::named(&format!("p{}", self.edits));
        self.world.user(&person);
        let marries = self.edits.is_multiple_of(2);
        self.people.insert(person.record.clone(), Declared { person, there: true, marries });
    }

    /// One edit of the manifests.
    fn edits(&mut self) {
        let outside = self.people.values().filter(|declared| !declared.is_in()).count();
        if self.people.len() < MOST_PEOPLE && self.chance.below(5) == 0 {
            return self.joins();
        }
        self.edits += 1;
        let number = self.chance.below(self.people.len() as u64);
        let Some(declared) = self.people.values_mut().nth(usize::try_from(number).expect("small")) else { return };
        let kind = if declared.is_in() { self.chance.below(6) } else { 6 };
        let leaves = outside * 8 < MOST_PEOPLE;
        let Declared { person, there, marries } = declared;
        match kind {
            0 | 1 if *marries => person.family = format!("Ames-{}", self.edits),
            0 | 1 => person.email = format!("{}-{}@x.example", person.given, self.edits),
            2 | 3 if person.roles == ["chair"] => person.roles = vec!["agent".to_owned()],
            2 | 3 => person.roles = vec!["chair".to_owned()],
            4 if leaves => person.active = false,
            5 if leaves => *there = false,
            6 => (*there, person.active) = (true, true),
            _ => {}
        }
        if declared.there {
            self.world.user(&declared.person);
        } else {
            fs::remove_file(self.world.folder.path().join(format!("m/{}.json", declared.person.record)))
                .expect("it was there");
        }
    }

    /// Starts the program, edits while it works, and ends it without a word; whether a call was waited for
    /// and came.
    async fn is_killed_once(&mut self) -> bool {
        // Mostly the daemon; sometimes a pipeline, which ends by itself.
        let pipeline = self.chance.below(6) == 0;
        let arguments: &[&str] = if pipeline { &["apply", "--yes"] } else { &["run"] };
        let mut command = self.world.command(arguments);
        let log = fs::OpenOptions::new().create(true).append(true).open(self.world.folder.path().join("log"));
        let log = log.expect("a log");
        command.stdout(log.try_clone().expect("a log")).stderr(log);
        let mut process = command.spawn().expect("it runs");
        for _ in 0..2 {
            tokio::time::sleep(self.chance.up_to(Duration::from_millis(500))).await;
            for _ in 0..self.chance.below(8) {
                self.edits();
            }
        }
        // At any moment, mostly too soon for what the last kill left behind to be resolved; or in the
        // middle of a call.
        let (longest, meets_a_call) = match self.chance.below(4) {
            0 => (Duration::from_secs(4), false),
            1 => (Duration::from_millis(1_500), false),
            _ => (LATENCY, true),
        };
        let moment = self.chance.up_to(longest);
        let mut heard = false;
        if meets_a_call {
            tokio::select! {
                () = self.cable.hears_a_change() => heard = true,
                _ = process.wait() => {}
                () = tokio::time::sleep(CALL_WITHIN) => {}
            }
        }
        tokio::time::sleep(moment).await;
        match process.try_wait().expect("a process") {
            None => process.kill().await.expect("it is killed"),
            Some(ended) => assert!(pipeline, "the daemon ended by itself: {ended}"),
        }
        heard
    }

    /// Whether nobody is missing, doubled, wrongly in or wrongly named; otherwise what is wrong.
    async fn wrong(&self) -> Vec<String> {
        let mut accounts: BTreeMap<String, Vec<Value>> = BTreeMap::new();
        for account in self.world.accounts().await {
            let mark = account["externalId"].as_str().unwrap_or_default().to_owned();
            accounts.entry(mark).or_default().push(account);
        }
        let members = self.world.members(&self.staff).await;
        let mut wrong = Vec::new();
        for (record, declared) in &self.people {
            let found = accounts.remove(record).unwrap_or_default();
            if let Some(word) = misfit(declared, &found, &members) {
                wrong.push(format!("{record} {word}: {found:?}"));
            }
        }
        accounts.remove("");
        accounts.remove("u-first");
        wrong.extend(accounts.keys().map(|mark| format!("nobody is {mark}")));
        for (id, before) in &self.strangers {
            if seen(&self.world, id).await != *before {
                wrong.push(format!("the stranger {id} was touched"));
            }
        }
        wrong
    }

    /// A person says that those come back of whom nobody knows whose doing their removal was: a kill
    /// took the answer, and only that is asked for.
    async fn gives_back(&self, daemon: &Daemon) {
        let status = daemon.target(TARGET).await;
        let asked = |record: &str| status["conflicts"][record].as_str().is_some_and(|it| it.contains("rosterd regain"));
        for record in self.people.keys().filter(|record| asked(record)) {
            let said = self.world.rosterd(&["regain", record, "--target", TARGET, "--server", &daemon.url]).await;
            // Left alone it may have come back, or gone again, in this very moment.
            assert!([DONE, ERROR].contains(&said.code), "{said:?}");
        }
    }

    /// Left in peace the program comes to an end of its work, and everything is right.
    async fn is_looked_at(&self) {
        let daemon = Daemon::of(&self.world).await;
        let converged = tokio::time::timeout(LIMIT, async {
            while !self.wrong().await.is_empty() {
                self.gives_back(&daemon).await;
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
        });
        if converged.await.is_err() {
            let status = daemon.target(TARGET).await;
            panic!("{:#?}\n{status:#}", self.wrong().await);
        }
        daemon.is_through(TARGET).await;
        let verdict = self.world.rosterd(&["audit", "verify", "--server", &daemon.url]).await;
        verdict.ends(DONE);
        daemon.ends().await;
        self.world.rosterd(&["audit", "verify"]).await.ends(DONE);
        self.world.is_settled().await;
        assert_eq!(self.wrong().await, [] as [String; 0]);
        assert_eq!(open_intents(&self.world.folder.path().join("state")).await, 0);
        self.world.forget_requests().await;
    }
}

/// Short, since what a kill left behind is asked for after it; and long enough for everybody in one list, which
/// takes Python seconds on a busy machine.
fn call_limit(kind: Kind) -> &'static str {
    if kind == Kind::Scim2 { "10s" } else { "2s" }
}

fn unlimited(spec: &mut Value, call_limit: &str, staff: Option<&str>) {
    spec["connector"]["scim"] = json!({ "callLimit": call_limit });
    spec["limits"] = json!({ "narrow": { "explicit": [], "inferred": [] }, "widen": [], "update": [] });
    if let Some(staff) = staff {
        spec["entitlements"] = json!({ "staff": { "group": { "id": staff } } });
    }
}

/// What does not fit between a person and the accounts under their mark.
fn misfit(declared: &Declared, found: &[Value], members: &[String]) -> Option<String> {
    let Person { given: _, family, email, roles, .. } = &declared.person;
    let account = match found {
        [] if declared.is_in() => return Some("has no account".to_owned()),
        [] => return None,
        [account] => account,
        _ => return Some("is there twice".to_owned()),
    };
    if !declared.is_in() {
        return (account["active"] != json!(false)).then(|| "left and is in".to_owned());
    }
    if account["active"] != json!(true) {
        return Some("is kept out".to_owned());
    }
    if (&account["userName"], &account["name"]["familyName"]) != (&json!(email), &json!(family)) {
        return Some(format!("is not {email} {family}"));
    }
    let chairs = roles.iter().any(|role| role == "chair");
    (members.contains(&id(account)) != chairs).then(|| format!("chairs: {chairs}, and the group says otherwise"))
}

/// An account without what moves by itself.
async fn seen(world: &World, id: &str) -> Value {
    let (status, mut account) = world.server.call("GET", &format!("/Users/{id}"), None).await;
    assert_eq!(status, 200, "{account}");
    if let Some(account) = account.as_object_mut() {
        account.remove("groups");
    }
    account
}

/// How many calls have no outcome, as a copy of the store tells: the store itself is left as the
/// kill left it.
async fn open_intents(state: &Path) -> usize {
    let copy = TempDir::new().expect("a folder");
    for entry in fs::read_dir(state).expect("a folder") {
        let entry = entry.expect("an entry");
        fs::copy(entry.path(), copy.path().join(entry.file_name())).expect("copied");
    }
    let keys = Keys::load(&copy.path().join("rosterd.keys")).expect("keys");
    let store = SqliteStore::open(copy.path().join("rosterd.db"), Arc::new(keys), "test").await.expect("a store");
    let mut open = 0;
    for space in store.spaces(&TARGET.into()).await.expect("spaces") {
        open += store.open_intents(&space).await.expect("intents").len();
    }
    open
}

/// A share of the kills that are asked for.
fn kills(tenths: u64) -> u64 {
    let all = asked("ROSTERD_KILLS").unwrap_or(30);
    (all * tenths).div_ceil(10)
}

async fn survives(server: Server, kind: Kind, kills: u64) {
    let seed = Chance::seed();
    say(&format!("ROSTERD_SEED={seed} ROSTERD_KILLS={kills}"));
    let mut company = Company::new(server, kind, seed).await;
    let (mut in_flight, mut heard) = (0, 0);
    for kill in 1..=kills {
        heard += u64::from(company.is_killed_once().await);
        in_flight += u64::from(open_intents(&company.world.folder.path().join("state")).await > 0);
        if kill.is_multiple_of(LOOK_EVERY) {
            company.is_looked_at().await;
        }
    }
    company.is_looked_at().await;
    let edits = company.edits;
    say(&format!(
        "{kills} kills, {heard} at a call that was heard, {in_flight} with calls without an outcome, {edits} edits"
    ));
    assert!(heard * 10 >= kills, "only {heard} of {kills} kills heard the call that half of them wait for");
    // Otherwise this proves nothing.
    assert!(in_flight * 10 >= kills, "only {in_flight} of {kills} kills met a call");
}

#[tokio::test]
async fn scimmy_has_nobody_twice_and_nobody_is_lost_however_often_it_is_killed() {
    let Some(server) = Server::scimmy(&Knobs::default()).await else { return };
    survives(server, Kind::Scimmy, kills(7)).await;
}

#[tokio::test]
async fn scim2_server_has_nobody_twice_and_nobody_is_lost_however_often_it_is_killed() {
    let Some(server) = Server::scim2(&Scim2Features::default()).await else { return };
    survives(server, Kind::Scim2, kills(3)).await;
}
