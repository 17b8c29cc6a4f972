//! Whether we would see a job if there were one.
//!
//! A controller leaves out of its lists what the user may not read, without a word. It shows a job to
//! whoever may read the job's template (AWX 24.6.1), whoever launched it; so an empty list proves something
//! as long as the template is there, and is ours to start. Users who see everything (superusers, system
//! auditors) need no such proof.

use std::collections::HashMap;

use jiff::{SignedDuration, Timestamp};
use provider_core::{Clock, Effect, ErrorKind, ProviderError, text};
use serde::{Deserialize, Deserializer};

use crate::answer::List;
use crate::body::{lenient, time};
use crate::client::Client;
use crate::{TemplateKind, TemplateName};

/// What the controller shows us of the jobs of one template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Sight {
    /// All of them, as of everything.
    Everything,
    /// All of them since this moment of our clock, at which the template was made.
    Since(Option<Timestamp>),
    /// What is missing.
    Missing(ProviderError),
}

impl Sight {
    /// Whether a launch that was sent by this moment, at the latest, would be seen.
    pub(super) fn covers(&self, sent_by: Option<Timestamp>) -> Result<(), ProviderError> {
        match self {
            Self::Missing(error) => Err(error.clone()),
            Self::Since(Some(made)) if sent_by.is_some_and(|sent| *made > sent) => Err(unseen(
                "the template was made anew since the launch, and jobs of the old one are shown to system \
                 auditors only",
                "make this user a system auditor until the job was found, or look for it by hand",
            )),
            _ => Ok(()),
        }
    }
}

fn unseen(message: &str, advice: &str) -> ProviderError {
    ProviderError::new(
        Effect::Unreadable,
        ErrorKind::Forbidden,
        format!("the job was not found, and may be hidden from this user: {message}"),
    )
    .with_advice(advice)
}

/// One odd member of a row costs no other row, and no list.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Row {
    #[serde(deserialize_with = "lenient")]
    id: Option<u64>,
    #[serde(rename = "type", deserialize_with = "lenient")]
    kind: String,
    #[serde(deserialize_with = "lenient")]
    name: String,
    #[serde(deserialize_with = "moment")]
    created: Option<Timestamp>,
    #[serde(deserialize_with = "lenient")]
    summary_fields: Summary,
}

