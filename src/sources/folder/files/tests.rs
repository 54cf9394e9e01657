use std::fs;
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tempfile::TempDir;
use tokio::time::Instant;
use tokio::time::timeout;

use super::*;

/// Long enough for a machine that is busy with other things; nothing waits for it to pass.
const PATIENCE: Duration = Duration::from_mins(2);

const QUICK: Watching = Watching {
    quiet: Duration::from_millis(20),
    at_most: Duration::from_millis(100),
    settle: Duration::from_millis(20),
    writers: Duration::from_secs(10),
    rescan: Duration::from_hours(1),
    events: true,
};

/// Files whose meaning is their name and text.
fn text(name: &str, bytes: &[u8]) -> String {
    format!("{name}={}", String::from_utf8_lossy(bytes))
}

fn files_of(folder: &Path, timing: Watching) -> Files<String> {
    Files::new(folder, Vec::new(), timing, text)
}

fn write(folder: &Path, name: &str, content: &str) {
    let path = folder.join(name);
    fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
    fs::write(path, content).expect("a file");
}

/// What a load gives, as `name=content` and `name: code`.
async fn loaded(files: &Files<String>) -> Vec<String> {
    files.load(|loaded, _| told(&loaded)).await.expect("a folder")
}

/// The same of what events named alone.
async fn followed(files: &Files<String>) -> Result<Vec<String>, SourceError> {
    files.follow(|loaded, _| told(&loaded)).await
}

fn told(loaded: &Loaded<'_, String>) -> Vec<String> {
    let problems = loaded.problems.iter().map(|problem| format!("{}: {}", problem.file, problem.code));
    loaded.parsed().map(|text| text.as_ref().clone()).chain(problems).collect()
}

/// How many files a load gives.
async fn counted(files: &Files<String>) -> usize {
    files.load(|loaded, _| loaded.parsed().count()).await.expect("a folder")
}

/// What is wrong with a folder that gives nothing.
async fn refused(files: &Files<String>) -> String {
    files.load(|_, _| ()).await.expect_err("an error").message
}

/// Loads after each signal until this is what stands there.
async fn becomes(files: &Files<String>, expected: &[&str]) {
    let until_it_does = async {
        loop {
            files.changed().await;
            let followed = followed(files).await;
            // Nothing is missed by looking where events point to alone.
            if followed.is_ok_and(|followed| followed == expected) && loaded(files).await == expected {
                return;
            }
        }
    };
    timeout(PATIENCE, until_it_does).await.expect("the change is noticed");
}

#[tokio::test]
async fn every_manifest_below_the_folder_is_read_and_nothing_else() {
    let folder = TempDir::new().expect("a folder");
    for name in ["b.yaml", "a.yml", "deep/er/c.json", "README.md", ".hidden.yaml", ".git/d.yaml", "rosterd.yaml"] {
        write(folder.path(), name, "x");
    }
    write(folder.path(), "s1/rosterd.yaml", "x");
    let files = files_of(folder.path(), QUICK);
    assert_eq!(loaded(&files).await, ["a.yml=x", "b.yaml=x", "deep/er/c.json=x"]);
}

#[tokio::test]
async fn excluded_folders_are_not_read_even_through_a_link() {
    let folder = TempDir::new().expect("a folder");
    write(folder.path(), "users.yaml", "x");
    write(folder.path(), "targets/crm.yaml", "x");
    symlink("targets/crm.yaml", folder.path().join("crm.yaml")).expect("a link");
    symlink("targets", folder.path().join("more")).expect("a link");
    let files = Files::new(folder.path(), vec![folder.path().join("targets")], QUICK, text);
    assert_eq!(loaded(&files).await, ["users.yaml=x"]);
}

