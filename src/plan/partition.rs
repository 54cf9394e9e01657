//! Which accounts of a shared realm are this target's.

use crate::expr::Condition;
use crate::expr::Context;
use crate::expr::Names;
use crate::model::account::Account;
use crate::model::plan::Coverage;

/// `spec.partition`. Accounts outside it are not seen at all: they are another target's.
pub struct Partition {
    condition: Option<Condition>,
    /// Why it could not be decided of some account.
    doubt: Option<String>,
}

impl Partition {
    /// Compiles the condition; without one every account is inside.
    pub fn new(source: Option<&str>) -> Self {
        match source.map(|source| Condition::compile(source, &Names::account())) {
            None => Self { condition: None, doubt: None },
            Some(Ok(condition)) => Self { condition: Some(condition), doubt: None },
            Some(Err(error)) => Self { condition: None, doubt: Some(error.to_string()) },
        }
    }

    /// Whether the account is inside.
    pub fn holds(&mut self, account: &Account) -> bool {
        let Some(condition) = &self.condition else { return self.doubt.is_none() };
        match condition.holds(&Context::of_account(account)) {
            Ok(inside) => inside,
            Err(error) => {
                // Of several reasons the same one must be told whatever the order of accounts.
                let error = error.to_string();
                self.doubt = Some(self.doubt.take().map_or(error.clone(), |told| told.min(error)));
                false
            }
        }
    }

    /// What the observation proves: nothing by absence, if any account could not be placed.
    pub fn proven(&self, coverage: Coverage) -> Coverage {
        match &self.doubt {
            Some(doubt) => Coverage::Partial(format!("`partition` could not be decided: {doubt}")),
            None => coverage,
        }
    }
}
