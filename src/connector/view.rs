//! A read-only look into accounts that rosterd keeps itself: the embedded directory.
//!
//! People and tools read it as SCIM (RFC 7644 section 3.4); nothing is written this way.

use async_trait::async_trait;
use serde_json::Value;

use crate::connector::ConnectorError;
use crate::model::ids::TargetName;

/// What the embedded directory shows.
#[async_trait]
pub trait DirectoryView: Send + Sync {
    /// One page of resources in SCIM JSON, ordered by id. `None`: `target` is no embedded one.
    async fn list(&self, target: &TargetName, query: &ViewQuery) -> Result<Option<ViewPage>, ConnectorError>;

    /// One resource in SCIM JSON. `None`: neither here nor there.
    async fn get(&self, target: &TargetName, kind: ViewKind, id: &str) -> Result<Option<Value>, ConnectorError>;
}

/// Which resources.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ViewKind {
    /// `Users`
    Users,
    /// `Groups`
    Groups,
}

/// Which page of which resources.
#[derive(Clone, Debug, PartialEq)]
pub struct ViewQuery {
    /// Users or groups.
    pub kind: ViewKind,
    /// Only resources whose attribute of this name (`userName`, `name.givenName`) equals this
    /// string, number or boolean.
    pub filter: Option<(String, Value)>,
    /// How many to leave out before the first: `startIndex` of SCIM less one.
    pub skip: usize,
    /// At most so many; 0 asks for the total alone.
    pub count: usize,
}

/// One page.
#[derive(Clone, Debug, PartialEq)]
pub struct ViewPage {
    /// How many resources fit the filter, pages aside.
    pub total: usize,
    /// The resources of this page, each with `schemas`, `id` and `meta`.
    pub resources: Vec<Value>,
}
