//! `provider-sim eda`.

use std::net::SocketAddr;
use std::sync::Arc;

use clap::{Args, Subcommand};
use provider_core::SystemClock;
use provider_testkit::eda::{
    EdaSim, HmacCheck, Script, Stream, StreamCredential, Weather, Webhook, World,
};

use crate::{Common, Failure, stopped};

/// Where rulebooks usually open their webhook.
const PORT: u16 = 5000;

const EXAMPLES: &str = "\
Examples:
  provider-sim eda                                          # the webhook of a rulebook, open to all
  provider-sim eda --token s3cret --journal events.jsonl
  provider-sim eda webhook --hmac-secret s3cret --hmac-prefix sha256=
  provider-sim eda stream --basic me:s3cret --faults faults.yaml
  provider-sim eda stream --token s3cret --seed 7           # every kind of trouble, the same again

A fault script:
  faults:
    - {fault: {status_after: 504}}       # the first event: taken, and a gateway gave up
    - {fault: lose, after: 2, times: 3}
  weather: {seed: 7, lost_answers: 10, refusals: 10, hangs: 1}

Controls, below ROOT/_sim/: journal, counts, faults, weather, work_off; docs/SIMULATORS.md of
  provider-testkit explains them.";

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, after_help = EXAMPLES)]
pub(crate) struct Options {
    #[command(subcommand)]
    way: Option<Way>,
    /// A webhook, where neither is named.
    #[command(flatten)]
    settings: Settings,
}

#[derive(Debug, Subcommand)]
enum Way {
    /// The webhook that a rulebook opens: POST to any path.
    #[command(after_help = EXAMPLES)]
    Webhook(Settings),
    /// An event stream of the EDA server: POST to the path in the printed URL.
    #[command(after_help = EXAMPLES)]
    Stream(Settings),
}

#[derive(Debug, Args)]
struct Settings {
    #[command(flatten)]
    common: Common,
    /// Takes events with this bearer token alone.
    #[arg(long, env = "EDA_SIM_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// Takes events with a signature by this secret alone.
    #[arg(
        long,
        env = "EDA_SIM_HMAC_SECRET",
        hide_env_values = true,
        conflicts_with = "token"
    )]
    hmac_secret: Option<String>,
    /// The header of the signature.
    #[arg(long, default_value = "X-Hub-Signature-256", requires = "hmac_secret")]
    hmac_header: String,
    /// What stands before the signature, `sha256=` for one.
    #[arg(long, default_value = "", requires = "hmac_secret")]
    hmac_prefix: String,
    /// The signature is base64 instead of hexadecimal.
    #[arg(long, requires = "hmac_secret")]
    hmac_base64: bool,
    /// USER:PASSWORD of basic authentication; event streams alone.
    #[arg(long, value_name = "USER:PASSWORD", conflicts_with_all = ["token", "hmac_secret"])]
    basic: Option<String>,
    /// How many events wait until the senders of further ones have to; webhooks alone. See the control
    /// work_off.
    #[arg(long, value_name = "N")]
    queue: Option<usize>,
}

impl Settings {
    fn hmac(&self) -> Option<HmacCheck> {
        let secret = self.hmac_secret.as_deref()?;
        let check = if self.hmac_base64 {
            HmacCheck::base64(secret)
        } else {
            HmacCheck::hex(secret)
        };
        let check = check.with_header(&self.hmac_header);
        Some(check.with_prefix(&self.hmac_prefix))
    }

    fn webhook(&self) -> Result<World, Failure> {
        if self.basic.is_some() {
            return Err(Failure::usage(
                "a rulebook's webhook has no basic authentication; use --token or --hmac-secret"
                    .to_owned(),
            ));
        }
        let mut webhook = Webhook::new();
        webhook.queue = self.queue;
        if let Some(token) = &self.token {
            webhook = webhook.with_token(token);
        }
        if let Some(hmac) = self.hmac() {
            webhook = webhook.with_hmac(hmac);
        }
        Ok(webhook.into())
    }

    fn stream(&self) -> Result<World, Failure> {
        if self.queue.is_some() {
            return Err(Failure::usage(
                "an event stream never fills up; --queue is for a rulebook's webhook".to_owned(),
            ));
        }
        let credential = match (&self.token, self.hmac(), &self.basic) {
            (Some(token), ..) => return Ok(Stream::token(token).into()),
            (None, Some(hmac), _) => StreamCredential::Hmac(hmac),
            (None, None, Some(basic)) => {
                let (username, password) = basic
                    .split_once(':')
                    .ok_or_else(|| Failure::usage("--basic: expected USER:PASSWORD".to_owned()))?;
                StreamCredential::Basic {
                    username: username.to_owned(),
                    password: password.to_owned(),
                }
            }
            (None, None, None) => StreamCredential::None,
        };
        Ok(Stream::new(credential).into())
    }
}

impl Options {
    /// What was said, and whether it is of an event stream.
    fn settings(&self) -> (&Settings, bool) {
        match &self.way {
            None => (&self.settings, false),
            Some(Way::Webhook(settings)) => (settings, false),
            Some(Way::Stream(settings)) => (settings, true),
        }
    }

    pub(crate) fn listen(&self) -> SocketAddr {
        self.settings().0.common.listen(PORT)
    }

    pub(crate) async fn run(self) -> Result<(), Failure> {
        let (settings, is_stream) = self.settings();
        let world = match is_stream {
            true => settings.stream()?,
            false => settings.webhook()?,
        };
        let common = &settings.common;
        let mut script: Script = common.script()?;
        if let Some(seed) = common.seed {
            match &mut script.weather {
                Some(weather) => weather.seed = seed,
                // A script without weather says all that is to go wrong.
                None if common.faults.is_some() => {}
                None => script.weather = Some(Weather::stormy(seed)),
            }
        }
        if common.is_checked() {
            return Ok(());
        }
        let journal = common.journal()?;
        let clock = Arc::new(SystemClock);
        let listen = self.listen();
        let sim = EdaSim::start_at(world, clock, listen, None).await;
        let sim = sim.map_err(|error| Common::cannot_listen(listen, &error))?;
        let seed = script.weather.as_ref().map(|weather| weather.seed);
        sim.play(script);
        let url = if is_stream {
            sim.stream_url()
        } else {
            sim.url()
        };
        let stopped = stopped();
        Common::serves(&url, &sim.url(), seed);
        let Some(journal) = journal else {
            stopped.await;
            return Ok(());
        };
        let mut last = 0;
        let news = || {
            let events = sim.journal_after(last);
            last = events.last().map_or(last, |event| event.id);
            events
        };
        let followed = journal.follow(news, stopped).await;
        followed.map_err(|error| Failure::io(format!("cannot write the journal: {error}")))
    }
}
