//! `provider-sim eda`.

use std::sync::Arc;

use clap::{Args, Subcommand};
use provider_core::SystemClock;
use provider_testkit::eda::{
    EdaSim, HmacCheck, Script, Stream, StreamCredential, Weather, Webhook, World,
};

use crate::{Common, Failure, stopped};

#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(subcommand)]
    way: Way,
}

#[derive(Debug, Subcommand)]
enum Way {
    /// The webhook that a rulebook opens: POST to any path.
    Webhook(Settings),
    /// An event stream of the EDA server: POST to the path in the printed URL.
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
        if let Some(token) = &self.token {
            webhook = webhook.with_token(token);
        }
        if let Some(hmac) = self.hmac() {
            webhook = webhook.with_hmac(hmac);
        }
        Ok(webhook.into())
    }

    fn stream(&self) -> Result<World, Failure> {
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
    pub(crate) async fn run(self) -> Result<(), Failure> {
        let (world, settings, is_stream) = match &self.way {
            Way::Webhook(settings) => (settings.webhook()?, settings, false),
            Way::Stream(settings) => (settings.stream()?, settings, true),
        };
        let common = &settings.common;
        let mut script: Script = common.script()?;
        if let Some(seed) = common.seed {
            script
                .weather
                .get_or_insert_with(|| Weather::stormy(seed))
                .seed = seed;
        }
        if common.is_checked() {
            return Ok(());
        }
        let journal = common.journal()?;
        let clock = Arc::new(SystemClock);
        let sim = EdaSim::start_at(world, clock, common.listen, None).await;
        let sim = sim.map_err(|error| common.cannot_listen(&error))?;
        let seed = script.weather.as_ref().map(|weather| weather.seed);
        sim.play(script);
        let url = if is_stream {
            sim.stream_url()
        } else {
            sim.url()
        };
        Common::serves(&url, &sim.url(), seed);
        let Some(journal) = journal else {
            stopped().await;
            return Ok(());
        };
        let mut last = 0;
        let news = || {
            let events = sim.journal_after(last);
            last = events.last().map_or(last, |event| event.id);
            events
        };
        let followed = journal.follow(news).await;
        followed.map_err(|error| Failure::io(format!("cannot write the journal: {error}")))
    }
}
