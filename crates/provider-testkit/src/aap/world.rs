//! What exists on the simulated controller before the first job.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::nodes::Node;
use super::notify::Webhook;
use super::plan::RunPlan;
use super::survey::{Answers, Question};
use super::web::Costs;

/// The two kinds of template, and of the jobs that come from them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A job template; its jobs are under `/jobs/`.
    Job,
    /// A workflow job template; its jobs are under `/workflow_jobs/`.
    Workflow,
}

impl Kind {
    pub(super) const fn job_type(self) -> &'static str {
        match self {
            Self::Job => "job",
            Self::Workflow => "workflow_job",
        }
    }

    pub(super) const fn jobs(self) -> &'static str {
        match self {
            Self::Job => "jobs",
            Self::Workflow => "workflow_jobs",
        }
    }

    pub(super) const fn template_type(self) -> &'static str {
        match self {
            Self::Job => "job_template",
            Self::Workflow => "workflow_job_template",
        }
    }

    pub(super) const fn templates(self) -> &'static str {
        match self {
            Self::Job => "job_templates",
            Self::Workflow => "workflow_job_templates",
        }
    }
}

/// A template.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub struct Template {
    /// Its name, unique per kind and organization.
    pub name: String,
    /// Of what kind.
    #[serde(default = "job")]
    pub kind: Kind,
    /// The name of its organization; organizations come into being by being named.
    #[serde(default = "default_organization")]
    pub organization: String,
    /// `ask_variables_on_launch`.
    #[serde(default = "yes")]
    pub ask_variables: bool,
    /// `ask_labels_on_launch`.
    #[serde(default)]
    pub ask_labels: bool,
    /// Required survey variables.
    #[serde(default)]
    pub required: Vec<String>,
    /// Survey questions of the type password: their variables are taken, and shown as `$encrypted$`.
    #[serde(default)]
    pub passwords: Vec<String>,
    /// More questions of its survey.
    #[serde(default)]
    pub questions: Vec<Question>,
    /// Whether it has no inventory, which a job template must have.
    #[serde(default)]
    pub no_inventory: bool,
    /// `ask_inventory_on_launch`.
    #[serde(default)]
    pub ask_inventory: bool,
    /// Whether it has no project, because that was deleted.
    #[serde(default)]
    pub no_project: bool,
    /// What its credential asks for at launch, such as `ssh_password`.
    #[serde(default)]
    pub asked_passwords: Vec<String>,
    /// The template's own variables, by name, each as Python writes it in JSON: `NaN` is a number there.
    #[serde(default)]
    pub own_variables: BTreeMap<String, String>,
    /// `job_slice_count`; above 1, launches come back as workflow jobs.
    #[serde(default = "one")]
    pub slices: u32,
    /// `allow_simultaneous`.
    #[serde(default = "yes")]
    pub allow_simultaneous: bool,
    /// Whether only superusers may launch it.
    #[serde(default)]
    pub restricted: bool,
    /// What its jobs do.
    #[serde(default)]
    pub plan: RunPlan,
    /// Of a workflow: nodes beside the one that runs a playbook.
    #[serde(default)]
    pub nodes: Vec<Node>,
    /// Who is told of its jobs.
    #[serde(default)]
    pub notifies: Option<Webhook>,
}

const fn job() -> Kind {
    Kind::Job
}

const fn yes() -> bool {
    true
}

const fn one() -> u32 {
    1
}

fn default_organization() -> String {
    "Default".to_owned()
}

