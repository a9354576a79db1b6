//! Options about how scripts run: what they get, what they may take, and as whom. `[cgi]` has some of
//! them, and every path key may add to them.

use std::{collections::BTreeMap, time::Duration};

use serde_spanned::Spanned;

use crate::cgi::Account;

/// The options as far as they are written in one place, or add up from several.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Running {
    pub cpu_weight: Option<Spanned<usize>>,
    pub detach: Option<Spanned<bool>>,
    pub env: BTreeMap<String, Spanned<String>>,
    pub max_time: Option<Spanned<Duration>>,
    pub memory: Option<Spanned<u64>>,
    pub pass_authorization: Option<Spanned<bool>>,
    pub setuid: Option<Spanned<bool>>,
    pub spool: Option<Spanned<bool>>,
    pub tasks: Option<Spanned<usize>>,
    pub timeout: Option<Spanned<Duration>>,
    pub user: Option<Spanned<Account>>,
}

impl Running {
    /// Adds what a more specific key says.
    pub fn overlay(&mut self, more: &Self) {
        replace(&mut self.cpu_weight, more.cpu_weight.as_ref());
        replace(&mut self.detach, more.detach.as_ref());
        self.env.extend(more.env.clone());
        replace(&mut self.max_time, more.max_time.as_ref());
        replace(&mut self.memory, more.memory.as_ref());
        replace(
            &mut self.pass_authorization,
            more.pass_authorization.as_ref(),
        );
        replace(&mut self.setuid, more.setuid.as_ref());
        replace(&mut self.spool, more.spool.as_ref());
        replace(&mut self.tasks, more.tasks.as_ref());
        replace(&mut self.timeout, more.timeout.as_ref());
        replace(&mut self.user, more.user.as_ref());
    }
}

/// Puts what is said more specifically in the place of what was said.
pub(super) fn replace<T: Clone>(ours: &mut Option<T>, more: Option<&T>) {
    if let Some(more) = more {
        *ours = Some(more.clone());
    }
}
