//! The one table of routes: what there is, and what it takes to ask for it.

use std::sync::Arc;

use axum::handler::Handler;
use axum::http::Method;
use axum::routing::MethodFilter;
use axum::routing::MethodRouter;
use axum::routing::on;

use crate::server::Api;
use crate::server::decide;
use crate::server::directory;
use crate::server::health;
use crate::server::invites;
use crate::server::look;
use crate::server::past;
use crate::server::receipt;
use crate::server::requests;
use crate::server::targets;
use crate::server::tokens;
use crate::server::undo;
use crate::server::wire::Right;

/// One line of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The method.
    pub method: Method,
    /// The path, with `{name}` for its variable parts.
    pub path: &'static str,
    /// What a caller needs; `None`: nothing, and no token is looked at.
    pub right: Option<Right>,
    /// Which targets the caller's token must be good for.
    pub reaches: Reaches,
    /// What it does.
    pub kind: Kind,
    /// How long it may take, and how large its body may be.
    pub weight: Weight,
}

/// Which targets a token must be good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reaches {
    /// Those that the request asks for; what it does not ask for by name is left out of answers.
    Asked,
    /// The `{target}` of the path.
    Path,
    /// All of them.
    Everything,
}

/// What a route does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Changes nothing.
    Read,
    /// Changes something; its answer is kept under the caller's `Idempotency-Key`.
    Write,
    /// Changes something, and its answer holds a secret that is never shown twice. A name that is
    /// taken is what makes a second request harmless.
    WriteOnce,
}

/// How long a request may take, and how large its body may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weight {
    /// Asks the store or memory.
    Light,
    /// Reads targets.
    Look,
    /// Waits for a cycle.
    Cycle,
}

pub(crate) struct Route {
    pub(crate) rule: Rule,
    pub(crate) handler: MethodRouter<Arc<Api>>,
}

/// Every route's rule, in the order of the table.
pub fn rules() -> Vec<Rule> {
    table().into_iter().map(|route| route.rule).collect()
}

pub(crate) fn table() -> Vec<Route> {
    let mut routes = open();
    routes.extend(reads());
    routes.extend(writes());
    routes.extend(scim());
    routes
}

fn open() -> Vec<Route> {
    vec![
        get("/healthz", Reaches::Asked, health::alive).open(),
        get("/readyz", Reaches::Asked, health::ready).open(),
        get("/metrics", Reaches::Asked, health::metrics).open(),
    ]
}

fn reads() -> Vec<Route> {
    vec![
        get("/api/v1/status", Reaches::Asked, targets::status),
        get("/api/v1/targets", Reaches::Asked, targets::list),
        get("/api/v1/targets/{target}", Reaches::Path, targets::one),
        get("/api/v1/targets/{target}/accounts", Reaches::Path, targets::accounts),
        get("/api/v1/owed", Reaches::Asked, targets::owed),
        get("/api/v1/holds", Reaches::Asked, targets::holds),
        get("/api/v1/requests", Reaches::Asked, requests::list),
        get("/api/v1/folders", Reaches::Asked, requests::folders),
        get("/api/v1/invites", Reaches::Asked, invites::list),
        get("/api/v1/explain/{user}", Reaches::Asked, look::explain).weight(Weight::Look),
        // A POST, because documents do not fit into a query. It writes nothing.
        post("/api/v1/plan", Reaches::Asked, look::plan).right(Right::Viewer).kind(Kind::Read).weight(Weight::Look),
        get("/api/v1/users/{user}/receipt", Reaches::Everything, receipt::of).weight(Weight::Look),
        // A POST, because a receipt does not fit into a query. It writes nothing.
        post("/api/v1/receipts/verify", Reaches::Asked, receipt::verify).right(Right::Viewer).kind(Kind::Read),
        get("/api/v1/undo/{cycle}", Reaches::Asked, undo::show).weight(Weight::Look),
        get("/api/v1/history", Reaches::Asked, past::history),
        get("/api/v1/audit", Reaches::Asked, past::audit),
        get("/api/v1/audit/verify", Reaches::Everything, past::verify).weight(Weight::Look),
        get("/api/v1/tokens", Reaches::Everything, tokens::list).right(Right::Admin),
    ]
}

