//! The inputs of one evaluation as the engine sees them, and which of them were missed.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;

use minijinja::Value;
use minijinja::value::Object;
use minijinja::value::ObjectRepr;
use minijinja::value::Serde;
use serde_json::Value as Json;

/// Begins an evaluation on this thread: the root of its variables, each given by the names on
/// the way to it and its value.
pub(crate) fn begin<'a>(given: impl Iterator<Item = (&'a [String], Option<Json>)>) -> Value {
    ABSENT.with_borrow_mut(Absences::clear);
    let mut root = BTreeMap::new();
    for (segments, value) in given {
        insert(&mut root, segments, value);
    }
    Tree::Branch(root).into()
}

/// Values on their way to becoming [`Fields`].
enum Tree {
    Leaf(Value),
    Branch(BTreeMap<String, Self>),
}

fn insert(into: &mut BTreeMap<String, Tree>, segments: &[String], value: Option<Json>) {
    let [first, rest @ ..] = segments else { return };
    if rest.is_empty() {
        if let Some(value) = value {
            into.insert(first.clone(), Tree::Leaf(Value::from(Serde(value))));
        }
        return;
    }
    let below = into.entry(first.clone()).or_insert_with(|| Tree::Branch(BTreeMap::new()));
    if let Tree::Branch(fields) = below {
        insert(fields, rest, value);
    }
}

impl From<Tree> for Value {
    fn from(tree: Tree) -> Self {
        match tree {
            Tree::Leaf(value) => value,
            Tree::Branch(fields) => {
                Self::from_object(Fields(fields.into_iter().map(|(name, tree)| (name, tree.into())).collect()))
            }
        }
    }
}

/// A map whose missing keys are remembered.
#[derive(Debug)]
struct Fields(BTreeMap<String, Value>);

impl Object for Fields {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.get_value_by_str(key.as_str()?)
    }

    fn get_value_by_str(self: &Arc<Self>, key: &str) -> Option<Value> {
        let found = self.0.get(key).cloned();
        Some(found.unwrap_or_else(|| Value::from_object(Absent(ABSENT.with_borrow_mut(Absences::note)))))
    }
}

/// An input that was read and is not there. It passes through text filters, is false, equals
/// nothing, and leaves a mark that only `default` and `is defined` rub out.
#[derive(Debug)]
struct Absent(u32);

impl Object for Absent {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn get_value(self: &Arc<Self>, _: &Value) -> Option<Value> {
        Some(Value::from_dyn_object(Arc::<Self>::clone(self)))
    }

    fn is_true(self: &Arc<Self>) -> bool {
        false
    }
}

/// Reads of absent inputs that nothing has answered yet.
#[derive(Debug, Default)]
struct Absences {
    next: u32,
    open: BTreeSet<u32>,
}

impl Absences {
    fn clear(&mut self) {
        *self = Self::default();
    }

    fn note(&mut self) -> u32 {
        self.next += 1;
        self.open.insert(self.next);
        self.next
    }

    fn is_empty(&self) -> bool {
        self.open.is_empty()
    }
}

thread_local! {
    /// One evaluation is one synchronous call on one thread, and objects of the engine learn
    /// nothing of the evaluation that they are part of: so the marks stand here.
    static ABSENT: RefCell<Absences> = RefCell::default();
}

/// Whether a value is an input that was not there.
pub(crate) fn is_absent(value: &Value) -> bool {
    absence(value).is_some()
}

/// Whether every read of an absent input since [`begin`] was answered.
pub(crate) fn all_answered() -> bool {
    ABSENT.with_borrow(Absences::is_empty)
}

fn absence(value: &Value) -> Option<u32> {
    value.downcast_object_ref::<Absent>().map(|absent| absent.0)
}

/// Says that somebody took care of an absent input.
pub(crate) fn answered(value: &Value) {
    if let Some(id) = absence(value) {
        ABSENT.with_borrow_mut(|absences| absences.open.remove(&id));
    }
}

/// Whether there is nothing: an absent input, or an index beyond the end of a list.
pub(crate) fn missing(value: &Value) -> bool {
    value.is_undefined() || value.is_none() || absence(value).is_some()
}
