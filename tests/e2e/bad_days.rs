//! Everything that a long run meets, one after the other, in one run of the daemon: the network
//! goes, the disk is full, the clock jumps, the folder of manifests is gone, the target forgets a
//! third of its accounts. Each is told by a metric while it lasts, and afterwards everybody is where
//! they should be.

use std::fs;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;

use rosterd::clock::Clock;
use rosterd::clock::SystemClock;
use serde_json::Value;
use serde_json::json;

use crate::cable::Cable;
use crate::chance::say;
use crate::daemon::Daemon;
use crate::daemon::eventually;
use crate::servers::Knobs;
use crate::world::DONE;
use crate::world::Person;
use crate::world::TARGET;
use crate::world::World;
use crate::world::id;

/// Everybody who is there from the first day on.
const PEOPLE: usize = 30;

/// What the store's disk holds: enough for the run, little enough to be filled at once.
const DISK: &str = "24m";

/// A small disk of its own, for as long as this lives.
struct Disk(PathBuf);

impl Disk {
    /// `None`, said on standard error, where nobody may mount anything.
    fn at(folder: &Path) -> Option<Self> {
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={DISK},mode=0700"), "tmpfs"])
            .arg(folder)
            .stderr(Stdio::null())
            .status();
        if mounted.is_ok_and(|status| status.success()) {
            return Some(Self(folder.to_owned()));
        }
        say("skipped: a full disk, since a small one can be mounted by root alone");
        None
    }

    /// Takes all the room that is left.
    fn fill(&self) {
        let mut filler = File::create(self.0.join("filler")).expect("a file");
        let mut block = vec![0_u8; 1 << 20];
        // Ever smaller blocks, to the last byte; what fits of one that does not is kept.
        while !block.is_empty() {
            if filler.write_all(&block).is_err() {
                block.truncate(block.len() / 2);
            }
        }
    }

    fn empty(&self) {
        fs::remove_file(self.0.join("filler")).expect("the filler");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // The daemon may still hold it for a moment: lazily.
        drop(Command::new("umount").arg("-l").arg(&self.0).status());
    }
}

/// Makes the wall clock of one process wrong, and no other's: the file holds seconds to add.
const CLOCK: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
int clock_gettime(clockid_t clock, struct timespec *at) {
  static int (*real)(clockid_t, struct timespec *);
  if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
  int result = real(clock, at);
  const char *path = getenv("WRONG_CLOCK");
  if (result == 0 && clock == CLOCK_REALTIME && path) {
    FILE *file = fopen(path, "r");
    long seconds = 0;
    if (file) { if (fscanf(file, "%ld", &seconds) == 1) at->tv_sec += seconds; fclose(file); }
  }
  return result;
}
"#;

/// The library that does it; `None`, said on standard error, where there is no C compiler.
fn wrong_clock(folder: &Path) -> Option<PathBuf> {
    let (source, library) = (folder.join("clock.c"), folder.join("clock.so"));
    fs::write(&source, CLOCK).expect("written");
    let built = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source).arg("-ldl").status();
    if built.is_ok_and(|status| status.success()) {
        return Some(library);
    }
    say("skipped: a wrong clock, since there is no C compiler");
    None
}

/// A company, its daemon, and what was declared of whom.
struct Days {
    world: World,
    daemon: Daemon,
    people: Vec<Person>,
}

impl Days {
    /// One leaves and one joins, so that each day has something to get wrong.
    fn somebody_comes_and_goes(&mut self) {
        let leaver = self.people.iter_mut().find(|person| person.active).expect("somebody is left");
        leaver.active = false;
        self.world.user(leaver);
        let joiner = Person::named(&format!("new{}", self.people.len()));
        self.world.user(&joiner);
        self.people.push(joiner);
    }

    /// Who is wrongly in, wrongly out, or there twice.
    async fn wrong(&self) -> Vec<String> {
        let rows = self.world.server.admin("GET", "/users", None).await;
        let rows = rows.as_array().expect("rows");
        let mut wrong = Vec::new();
        for Person { record, active, .. } in &self.people {
            let found: Vec<_> = rows.iter().filter(|row| row["externalId"] == **record).collect();
            let right = match found.as_slice() {
                [] => !active,
                [row] => row["active"] == json!(active),
                _ => false,
            };
            if !right {
                wrong.push(format!("{record} should be {}: {found:?}", if *active { "in" } else { "out" }));
            }
        }
        wrong
    }

