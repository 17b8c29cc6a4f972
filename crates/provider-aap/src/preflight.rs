//! The configuration, tried out without launching anything.

use provider_core::{OperationToken, Preflight, ProviderError, text};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::answer::List;
use crate::body::lenient;
use crate::refusal::refusals;
use crate::{AapProvider, TemplateName};

#[derive(Default, Deserialize)]
#[serde(default)]
struct User {
    #[serde(deserialize_with = "lenient")]
    username: String,
    #[serde(deserialize_with = "lenient")]
    is_superuser: bool,
}

fn failed(report: &mut Preflight, check: &str, error: &ProviderError) {
    report.error(check, error.message(), error.advice());
}

impl AapProvider {
    pub(crate) async fn check(&self, kinds: &[String]) -> Preflight {
        let mut report = Preflight::new();
        report.ok("configuration", &self.config.to_string());
        if self.config.http.insecure {
            report.warning(
                "certificates",
                "certificates are not checked",
                "set a CA file instead of the insecure switch",
            );
        }
        match self.client.base().await {
            Ok(base) => report.ok("controller", &format!("it answers at {base}")),
            Err(error) => {
                failed(&mut report, "controller", &error);
                return report;
            }
        }
        let me = self.client.get("me/", &[], "our own user").await;
        let me = me.and_then(|answer| answer.json::<List<User>>());
        let me = match me.map(|me| me.results.into_iter().next().unwrap_or_default()) {
            Ok(me) => me,
            Err(error) => {
                failed(&mut report, "credentials", &error);
                return report;
            }
        };
        let user = self.client.shown(&me.username, 100);
        report.ok("credentials", &format!("we are user \"{user}\""));
        match self.client.skew.allows_launches() {
            Ok(()) => report.ok("clocks", "they are close enough"),
            Err(error) => failed(&mut report, "clocks", &error),
        }
        for kind in kinds {
            for used in self.config.templates.uses(kind) {
                let target = used.target.map_or_else(String::new, |target| {
                    format!(" for target {}", text::bounded(target, 100))
                });
                let check = format!("{} of {kind}{target}", used.job_type);
                let name = self.placed(used.name);
                self.check_template(&mut report, &check, &name, me.is_superuser)
                    .await;
            }
        }
        if kinds.is_empty() {
            report.warning(
                "templates",
                "no kind was named, so no template was looked for",
                "name the kinds of objects that will be provisioned",
            );
        }
        report
    }

    async fn check_template(
        &self,
        report: &mut Preflight,
        check: &str,
        name: &TemplateName,
        is_superuser: bool,
    ) {
        // Asked afresh: a preflight that reports what was true five minutes ago helps nobody.
        self.templates.forget(name);
        let template = match self.template(name).await {
            Ok(template) => template,
            Err(error) => return failed(report, check, &error),
        };
        // What every launch carries: the caller's own variables, and the object's members, are not known.
        let (caller, object) = (Map::new(), Value::Object(Map::new()));
        let vars = self.variables_of(caller, object, &OperationToken::from_random(0));
        let refusals = refusals(&template, &vars);
        let veiled = |refusal| self.client.veiled(refusal);
        let mut refusals: Vec<ProviderError> = refusals.into_iter().map(veiled).collect();
        if is_superuser && template.may_start == Some(false) {
            // There is no right that this user could lack.
            if let Some(first) = refusals.first_mut() {
                *first = first
                    .clone()
                    .with_advice("use a token of scope write: this one may only read");
            }
        }
        refusals.extend(self.shows_token(&template).err());
        for refusal in &refusals {
            failed(report, check, refusal);
        }
        let nodes = |ids: &[Value]| {
            let shown: Vec<String> = ids.iter().take(20).map(ToString::to_string).collect();
            self.client.shown(&shown.join(", "), 200)
        };
        let (missing, rejected) = (
            &template.prompts.node_templates_missing,
            &template.prompts.node_prompts_rejected,
        );
        if !missing.is_empty() {
            report.error(
                check,
                &format!("{template} has nodes whose template was deleted: {}", nodes(missing)),
                "give these nodes another template, or remove them: the workflow fails when it comes to them",
            );
        }
        if !rejected.is_empty() {
            report.warning(
                check,
                &format!(
                    "{template} has nodes that give their templates what those do not ask for: {}",
                    nodes(rejected)
                ),
                "enable \"Prompt on launch\" there for what these nodes give",
            );
        }
        if refusals.is_empty() && missing.is_empty() {
            report.ok(
                check,
                &format!(
                    "{template} of organization \"{}\" can be launched",
                    template.organization
                ),
            );
        }
    }
}
