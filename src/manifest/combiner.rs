//! The documents of a folder that is loaded again and again.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::manifest::Documents;
use crate::manifest::combine::OperatorDocuments;
use crate::manifest::combine::Rules;
use crate::manifest::combine::combine;
use crate::manifest::digests::Digests;
use crate::manifest::file::FileDocuments;
use crate::manifest::file::MOST_DOCUMENTS;
use crate::model::ids::RecordId;
use crate::model::user::User;
use crate::model::users::Users;

/// Puts the files of load after load together.
///
/// # Guarantees
/// Each load gives what [`combine`] gives of its files. Where nothing but users
/// changed, and nothing is or was wrong, it costs what changed.
#[derive(Debug)]
pub struct Combiner {
    operator: OperatorDocuments,
    rules: Rules,
    last: Option<Last>,
}

/// What one file gave before and gives now.
type Change = (Option<Arc<FileDocuments>>, Option<Arc<FileDocuments>>);

/// The last load and what single users are checked against.
#[derive(Debug)]
struct Last {
    documents: Documents,
    /// How many documents its files have.
    count: usize,
    digests: Digests,
    /// Record ids that users once had.
    formers: BTreeSet<RecordId>,
    /// Users who answer for an account that is no user's.
    owners: BTreeSet<RecordId>,
}

impl Combiner {
    /// Nothing was loaded yet.
    pub fn new(operator: OperatorDocuments, rules: Rules) -> Self {
        Self { operator, rules, last: None }
    }

    /// The next load has nothing in common with the last one for sure.
    pub fn forget(&mut self) {
        self.last = None;
    }

    /// The documents of `all` files, of which `changed` differ from the last load.
    pub fn combine<F: Iterator<Item = Arc<FileDocuments>>>(
        &mut self,
        changed: &[Change],
        all: impl FnOnce() -> F,
    ) -> Documents {
        if let Some(mut last) = self.last.take()
            && let Some(users) = self.users_after(&last, changed)
        {
            last.follow(changed);
            if last.count <= MOST_DOCUMENTS {
                last.documents.users = users;
                last.documents.digest = last.digests.whole();
                return self.last.insert(last).documents.clone();
            }
        }
        let files: Vec<_> = all().collect();
        let last = Last::of(&files, &self.operator, &self.rules);
        self.last.insert(last).documents.clone()
    }

    /// The users of a load in which nothing is wrong; `None` where only a look at everything tells.
    fn users_after(&self, last: &Last, changed: &[Change]) -> Option<Users> {
        let mut files = changed.iter().flat_map(|(former, present)| [former, present]).flatten();
        if !last.documents.problems.is_empty() || !files.all(|file| file.has_only_users()) {
            return None;
        }
        let mut users = last.documents.users.clone();
        for user in changed.iter().filter_map(|(former, _)| former.as_ref()).flat_map(|file| &file.users) {
            users.remove(user.id());
        }
        for user in changed.iter().filter_map(|(_, present)| present.as_ref()).flat_map(|file| &file.users) {
            if !self.is_sound(&user.user(), last) || !users.put(user.clone()) {
                return None;
            }
        }
        let missed = last.owners.iter().any(|owner| !users.contains_key(owner));
        (!missed).then_some(users)
    }

    /// Whether what the user's document says about other documents is right for sure.
    fn is_sound(&self, user: &User, last: &Last) -> bool {
        let roles = user.roles.iter().all(|held| last.documents.roles.contains_key(&held.name));
        let teams = self.rules.teams.as_ref().is_none_or(|teams| user.teams.is_subset(teams));
        let known = last.documents.users.get(&user.id);
        let names = match known {
            Some(known) => user.formerly == known.formerly,
            None => user.formerly.is_empty() && !last.formers.contains(&user.id),
        };
        roles && teams && names
    }
}

impl Last {
    fn of(files: &[Arc<FileDocuments>], operator: &OperatorDocuments, rules: &Rules) -> Self {
        let documents = combine(files.iter().cloned(), operator, rules);
        let mut digests = Digests::default();
        for file in files.iter().chain(&operator.files).filter(|file| file.documents > 0) {
            digests.add(&file.digest);
        }
        let formers = documents.users.renamed().flat_map(|user| user.formerly).collect();
        let owners = documents.targets.iter().flat_map(|target| &target.exceptions);
        let owners = owners.map(|exception| exception.owner.clone()).collect();
        let count = files.iter().map(|file| file.documents).sum();
        Self { documents, count, digests, formers, owners }
    }

