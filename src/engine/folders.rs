//! The values of a label: the folders of users, kept from view to view at the cost of what differs.

use std::collections::BTreeMap;

use crate::model::user::User;
use crate::model::users::Users;

/// How many users have each value of a label, by label.
#[derive(Default)]
pub(crate) struct Folders {
    by_label: BTreeMap<String, Named>,
}

#[derive(Default)]
struct Named {
    /// Whom `counts` counts.
    users: Users,
    counts: BTreeMap<String, usize>,
}

impl Folders {
    /// The values that a label has for these users, in order.
    pub(crate) fn of(&mut self, users: &Users, label: &str) -> Vec<String> {
        let named = self.by_label.entry(label.to_owned()).or_default();
        let value = |user: Option<User>| user.and_then(|mut user| user.labels.remove(label));
        for edit in named.users.edits(users) {
            if let Some(count) = value(edit.before()).and_then(|value| named.counts.get_mut(&value)) {
                *count -= 1;
            }
            if let Some(value) = value(edit.after()) {
                *named.counts.entry(value).or_default() += 1;
            }
        }
        named.counts.retain(|_, count| *count > 0);
        named.users = users.clone();
        named.counts.keys().cloned().collect()
    }

    /// Forgets labels that no target asks for any more.
    pub(crate) fn keep_only(&mut self, labels: &dyn Fn(&str) -> bool) {
        self.by_label.retain(|label, _| labels(label));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ids::RecordId;

    fn user(id: &str, folder: Option<&str>) -> User {
        let labels = folder.map(|folder| ("folder".to_owned(), folder.to_owned()));
        User { labels: labels.into_iter().collect(), ..User::plain(id) }
    }

    #[test]
    fn whatever_differs_between_views_the_folders_are_those_of_the_users() {
        let mut folders = Folders::default();
        let mut users: Users =
            [user("a", Some("acme")), user("b", Some("acme")), user("c", Some("bolt"))].iter().collect();
        assert_eq!(folders.of(&users, "folder"), ["acme", "bolt"]);
        users.insert(&user("a", Some("crow")));
        users.remove(&RecordId::from("c"));
        assert_eq!(folders.of(&users, "folder"), ["acme", "crow"]);
        users.insert(&user("b", None));
        assert_eq!(folders.of(&users, "folder"), ["crow"]);
        assert_eq!(folders.of(&users, "site"), [""; 0]);
        // Users that were made apart from these, and an earlier view again.
        let other: Users = [user("b", Some("dune"))].iter().collect();
        assert_eq!(folders.of(&other, "folder"), ["dune"]);
        assert_eq!(folders.of(&users, "folder"), ["crow"]);
        folders.keep_only(&|label| label == "site");
        assert_eq!(folders.by_label.keys().collect::<Vec<_>>(), ["site"]);
    }
}
