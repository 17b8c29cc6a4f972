//! Templates by name: looked up once, remembered for a while, forgotten when they are gone.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use provider_core::clock::Elapsed as _;
use provider_core::{Clock, Effect, ErrorKind, ProviderError, text};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::answer::List;
use crate::body::lenient;
use crate::client::{Client, not_sent};
use crate::shared::Shared;
use crate::survey::{Question, Survey};
use crate::{TemplateKind, TemplateName};

/// A template that exists.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Template {
    pub kind: TemplateKind,
    pub id: u64,
    pub name: String,
    pub organization: String,
    pub prompts: Prompts,
    /// Whether our user may start it with our token, where the controller says so.
    pub may_start: Option<bool>,
    /// Whether it is said to have no project.
    pub lacks_project: bool,
    /// The variables that its survey asks for, where those are all that it takes and are known.
    pub takes_only: Option<Vec<String>>,
    /// What its survey asks, where that is known.
    pub survey: Vec<Question>,
}

/// What the template asks for at launch. Lists may be null.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Prompts {
    #[serde(deserialize_with = "lenient")]
    pub ask_variables_on_launch: bool,
    #[serde(deserialize_with = "lenient")]
    pub survey_enabled: bool,
    #[serde(deserialize_with = "lenient")]
    pub variables_needed_to_start: Vec<String>,
    #[serde(deserialize_with = "lenient")]
    pub passwords_needed_to_start: Vec<String>,
    /// It has no inventory, or asks for one and has no default.
    #[serde(deserialize_with = "lenient")]
    pub inventory_needed_to_start: bool,
    #[serde(deserialize_with = "lenient")]
    pub ask_inventory_on_launch: bool,
    /// Nodes of a workflow whose template was deleted.
    #[serde(deserialize_with = "lenient")]
    pub node_templates_missing: Vec<Value>,
    /// Nodes whose template does not take what the node gives it.
    #[serde(deserialize_with = "lenient")]
    pub node_prompts_rejected: Vec<Value>,
}

impl Template {
    /// Whether its survey hides the value of this variable, afterwards, from everybody.
    pub(crate) fn hides(&self, variable: &str) -> bool {
        let hides = |asked: &Question| asked.kind == "password" && asked.variable == variable;
        self.survey.iter().any(hides)
    }

    /// `job_templates/7/launch/`, below the API's root.
    pub(crate) fn launch_path(&self) -> String {
        format!("{}/{}/launch/", self.kind.collection(), self.id)
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} \"{}\"", self.kind, self.name)
    }
}

impl TemplateKind {
    const fn collection(self) -> &'static str {
        match self {
            Self::JobTemplate => "job_templates",
            Self::WorkflowJobTemplate => "workflow_job_templates",
        }
    }

    const fn as_type(self) -> &'static str {
        match self {
            Self::JobTemplate => "job_template",
            Self::WorkflowJobTemplate => "workflow_job_template",
        }
    }
}

impl fmt::Display for TemplateKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::JobTemplate => "job template",
            Self::WorkflowJobTemplate => "workflow job template",
        })
    }
}

/// One lookup, shared by all who need it at the moment.
type Slot = Arc<(Timestamp, Shared<Template>)>;

#[derive(Debug, Default)]
pub(crate) struct Templates {
    slots: Mutex<HashMap<TemplateName, Slot>>,
}

impl Templates {
    /// The template of this name; several callers at once cause one request.
    pub(crate) async fn get(
        &self,
        client: &Client,
        name: &TemplateName,
        clock: &dyn Clock,
        keep: Duration,
    ) -> Result<Template, ProviderError> {
        let now = clock.now();
        let slot = {
            let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
            slots.retain(|_, slot| {
                slot.0 <= now && now.elapsed_since(slot.0) < keep.max(Duration::from_millis(1))
            });
            Arc::clone(
                slots
                    .entry(name.clone())
                    .or_insert_with(|| Arc::new((now, Shared::new()))),
            )
        };
        // A failed lookup leaves the slot empty: whoever comes later tries again.
        slot.1
            .get_or_make(|| look_up(client, name))
            .await
            .cloned()
            .map_err(|error| not_sent(&error))
    }

