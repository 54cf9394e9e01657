//! The embedded directory as a subject.

use std::sync::Arc;

use chrono::DateTime;
use rosterd::clock::TestClock;
use rosterd::connectors::directory;
use rosterd::connectors::directory::Directory;
use rosterd::model::node::Node;

use crate::conformance::subject::Subject;

/// An empty one; groups need not be there before their first member.
pub(crate) fn empty() -> Subject {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(TestClock::new(DateTime::UNIX_EPOCH));
    let directory = Directory::at(folder.path().join("rosterd-directory.db"), clock);
    let none = Node::default();
    let connector = directory::build(&none, &none, &directory, (&"crm".into(), &"default".into())).unwrap();
    Subject { connector, target: Box::new(folder) }
}
