//! The store's file is lost, or is an older one: nobody gains or loses access by that, the way
//! forward is printed, and once it is followed everybody is where they should be.

use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;
use serde_json::json;

use crate::daemon::Daemon;
use crate::daemon::eventually;
use crate::servers::Knobs;
use crate::world::DONE;
use crate::world::ERROR;
use crate::world::Person;
use crate::world::TARGET;
use crate::world::World;

/// Everybody who is there on the first day; one of them leaves on each day that follows.
const PEOPLE: usize = 6;

/// A company of two days: yesterday's store is kept aside, and some came and went since.
struct Company {
    world: World,
    people: Vec<Person>,
}

impl Company {
    /// The first day, and a daemon at work.
    async fn of() -> Option<(Self, Daemon)> {
        let world = World::with(&Knobs::default()).await?;
        // An account under our own mark is ours, where the store no longer knows it.
        world.target(|spec| {
            spec["account"]["existing"] = json!("adopt");
            spec["account"]["trustedKeys"] = json!(["externalId"]);
        });
        let people: Vec<_> = (0..PEOPLE).map(|number| Person::named(&format!("p{number}"))).collect();
        for person in &people {
            world.user(person);
        }
        let daemon = Daemon::of(&world).await;
        daemon.has(&world, PEOPLE).await;
        daemon.is_through(TARGET).await;
        Some((Self { world, people }, daemon))
    }

    fn state(&self, name: &str) -> PathBuf {
        self.world.folder.path().join("state").join(name)
    }

    fn was_written_an_hour_ago(&self, name: &str) {
        let file = fs::File::options().write(true).open(self.state(name)).expect("it is there");
        let then = file.metadata().and_then(|meta| meta.modified()).expect("a time") - Duration::from_hours(1);
        file.set_modified(then).expect("its time");
    }

    fn log_is_moved_away(&self) {
        for ending in ["-wal", "-shm"] {
            // Where the daemon ended well there is none.
            drop(fs::remove_file(self.state(&format!("rosterd.db{ending}"))));
        }
    }

    /// One comes and one leaves.
    fn is_edited(&mut self, joiner: &str) {
        let leaver = self.people.iter_mut().find(|person| person.active).expect("somebody is left");
        leaver.active = false;
        self.world.user(leaver);
        let joiner = Person::named(joiner);
        self.world.user(&joiner);
        self.people.push(joiner);
    }

    /// Who has access, by record id.
    async fn inside(&self) -> Vec<String> {
        let rows = self.world.server.admin("GET", "/users", None).await;
        let rows = rows.as_array().expect("rows").iter().filter(|row| row["active"] == true);
        let mut records: Vec<_> = rows.map(|row| row["externalId"].as_str().expect("a mark").to_owned()).collect();
        records.sort();
        records
    }

    fn declared(&self) -> Vec<String> {
        let mut records: Vec<_> =
            self.people.iter().filter(|person| person.active).map(|person| person.record.clone()).collect();
        records.sort();
        records
    }

    /// The documents hold, everybody has one account, and nothing is left to do.
    async fn is_right(&self, daemon: &Daemon) {
        let wrong = async || {
            let (inside, declared) = (self.inside().await, self.declared());
            if inside == declared { Vec::new() } else { vec![format!("inside: {inside:?}, declared: {declared:?}")] }
        };
        daemon.comes_right(TARGET, wrong).await;
        self.nobody_is_there_twice().await;
    }

    async fn nobody_is_there_twice(&self) {
        let rows = self.world.server.admin("GET", "/users", None).await;
        let mut marks: Vec<_> =
            rows.as_array().expect("rows").iter().map(|row| row["externalId"].to_string()).collect();
        let all = marks.len();
        marks.sort();
        marks.dedup();
        assert_eq!(marks.len(), all, "somebody is there twice: {rows:#}");
    }

    fn log(&self) -> String {
        fs::read_to_string(self.world.folder.path().join("log")).expect("a log")
    }

    /// The log, `/readyz`, `status` and a metric all say what is wrong and what to do.
    async fn is_told_while_it_runs(&self, daemon: &Daemon, words: &[&str]) {
        eventually("the store is said to be away", async || {
            (daemon.metric("rosterd_store_away", &[]).await == 1).then_some(())
        })
        .await;
        let (ready, told) = daemon.ready().await;
        assert!(!ready && told["store"] == false, "{told}");
        let status = self.world.rosterd(&["status", "--server", &daemon.url]).await.ends(DONE);
        for word in words {
            assert!(self.log().contains(word), "the log says nothing of {word:?}: {}", self.log());
            assert!(told["error"].as_str().is_some_and(|error| error.contains(word)), "{word:?}: {told}");
            assert!(status.out.contains(word), "{word:?}: {status:?}");
        }
    }

