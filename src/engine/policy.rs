//! Changed `Target` documents: what they tighten acts at once, what they loosen waits for a person,
//! and each of them leaves an audit event (L8, L11).

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::Value;

use crate::accept::asks;
use crate::accept::policy;
use crate::accept::policy::Judged;
use crate::engine::EngineError;
use crate::engine::shared::Shared;
use crate::model::audit::AuditEvent;
use crate::model::decision::DecisionKind;
use crate::model::ids::Digest;
use crate::model::ids::TargetName;
use crate::model::plan::Hold;
use crate::model::plan::HoldKind;
use crate::model::target::KnownTarget;
use crate::model::target::Target;
use crate::plan::canonical;
use crate::project::Projector;
use crate::store::Write;

/// A target as it acts.
pub(crate) struct Settled {
    /// With the policy that acts, which may be stricter than its document.
    pub(crate) projector: Arc<Projector>,
    /// What its document loosens and nobody released.
    pub(crate) loosening: Option<Hold>,
    /// Whether its document is another than the one that was accepted last.
    pub(crate) unaccepted: bool,
}

/// Judges the policies of these targets against what was accepted, and remembers what is accepted
/// now. A load that is not `accepted` changes nothing: its targets act as far as they are known, and
/// one that it brings or changes is marked.
pub(crate) async fn settle(
    shared: &Shared,
    projectors: Vec<Arc<Projector>>,
    accepted: bool,
) -> Result<Vec<Settled>, EngineError> {
    let known = shared.store.known_targets().await?;
    let released: BTreeSet<Digest> = shared
        .store
        .decisions()
        .await?
        .into_iter()
        .filter(|decision| decision.kind == DecisionKind::Loosen)
        .filter_map(|decision| decision.digest)
        .collect();
    let mut writes = Vec::new();
    let declared: BTreeSet<_> = projectors.iter().map(|projector| projector.target().name.clone()).collect();
    let gone = known.iter().filter(|(name, known)| !declared.contains(*name) && !known.parts.is_empty());
    for (name, known) in gone {
        writes.extend(changed(shared, name, &KnownTarget { parts: BTreeMap::new(), ..known.clone() }, Some(known)));
    }
    let mut settled = Vec::new();
    for projector in projectors {
        let (mut one, next) = settle_one(projector, &known, (&released, accepted));
        let name = &one.projector.target().name;
        one.unaccepted = !accepted && known.get(name).is_none_or(|known| known.parts != next.parts);
        if known.get(name) != Some(&next) {
            writes.extend(changed(shared, name, &next, known.get(name)));
        }
        settled.push(one);
    }
    if accepted && !writes.is_empty() {
        shared.store.commit(writes, shared.store.fence()).await?;
    }
    Ok(settled)
}

fn settle_one(
    projector: Arc<Projector>,
    known: &BTreeMap<TargetName, KnownTarget>,
    (released, accepted): (&BTreeSet<Digest>, bool),
) -> (Settled, KnownTarget) {
    let target = Arc::clone(projector.target());
    let (wanted, parts) = (policy::of(&target), parts(&target));
    // The first word about a target stands as written.
    let Some(known) = known.get(&target.name) else {
        return (
            Settled { projector, loosening: None, unaccepted: false },
            KnownTarget { policy: wanted, serial: 0, parts },
        );
    };
    let Judged { acts, agreed, looser } = policy::judge(&known.policy, &wanted);
    let serial = known.serial + u64::from(agreed != known.policy);
    let agreed = KnownTarget { policy: agreed, serial, parts: parts.clone() };
    let digest = digest_of(&target.name, &agreed, &wanted);
    // What a person released acts with the document that asks for it, once that is accepted.
    let is_released = released.contains(&digest);
    if looser.is_empty() || (is_released && (accepted || known.parts == parts)) {
        let serial = known.serial + u64::from(wanted != known.policy);
        return (
            Settled { projector, loosening: None, unaccepted: false },
            KnownTarget { policy: wanted, serial, parts },
        );
    }
    let reason = format!(
        "`{}` asks for {}; until a person agrees the stricter acts; `rosterd holds release {digest}` lets it act",
        target.name,
        looser.join(", ")
    );
    let hold = Hold { limit: HoldKind::Loosen, reason, digest, changes: Vec::new() };
    let mut stricter = Target::clone(&target);
    (stricter.mode, stricter.limits) = (acts.mode, acts.limits.clone());
    stricter.account.protected.clone_from(&acts.protected);
    stricter.account.deletion = acts.deletion;
    for blocker in stricter.account.blockers.values_mut() {
        let agreed = acts.waits.get(&blocker.at).copied();
        blocker.wait = blocker.wait.and_then(|wait| Some(wait.min(agreed?)));
    }
    stricter.approval = asks::acting(target.approval.as_ref(), &target.origin, acts.approval.as_deref());
    for (word, given) in &acts.catalogue {
        if let Some(entry) = stricter.entitlements.get_mut(word) {
            (entry.membership, entry.privileged) = (given.membership.clone(), given.privileged);
        }
    }
    // Templates do not depend on the policy: what compiled once compiles again.
    let projector = Projector::new(Arc::new(stricter)).map_or(projector, Arc::new);
    let loosening = (!is_released).then_some(hold);
    (Settled { projector, loosening, unaccepted: false }, agreed)
}

/// What a person releases: this step of this target, once.
fn digest_of(name: &TargetName, from: &KnownTarget, to: &crate::model::target::Policy) -> Digest {
    canonical::digest_of(serde_json::json!({ "target": name, "serial": from.serial, "from": from.policy, "to": to }))
}

/// The new state, with the event that tells of it.
fn changed(shared: &Shared, name: &TargetName, next: &KnownTarget, before: Option<&KnownTarget>) -> [Write; 2] {
    let old = before.map(|before| before.parts.clone()).unwrap_or_default();
    let differs = |part: &&String| old.get(*part) != next.parts.get(*part);
    let parts: BTreeSet<&String> = old.keys().chain(next.parts.keys()).filter(differs).collect();
    let acts = before.is_none_or(|before| before.policy != next.policy);
    let details = BTreeMap::from([
        ("changed".to_owned(), parts.into_iter().map(|part| Value::from(part.as_str())).collect()),
        ("policyChanged".to_owned(), acts.into()),
        ("serial".to_owned(), next.serial.into()),
        ("removed".to_owned(), next.parts.is_empty().into()),
    ]);
    let event = AuditEvent {
        at: shared.now(),
        target: Some(name.clone()),
        kind: "target".to_owned(),
        actor: "engine".to_owned(),
        record: None,
        cycle: None,
        details,
    };
    [Write::Target(name.clone(), next.clone()), Write::Audit(event)]
}

/// A hash of each part of a document. Where it stands is no part of it.
fn parts(target: &Target) -> BTreeMap<String, String> {
    let Ok(Value::Object(mut parts)) = serde_json::to_value(target) else { return BTreeMap::new() };
    parts.remove("origin");
    let hashed = parts.into_iter().map(|(key, mut value)| {
        placeless(&mut value);
        (key, canonical::digest_of(value).as_str().to_owned())
    });
    hashed.collect()
}

fn placeless(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.remove("origin");
            fields.remove("lines");
            fields.values_mut().for_each(placeless);
        }
        Value::Array(items) => items.iter_mut().for_each(placeless),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