fn moment<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Timestamp>, D::Error> {
    Ok(time(&lenient::<_, String>(from)?))
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Summary {
    #[serde(deserialize_with = "lenient")]
    user_capabilities: Capabilities,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Capabilities {
    #[serde(deserialize_with = "lenient")]
    start: bool,
}

#[derive(Deserialize)]
struct User {
    #[serde(default, deserialize_with = "lenient")]
    username: String,
    #[serde(default, deserialize_with = "lenient")]
    is_superuser: bool,
    #[serde(default, deserialize_with = "lenient")]
    is_system_auditor: bool,
}

/// The ids of templates that were found by their names.
#[derive(Debug, Default)]
pub(super) struct Rights {
    ids: HashMap<TemplateName, u64>,
}

impl Rights {
    pub(super) fn id(&self, name: &TemplateName) -> Option<u64> {
        self.ids.get(name).copied()
    }

    /// What we see of the jobs of each of these templates, at present; those that matter were sent by this
    /// moment.
    pub(super) async fn look(
        &mut self,
        client: &Client,
        clock: &dyn Clock,
        names: &[TemplateName],
        sent_by: Option<Timestamp>,
    ) -> Result<HashMap<TemplateName, Sight>, ProviderError> {
        let mut sights = HashMap::new();
        let ids: Vec<String> = names
            .iter()
            .filter_map(|name| self.id(name))
            .map(|id| id.to_string())
            .collect();
        if ids.len() > 1 {
            let ids = ids.join(",");
            let query = [("id__in", ids.as_str()), ("page_size", "200")];
            let (rows, ahead) = ask(client, clock, &query).await?;
            for name in names {
                let row = self
                    .id(name)
                    .and_then(|id| rows.iter().find(|row| row.id == Some(id)));
                if let Some(row) = row.filter(|row| is_meant(row, name)) {
                    sights.insert(name.clone(), of_row(row, name, ahead));
                }
            }
        }
        for name in names {
            if !sights.contains_key(name) {
                let sight = self.by_name(client, clock, name).await?;
                sights.insert(name.clone(), sight);
            }
        }
        if sights.values().any(|sight| sight.covers(sent_by).is_err()) {
            everything(client, &mut sights).await?;
        }
        Ok(sights)
    }

    async fn by_name(
        &mut self,
        client: &Client,
        clock: &dyn Clock,
        name: &TemplateName,
    ) -> Result<Sight, ProviderError> {
        let kinds = match name.kind {
            Some(TemplateKind::JobTemplate) => "job_template",
            Some(TemplateKind::WorkflowJobTemplate) => "workflow_job_template",
            None => "job_template,workflow_job_template",
        };
        let mut query = vec![
            ("name", name.name.as_str()),
            ("type", kinds),
            ("page_size", "200"),
        ];
        if let Some(organization) = &name.organization {
            query.push(("organization__name", organization));
        }
        let (rows, ahead) = ask(client, clock, &query).await?;
        let mut rows = rows.iter().filter(|row| is_meant(row, name));
        let shown = text::bounded(&name.name, 100);
        match (rows.next(), rows.next()) {
            (Some(row), None) => {
                if let Some(id) = row.id {
                    self.ids.insert(name.clone(), id);
                }
                Ok(of_row(row, name, ahead))
            }
            (Some(_), Some(_)) => Ok(Sight::Missing(unseen(
                &format!("the template name \"{shown}\" is ambiguous"),
                "name the organization, or the kind, of the template in the configuration",
            ))),
            (None, _) => {
                self.ids.remove(name);
                Ok(Sight::Missing(unseen(
                    &format!("it does not see the template \"{shown}\""),
                    "grant this user the role Execute on the template, or make it a system auditor; jobs of \
                     a template that was deleted are shown to system auditors only",
                )))
            }
        }
    }
}

fn is_meant(row: &Row, name: &TemplateName) -> bool {
    let kind = match row.kind.as_str() {
        "job_template" => TemplateKind::JobTemplate,
        "workflow_job_template" => TemplateKind::WorkflowJobTemplate,
        _ => return false,
    };
    row.name == name.name && name.kind.is_none_or(|wanted| wanted == kind)
}

/// `ahead` is by how much the server's clock is ahead of ours.
fn of_row(row: &Row, name: &TemplateName, ahead: SignedDuration) -> Sight {
    if row.summary_fields.user_capabilities.start {
        let made = row.created.and_then(|at| at.checked_sub(ahead).ok());
        return Sight::Since(made);
    }
    let shown = text::bounded(&name.name, 100);
    Sight::Missing(unseen(
        &format!("it may not start the template \"{shown}\""),
        "grant this user the role Execute on the template, and use a token of scope write",
    ))
}

async fn ask(
    client: &Client,
    clock: &dyn Clock,
    query: &[(&str, &str)],
) -> Result<(Vec<Row>, SignedDuration), ProviderError> {
    let what = "the list of templates";
    let answer = client.get("unified_job_templates/", query, what).await?;
    let ahead = answer.date.map(|date| date.duration_since(clock.now()));
    Ok((
        answer.json::<List<Row>>()?.results,
        ahead.unwrap_or_default(),
    ))
}

/// A user who sees everything needs no rights of its own.
async fn everything(
    client: &Client,
    sights: &mut HashMap<TemplateName, Sight>,
) -> Result<(), ProviderError> {
    let answer = client.get("me/", &[], "our own user").await?;
    let users = answer.json::<List<User>>()?.results;
    let Some(user) = users.first() else {
        return Ok(());
    };
    for sight in sights.values_mut() {
        if user.is_superuser || user.is_system_auditor {
            *sight = Sight::Everything;
        } else if let Sight::Missing(error) = sight {
            let name = client.shown(&user.username, 60);
            let message = error
                .message()
                .replacen("this user", &format!("user \"{name}\""), 1);
            *sight = Sight::Missing(
                ProviderError::new(error.effect(), error.kind(), message)
                    .with_advice(error.advice()),
            );
        }
    }
    Ok(())
}