#[tokio::test]
async fn what_a_configuration_includes_is_no_manifest() {
    let folder = TempDir::new().expect("a folder");
    let configuration = "listen: 127.0.0.1:8080\ninclude: [targets/, ../beside.yaml, gone/]\n";
    write(folder.path(), "s1/rosterd.yaml", configuration);
    write(folder.path(), "s1/targets/crm.yaml", "x");
    write(folder.path(), "s1/users.yaml", "x");
    write(folder.path(), "beside.yaml", "x");
    write(folder.path(), "targets/a.yaml", "x");
    assert_eq!(loaded(&files_of(folder.path(), QUICK)).await, ["s1/users.yaml=x", "targets/a.yaml=x"]);
}

#[tokio::test]
async fn only_changed_files_are_read_again() {
    let folder = TempDir::new().expect("a folder");
    for name in ["a.yaml", "b.yaml", "c.yaml"] {
        write(folder.path(), name, "1");
    }
    let files = files_of(folder.path(), Watching { events: false, ..QUICK });
    loaded(&files).await;
    assert_eq!(files.files_read(), 3);
    loaded(&files).await;
    assert_eq!(files.files_read(), 3, "nothing changed");
    write(folder.path(), "b.yaml", "22");
    fs::remove_file(folder.path().join("c.yaml")).expect("removed");
    assert_eq!(loaded(&files).await, ["a.yaml=1", "b.yaml=22"]);
    assert_eq!(files.files_read(), 4);
}

#[tokio::test]
async fn a_file_put_in_place_with_the_old_time_and_size_is_read_again() {
    let folder = TempDir::new().expect("a folder");
    write(folder.path(), "a.yaml", "one");
    let files = files_of(folder.path(), Watching { events: false, ..QUICK });
    loaded(&files).await;
    let path = folder.path().join("a.yaml");
    let time = fs::metadata(&path).expect("there").modified().expect("a time");
    write(folder.path(), "new", "two");
    fs::File::options().write(true).open(folder.path().join("new")).expect("open").set_modified(time).expect("set");
    fs::rename(folder.path().join("new"), &path).expect("renamed");
    assert_eq!(loaded(&files).await, ["a.yaml=two"]);
}

static B_READ: AtomicUsize = AtomicUsize::new(0);

fn counting_b(name: &str, bytes: &[u8]) -> String {
    B_READ.fetch_add(usize::from(name.ends_with("b.yaml")), Ordering::SeqCst);
    text(name, bytes)
}

/// How often the saved file is read depends on when its events arrive.
#[tokio::test]
async fn an_editor_that_saves_by_rename_is_noticed() {
    let folder = TempDir::new().expect("a folder");
    write(folder.path(), "users/a.yaml", "old");
    write(folder.path(), "users/b.yaml", "old");
    let files = Files::new(folder.path(), Vec::new(), QUICK, counting_b);
    loaded(&files).await;
    fs::rename(folder.path().join("users/a.yaml"), folder.path().join("users/a.yaml~")).expect("kept");
    write(folder.path(), "users/.a.yaml.swp", "new");
    fs::rename(folder.path().join("users/.a.yaml.swp"), folder.path().join("users/a.yaml")).expect("saved");
    becomes(&files, &["users/a.yaml=new", "users/b.yaml=old"]).await;
    assert_eq!(B_READ.load(Ordering::SeqCst), 1, "who is beside it is not read again");
}

#[tokio::test]
async fn a_checkout_of_thousands_of_files_is_read_whole() {
    let folder = TempDir::new().expect("a folder");
    write(folder.path(), "first.yaml", "x");
    let files = files_of(folder.path(), QUICK);
    loaded(&files).await;
    let root = folder.path().to_path_buf();
    let checkout = std::thread::spawn(move || {
        for number in 0..3000 {
            write(&root, &format!("team-{}/sub/u-{number}.yaml", number % 60), "x");
        }
    });
    let until_all_are_there = async {
        while counted(&files).await < 3001 {
            files.changed().await;
        }
    };
    timeout(PATIENCE, until_all_are_there).await.expect("every file is found");
    checkout.join().expect("written");
    // Events of the last files may still be on their way; then those are read once more, not all.
    let read = files.files_read();
    loaded(&files).await;
    assert!(files.files_read() - read < 3000);
}