    /// Every plan is held and shown, and nobody's access changed; the digest that lets it through.
    async fn is_at_first_contact(&self, daemon: &Daemon, before: &[String], words: &[&str]) -> String {
        // A full cycle of this process: what is remembered of an earlier one says nothing.
        self.world.rosterd(&["sync", TARGET]).await;
        let target = daemon.target(TARGET).await;
        let hold = target["holds"].as_array().expect("holds").iter().find(|hold| hold["limit"] == "first-contact");
        let hold = hold.unwrap_or_else(|| panic!("nothing is held: {target:#}; {}", self.log()));
        assert_eq!(self.inside().await, before, "{hold:#}");
        let status = self.world.rosterd(&["status"]).await.ends(DONE);
        for word in words {
            assert!(status.out.contains(word), "{word:?}: {status:?}");
        }
        assert!(daemon.metric("rosterd_holds", &[("target", TARGET), ("limit", "first-contact")]).await >= 1);
        hold["digest"].as_str().expect("a digest").to_owned()
    }

    /// What the log, `status` and the hold say is done.
    async fn is_enforced(&self, digest: &str) {
        self.world.rosterd(&["enforce", TARGET, digest]).await.ends(DONE);
    }
}

fn copy_of(from: &Path, to: &Path) {
    fs::copy(from, to).expect("copied");
}

/// What an `eventually` would prove by waiting: nothing was written at the target.
async fn nothing_was_written(world: &World) {
    let writes: Vec<Value> = world.writes().await.expect("SCIMMY tells");
    assert_eq!(writes, Vec::<Value>::new());
}

#[tokio::test]
async fn a_store_deleted_under_a_running_daemon_gives_and_takes_no_access_and_a_fresh_one_begins_at_first_contact() {
    for everything in [false, true] {
        let Some((mut company, daemon)) = Company::of().await else { return };
        let before = company.inside().await;
        let files: &[&str] = if everything { &["", "-wal", "-shm"] } else { &[""] };
        for ending in files {
            fs::remove_file(company.state(&format!("rosterd.db{ending}"))).expect("it was there");
        }
        company.world.forget_requests().await;
        company.is_edited("late");
        let words = ["was deleted or replaced while rosterd runs", "put back the newest copy", "rosterd enforce"];
        company.is_told_while_it_runs(&daemon, &words).await;
        // As its schedule would.
        company.world.rosterd(&["sync", TARGET, "--server", &daemon.url]).await;
        assert_eq!(company.inside().await, before);
        nothing_was_written(&company.world).await;
        // The way forward without any copy: a fresh store.
        if everything {
            daemon.stops().await;
        } else {
            daemon.ends().await;
        }
        let daemon = Daemon::of(&company.world).await;
        let digest = company.is_at_first_contact(&daemon, &before, &["rosterd enforce crm"]).await;
        nothing_was_written(&company.world).await;
        company.is_enforced(&digest).await;
        // Nothing proves any more that the leaver's account was ours: it is listed, and a person says so.
        let leaver = company.people.iter().find(|person| !person.active).expect("somebody left").clone();
        let unmanaged = company.world.rosterd(&["accounts", TARGET, "--state", "unmanaged"]).await.ends(DONE);
        assert!(unmanaged.out.contains(&leaver.email), "{unmanaged:?}");
        company.world.rosterd(&["link", &leaver.record, &leaver.email, "--yes"]).await.ends(DONE);
        company.is_right(&daemon).await;
        daemon.stops().await;
        company.world.is_settled().await;
    }
}

/// Yesterday's copy, taken while the daemon was ended; then a second day, on which somebody left and
/// somebody came.
async fn yesterday(company: &mut Company, daemon: Daemon) -> (PathBuf, Daemon) {
    daemon.stops().await;
    let copy = company.state("yesterday");
    copy_of(&company.state("rosterd.db"), &copy);
    let daemon = Daemon::of(&company.world).await;
    company.is_edited("second-day");
    company.is_right(&daemon).await;
    (copy, daemon)
}

/// How a copy takes the place of the store's file.
#[derive(Clone, Copy, Debug)]
enum Put {
    /// As `mv` does: another file under the name.
    Over,
    /// As `cp` does: the same file with other bytes.
    Into,
}

