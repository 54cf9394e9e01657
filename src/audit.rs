//! Hash chains over audit events, and their signed heads.
//!
//! # Guarantees
//! - An event's hash covers everything before it in its chain, so rewriting, reordering or taking
//!   out an event breaks the chain at that place.
//! - The head of a chain is signed with a key outside the store, so a chain that was recomputed
//!   from some event on, or cut at its end, has no valid head.
//! - A head is exported after commits to a file outside the store, so a store put back to
//!   an earlier state, whose heads were all signed once, is found by the newer exported one.
//!
//! # Caveats
//! - Who holds the key file and the exported heads besides the store can rewrite everything.

pub mod ends;
pub mod exporter;
pub mod heads;

use std::fmt;

use ring::digest;
use serde::Deserialize;
use serde::Serialize;

use crate::model::audit::AuditEvent;
use crate::model::ids::TargetName;
use crate::secrets::keys::Keys;
use crate::secrets::keys::hex;

/// Kind of the event that a store writes when it goes on after a head it could not trust: without
/// it the next signed head would cover up what was altered.
pub const TAMPERED: &str = "audit-tampered";

const HEAD_CONTEXT: &str = "audit head v1";

/// Which chain of which store.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ChainId {
    /// Random id of the store, so that a chain of one store never passes for that of another.
    pub store: String,
    /// The target; `None` is the chain of the installation.
    pub target: Option<TargetName>,
}

/// The signed end of a chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// Position of the last event; zero for an empty chain.
    pub seq: u64,
    /// Its hash.
    pub hash: String,
    /// Signature over store, chain, position and hash; base64.
    pub signature: String,
}

/// An event as its store holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredEvent {
    /// Position, from 1.
    pub seq: u64,
    /// Hash over the previous one, the position and `text`.
    pub hash: String,
    /// The canonical event. It is hashed as stored and never parsed for that: a number that does
    /// not survive parsing must not look like tampering.
    pub text: String,
}

/// Canonical JSON: keys sorted by their code points, no white space, one line.
pub fn canonical<T: Serialize>(value: &T) -> Result<String, serde_json::Error> {
    // A `serde_json::Map` is sorted as long as the feature `preserve_order` is off; a test below
    // fails if a dependency ever turns it on.
    Ok(serde_json::to_value(value)?.to_string())
}

/// Hash of the event at `seq`: hex SHA-256 over the previous hash, the position and the event's
/// canonical text.
pub fn chain(previous: &str, seq: u64, text: &str) -> String {
    // Hash and position hold no line feed, so the three parts cannot be shifted into each other.
    sha256(&[previous.as_bytes(), b"\n", seq.to_string().as_bytes(), b"\n", text.as_bytes()])
}

/// The next event of a chain that ends with `previous` at `seq`.
pub fn append(previous: &str, seq: u64, event: &AuditEvent) -> Result<StoredEvent, serde_json::Error> {
    let text = canonical(event)?;
    let seq = seq + 1;
    Ok(StoredEvent { seq, hash: chain(previous, seq, &text), text })
}

impl ChainId {
    /// What stands for the hash before the first event.
    pub fn genesis(&self) -> String {
        sha256(&[b"rosterd audit chain v1\n", self.store.as_bytes(), b"\n", self.label().as_bytes()])
    }

    /// The head of the empty chain.
    pub fn empty(&self, keys: &Keys) -> Head {
        self.sign(keys, 0, self.genesis())
    }

    /// A head, signed.
    pub fn sign(&self, keys: &Keys, seq: u64, hash: String) -> Head {
        let signature = keys.sign(HEAD_CONTEXT, self.statement(seq, &hash).as_bytes());
        Head { seq, hash, signature }
    }

    /// Whether these keys signed the head for this chain.
    pub fn signed(&self, keys: &Keys, head: &Head) -> bool {
        keys.verify(HEAD_CONTEXT, self.statement(head.seq, &head.hash).as_bytes(), &head.signature)
    }

    fn statement(&self, seq: u64, hash: &str) -> String {
        format!("{}\n{}\n{seq}\n{hash}", self.store, self.label())
    }