#[tokio::test]
async fn a_swapped_data_link_is_noticed_and_no_file_is_read_twice() {
    let folder = TempDir::new().expect("a folder");
    let root = folder.path();
    write(root, "..2026_01/users.yaml", "old");
    write(root, "..2026_01/teams/a.yaml", "same");
    symlink("..2026_01", root.join("..data")).expect("a link");
    symlink("..data/users.yaml", root.join("users.yaml")).expect("a link");
    symlink("..data/teams", root.join("teams")).expect("a link");
    let files = files_of(root, QUICK);
    assert_eq!(loaded(&files).await, ["teams/a.yaml=same", "users.yaml=old"]);
    write(root, "..2026_02/users.yaml", "new");
    write(root, "..2026_02/teams/a.yaml", "same");
    symlink("..2026_02", root.join("..data_tmp")).expect("a link");
    fs::rename(root.join("..data_tmp"), root.join("..data")).expect("swapped");
    fs::remove_dir_all(root.join("..2026_01")).expect("removed");
    becomes(&files, &["teams/a.yaml=same", "users.yaml=new"]).await;
}

#[tokio::test]
async fn a_release_link_on_the_way_to_the_folder_may_be_swapped() {
    let folder = TempDir::new().expect("a folder");
    let root = folder.path();
    write(root, "rev-1/manifests/a.yaml", "1");
    write(root, "rev-2/manifests/a.yaml", "2");
    symlink("rev-1", root.join("current")).expect("a link");
    let files = files_of(&root.join("current/manifests"), QUICK);
    assert_eq!(loaded(&files).await, ["a.yaml=1"]);
    symlink("rev-2", root.join("next")).expect("a link");
    fs::rename(root.join("next"), root.join("current")).expect("swapped");
    becomes(&files, &["a.yaml=2"]).await;
}

#[tokio::test]
async fn a_folder_that_vanishes_is_an_error_and_is_watched_again_when_it_returns() {
    let parent = TempDir::new().expect("a folder");
    let folder = parent.path().join("some/manifests");
    write(&folder, "team/a.yaml", "1");
    let files = files_of(&folder, QUICK);
    loaded(&files).await;
    fs::remove_dir_all(parent.path().join("some")).expect("removed");
    timeout(PATIENCE, files.changed()).await.expect("noticed");
    let error = refused(&files).await;
    assert!(error.contains("does not exist; make it"), "{error}");
    write(&folder, "team/a.yaml", "2");
    becomes(&files, &["team/a.yaml=2"]).await;
    write(&folder, "team/a.yaml", "3");
    becomes(&files, &["team/a.yaml=3"]).await;
}

#[tokio::test]
async fn a_sub_folder_that_is_made_anew_under_its_old_name_is_watched_again() {
    let folder = TempDir::new().expect("a folder");
    write(folder.path(), "top.yaml", "x");
    write(folder.path(), "team/a.yaml", "1");
    let files = files_of(folder.path(), QUICK);
    loaded(&files).await;
    for content in ["2", "3", "4"] {
        fs::remove_dir_all(folder.path().join("team")).expect("removed");
        write(folder.path(), "team/a.yaml", content);
        becomes(&files, &[&format!("team/a.yaml={content}"), "top.yaml=x"]).await;
        write(folder.path(), "team/a.yaml", "edited");
        becomes(&files, &["team/a.yaml=edited", "top.yaml=x"]).await;
    }
}

#[tokio::test]
async fn without_events_the_rescan_finds_changes() {
    let folder = TempDir::new().expect("a folder");
    write(folder.path(), "a.yaml", "old");
    let files = files_of(folder.path(), Watching { events: false, rescan: Duration::from_millis(10), ..QUICK });
    loaded(&files).await;
    write(folder.path(), "a.yaml", "newer");
    becomes(&files, &["a.yaml=newer"]).await;
    fs::remove_file(folder.path().join("a.yaml")).expect("removed");
    timeout(PATIENCE, files.changed()).await.expect("noticed");
    let error = refused(&files).await;
    assert!(error.contains("holds no `.yaml`"), "{error}");
}