    pub(crate) fn forget(&self, name: &TemplateName) {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        slots.remove(name);
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Row {
    #[serde(deserialize_with = "lenient")]
    id: Option<u64>,
    #[serde(rename = "type", deserialize_with = "lenient")]
    kind: String,
    #[serde(deserialize_with = "lenient")]
    name: String,
    /// Null where there is none; nothing is said of workflows.
    #[serde(deserialize_with = "lenient")]
    project: Project,
    #[serde(deserialize_with = "lenient")]
    summary_fields: Summary,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Project {
    #[default]
    Untold,
    None,
    Some,
}

impl<'de> Deserialize<'de> for Project {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let id = Option::<u64>::deserialize(from)?;
        Ok(id.map_or(Self::None, |_| Self::Some))
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Summary {
    #[serde(deserialize_with = "lenient")]
    organization: Named,
    #[serde(deserialize_with = "lenient")]
    user_capabilities: Capabilities,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Named {
    #[serde(deserialize_with = "lenient")]
    name: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Capabilities {
    #[serde(deserialize_with = "lenient")]
    start: Option<bool>,
}

async fn look_up(client: &Client, wanted: &TemplateName) -> Result<Template, ProviderError> {
    let kinds = wanted
        .kind
        .map_or("job_template,workflow_job_template", TemplateKind::as_type);
    let mut query = vec![
        ("name", wanted.name.as_str()),
        ("type", kinds),
        ("page_size", "200"),
    ];
    if let Some(organization) = &wanted.organization {
        query.push(("organization__name", organization));
    }
    let answer = client
        .get("unified_job_templates/", &query, "the list of templates")
        .await?;
    let rows = answer.json::<List<Row>>()?.results;
    let mut found: Vec<(TemplateKind, u64, Row)> = rows
        .into_iter()
        .filter_map(|row: Row| {
            let kind = match row.kind.as_str() {
                "job_template" => TemplateKind::JobTemplate,
                "workflow_job_template" => TemplateKind::WorkflowJobTemplate,
                _ => return None,
            };
            // The server's filter is exact; ours makes sure that it was one.
            let is_it = row.name == wanted.name && wanted.kind.is_none_or(|k| k == kind);
            Some((kind, row.id.filter(|_| is_it)?, row))
        })
        .collect();
    let shown = text::bounded(&wanted.name, 100);
    let place = wanted.organization.as_ref().map_or_else(String::new, |o| {
        format!(" in organization \"{}\"", text::bounded(o, 100))
    });
    if found.len() > 1 {
        let rows: Vec<String> = found
            .iter()
            .take(8)
            .map(|(kind, _, row)| {
                format!("{kind} in organization \"{}\"", organization(client, row))
            })
            .collect();
        return Err(ProviderError::new(
            Effect::NotSent,
            ErrorKind::Invalid,
            format!(
                "the template name \"{shown}\" is ambiguous: {}",
                rows.join(", ")
            ),
        )
        .with_advice("name the organization, or the kind, of the template in the configuration"));
    }
    let Some((kind, id, row)) = found.pop() else {
        return Err(ProviderError::new(
            Effect::NotSent,
            ErrorKind::NotFound,
            format!("there is no job or workflow template named \"{shown}\"{place} that this user may see"),
        )
        .with_advice(
            "create it, correct the name in the configuration, or grant this user the role Execute",
        ));
    };
    let mut template = Template {
        kind,
        id,
        organization: organization(client, &row),
        may_start: row.summary_fields.user_capabilities.start,
        lacks_project: kind == TemplateKind::JobTemplate && row.project == Project::None,
        name: row.name,
        prompts: Prompts::default(),
        takes_only: None,
        survey: Vec::new(),
    };
    let what = format!("the launch options of {template}");
    template.prompts = client
        .get(&template.launch_path(), &[], &what)
        .await?
        .json()?;
    if template.prompts.survey_enabled
        && let Some(asked) = survey(client, &template).await?
    {
        let all = asked.iter().map(|asked| asked.variable.clone());
        template.takes_only = (!template.prompts.ask_variables_on_launch).then(|| all.collect());
        template.survey = asked;
    }
    Ok(template)
}

/// The questions of a survey. Whoever may not read it learns them from the launch.
async fn survey(
    client: &Client,
    template: &Template,
) -> Result<Option<Vec<Question>>, ProviderError> {
    let path = format!(
        "{}/{}/survey_spec/",
        template.kind.collection(),
        template.id
    );
    let what = format!("the survey of {template}");
    match client.get(&path, &[], &what).await {
        Ok(answer) => Ok(Some(answer.json::<Survey>()?.spec)),
        Err(error) if error.effect() == Effect::Rejected => Ok(None),
        Err(error) => Err(error),
    }
}

fn organization(client: &Client, row: &Row) -> String {
    client.shown(&row.summary_fields.organization.name, 100)
}
