//! `Target`s over their `TargetDefaults`.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;

use crate::manifest::Problem;
use crate::manifest::combine;
use crate::manifest::combine::Allowed;
use crate::manifest::decode::decode;
use crate::manifest::document::Kind;
use crate::manifest::file::OperatorDocument;
use crate::manifest::report::Report;
use crate::manifest::suggest;
use crate::manifest::target;
use crate::manifest::target::TargetDefaultsDocument;
use crate::manifest::target::TargetDocument;
use crate::manifest::tree::Tree;
use crate::manifest::tree::Value;
use crate::model::origin::Origin;
use crate::model::target::Target;

impl OperatorDocument {
    /// `metadata.name`, as far as there is one.
    pub(crate) fn name(&self) -> Option<&str> {
        self.tree.get("metadata")?.get("name")?.text()
    }

    fn origin(&self) -> Origin {
        let place = self
            .tree
            .get("metadata")
            .and_then(|metadata| metadata.get("name"))
            .map_or(self.tree.place, |name| name.place);
        let what = format!("{} {}", self.kind.as_str(), self.name().unwrap_or_default());
        Origin { file: self.source.file.clone(), line: place.line, what: what.into() }
    }
}

/// A document with what its place allows.
pub(crate) type Placed<'d> = (&'d OperatorDocument, Allowed);

/// The targets of a load.
pub(crate) struct Targets {
    /// Those that are sound, in order of name.
    pub(crate) targets: Vec<Arc<Target>>,
    /// Names of all, sound or not.
    pub(crate) declared: BTreeSet<String>,
}

/// Merges and types the targets of a load.
pub(crate) fn targets(documents: &[Placed<'_>], problems: &mut Vec<Problem>) -> Targets {
    let defaults = by_name(documents, Kind::TargetDefaults, problems);
    let declared = by_name(documents, Kind::Target, problems);
    for document in defaults.values().filter_map(|found| found.first()).map(|(document, _)| document) {
        check_defaults(document, problems);
    }
    let mut sound = Vec::new();
    for found in declared.values() {
        let [(document, allowed)] = found.as_slice() else { continue };
        sound.extend(typed(document, *allowed, &defaults, problems).map(Arc::new));
    }
    Targets { targets: sound, declared: declared.into_keys().map(str::to_owned).collect() }
}

type ByName<'d> = BTreeMap<&'d str, Vec<Placed<'d>>>;

fn by_name<'d>(documents: &[Placed<'d>], kind: Kind, problems: &mut Vec<Problem>) -> ByName<'d> {
    let mut found: ByName<'d> = BTreeMap::new();
    for placed in documents.iter().copied().filter(|(document, _)| document.kind == kind) {
        // One without a name is typed all the same, so that it is told what it lacks.
        found.entry(placed.0.name().unwrap_or_default()).or_default().push(placed);
    }
    for (name, placed) in found.iter().filter(|(name, placed)| placed.len() > 1 && !name.is_empty()) {
        let origins: Vec<Origin> = placed.iter().map(|(document, _)| document.origin()).collect();
        combine::repeated(kind.as_str(), name, &origins.iter().collect::<Vec<_>>(), problems);
    }
    found
}

/// Defaults are checked by themselves, so that their problems are told once, used or not.
fn check_defaults(document: &OperatorDocument, problems: &mut Vec<Problem>) {
    let mut report = Report::new(vec![&document.source]);
    if let Some(TargetDefaultsDocument { metadata, spec, .. }) = decode(&document.tree, &mut report) {
        crate::manifest::role::name(&metadata, &document.tree, "defaults", &mut report);
        if let Some(nested) = spec.defaults {
            report
                .add(nested.place, "wrong-value", "defaults cannot have defaults themselves")
                .hint("write the values out here");
        }
    }
    problems.extend(report.into_problems());
}

fn typed(
    document: &OperatorDocument,
    allowed: Allowed,
    defaults: &ByName<'_>,
    problems: &mut Vec<Problem>,
) -> Option<Target> {
    let wanted = document.tree.get("spec").and_then(|spec| spec.get("defaults"));
    let under = wanted.and_then(|name| defaults.get(name.text()?)).and_then(|found| found.first());
    let mut sources = vec![&document.source];
    sources.extend(under.map(|(defaults, _)| &defaults.source));
    let mut report = Report::new(sources);
    let mut tree = document.tree.clone();
    match (wanted, under) {
        (_, Some((defaults, _))) => lay_over(&mut tree, &defaults.tree),
        (Some(wanted), None) if wanted.text().is_some() => {
            let name = wanted.text().unwrap_or_default();
            report
                .add(wanted.place, "unknown-defaults", format!("there is no `TargetDefaults` of the name `{name}`"))
                .hint(suggest::one_of(name, defaults.keys().copied()));
        }
        _ => {}
    }
    let file = document.source.file.clone();
    let converted = decode::<TargetDocument>(&tree, &mut report)
        .and_then(|typed| target::convert(typed, &tree, &file, allowed, &mut report));
    let sound = report.is_empty();
    problems.extend(report.into_problems());
    converted.filter(|_| sound)
}

/// Lays the `spec` of a target over that of its defaults.
fn lay_over(target: &mut Tree<'static>, defaults: &Tree<'static>) {
    let Some(under) = defaults.get("spec") else { return };
    let mut under = under.clone().into_owned(1);
    let Value::Map(entries) = &mut target.value else { return };
    let Some((_, spec)) = entries.iter_mut().find(|(key, _)| key.text == "spec") else { return };
    if let Value::Map(below) = &mut under.value {
        // Two kinds of schedule or of connector do not merge into one.
        below.retain(|(key, value)| match key.text.as_ref() {
            "schedule" => spec.get("schedule").is_none(),
            "connector" => spec.get("connector").is_none_or(|own| same_keys(own, value)),
            _ => true,
        });
    }
    let place = spec.place;
    let own = std::mem::replace(spec, Tree { place, value: Value::List(Vec::new()) });
    *spec = own.over(under);
}

fn same_keys(left: &Tree<'_>, right: &Tree<'_>) -> bool {
    left.entries().iter().all(|(key, _)| right.get(&key.text).is_some())
}