#[tokio::test]
async fn a_rescan_that_finds_nothing_new_tells_nothing() {
    let folder = TempDir::new().expect("a folder");
    write(folder.path(), "a.yaml", "x");
    let files = files_of(folder.path(), Watching { events: false, rescan: Duration::from_millis(1), ..QUICK });
    loaded(&files).await;
    timeout(Duration::from_millis(100), files.changed()).await.expect_err("nothing changed");
}

#[tokio::test]
async fn what_cannot_be_looked_at_is_a_problem_and_the_rest_is_read() {
    let folder = TempDir::new().expect("a folder");
    let outside = TempDir::new().expect("a folder");
    write(outside.path(), "secret.yaml", "token");
    write(folder.path(), "good.yaml", "x");
    write(folder.path(), "empty.yaml", "");
    symlink("gone.yaml", folder.path().join("dangling.yaml")).expect("a link");
    symlink(outside.path().join("secret.yaml"), folder.path().join("stolen.yaml")).expect("a link");
    symlink(outside.path(), folder.path().join("stolen")).expect("a link");
    let large = fs::File::create(folder.path().join("large.yaml")).expect("a file");
    large.set_len(crate::sources::folder::read::MAX_BYTES + 1).expect("holes");
    let mut found = loaded(&files_of(folder.path(), QUICK)).await;
    found.sort();
    assert_eq!(
        found,
        [
            "dangling.yaml: unreadable-file",
            "empty.yaml: empty-file",
            "good.yaml=x",
            "large.yaml: file-too-large",
            "stolen.yaml: link-leaves-folder",
            "stolen: link-leaves-folder",
        ]
    );
}

#[tokio::test]
async fn loops_of_links_end_and_no_file_is_read_twice() {
    let folder = TempDir::new().expect("a folder");
    write(folder.path(), "z/a.yaml", "x");
    symlink("..", folder.path().join("z/up")).expect("a link");
    symlink("z", folder.path().join("again")).expect("a link");
    symlink("z/a.yaml", folder.path().join("a.yaml")).expect("a link");
    symlink("self.yaml", folder.path().join("self.yaml")).expect("a link");
    let files = files_of(folder.path(), QUICK);
    assert_eq!(loaded(&files).await, ["z/a.yaml=x", "self.yaml: unreadable-file"]);
}

#[tokio::test]
async fn a_missing_folder_and_a_file_in_its_place_say_what_to_do() {
    let folder = TempDir::new().expect("a folder");
    let message = async |path: &Path| refused(&files_of(path, QUICK)).await;
    assert!(message(&folder.path().join("none")).await.contains("does not exist; make it or name another one"));
    assert!(message(folder.path()).await.contains("put manifests there or name another folder"));
    write(folder.path(), "a.yaml", "x");
    assert!(message(&folder.path().join("a.yaml")).await.contains("name the folder that holds it"));
}

#[tokio::test(start_paused = true)]
async fn one_change_is_told_after_a_short_silence() {
    let folder = TempDir::new().expect("a folder");
    write(folder.path(), "a.yaml", "x");
    let files = files_of(folder.path(), Watching { events: false, ..Watching::default() });
    loaded(&files).await;
    let begin = Instant::now();
    files.inner.watch.signal();
    files.changed().await;
    assert_eq!(begin.elapsed(), Duration::from_millis(150));
}