fn writes() -> Vec<Route> {
    vec![
        post("/api/v1/targets/{target}/sync", Reaches::Path, targets::sync).weight(Weight::Cycle),
        post("/api/v1/targets/{target}/link", Reaches::Path, targets::link).weight(Weight::Cycle),
        post("/api/v1/targets/{target}/regain", Reaches::Path, targets::regain).weight(Weight::Cycle),
        post("/api/v1/targets/{target}/invites/resend", Reaches::Path, invites::resend),
        post("/api/v1/targets/{target}/invites/redeem", Reaches::Path, invites::redeem),
        post("/api/v1/targets/{target}/suspend", Reaches::Path, decide::suspend),
        post("/api/v1/targets/{target}/resume", Reaches::Path, decide::resume),
        post("/api/v1/targets/{target}/enforce", Reaches::Path, decide::enforce),
        post("/api/v1/holds/{digest}/release", Reaches::Asked, decide::release),
        post("/api/v1/requests", Reaches::Asked, requests::decide).right(Right::Approver),
        post("/api/v1/source/accept-shrink", Reaches::Everything, decide::accept_shrink),
        post("/api/v1/undo/{cycle}", Reaches::Asked, undo::run).weight(Weight::Cycle),
        post("/api/v1/clock/trust", Reaches::Everything, decide::trust_clock),
        post("/api/v1/source/reload", Reaches::Everything, decide::reload).weight(Weight::Look),
        post("/api/v1/users/{user}/restore", Reaches::Everything, decide::restore),
        post("/api/v1/users/{user}/revoke", Reaches::Everything, decide::revoke),
        post("/api/v1/start", Reaches::Everything, decide::start),
        post("/api/v1/stop", Reaches::Everything, decide::stop),
        post("/api/v1/tokens", Reaches::Everything, tokens::create).right(Right::Admin).kind(Kind::WriteOnce),
        Route::new(Method::DELETE, "/api/v1/tokens/{name}", Reaches::Everything, tokens::revoke).right(Right::Admin),
    ]
}

fn scim() -> Vec<Route> {
    vec![
        get("/directory/{target}/scim/v2/ServiceProviderConfig", Reaches::Path, directory::provider),
        get("/directory/{target}/scim/v2/Users", Reaches::Path, directory::users),
        get("/directory/{target}/scim/v2/Users/{id}", Reaches::Path, directory::user),
        get("/directory/{target}/scim/v2/Groups", Reaches::Path, directory::groups),
        get("/directory/{target}/scim/v2/Groups/{id}", Reaches::Path, directory::group),
    ]
}

fn get<H: Handler<T, Arc<Api>>, T: 'static>(path: &'static str, reaches: Reaches, handler: H) -> Route {
    Route::new(Method::GET, path, reaches, handler).right(Right::Viewer).kind(Kind::Read)
}

fn post<H: Handler<T, Arc<Api>>, T: 'static>(path: &'static str, reaches: Reaches, handler: H) -> Route {
    Route::new(Method::POST, path, reaches, handler)
}

impl Route {
    /// A write for operators.
    fn new<H: Handler<T, Arc<Api>>, T: 'static>(
        method: Method,
        path: &'static str,
        reaches: Reaches,
        handler: H,
    ) -> Self {
        // No method of the table lies outside the filter's, so the fall-back is never taken.
        let filter = MethodFilter::try_from(method.clone()).unwrap_or(MethodFilter::GET);
        let right = Some(Right::Operator);
        let rule = Rule { method, path, right, reaches, kind: Kind::Write, weight: Weight::Light };
        Self { rule, handler: on(filter, handler) }
    }

    fn open(mut self) -> Self {
        self.rule.right = None;
        self
    }

    fn right(mut self, right: Right) -> Self {
        self.rule.right = Some(right);
        self
    }

    fn kind(mut self, kind: Kind) -> Self {
        self.rule.kind = kind;
        self
    }

    fn weight(mut self, weight: Weight) -> Self {
        self.rule.weight = weight;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_changes_something_needs_more_than_the_right_to_read() {
        for rule in rules() {
            let writes = rule.kind != Kind::Read;
            assert_eq!(writes, rule.right >= Some(Right::Approver) && rule.method != Method::GET, "{rule:?}");
        }
    }

    #[test]
    fn a_route_that_names_a_target_in_its_path_is_held_to_it() {
        for rule in rules() {
            assert_eq!(rule.path.contains("{target}"), rule.reaches == Reaches::Path, "{rule:?}");
        }
    }
}