    /// `installation` or `target NAME`.
    pub fn label(&self) -> String {
        match &self.target {
            Some(target) => format!("target {target}"),
            None => "installation".to_owned(),
        }
    }
}

impl fmt::Display for ChainId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.target {
            Some(target) => write!(f, "audit chain of target `{target}`"),
            None => f.write_str("audit chain of the installation"),
        }
    }
}

/// Checks one chain, event by event, so that a long one need not be held in memory.
#[derive(Debug)]
pub struct Verifier {
    chain: ChainId,
    exported: Vec<Head>,
    seq: u64,
    hash: String,
    found: Vec<String>,
}

impl Verifier {
    /// A check of `chain`. `exported` are heads that were written outside the store.
    pub fn new(chain: ChainId, exported: impl IntoIterator<Item = Head>) -> Self {
        let hash = chain.genesis();
        Self { chain, exported: exported.into_iter().collect(), seq: 0, hash, found: Vec::new() }
    }

    /// The next event in order of position.
    pub fn push(&mut self, event: &StoredEvent) {
        let due = self.seq + 1;
        if event.seq > due {
            self.say(&format!("events {due} to {} are missing", event.seq - 1));
        } else if event.seq < due {
            self.say(&format!("event {} stands after event {}", event.seq, self.seq));
        }
        // Chained on the hash as it is stored: one altered event is reported once, and a chain
        // recomputed from there on is found by its head.
        if event.seq == due && event.hash != chain(&self.hash, event.seq, &event.text) {
            self.say(&format!("event {} or its hash was rewritten", event.seq));
        }
        if self.exported.iter().any(|head| head.seq == event.seq && head.hash != event.hash) {
            self.say(&format!("event {} is not the one whose head was exported: the chain was rewritten", event.seq));
        }
        if serde_json::from_str::<AuditEvent>(&event.text).is_ok_and(|event| event.kind == TAMPERED) {
            self.say(&format!("at event {} rosterd noticed that what stands before it had been altered", event.seq));
        }
        self.seq = event.seq;
        self.hash.clone_from(&event.hash);
    }

    /// The end: a sentence for each thing found wrong.
    pub fn finish(mut self, head: Option<&Head>, keys: &Keys) -> Vec<String> {
        match head {
            None => self.say("it has no signed head"),
            Some(head) if !self.chain.signed(keys, head) => {
                self.say("its head is not signed with this installation's key");
            }
            Some(head) if head.seq > self.seq => {
                self.say(&format!(
                    "it ends at event {} and its head stands at {}: events were cut off",
                    self.seq, head.seq
                ));
            }
            Some(head) if head.seq < self.seq => {
                self.say(&format!(
                    "it ends at event {} and its head stands at {}: events were put in",
                    self.seq, head.seq
                ));
            }
            Some(head) if head.hash != self.hash => self.say("it does not end in the hash that its head signed"),
            Some(_) => {}
        }
        for exported in std::mem::take(&mut self.exported) {
            if !self.chain.signed(keys, &exported) {
                self.say("the exported head is not signed with this installation's key");
            } else if exported.seq > self.seq {
                self.say(&format!(
                    "it ends at event {} and the exported head stands at {}: the store was put back to an earlier state",
                    self.seq, exported.seq
                ));
            }
        }
        self.found
    }

    fn say(&mut self, what: &str) {
        self.found.push(format!("{}: {what}", self.chain));
    }
}

/// Checks a whole chain at once.
pub fn verify(chain: &ChainId, events: &[StoredEvent], head: Option<&Head>, keys: &Keys) -> Vec<String> {
    let mut verifier = Verifier::new(chain.clone(), None);
    for event in events {
        verifier.push(event);
    }
    verifier.finish(head, keys)
}

