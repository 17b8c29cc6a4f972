//! One launch: what is sent, and what the answer means.

use provider_core::{
    Effect, ErrorKind, JobRef, JobState, JobType, LaunchRequest, OperationToken, ProviderError,
    TriggerError, text,
};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::AapProvider;
use crate::body::lenient;
use crate::refusal::promptable;
use crate::status::map_status;
use crate::templates::Template;
use crate::words::Kind;

/// The answer to a launch. Without the job's number and kind it is none; the rest is no reason to doubt it.
#[derive(Deserialize)]
pub(crate) struct Launched {
    pub(crate) id: u64,
    #[serde(rename = "type")]
    pub(crate) kind: String,
    #[serde(default, deserialize_with = "lenient")]
    status: String,
    #[serde(default, deserialize_with = "lenient")]
    url: String,
    #[serde(default)]
    ignored_fields: Map<String, Value>,
}

/// A job that was launched.
#[derive(Debug)]
pub(crate) struct Started {
    pub job: JobRef,
    pub state: JobState,
    pub template: String,
}

impl AapProvider {
    pub(crate) async fn launch(
        &self,
        request: &LaunchRequest,
        job_type: JobType,
    ) -> Result<Started, TriggerError> {
        let (kind, target) = (request.resource.kind(), request.target.as_deref());
        let name = self.template_name(job_type, kind, target);
        let template = self.template(&name).await?;
        shallow(request.resource.object())?;
        let vars = self.variables(request);
        shallow(&vars)?;
        let fits = promptable(&template, &vars).and_then(|()| self.shows_token(&template));
        if let Err(error) = fits {
            // Whoever corrects the template should not have to wait for the cache.
            self.templates.forget(&name);
            return Err(self.client.veiled(error).into());
        }
        self.client.skew.allows_launches()?;
        request.in_time(self.clock.now())?;
        let passage = self.gate.pass(request, &*self.clock).await?;
        // Whatever waits has been waited for.
        request.in_time(self.clock.now())?;
        let what = format!("the launch of {template}");
        let body = json!({ "extra_vars": Value::Object(vars) });
        let answer = self
            .client
            .post(&template.launch_path(), &body, &what, &request.extra_vars)
            .await;
        drop(passage);
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => {
                if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Invalid) {
                    // Deleted, or changed, since it was looked up.
                    self.templates.forget(&name);
                }
                return Err(error.into());
            }
        };
        let launched: Launched = answer.json()?;
        let Some(kind) = Kind::of(&launched.kind) else {
            return Err(ProviderError::new(
                Effect::MaybeSent,
                ErrorKind::Protocol,
                format!(
                    "{what} was answered with a job of the unknown type \"{}\"",
                    self.client.shown(&launched.kind, 40)
                ),
            )
            .into());
        };
        let mut job = JobRef::new(&self.config.name, kind.word(), launched.id.to_string());
        if let Some(url) = self.client.on_origin(&launched.url) {
            job = job.with_url(url);
        }
        if launched.ignored_fields.contains_key("extra_vars") {
            self.templates.forget(&name);
            return Err(self.withdraw(&template, &job, kind).await.into());
        }
        self.monitor.expect(kind, launched.id);
        Ok(Started {
            job,
            state: map_status(&launched.status),
            template: template.to_string(),
        })
    }

    /// Whether a launch could be found again by its token.
    pub(crate) fn shows_token(&self, template: &Template) -> Result<(), ProviderError> {
        let variable = &self.config.token_variable;
        if !template.hides(variable) {
            return Ok(());
        }
        Err(ProviderError::new(
            Effect::NotSent,
            ErrorKind::Invalid,
            format!(
                "the survey of {template} hides the variable {}, by which its jobs are found again",
                text::bounded(variable, 60)
            ),
        )
        .with_advice("make that question one of the type text, or remove it"))
    }

    /// The variables of a launch: the object in its envelope, the token, and the caller's own.
    pub(crate) fn variables(&self, request: &LaunchRequest) -> Map<String, Value> {
        let object = request.resource.projection(&self.config.projection);
        let caller = request.extra_vars.expose();
        self.variables_of(caller, object, &request.token)
    }

    pub(crate) fn variables_of(
        &self,
        caller: Map<String, Value>,
        object: Value,
        token: &OperationToken,
    ) -> Map<String, Value> {
        let mut vars = self.config.extra_vars.clone();
        merge(&mut vars, caller);
        merge(&mut vars, self.config.envelope.wrap(object));
        vars.insert(
            self.config.token_variable.clone(),
            Value::from(token.as_str()),
        );
        vars
    }

    /// The job runs without our variables: whatever it does, it is not for our object. The engine ends it
    /// and watches its end; the cancel at once keeps it from doing more.
    async fn withdraw(&self, template: &Template, job: &JobRef, kind: Kind) -> ProviderError {
        let path = format!("{}/{}/cancel/", kind.collection(), job.id);
        let canceled = self.client.post_cancel(&path, "the cancel").await.is_ok();
        let done = if canceled {
            "was canceled"
        } else {
            "could NOT be canceled"
        };
        ProviderError::new(
            Effect::MaybeSent,
            ErrorKind::Invalid,
            format!("{template} ignores variables given at launch; its job {} ran without them and {done}", job.id),
        )
        .with_advice("enable \"Prompt on launch\" for the variables of the template")
        .with_stray_job(job.clone())
    }
}

/// The deepest nesting that is sent. The controller, and what it runs, go through it level by level and
/// fail somewhere below a thousand, after the launch.
const MAX_DEPTH: usize = 256;

/// Refuses what is nested deeper, without going deep itself.
fn shallow(members: &Map<String, Value>) -> Result<(), ProviderError> {
    let mut open: Vec<(&Value, usize)> = members.values().map(|value| (value, 1)).collect();
    while let Some((value, depth)) = open.pop() {
        if depth > MAX_DEPTH {
            return Err(ProviderError::new(
                Effect::NotSent,
                ErrorKind::Invalid,
                format!("the object is nested more than {MAX_DEPTH} levels deep"),
            )
            .with_advice("flatten it, or leave the deep part out of what is sent (projection)"));
        }
        match value {
            Value::Array(items) => open.extend(items.iter().map(|item| (item, depth + 1))),
            Value::Object(members) => {
                open.extend(members.values().map(|member| (member, depth + 1)));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Adds members; objects that both sides have are joined, so that a caller may add to the envelope.
fn merge(into: &mut Map<String, Value>, from: Map<String, Value>) {
    for (name, value) in from {
        match (into.get_mut(&name), value) {
            (Some(Value::Object(known)), Value::Object(more)) => merge(known, more),
            (_, value) => {
                into.insert(name, value);
            }
        }
    }
}