impl Put {
    fn done(self, copy: &Path, store: &Path) {
        match self {
            Self::Into => copy_of(copy, store),
            Self::Over => {
                let beside = copy.with_file_name("coming");
                copy_of(copy, &beside);
                fs::rename(&beside, store).expect("moved");
            }
        }
    }
}

#[tokio::test]
async fn yesterdays_store_put_back_under_a_running_daemon_gives_and_takes_no_access() {
    for put in [Put::Over, Put::Into] {
        let Some((mut company, daemon)) = Company::of().await else { return };
        let (copy, daemon) = yesterday(&mut company, daemon).await;
        let before = company.inside().await;
        put.done(&copy, &company.state("rosterd.db"));
        company.world.forget_requests().await;
        company.is_edited("late");
        company.is_told_while_it_runs(&daemon, &["while rosterd runs", "put back the newest copy"]).await;
        company.world.rosterd(&["sync", TARGET, "--server", &daemon.url]).await;
        assert_eq!(company.inside().await, before, "{put:?}");
        nothing_was_written(&company.world).await;
        // What it says: stop, put the newest copy back, without the log of another file.
        daemon.stops().await;
        company.log_is_moved_away();
        put_back_is_found_and_enforced(&company, (&copy, Put::Into), &before).await;
    }
}

#[tokio::test]
async fn yesterdays_store_put_back_between_two_runs_gives_and_takes_no_access_until_a_person_enforces() {
    for put in [Put::Over, Put::Into] {
        let Some((mut company, daemon)) = Company::of().await else { return };
        let (copy, daemon) = yesterday(&mut company, daemon).await;
        let before = company.inside().await;
        daemon.stops().await;
        company.is_edited("late");
        put_back_is_found_and_enforced(&company, (&copy, put), &before).await;
    }
}

/// The write-ahead log of a killed process lies beside its file. Over another file SQLite would
/// write its pages into that one.
#[tokio::test]
async fn yesterdays_store_put_back_beside_the_log_of_a_killed_daemon_is_refused_until_the_log_is_moved_away() {
    for put in [Put::Over, Put::Into] {
        let Some((mut company, daemon)) = Company::of().await else { return };
        let (copy, daemon) = yesterday(&mut company, daemon).await;
        let before = company.inside().await;
        daemon.ends().await;
        company.was_written_an_hour_ago("rosterd.db-wal");
        put.done(&copy, &company.state("rosterd.db"));
        company.is_edited("late");
        // More than once: to be refused changes nothing.
        for _ in 0..2 {
            let refused = company.world.rosterd(&["run"]).await.ends(ERROR);
            assert!(refused.err.contains("was put back") && refused.err.contains("rosterd.db-wal"), "{refused:?}");
        }
        company.log_is_moved_away();
        put_back_is_found_and_enforced(&company, (&copy, put), &before).await;
    }
}

#[tokio::test]
async fn a_killed_daemon_goes_on_from_its_file_and_its_log() {
    let Some((mut company, daemon)) = Company::of().await else { return };
    for name in ["one", "two"] {
        company.is_edited(name);
        company.is_right(&daemon).await;
    }
    daemon.ends().await;
    // By a clock that was an hour ahead when the file was written, and was set back.
    company.was_written_an_hour_ago("rosterd.db-wal");
    let daemon = Daemon::of(&company.world).await;
    company.is_edited("three");
    company.is_right(&daemon).await;
    assert_eq!(daemon.target(TARGET).await["holds"], json!([]));
    daemon.stops().await;
    assert!(!company.state("rosterd.db-wal").exists(), "a copy of the file alone would not be whole");
    company.world.rosterd(&["audit", "verify"]).await.ends(DONE);
}

/// Puts the copy back, starts rosterd over it, and follows what it says.
async fn put_back_is_found_and_enforced(company: &Company, (copy, put): (&Path, Put), before: &[String]) {
    put.done(copy, &company.state("rosterd.db"));
    company.world.forget_requests().await;
    let daemon = Daemon::of(&company.world).await;
    let digest =
        company.is_at_first_contact(&daemon, before, &["put back to an earlier state", "rosterd enforce crm"]).await;
    assert!(company.log().contains("put back to an earlier state"), "{}", company.log());
    nothing_was_written(&company.world).await;
    company.is_enforced(&digest).await;
    company.is_right(&daemon).await;
    daemon.stops().await;
    company.world.is_settled().await;
}