fn sha256(parts: &[&[u8]]) -> String {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in parts {
        context.update(part);
    }
    hex(context.finish().as_ref())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use chrono::DateTime;
    use serde_json::json;

    use super::*;

    fn id() -> ChainId {
        ChainId { store: "s-1".to_owned(), target: Some("crm".into()) }
    }

    fn event(kind: &str) -> AuditEvent {
        AuditEvent {
            at: DateTime::UNIX_EPOCH,
            target: Some("crm".into()),
            kind: kind.to_owned(),
            actor: "engine".to_owned(),
            record: Some("u-1".into()),
            cycle: None,
            details: BTreeMap::from([("ratio".to_owned(), json!(0.1))]),
        }
    }

    fn chained(count: u64) -> Vec<StoredEvent> {
        let mut events: Vec<StoredEvent> = Vec::new();
        for seq in 0..count {
            let previous = events.last().map_or_else(|| id().genesis(), |event| event.hash.clone());
            events.push(append(&previous, seq, &event(&format!("k{seq}"))).unwrap());
        }
        events
    }

    fn head(keys: &Keys, events: &[StoredEvent]) -> Head {
        id().sign(keys, events.last().unwrap().seq, events.last().unwrap().hash.clone())
    }

    #[test]
    fn canonical_json_has_sorted_keys_at_every_depth() {
        let value = json!({"b": {"z": 1, "a": [{"y": 1, "x": 2}]}, "a": null});
        assert_eq!(canonical(&value).unwrap(), r#"{"a":null,"b":{"a":[{"x":2,"y":1}],"z":1}}"#);
    }

    #[test]
    fn a_chain_as_it_was_written_is_found_whole() {
        let keys = Keys::generate().unwrap();
        let events = chained(5);
        assert_eq!(verify(&id(), &events, Some(&head(&keys, &events)), &keys), Vec::<String>::new());
        assert_eq!(verify(&id(), &[], Some(&id().empty(&keys)), &keys), Vec::<String>::new());
    }

    #[track_caller]
    fn check(alter: impl FnOnce(&mut Vec<StoredEvent>), expected: &str) {
        let keys = Keys::generate().unwrap();
        let mut events = chained(5);
        let signed = head(&keys, &events);
        alter(&mut events);
        let found = verify(&id(), &events, Some(&signed), &keys);
        assert!(found.iter().any(|text| text.contains(expected)), "{found:?}");
    }

    #[test]
    fn rewriting_reordering_and_cutting_are_found() {
        check(|events| events[2].text = events[2].text.replace("u-1", "u-2"), "event 3 or its hash was rewritten");
        check(|events| events.swap(1, 2), "event 2 stands after event 3");
        check(
            |events| {
                let text = events[1].text.clone();
                events[1].text = events[2].text.clone();
                events[2].text = text;
            },
            "event 2 or its hash was rewritten",
        );
        check(|events| drop(events.remove(2)), "events 3 to 3 are missing");
        check(|events| drop(events.pop()), "events were cut off");
        check(|events| drop(events.remove(0)), "events 1 to 1 are missing");
    }

    #[test]
    fn a_chain_recomputed_from_an_event_on_is_found_by_its_head() {
        check(
            |events| {
                events[2].text = events[2].text.replace("u-1", "u-2");
                for at in 2..events.len() {
                    events[at].hash = chain(&events[at - 1].hash.clone(), events[at].seq, &events[at].text);
                }
            },
            "does not end in the hash that its head signed",
        );
    }

    #[test]
    fn a_head_of_other_keys_another_store_or_another_chain_is_not_taken() {
        let keys = Keys::generate().unwrap();
        let events = chained(2);
        let last = events[1].hash.clone();
        let others = [
            id().sign(&Keys::generate().unwrap(), 2, last.clone()),
            ChainId { store: "s-2".to_owned(), ..id() }.sign(&keys, 2, last.clone()),
            ChainId { target: None, ..id() }.sign(&keys, 2, last),
        ];
        for head in others {
            assert!(verify(&id(), &events, Some(&head), &keys)[0].contains("not signed"));
        }
        assert!(verify(&id(), &events, None, &keys)[0].contains("no signed head"));
    }

    #[test]
    fn a_store_put_back_to_an_earlier_state_is_found_by_the_exported_head() {
        let keys = Keys::generate().unwrap();
        let events = chained(5);
        let yesterday = &events[..3];
        let mut verifier = Verifier::new(id(), Some(head(&keys, &events)));
        for event in yesterday {
            verifier.push(event);
        }
        let found = verifier.finish(Some(&head(&keys, yesterday)), &keys);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains("put back to an earlier state"));
    }
}