    /// Those who were in and stay declared are in: whatever goes wrong takes nobody's access.
    async fn nobody_is_locked_out(&self, before: &[String]) {
        let rows = self.world.server.admin("GET", "/users", None).await;
        let is_in = |record: &str| {
            let rows = rows.as_array().expect("rows");
            rows.iter().any(|row| row["externalId"] == *record && row["active"] == json!(true))
        };
        let stays = |record: &&String| self.people.iter().any(|person| person.record == **record && person.active);
        let out: Vec<_> = before.iter().filter(stays).filter(|record| !is_in(record)).collect();
        assert!(out.is_empty(), "locked out: {out:?}");
    }

    fn inside(&self) -> Vec<String> {
        self.people.iter().filter(|person| person.active).map(|person| person.record.clone()).collect()
    }

    /// Waits until everybody is where they should be.
    async fn is_right(&self) {
        while !self.wrong().await.is_empty() {
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
    }

    /// Everybody is where they should be, and nothing waits.
    async fn converges(&self, day: &str) {
        tokio::time::timeout(crate::daemon::LIMIT * 3, self.is_right()).await.ok();
        assert_eq!(self.wrong().await, [] as [String; 0], "after {day}: {:#}", self.daemon.target(TARGET).await);
        // The next cycle may be an hour away from a target that kept failing; a person need not wait.
        self.world.rosterd(&["sync", TARGET]).await;
        self.daemon.is_through(TARGET).await;
        say(&format!("{day}: over, and everybody is where they should be"));
    }

    /// Waits until a metric says what is wrong.
    async fn tells(&self, name: &str, labels: &[(&str, &str)], value: impl Fn(u64) -> bool) {
        let what = format!("{name} {labels:?} tells");
        eventually(&what, async || value(self.daemon.metric(name, labels).await).then_some(())).await;
    }

    async fn a_day_without_network(&mut self, cable: &Cable) {
        let before = self.inside();
        cable.is_whole(false);
        self.somebody_comes_and_goes();
        // As its schedule would, in the hours that such a day has.
        for _ in 0..6 {
            self.world.rosterd(&["sync", TARGET]).await;
        }
        self.tells("rosterd_quarantined", &[("target", TARGET)], |value| value == 1).await;
        self.tells("rosterd_revocations_owed", &[("target", TARGET)], |value| value >= 1).await;
        self.nobody_is_locked_out(&before).await;
        cable.is_whole(true);
        self.converges("a day without network").await;
        self.tells("rosterd_quarantined", &[("target", TARGET)], |value| value == 0).await;
        self.tells("rosterd_revocations_owed", &[("target", TARGET)], |value| value == 0).await;
    }

    /// The clock jumps past the end of somebody's access.
    async fn a_day_with_a_wrong_clock(&mut self, seconds: &Path) {
        let before = self.inside();
        fs::write(seconds, (30 * 86_400).to_string()).expect("written");
        self.tells("rosterd_clock_trusted", &[], |value| value == 0).await;
        self.somebody_comes_and_goes();
        self.converges("a day with a wrong clock").await;
        self.nobody_is_locked_out(&before).await;
        fs::write(seconds, "0").expect("written");
        self.tells("rosterd_clock_trusted", &[], |value| value == 1).await;
        self.converges("the day after").await;
    }

    async fn a_day_without_manifests(&mut self) {
        let before = self.inside();
        let (folder, away) = (self.world.folder.path().join("m"), self.world.folder.path().join("away"));
        fs::rename(&folder, &away).expect("moved");
        self.tells("rosterd_manifest_errors", &[], |value| value >= 1).await;
        self.nobody_is_locked_out(&before).await;
        fs::rename(&away, &folder).expect("moved back");
        self.somebody_comes_and_goes();
        self.converges("a day without manifests").await;
        self.tells("rosterd_manifest_errors", &[], |value| value == 0).await;
    }

    /// While there is no room, nothing is written down, so nobody gains anything.
    async fn a_day_without_room(&mut self, disk: &Disk) {
        let before = self.inside();
        disk.fill();
        self.somebody_comes_and_goes();
        self.tells("rosterd_store_away", &[], |value| value == 1).await;
        self.nobody_is_locked_out(&before).await;
        let joiner = self.people.last().expect("a joiner").record.clone();
        let rows = self.world.server.admin("GET", "/users", None).await;
        assert!(rows.as_array().expect("rows").iter().all(|row| row["externalId"] != *joiner), "{joiner} is in");
        disk.empty();
        self.converges("a day without room").await;
        self.tells("rosterd_store_away", &[], |value| value == 0).await;
    }

    /// The target forgets a third of its accounts, until its people put their backup in. Nobody is
    /// made anew meanwhile: that would be a second account, once the first is back.
    async fn a_day_without_memory(&mut self) {
        let forgotten = self.world.server.admin("POST", "/forget", Some(&json!({ "every": 3 }))).await;
        let forgotten: Vec<_> = forgotten.as_array().expect("rows").iter().map(id).collect();
        assert!(forgotten.len() * 3 >= self.people.len(), "{forgotten:?}");
        self.world.rosterd(&["sync", TARGET]).await;
        let labels = [("target", TARGET)];
        self.tells("rosterd_accounts_missing", &labels, |value| value >= 1).await;
        self.somebody_comes_and_goes();
        let joiner = self.people.last().expect("somebody came").record.clone();
        eventually("somebody comes while others are missing", async || {
            let rows = self.world.server.admin("GET", "/users", None).await;
            rows.as_array().expect("rows").iter().any(|row| row["externalId"] == *joiner).then_some(())
        })
        .await;
        self.world.rosterd(&["sync", TARGET]).await;
        let rows = self.world.server.admin("GET", "/users", None).await;
        let rows = rows.as_array().expect("rows");
        assert!(rows.iter().all(|row| !forgotten.contains(&id(row))));
        self.world.server.admin("POST", "/remember", None).await;
        self.world.rosterd(&["sync", TARGET]).await;
        self.converges("a day without memory").await;
        self.tells("rosterd_accounts_missing", &labels, |value| value == 0).await;
    }
}

#[tokio::test]
async fn a_run_of_bad_days_ends_with_everybody_where_they_should_be() {
    let Some(world) = World::with(&Knobs::default()).await else { return };
    let folder = world.folder.path().to_owned();
    let Some(disk) = Disk::at(&folder.join("state")) else { return };
    let Some(clock) = wrong_clock(&folder) else { return };
    let cable = Cable::to(world.server.port(), Duration::ZERO).await;
    let seconds = folder.join("wrong-clock");
    fs::write(&seconds, "0").expect("written");
    world.settings(|settings| settings["secrets"]["crm"]["origins"] = json!([cable.origin]));
    let url = format!("{}/scim/v2", cable.origin);
    world.target(|spec| target(spec, &url));
    let people: Vec<_> = (0..PEOPLE).map(|number| Person::named(&format!("p{number}"))).collect();
    for person in &people {
        world.user(person);
    }
    // Somebody whose access ends in a few days, if the clock is right.
    world.write("m/u-guest.json", &ending_soon().to_string());
    let daemon = Daemon::with(&world, |command| {
        command.env("LD_PRELOAD", &clock).env("WRONG_CLOCK", &seconds);
    })
    .await;
    let mut days = Days { world, daemon, people };
    days.people.push(Person::named("guest"));
    days.converges("the first day").await;
    days.a_day_without_network(&cable).await;
    days.a_day_without_room(&disk).await;
    days.a_day_with_a_wrong_clock(&seconds).await;
    days.a_day_without_manifests().await;
    days.a_day_without_memory().await;
    days.world.rosterd(&["audit", "verify", "--server", &days.daemon.url]).await.ends(DONE);
    let Days { world, daemon, .. } = days;
    daemon.ends().await;
    world.rosterd(&["audit", "verify"]).await.ends(DONE);
    world.is_settled().await;
    drop(disk);
}

fn target(spec: &mut Value, url: &str) {
    spec["environments"]["test"]["url"] = json!(url);
    spec["connector"]["scim"] = json!({ "callLimit": "5s" });
    spec["limits"] = json!({ "narrow": { "explicit": [], "inferred": [] }, "widen": [], "update": [] });
}

fn ending_soon() -> Value {
    let end = SystemClock.now() + chrono::TimeDelta::days(10);
    json!({
        "apiVersion": "rosterd.dev/v1", "kind": "User", "metadata": { "name": "u-guest" },
        "spec": { "givenName": "guest", "familyName": "Ames", "email": "guest@x.example", "roles": ["agent"],
            "validUntil": end.to_rfc3339_opts(chrono::SecondsFormat::Secs, true) },
    })
}
