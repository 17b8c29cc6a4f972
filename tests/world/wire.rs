//! The way from a process to the controller.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use provider_http::{Carrier, SendError};
use provider_testkit::Line;
use tokio::time::sleep;

use crate::chronicle::Chronicle;
use crate::dice::{Dice, Shuffled};

/// The line of one process to the controller. Each request takes its time, and is told of.
#[derive(Debug)]
pub(crate) struct Wire {
    pub(crate) line: Arc<Line>,
    pub(crate) dice: Dice,
    pub(crate) chronicle: Chronicle,
    /// Whose it is.
    pub(crate) who: String,
}

#[async_trait]
impl Carrier for Wire {
    async fn carry(&self, request: reqwest::Request) -> Result<reqwest::Response, SendError> {
        sleep(Duration::from_millis(self.dice.below(20))).await;
        let method = request.method().to_string();
        let query = request.url().query().unwrap_or_default();
        let path = format!("{}?{query}", request.url().path());
        let body = request.body().and_then(reqwest::Body::as_bytes);
        let body = body.unwrap_or_default().to_vec();
        let told = &self.chronicle;
        told.count("requests to the controller", 1);
        told.message(&self.who, &method, &path, 0, &body);
        let answer = Shuffled::new(self.line.carry(request), self.dice.fork()).await;
        let code = answer.as_ref().map_or(0, |answer| answer.status().as_u16());
        told.message(&self.who, &method, &path, code, &[]);
        if !matches!(code, 101 | 200..300 | 400..429) {
            let text = String::from_utf8_lossy(&body);
            let about = text.split('"').find(|word| word.starts_with("uid-"));
            let what = match &answer {
                Ok(_) => format!("with {code}"),
                Err(error) => format!("{:?}", error.failure),
            };
            let text = format!(
                "{}: {method} {path} {} {what}",
                self.who,
                about.unwrap_or_default()
            );
            told.fault("the controller's answer is none:", &text);
        }
        answer
    }
}
