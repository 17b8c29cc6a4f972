//! The configuration, tried out without launching anything.

use provider_core::{JobType, Preflight, ProviderError};
use serde::Deserialize;

use crate::AapProvider;
use crate::launch::promptable;

#[derive(Deserialize)]
struct Me {
    results: Vec<User>,
}

#[derive(Deserialize)]
struct User {
    username: String,
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
        match me.and_then(|answer| answer.json::<Me>()) {
            Ok(me) => {
                let user = me.results.first().map_or("", |user| &user.username);
                report.ok("credentials", &format!("we are user \"{user}\""));
            }
            Err(error) => {
                failed(&mut report, "credentials", &error);
                return report;
            }
        }
        for kind in kinds {
            for job_type in [JobType::Provision, JobType::Deprovision] {
                self.check_template(&mut report, kind, job_type).await;
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

    async fn check_template(&self, report: &mut Preflight, kind: &str, job_type: JobType) {
        let check = format!("{} of {kind}", job_type.as_str());
        let name = self.template_name(job_type, kind);
        // Asked afresh: a preflight that reports what was true five minutes ago helps nobody.
        self.templates.forget(&name);
        let template = match self.template(&name).await {
            Ok(template) => template,
            Err(error) => return failed(report, &check, &error),
        };
        let mut vars = self.config.extra_vars.clone();
        if let Some(given) = self.config.envelope.path().first() {
            vars.insert((*given).to_owned(), serde_json::Value::Null);
        }
        match promptable(&template, &vars).and_then(|()| self.shows_token(&template)) {
            Err(error) => failed(report, &check, &error),
            Ok(()) if !template.prompts.ask_variables_on_launch => report.warning(
                &check,
                &format!("{template} takes only the variables of its survey"),
                &format!(
                    "enable \"Prompt on launch\" for its variables, or add {} and {} to the survey",
                    self.config.token_variable,
                    self.config
                        .envelope
                        .path()
                        .first()
                        .unwrap_or(&"the envelope")
                ),
            ),
            Ok(()) => report.ok(
                &check,
                &format!(
                    "{template} of organization \"{}\" can be launched",
                    template.organization
                ),
            ),
        }
    }
}
