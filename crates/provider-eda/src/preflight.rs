//! The configuration, tried out without sending an event.

use provider_core::{Effect, ErrorKind, JobType, Preflight, ProviderError, text};

use crate::body::action;
use crate::endpoints::Addressee;
use crate::{EdaProvider, Transport, TransportKind};

/// `ComputeInstance`, and its target where there is one.
fn shown(to: Addressee<'_>) -> String {
    let kind = text::bounded(to.kind, 60);
    match to.target {
        Some(target) => format!("{kind} for target {}", text::bounded(target, 60)),
        None => kind,
    }
}

/// `restart of ComputeInstance`.
fn named(job_type: &JobType, to: Addressee<'_>) -> String {
    format!("{} of {}", action(job_type), shown(to))
}

impl EdaProvider {
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
        self.check_auth(&mut report);
        if let Some(activation) = &self.config.activation {
            self.check_activation(&mut report, activation).await;
        }
        if let Some(tracker) = &self.tracker {
            tracker.check(&self.client, &mut report).await;
        }
        let mut seen = Vec::new();
        for kind in kinds {
            for target in self.config.transport.endpoints().addressed() {
                let to = Addressee { target, kind };
                for job_type in [JobType::Provision, JobType::Deprovision] {
                    let check = named(&job_type, to);
                    match self.url(job_type, to) {
                        Ok(url) => self.check_new(&mut report, &check, url, &mut seen).await,
                        Err(error) => report.error(&check, error.message(), error.advice()),
                    }
                }
                self.check_actions(&mut report, to, &mut seen).await;
            }
        }
        if kinds.is_empty() {
            report.warning(
                "endpoints",
                "no kind was named, so no URL was tried",
                "name the kinds of objects that will be provisioned",
            );
        }
        report
    }

    /// The URLs of actions. Which ones will be asked for is not known, only which ones are named for anything.
    async fn check_actions(
        &self,
        report: &mut Preflight,
        to: Addressee<'_>,
        seen: &mut Vec<url::Url>,
    ) {
        let endpoints = self.config.transport.endpoints();
        for name in endpoints.action_names() {
            let job_type = JobType::Action(name);
            let check = named(&job_type, to);
            match self.url(job_type, to) {
                Ok(url) => self.check_new(report, &check, url, seen).await,
                Err(error) => report.warning(
                    &check,
                    &format!("{}, although others have one", error.message()),
                    error.advice(),
                ),
            }
        }
        let Some(any) = endpoints.any_action(to) else {
            return;
        };
        let check = format!("any other action of {}", shown(to));
        if !any.is_the_same_for_all {
            report.warning(
                &check,
                "the URL depends on the name of the action, so it cannot be tried out",
                "name the actions in endpoints.actions to have theirs tried out",
            );
            return;
        }
        match any.url {
            Ok(url) => self.check_new(report, &check, url, seen).await,
            Err(error) => report.error(&check, &error.to_string(), ""),
        }
    }

    /// A URL that was not tried out before.
    async fn check_new(
        &self,
        report: &mut Preflight,
        check: &str,
        url: url::Url,
        seen: &mut Vec<url::Url>,
    ) {
        if !seen.contains(&url) {
            self.check_url(report, check, &url).await;
            seen.push(url);
        }
    }

    fn check_auth(&self, report: &mut Preflight) {
        if let Transport::RulebookWebhook(webhook) = &self.config.transport
            && webhook.hmac.is_none()
            && webhook.token.is_none()
            && self.config.http.client_identity.is_none()
        {
            report.warning(
                "authentication",
                "events are sent without any credential: whoever reaches the webhook can send them \
                 too",
                "set a token, or an HMAC secret, on both sides",
            );
        }
    }

    /// Whether the service is there and takes our credential.
    async fn try_out(&self, url: &url::Url) -> Result<String, ProviderError> {
        let transport = self.config.transport.kind();
        let signs = match &self.config.transport {
            Transport::RulebookWebhook(webhook) => webhook.hmac.is_some(),
            Transport::EventStream(_) => false,
        };
        // A webhook that wants a signature answers 400 to a GET without one.
        if !signs {
            let answer = self.client.probe(url).await?;
            match (transport, answer.status) {
                (_, 405) => {}
                (TransportKind::RulebookWebhook, 400 | 401) => answer.judge(transport, url)?,
                (_, status) => {
                    let text =
                        format!("a GET was answered with {status}, and a {transport} says 405");
                    let error = ProviderError::new(Effect::Rejected, ErrorKind::Protocol, text);
                    return Err(
                        error.with_advice("check the URL, and what is in front of the service")
                    );
                }
            }
        }
        if signs || transport == TransportKind::EventStream {
            self.client.knock(url).await?;
            return Ok(format!(
                "the {transport} takes our credential (a body that is no event was sent)"
            ));
        }
        Ok("the rulebook listens and takes our token, if it wants one".to_owned())
    }

    async fn check_url(&self, report: &mut Preflight, check: &str, url: &url::Url) {
        match self.try_out(url).await {
            Ok(said) => report.ok(check, &said),
            Err(error) => return report.error(check, error.message(), error.advice()),
        }
        let transport = self.config.transport.kind();
        match transport {
            TransportKind::RulebookWebhook => report.warning(
                &format!("rule for {check}"),
                "the webhook takes every path, so it cannot be told whether a rule fits this one",
                &format!(
                    "make sure that a rule fits event.meta.endpoint == \"{}\"",
                    url.path().trim_start_matches('/')
                ),
            ),
            TransportKind::EventStream => report.warning(
                &format!("rule for {check}"),
                "an event stream takes events while nobody listens, and loses them; and it cannot be \
                 told whether a rule fits",
                &format!(
                    "keep an activation running, with rules for event.payload.{}.action: behind an \
                     event stream, event.meta.endpoint is the path of the stream",
                    self.config.envelope
                ),
            ),
        }
    }
}
