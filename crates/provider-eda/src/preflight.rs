//! The configuration, tried out without sending an event.

use provider_core::{Effect, ErrorKind, JobType, Preflight, ProviderError};

use crate::body::action;
use crate::{EdaProvider, Transport, TransportKind};

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
            for job_type in [JobType::Provision, JobType::Deprovision] {
                let check = format!("{} of {kind}", action(job_type));
                let url = match self.url(job_type, kind) {
                    Ok(url) if seen.contains(&url) => continue,
                    Ok(url) => url,
                    Err(error) => {
                        report.error(&check, error.message(), error.advice());
                        continue;
                    }
                };
                self.check_url(&mut report, &check, &url).await;
                seen.push(url);
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
            Ok(text) => report.ok(check, &text),
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