    fn follow(&mut self, changed: &[Change]) {
        for (former, present) in changed {
            if let Some(former) = former.as_ref().filter(|file| file.documents > 0) {
                self.count -= former.documents;
                self.digests.remove(&former.digest);
            }
            if let Some(present) = present.as_ref().filter(|file| file.documents > 0) {
                self.count += present.documents;
                self.digests.add(&present.digest);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::manifest::combine::Allowed;
    use crate::manifest::parse_file;

    const BASE: &str = "\
apiVersion: rosterd.dev/v1
kind: Role
metadata: { name: staff }
spec: { grants: [] }
---
apiVersion: rosterd.dev/v1
kind: Target
metadata: { name: t }
spec:
  connector: { directory: {} }
  account: { match: [userName], userName: '{{ user.id }}' }
";

    /// What may stand in one file: users of few ids, sound and not, some at odds with others.
    fn any_text() -> impl Strategy<Value = String> {
        let id = || prop::sample::select(vec!["a", "b", "c", "d", "e", "f"]);
        let user = (
            id(),
            prop::sample::select(vec!["", "roles: [staff]", "roles: [ghost]", "teams: [red]", "teams: [blue]"]),
            prop::option::weighted(0.2, id()),
        );
        let user = user.prop_map(|(id, field, former)| {
            let former = former.map(|former| format!(", formerly: [{former}]")).unwrap_or_default();
            format!("apiVersion: rosterd.dev/v1\nkind: User\nmetadata: {{ name: {id}{former} }}\nspec:\n  givenName: A\n  familyName: B\n  email: {id}@acme.example\n  {field}\n")
        });
        let other = prop::sample::select(vec![
            "",
            "kind: User\n",
            "apiVersion: rosterd.dev/v1\nkind: Role\nmetadata: { name: ghost }\nspec: { grants: [] }\n",
            "apiVersion: rosterd.dev/v1\nkind: Exception\nmetadata: { name: x }\nspec: { target: t, account: x, owner: a, reason: r }\n",
        ]);
        let document = prop_oneof![12 => user, 1 => other.prop_map(str::to_owned)];
        prop::collection::vec(document, 1..3).prop_map(|documents| documents.join("---\n"))
    }

    proptest! {
        #[test]
        fn loads_that_follow_one_another_are_each_as_if_combined_anew(
            loads in prop::collection::vec(prop::collection::vec((0..5_usize, prop::option::of(any_text())), 0..3), 1..12),
        ) {
            let rules = Rules {
                operator_documents_allowed: Allowed::Yes,
                teams: Some(["red".to_owned()].into()),
                ..Rules::default()
            };
            let mut combiner = Combiner::new(OperatorDocuments::default(), rules.clone());
            let mut files = BTreeMap::from([("base.yaml".to_owned(), Arc::new(parse_file("base.yaml", BASE.as_bytes())))]);
            let base = combine(files.values().cloned(), &OperatorDocuments::default(), &rules);
            prop_assert_eq!(base.problems, vec![], "what everything stands on is sound");
            let mut changed: Vec<Change> = vec![(None, files.get("base.yaml").cloned())];
            for load in loads {
                for (number, text) in load.into_iter().collect::<BTreeMap<_, _>>() {
                    let name = format!("{number}.yaml");
                    let present = text.map(|text| Arc::new(parse_file(&name, text.as_bytes())));
                    let former = match &present {
                        Some(file) => files.insert(name, Arc::clone(file)),
                        None => files.remove(&name),
                    };
                    changed.push((former, present));
                }
                let kept = combiner.combine(&changed, || files.values().cloned());
                let anew = combine(files.values().cloned(), &OperatorDocuments::default(), &rules);
                prop_assert_eq!(format!("{kept:#?}"), format!("{anew:#?}"));
                changed.clear();
            }
        }
    }
}
