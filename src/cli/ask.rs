//! One question to the API of a running proxy, for every verb that asks: how it is put, and why there may be no answer.
//!
//! Decides nothing about what is asked. Invariant: what comes from the API is shown without control characters, so that
//! no name can write to a terminal.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::io::ErrorKind;
use std::time::Duration;
use ureq::http::{Request, Response, request};

/// Most bytes of an answer: ten times a full page of miners, twice a thousand orders and as many reservations.
const MAX_ANSWER: u64 = 8 * 1024 * 1024;

/// Why there is nothing to show.
#[derive(Debug, thiserror::Error)]
pub(super) enum AskError {
    #[error(
        "no Sluice answers at {api} ({why}). Is it running? Give --api URL if it listens elsewhere."
    )]
    Unreachable { api: String, why: String },
    #[error(
        "what answers at {api} is not a Sluice API of this version ({why}). Give --api URL if Sluice listens elsewhere."
    )]
    NotSluice { api: String, why: String },
    #[error("{title}. {detail}")]
    Refused {
        status: u16,
        title: String,
        detail: String,
    },
}

/// The API of one proxy.
#[derive(Debug)]
pub(super) struct Proxy {
    /// Its URL, without a slash at the end.
    pub(super) api: String,
    timeout: Duration,
    agent: ureq::Agent,
}

/// A problem (RFC 9457).
#[derive(Deserialize)]
struct Problem {
    title: String,
    detail: String,
}

impl Proxy {
    /// The one at this URL, which has so long for an answer.
    pub(super) fn new(api: &str, timeout: Duration) -> Self {
        // A proxy for the web (http_proxy) has no business between us and the site.
        let agent = ureq::Agent::config_builder()
            .timeout_global(Some(timeout))
            .http_status_as_error(false)
            .max_redirects(0)
            .proxy(None)
            .build()
            .into();
        Self {
            api: api.trim_end_matches('/').to_owned(),
            timeout,
            agent,
        }
    }

    /// A request for a path of it.
    pub(super) fn request(&self, method: &str, path: &str) -> request::Builder {
        let url = format!("{}{path}", self.api);
        Request::builder().method(method).uri(url)
    }

    /// Sends it; what came back, whatever it says.
    ///
    /// # Errors
    /// It could not be sent, or there was no answer in time.
    pub(super) fn send(
        &self,
        request: request::Builder,
        json: Option<&str>,
    ) -> Result<Response<ureq::Body>, ureq::Error> {
        match json {
            Some(body) => {
                let request = request.header("Content-Type", "application/json");
                self.agent.run(request.body(body.to_owned())?)
            }
            None => self.agent.run(request.body(())?),
        }
    }

    /// The text of an answer that is no refusal.
    ///
    /// # Errors
    /// It refuses, or it is not what a Sluice answers.
    pub(super) fn text(&self, mut response: Response<ureq::Body>) -> Result<String, AskError> {
        let status = response.status();
        let body = response.body_mut().with_config().limit(MAX_ANSWER);
        let text = body.read_to_string();
        let text = text.map_err(|error| self.not_sluice(&error.to_string()))?;
        if status.is_success() {
            return Ok(text);
        }
        Err(match serde_json::from_str::<Problem>(&text) {
            Ok(problem) => AskError::Refused {
                status: status.as_u16(),
                title: printable(&problem.title),
                detail: printable(&problem.detail),
            },
            Err(_) => self.not_sluice(&format!("HTTP status {status}")),
        })
    }

    /// GET, as a type of the API.
    ///
    /// # Errors
    /// Whatever keeps it from being that.
    pub(super) fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, AskError> {
        let sent = self.send(self.request("GET", path), None);
        let text = self.text(sent.map_err(|error| self.unreachable(&error))?)?;
        serde_json::from_str(&text).map_err(|error| self.not_sluice(&error.to_string()))
    }

    /// Nobody is there.
    pub(super) fn unreachable(&self, error: &ureq::Error) -> AskError {
        AskError::Unreachable {
            api: printable(&self.api),
            why: self.in_words(error),
        }
    }

    /// Somebody else is there.
    pub(super) fn not_sluice(&self, why: &str) -> AskError {
        AskError::NotSluice {
            api: printable(&self.api),
            why: printable(why),
        }
    }

    /// Why nothing came back.
    pub(super) fn in_words(&self, error: &ureq::Error) -> String {
        match error {
            ureq::Error::Io(error) if error.kind() == ErrorKind::ConnectionRefused => {
                "connection refused".to_owned()
            }
            ureq::Error::Timeout(_) => format!("no answer within {} s", self.timeout.as_secs()),
            ureq::Error::HostNotFound => "no such host".to_owned(),
            other => printable(&other.to_string()),
        }
    }
}

/// What a terminal may be given: printable ASCII; the rest is `?`. Names are sanitised at their source already, but
/// what answers at a URL need not be Sluice.
pub(super) fn printable(text: &str) -> String {
    let plain = |c: char| {
        if c == ' ' || c.is_ascii_graphic() {
            c
        } else {
            '?'
        }
    };
    text.chars().map(plain).collect()
}
