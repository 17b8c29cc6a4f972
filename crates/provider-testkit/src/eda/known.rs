//! What the API of the simulated EDA server is told to know.

use super::api::{AuditAction, AuditRule, Login};
use super::server::EdaSim;

impl EdaSim {
    /// From now on the server's own API is there as well, behind a gateway and for this token.
    pub fn serve_api(&self, token: &str) {
        self.shared.lock().api.login = Some(Login::Token(token.to_owned()));
    }

    /// The same without a gateway, for this user: the EDA server itself knows no bearer tokens.
    pub fn serve_api_to(&self, user: &str, password: &str) {
        let login = Login::Basic(user.to_owned(), password.to_owned());
        self.shared.lock().api.login = Some(login);
    }

    /// The user of the API has no roles: 200, and nothing in any list.
    pub fn take_roles(&self) {
        self.shared.lock().api.without_roles = true;
    }

    /// The API gives pages of so many rows at most.
    pub fn largest_page(&self, rows: usize) {
        self.shared.lock().api.largest_page = Some(rows.max(1));
    }

    /// What the API tells of an activation, `running` for one. The streams are mapped to it.
    pub fn activation(&self, name: &str, status: &str) {
        self.shared.lock().api.activation(name, status, true);
    }

    /// The same of one that no event stream is mapped to.
    pub fn unmapped_activation(&self, name: &str, status: &str) {
        self.shared.lock().api.activation(name, status, false);
    }

    /// A rule has fired and its first action has ended: a row of the audit, by its id. None when the
    /// report is too long to arrive.
    pub fn audit(&self, rule: AuditRule, first: AuditAction) -> Option<u64> {
        let written = self.shared.clock.now();
        self.shared.lock().api.report(rule, first, written, true)
    }

    /// The same at the moment at which the events of the rule are not written yet; they come with
    /// [`audit_events`](Self::audit_events).
    pub fn audit_without_events(&self, rule: AuditRule, first: AuditAction) -> Option<u64> {
        let written = self.shared.clock.now();
        self.shared.lock().api.report(rule, first, written, false)
    }

    /// The events of a row of the audit are written.
    pub fn audit_events(&self, id: u64) {
        self.shared.lock().api.commit_events(id);
    }

    /// A further action of a rule has ended.
    pub fn audit_action(&self, id: u64, action: AuditAction) {
        self.shared.lock().api.report_action(id, action);
    }
}
