//! Templates by name: looked up once, remembered for a while, forgotten when they are gone.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use provider_core::{Clock, Effect, ErrorKind, ProviderError, clock, text};
use serde::Deserialize;

use crate::answer::List;
use crate::client::{Client, not_sent};
use crate::shared::Shared;
use crate::{TemplateKind, TemplateName};

/// A template that exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Template {
    pub kind: TemplateKind,
    pub id: u64,
    pub name: String,
    pub organization: String,
    pub prompts: Prompts,
    /// Variables whose values its survey hides, afterwards, from everybody.
    pub hidden: Vec<String>,
}

/// What the template asks for at launch.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Prompts {
    pub ask_variables_on_launch: bool,
    pub survey_enabled: bool,
    pub variables_needed_to_start: Vec<String>,
    pub passwords_needed_to_start: Vec<String>,
}

impl Template {
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
                slot.0 <= now && clock::since(now, slot.0) < keep.max(Duration::from_millis(1))
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

#[derive(Deserialize)]
struct Row {
    id: u64,
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    summary_fields: Summary,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Summary {
    organization: Option<Named>,
}

#[derive(Deserialize)]
struct Named {
    #[serde(default)]
    name: String,
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
    let mut found: Vec<(TemplateKind, Row)> = rows
        .into_iter()
        .filter_map(|row| {
            let kind = match row.kind.as_str() {
                "job_template" => TemplateKind::JobTemplate,
                "workflow_job_template" => TemplateKind::WorkflowJobTemplate,
                _ => return None,
            };
            // The server's filter is exact; ours makes sure that it was one.
            (row.name == wanted.name && wanted.kind.is_none_or(|k| k == kind))
                .then_some((kind, row))
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
            .map(|(kind, row)| format!("{kind} in organization \"{}\"", organization(row)))
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
    let Some((kind, row)) = found.pop() else {
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
        id: row.id,
        organization: organization(&row),
        name: row.name,
        prompts: Prompts::default(),
        hidden: Vec::new(),
    };
    let what = format!("the launch options of {template}");
    template.prompts = client
        .get(&template.launch_path(), &[], &what)
        .await?
        .json()?;
    if template.prompts.survey_enabled {
        template.hidden = hidden(client, &template).await?;
    }
    Ok(template)
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Survey {
    spec: Vec<Question>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Question {
    variable: String,
    #[serde(rename = "type")]
    kind: String,
}

/// The survey's password questions.
async fn hidden(client: &Client, template: &Template) -> Result<Vec<String>, ProviderError> {
    let path = format!(
        "{}/{}/survey_spec/",
        template.kind.collection(),
        template.id
    );
    let what = format!("the survey of {template}");
    let asked = client.get(&path, &[], &what).await;
    match asked.and_then(|answer| answer.json::<Survey>()) {
        Ok(survey) => {
            let hidden = survey
                .spec
                .into_iter()
                .filter(|asked| asked.kind == "password");
            Ok(hidden.map(|asked| asked.variable).collect())
        }
        // Not every user may see it; a token that it hides is noticed by whoever looks for it.
        Err(error) if error.effect() == Effect::Rejected => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

fn organization(row: &Row) -> String {
    let named = row.summary_fields.organization.as_ref();
    text::bounded(named.map_or("", |named| &named.name), 100)
}