#[tokio::test(start_paused = true)]
async fn changes_without_a_pause_are_told_after_half_a_second() {
    let folder = TempDir::new().expect("a folder");
    write(folder.path(), "a.yaml", "x");
    let files = files_of(folder.path(), Watching { events: false, ..Watching::default() });
    loaded(&files).await;
    let begin = Instant::now();
    let writer = async {
        loop {
            files.inner.watch.signal();
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::select! {
        () = files.changed() => {}
        () = writer => {}
    }
    assert_eq!(begin.elapsed(), Duration::from_millis(500));
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_file_is_read_once_its_writer_has_closed_it() {
    let folder = TempDir::new().expect("a folder");
    write(folder.path(), "a.yaml", "roles: [agent, lead]");
    let files = files_of(folder.path(), QUICK);
    loaded(&files).await;
    let mut writer = fs::File::create(folder.path().join("a.yaml")).expect("a file");
    writer.write_all(b"roles: [agent]").expect("half");
    timeout(QUICK.at_most * 5, files.changed()).await.expect_err("it is being written");
    writer.write_all(b" # and lead").expect("the rest");
    drop(writer);
    becomes(&files, &["a.yaml=roles: [agent] # and lead"]).await;
}

/// Where nobody tells who is writing: a network mount.
#[tokio::test(start_paused = true)]
async fn a_rescan_tells_of_a_file_once_two_looks_show_the_same() {
    let folder = TempDir::new().expect("a folder");
    write(folder.path(), "a.yaml", "x");
    let files = files_of(folder.path(), Watching { events: false, ..Watching::default() });
    loaded(&files).await;
    let begin = Instant::now();
    let writer = async {
        for (length, at) in [29_500, 30_500, 31_500, 32_500].into_iter().enumerate() {
            tokio::time::sleep_until(begin + Duration::from_millis(at)).await;
            write(folder.path(), "a.yaml", &"x".repeat(length + 2));
        }
    };
    tokio::join!(files.changed(), writer);
    let took = begin.elapsed();
    assert!(took > Duration::from_millis(33_500) && took < Duration::from_secs(36), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_change_is_not_lost_on_a_caller_that_went_away() {
    let folder = TempDir::new().expect("a folder");
    write(folder.path(), "a.yaml", "x");
    let files = files_of(folder.path(), Watching { events: false, ..Watching::default() });
    loaded(&files).await;
    files.inner.watch.signal();
    timeout(Duration::from_millis(10), files.changed()).await.expect_err("gone before it was quiet");
    files.changed().await;
    loaded(&files).await;
    timeout(Duration::from_mins(1), files.changed()).await.expect_err("answered by the load");
}

#[tokio::test]
async fn a_name_that_would_move_the_cursor_is_a_problem_and_is_not_repeated() {
    let folder = TempDir::new().expect("a folder");
    for name in ["\u{1b}[2Ja.yaml", "b\n.yaml", "\u{202e}c.yaml", "d\u{7}/e.yaml", "f\u{1b}.txt", "g.yaml"] {
        write(folder.path(), name, "x");
    }
    let expected = ["g.yaml=x", "b\u{fffd}.yaml: file-name", "d\u{fffd}: file-name"];
    let mut seen = loaded(&files_of(folder.path(), QUICK)).await;
    seen.retain(|line| !line.starts_with('\u{fffd}'));
    assert_eq!(seen, expected);
}

/// Whatever happens to a folder, following its events gives what a walk through it gives.
#[tokio::test]
async fn following_events_finds_what_a_walk_finds() {
    let folder = TempDir::new().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    write(folder.path(), "a.yaml", "1");
    write(folder.path(), "deep/b.yaml", "1");
    let files = files_of(folder.path(), QUICK);
    loaded(&files).await;
    write(folder.path(), "a.yaml", "2");
    becomes(&files, &["a.yaml=2", "deep/b.yaml=1"]).await;
    let read = files.files_read();
    write(folder.path(), "deep/c.yaml", "1");
    becomes(&files, &["a.yaml=2", "deep/b.yaml=1", "deep/c.yaml=1"]).await;
    assert_eq!(files.files_read(), read + 1, "only the new one was read");
    fs::rename(at("deep/c.yaml"), at("d.yaml")).expect("renamed");
    becomes(&files, &["a.yaml=2", "d.yaml=1", "deep/b.yaml=1"]).await;
    fs::rename(at("deep"), at("deeper")).expect("renamed");
    becomes(&files, &["a.yaml=2", "d.yaml=1", "deeper/b.yaml=1"]).await;
    fs::hard_link(at("d.yaml"), at("e.yaml")).expect("linked");
    write(folder.path(), "deeper/b.yaml", "");
    becomes(&files, &["a.yaml=2", "d.yaml=1", "deeper/b.yaml: empty-file"]).await;
    fs::remove_file(at("d.yaml")).expect("removed");
    write(folder.path(), "deeper/b.yaml", "2");
    becomes(&files, &["a.yaml=2", "deeper/b.yaml=2", "e.yaml=1"]).await;
    symlink("a.yaml", at("f.yaml")).expect("a link");
    fs::remove_file(at("e.yaml")).expect("removed");
    becomes(&files, &["a.yaml=2", "deeper/b.yaml=2"]).await;
    fs::remove_dir_all(at("deeper")).expect("removed");
    becomes(&files, &["a.yaml=2"]).await;
}

/// Follows until the folder gives nothing, and sees nothing but what stood there meanwhile.
async fn breaks_off(files: &Files<String>, standing: &[&str]) -> String {
    let until_it_does = async {
        loop {
            files.changed().await;
            match followed(files).await {
                Ok(found) => assert_eq!(found, standing, "nobody was taken out"),
                Err(error) => return error.message,
            }
        }
    };
    timeout(PATIENCE, until_it_does).await.expect("the change is noticed")
}

#[tokio::test]
async fn what_happens_to_a_folder_that_was_moved_away_takes_nobody_out() {
    let around = TempDir::new().expect("a folder");
    let folder = around.path().join("roster/manifests");
    write(&folder, "a.yaml", "1");
    write(&folder, "b.yaml", "1");
    let files = files_of(&folder, QUICK);
    loaded(&files).await;
    let moved = around.path().join("old");
    fs::rename(around.path().join("roster"), &moved).expect("moved");
    fs::remove_file(moved.join("manifests/a.yaml")).expect("removed");
    let why = breaks_off(&files, &["a.yaml=1", "b.yaml=1"]).await;
    assert!(why.contains("does not exist"), "{why}");
}

#[tokio::test]
async fn a_folder_put_in_the_others_place_is_read_whole() {
    let around = TempDir::new().expect("a folder");
    let folder = around.path().join("manifests");
    write(&folder, "a.yaml", "1");
    write(&folder, "b.yaml", "1");
    let files = files_of(&folder, QUICK);
    loaded(&files).await;
    write(&around.path().join("next"), "b.yaml", "2");
    write(&around.path().join("next"), "c.yaml", "2");
    fs::rename(&folder, around.path().join("old")).expect("moved");
    fs::rename(around.path().join("next"), &folder).expect("moved");
    write(&around.path().join("old"), "a.yaml", "3");
    becomes(&files, &["b.yaml=2", "c.yaml=2"]).await;
}

/// Breaks off at the word it names, once.
fn breaking(name: &str, bytes: &[u8]) -> String {
    static BROKE: AtomicBool = AtomicBool::new(false);
    let breaks = bytes == b"break" && !BROKE.swap(true, Ordering::SeqCst);
    assert!(!breaks, "as a parser with an error in itself would");
    text(name, bytes)
}

#[tokio::test]
async fn after_a_load_that_broke_off_everything_counts_as_changed() {
    let folder = TempDir::new().expect("a folder");
    write(folder.path(), "a.yaml", "1");
    write(folder.path(), "b.yaml", "1");
    let files = Files::new(folder.path(), Vec::new(), Watching { events: false, ..QUICK }, breaking);
    let look = || files.load(|loaded, _| (loaded.anew, told(&loaded)));
    assert!(!look().await.expect("a load").0);
    fs::remove_file(folder.path().join("a.yaml")).expect("removed");
    write(folder.path(), "b.yaml", "break");
    assert!(look().await.is_err(), "it broke off");
    assert_eq!(look().await.expect("a load"), (true, vec!["b.yaml=break".to_owned()]));
    assert!(!look().await.expect("a load").0);
}
