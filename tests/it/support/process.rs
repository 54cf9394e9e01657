//! The program as others start it: what is waited for comes, or the test says what it saw instead.

use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::Child;
use std::process::ExitStatus;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::mpsc;
use std::time::Duration;
use std::time::Instant;

/// Longer than anything takes on a machine that is busy with other things; nothing waits for it to pass.
pub(crate) const PATIENCE: Duration = Duration::from_mins(2);

/// Asks until the answer is as it should be.
#[track_caller]
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < PATIENCE, "{what} did not come to hold");
        #[expect(clippy::disallowed_methods, reason = "a test has nothing else to do until then")]
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Waits for the end of a program.
#[track_caller]
pub(crate) fn ended(child: &mut Child) -> ExitStatus {
    let mut status = None;
    until("the end of the program", || {
        status = child.try_wait().unwrap();
        status.is_some()
    });
    status.unwrap()
}

/// What a program says on its standard output, to the end of these words.
#[track_caller]
pub(crate) fn heard(child: &mut Child, words: &str) -> String {
    let (words, heard) = (words.as_bytes().to_vec(), Arc::new(Mutex::new(Vec::new())));
    let (tell, told) = mpsc::channel();
    let (mut out, so_far) = (child.stdout.take().unwrap(), Arc::clone(&heard));
    std::thread::spawn(move || {
        let mut letter = [0];
        let mut goes_on = || out.read_exact(&mut letter).is_ok().then(|| letter[0]);
        let said = std::iter::from_fn(&mut goes_on).any(|letter| {
            let mut heard = so_far.lock().unwrap();
            heard.push(letter);
            heard.ends_with(&words)
        });
        // Whoever waited may have given up.
        drop(tell.send(said.then_some(out)));
    });
    let told = told.recv_timeout(PATIENCE);
    let text = String::from_utf8_lossy(&heard.lock().unwrap()).into_owned();
    let Ok(Some(out)) = told else { panic!("the program ended or hangs; it said: {text}") };
    // It may have more to say.
    child.stdout = Some(out);
    text
}

/// Writes a file as editors save: who reads it meanwhile finds the one or the other, and never half of it.
pub(crate) fn saved(path: &Path, text: &str) {
    let draft = path.with_file_name(".draft");
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&draft, text).and_then(|()| fs::rename(&draft, path)).unwrap();
}