impl Template {
    /// A job template of the organization `Default` that prompts for variables.
    #[must_use]
    pub fn job(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            kind: Kind::Job,
            organization: default_organization(),
            ask_variables: true,
            ask_labels: false,
            required: Vec::new(),
            passwords: Vec::new(),
            questions: Vec::new(),
            no_inventory: false,
            ask_inventory: false,
            no_project: false,
            asked_passwords: Vec::new(),
            own_variables: BTreeMap::new(),
            slices: 1,
            allow_simultaneous: true,
            restricted: false,
            plan: RunPlan::default(),
            nodes: Vec::new(),
            notifies: None,
        }
    }

    /// A workflow job template, else the same.
    #[must_use]
    pub fn workflow(name: impl Into<String>) -> Self {
        Self {
            kind: Kind::Workflow,
            ..Self::job(name)
        }
    }

    pub(super) fn has_survey(&self) -> bool {
        !self.required.is_empty() || !self.passwords.is_empty() || !self.questions.is_empty()
    }

    /// All questions of its survey.
    pub(super) fn survey(&self) -> Vec<Question> {
        let asked = |name: &String, answers| Question::new(name, answers).within(0, 1024);
        let plain = self.required.iter();
        let plain = plain.map(|name| asked(name, Answers::Text).required());
        let hidden = self.passwords.iter();
        let hidden = hidden.map(|name| asked(name, Answers::Password));
        let more = self.questions.iter().cloned();
        plain.chain(hidden).chain(more).collect()
    }

    /// Whether the values of this variable are shown to nobody.
    pub(super) fn hides(&self, name: &str) -> bool {
        let asked = |question: &Question| {
            question.answers == Answers::Password && question.variable == name
        };
        self.passwords.iter().any(|hidden| hidden == name) || self.questions.iter().any(asked)
    }

    /// In another organization.
    #[must_use]
    pub fn in_organization(mut self, name: impl Into<String>) -> Self {
        self.organization = name.into();
        self
    }

    /// With another course of its jobs.
    #[must_use]
    pub fn with_plan(mut self, plan: RunPlan) -> Self {
        self.plan = plan;
        self
    }

    /// With another node beside the one that runs a playbook.
    #[must_use]
    pub fn with_node(mut self, node: Node) -> Self {
        self.nodes.push(node);
        self
    }

    /// With a notification of the start and the end of each job.
    #[must_use]
    pub fn notifying(mut self, webhook: Webhook) -> Self {
        self.notifies = Some(webhook);
        self
    }

    /// Without `ask_variables_on_launch`.
    #[must_use]
    pub fn not_promptable(mut self) -> Self {
        self.ask_variables = false;
        self
    }

    /// With `ask_labels_on_launch`.
    #[must_use]
    pub fn with_labels(mut self) -> Self {
        self.ask_labels = true;
        self
    }

    /// Sliced into this many jobs.
    #[must_use]
    pub fn sliced(mut self, slices: u32) -> Self {
        self.slices = slices;
        self
    }

    /// One job at a time.
    #[must_use]
    pub fn one_at_a_time(mut self) -> Self {
        self.allow_simultaneous = false;
        self
    }

    /// Launchable by superusers only.
    #[must_use]
    pub fn restricted(mut self) -> Self {
        self.restricted = true;
        self
    }

    /// With a survey that asks for these variables as passwords.
    #[must_use]
    pub fn hiding(mut self, variables: &[&str]) -> Self {
        self.passwords = variables.iter().map(|&name| name.to_owned()).collect();
        self
    }

    /// With this question in its survey.
    #[must_use]
    pub fn asking(mut self, question: Question) -> Self {
        self.questions.push(question);
        self
    }

    /// Without an inventory.
    #[must_use]
    pub fn without_inventory(mut self) -> Self {
        self.no_inventory = true;
        self
    }

    /// With `ask_inventory_on_launch`.
    #[must_use]
    pub fn asking_inventory(mut self) -> Self {
        self.ask_inventory = true;
        self
    }

    /// Without a project.
    #[must_use]
    pub fn without_project(mut self) -> Self {
        self.no_project = true;
        self
    }

    /// With a credential that asks for these passwords at launch.
    #[must_use]
    pub fn asking_passwords(mut self, passwords: &[&str]) -> Self {
        self.asked_passwords = passwords.iter().map(|&name| name.to_owned()).collect();
        self
    }

    /// With a variable of its own, as Python writes it in JSON.
    #[must_use]
    pub fn with_own_variable(mut self, name: &str, value: &str) -> Self {
        self.own_variables.insert(name.to_owned(), value.to_owned());
        self
    }

    /// With a survey that requires these variables.
    #[must_use]
    pub fn requiring(mut self, variables: &[&str]) -> Self {
        self.required = variables.iter().map(|&name| name.to_owned()).collect();
        self
    }
}

/// Who may log in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Login name.
    pub name: String,
    /// Password for basic authentication.
    pub password: String,
    /// Bearer token.
    pub token: String,
    /// `is_superuser`.
    pub superuser: bool,
    /// `is_system_auditor`: sees everything, and may start nothing.
    pub auditor: bool,
    /// Whether the token has the scope `read` only.
    pub read_only: bool,
}

/// Under which paths the API answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Layout {
    /// `/api/v2/`: AWX, and AAP up to 2.4.
    #[default]
    Controller,
    /// `/api/v2/` and `/api/controller/v2/`: a controller with an optional prefix.
    Prefixed,
    /// `/api/controller/v2/` only: behind the gateway of AAP 2.5 and later.
    Gateway,
}

/// The controller before the first request.
#[derive(Debug, Clone, PartialEq)]
pub struct World {
    /// Templates, numbered from 7 in this order.
    pub templates: Vec<Template>,
    /// Users, numbered from 1.
    pub users: Vec<User>,
    /// Paths.
    pub layout: Layout,
    /// `MAX_PAGE_SIZE`: no page has more rows, however many are asked for.
    pub max_page_size: usize,
    /// Time that every answer takes on the wall clock, for people who watch.
    pub latency: Duration,
    /// What requests cost it, and how many it works on at once; without, it is as fast as this machine.
    pub costs: Option<Costs>,
    /// The version that it claims.
    pub version: String,
    /// Whether it keeps requests for [`AapSim::requests`](super::AapSim::requests).
    pub record_requests: bool,
}

/// The token of the superuser of [`World::default`].
pub const ADMIN_TOKEN: &str = "sim-admin-token";
/// The token of the ordinary user of [`World::default`].
pub const OPERATOR_TOKEN: &str = "sim-operator-token";
/// The token of the user of [`World::default`] whose token may only read.
pub const READER_TOKEN: &str = "sim-reader-token";

impl Default for World {
    fn default() -> Self {
        let user = |name: &str, token: &str, superuser, read_only| User {
            name: name.to_owned(),
            password: format!("{name}-password"),
            token: token.to_owned(),
            superuser,
            auditor: false,
            read_only,
        };
        Self {
            templates: Vec::new(),
            users: vec![
                user("admin", ADMIN_TOKEN, true, false),
                user("operator", OPERATOR_TOKEN, false, false),
                user("reader", READER_TOKEN, false, true),
            ],
            layout: Layout::Controller,
            max_page_size: 200,
            latency: Duration::ZERO,
            costs: None,
            version: "24.6.1".to_owned(),
            record_requests: false,
        }
    }
}

impl World {
    /// A controller with these templates.
    #[must_use]
    pub fn with(templates: impl IntoIterator<Item = Template>) -> Self {
        Self {
            templates: templates.into_iter().collect(),
            ..Self::default()
        }
    }
}
