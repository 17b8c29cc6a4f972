//! What is in force, for people: without secrets.

use std::collections::BTreeSet;
use std::fmt;

use provider_core::JobType;

use super::AapConfig;
use crate::place::shown;

impl fmt::Display for AapConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} at {} as {:?}; templates ",
            self.name,
            shown(&self.url),
            self.auth
        )?;
        for (job_type, fixed) in [
            (JobType::Provision, &self.templates.create),
            (JobType::Deprovision, &self.templates.delete),
        ] {
            match fixed {
                Some(name) => write!(f, "{}, ", name.name)?,
                None => {
                    let name = self.templates.name(job_type, "KIND", None).name;
                    write!(f, "{}, ", name.replace("kind", "KIND"))?;
                }
            }
        }
        let named = self.templates.actions.keys();
        let actions: BTreeSet<_> = named.chain(&self.templates.used_actions).collect();
        for action in actions {
            let name = self
                .templates
                .name(JobType::Action(*action), "KIND", None)
                .name;
            write!(f, "{}, ", name.replace("kind", "KIND"))?;
        }
        for (number, what) in [
            (self.templates.kinds.len(), "kinds"),
            (self.templates.targets.len(), "targets"),
        ] {
            if number > 0 {
                write!(f, "with {number} {what} of their own, ")?;
            }
        }
        match &self.organization {
            Some(organization) => write!(f, "of organization {organization:?}")?,
            None => f.write_str("of any organization")?,
        }
        write!(f, "; object in {}", self.envelope.path().join("."))?;
        if self.http.insecure {
            f.write_str("; INSECURE: certificates are not checked")?;
        }
        Ok(())
    }
}

impl fmt::Debug for AapConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AapConfig")
            .field("name", &self.name)
            .field("url", &shown(&self.url))
            .field("auth", &self.auth)
            .field("http", &self.http)
            .field("organization", &self.organization)
            .field("templates", &self.templates)
            .field("envelope", &self.envelope)
            .field("token_variable", &self.token_variable)
            .field("extra_vars", &self.extra_vars.keys().collect::<Vec<_>>())
            .field("diagnose", &self.diagnose)
            .field("timing", &self.timing)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Auth;

    #[test]
    fn no_form_of_output_shows_a_secret() {
        let config = AapConfig::new(
            "https://me:pa55word@host/?token=t0psecret",
            Auth::token("s3cret-token"),
        )
        .with_extra_var("key", "other-secret");
        for text in [
            format!("{config}"),
            format!("{config:?}"),
            format!("{config:#?}"),
        ] {
            for secret in ["pa55word", "t0psecret", "s3cret-token", "other-secret"] {
                assert!(!text.contains(secret), "{text}");
            }
        }
        assert!(config.to_string().contains("at https://host/ as token ***"));
    }

    #[test]
    fn a_url_that_will_be_refused_shows_no_secret_either() {
        for url in [
            "admin:pa55word@host",
            "admin:pa55word@host:port/?x=t0psecret",
            "https://admin:pa55word@ho st/#t0psecret",
        ] {
            let config = AapConfig::new(url, Auth::token("abcd"));
            for text in [format!("{config}"), format!("{config:?}")] {
                assert!(
                    !text.contains("pa55word") && !text.contains("t0psecret"),
                    "{text}"
                );
                assert!(text.contains("ho"), "{text}");
            }
        }
    }

    #[test]
    fn the_templates_of_actions_are_shown() {
        let restart = provider_core::ActionName::new("restart").unwrap();
        let stop = provider_core::ActionName::new("stop").unwrap();
        let config = AapConfig::new("https://host", Auth::token("abcd"))
            .with_template_prefix("osac")
            .with_used_action(restart)
            .with_action_template(stop, crate::TemplateName::new("halt"))
            .with_target("east", crate::TargetTemplates::default());
        let shown = "osac-delete-KIND, osac-restart-KIND, halt, with 1 targets of their own, ";
        assert!(config.to_string().contains(shown), "{config}");
    }
}
