//! One call to the API and what came of it. Invariant: the token is shown nowhere, and what comes from the API is printed
//! without control characters.

use super::Access;
use crate::cli::exit;
use crate::cli::status::{in_words, printable};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::io::{self, Write};
use std::time::Duration;

/// Longer than the API waits for its controller, so that it can say itself what is not known.
const TIMEOUT: Duration = Duration::from_secs(8);
/// Most bytes of an answer: a thousand orders and as many reservations.
const MAX_ANSWER: u64 = 4 * 1024 * 1024;

/// Why nothing came of it.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failed {
    #[error(
        "no Sluice answers at {api} ({why}). Is it running? Give --api URL if it listens elsewhere."
    )]
    Unreachable { api: String, why: String },
    #[error(
        "the call to {api} broke off ({why}). Whether it was taken is not known: look at `sluice curtail status`."
    )]
    BrokeOff { api: String, why: String },
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
    #[error("{0}")]
    Usage(String),
}

impl Failed {
    /// As the table of the verb says.
    pub(super) fn code(&self) -> u8 {
        match self {
            Self::Refused { .. } => 1,
            Self::Usage(_) => 2,
            _ => exit::ENVIRONMENT,
        }
    }

    /// Whether the same call may succeed a moment later.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::BrokeOff { .. } => true,
            Self::Refused { status, .. } => *status >= 500,
            Self::NotSluice { .. } | Self::Usage(_) => false,
        }
    }
}

/// The API of one proxy.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) api: String,
    pub(super) json: bool,
    token: Option<String>,
    show_http: bool,
    agent: ureq::Agent,
}

/// What was answered.
#[derive(Debug)]
pub(super) struct Answer(Option<Value>);

impl Client {
    pub(super) fn new(access: &Access) -> Self {
        // A proxy for the web (http_proxy) has no business between us and the site.
        let agent = ureq::Agent::config_builder()
            .timeout_global(Some(TIMEOUT))
            .http_status_as_error(false)
            .max_redirects(0)
            .proxy(None)
            .build()
            .into();
        let token = access.token.clone();
        let token = token.or_else(|| std::env::var("SLUICE_TOKEN").ok());
        Self {
            api: access.api.trim_end_matches('/').to_owned(),
            json: access.json,
            token: token.filter(|token| !token.is_empty()),
            show_http: access.show_http,
            agent,
        }
    }

    pub(super) fn get(&self, path: &str) -> Result<Answer, Failed> {
        self.call("GET", path, None)
    }

    pub(super) fn post(&self, path: &str, body: &str) -> Result<Answer, Failed> {
        self.call("POST", path, Some(body))
    }

    pub(super) fn delete(&self, path: &str) -> Result<Answer, Failed> {
        self.call("DELETE", path, None)
    }

    fn call(&self, method: &str, path: &str, body: Option<&str>) -> Result<Answer, Failed> {
        if self.show_http {
            let line = curl(&self.api, self.token.is_some(), method, path, body);
            let _ = writeln!(io::stderr(), "{line}");
        }
        if self.token.as_ref().is_some_and(|token| !sendable(token)) {
            let why = "the token is not one: a header carries ASCII without spaces alone";
            return Err(Failed::Usage(why.into()));
        }
        let url = format!("{}{path}", self.api);
        let mut request = ureq::http::Request::builder().method(method).uri(url);
        if let Some(token) = &self.token {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        let sent = match body {
            Some(body) => {
                let request = request.header("Content-Type", "application/json");
                let request = request.body(body.to_owned());
                request
                    .map_err(ureq::Error::from)
                    .and_then(|r| self.agent.run(r))
            }
            None => {
                let request = request.body(());
                request
                    .map_err(ureq::Error::from)
                    .and_then(|r| self.agent.run(r))
            }
        };
        let response = sent.map_err(|error| self.failed(method, &error))?;
        self.answer(response)
    }

    fn failed(&self, method: &str, error: &ureq::Error) -> Failed {
        let (api, why) = (printable(&self.api), in_words(error));
        if let ureq::Error::BadUri(_) | ureq::Error::Http(_) = error {
            return Failed::Usage(format!(
                "--api {api} is no address such as http://127.0.0.1:3380 ({why})"
            ));
        }
        let unheard = match error {
            ureq::Error::Io(error) => error.kind() == io::ErrorKind::ConnectionRefused,
            ureq::Error::Timeout(_) | ureq::Error::Protocol(_) => false,
            _ => true,
        };
        match unheard || method == "GET" {
            true => Failed::Unreachable { api, why },
            false => Failed::BrokeOff { api, why },
        }
    }

    fn answer(&self, mut response: ureq::http::Response<ureq::Body>) -> Result<Answer, Failed> {
        let status = response.status();
        let body = response.body_mut().with_config().limit(MAX_ANSWER);
        let text = body.read_to_string();
        let text = text.map_err(|error| self.not_sluice(&error.to_string()))?;
        if status.is_success() && text.is_empty() {
            return Ok(Answer(None));
        }
        if status.is_success() {
            let value = serde_json::from_str(&text);
            return value
                .map(|value| Answer(Some(value)))
                .map_err(|error| self.not_sluice(&error.to_string()));
        }
        Err(match serde_json::from_str::<Problem>(&text) {
            Ok(problem) => Failed::Refused {
                status: status.as_u16(),
                title: printable(&problem.title),
                detail: printable(&problem.detail),
            },
            Err(_) => self.not_sluice(&format!("HTTP status {status}")),
        })
    }

    pub(super) fn not_sluice(&self, why: &str) -> Failed {
        Failed::NotSluice {
            api: printable(&self.api),
            why: printable(why),
        }
    }
}

impl Answer {
    /// As a type of the API.
    pub(super) fn read<T: DeserializeOwned>(&self, from: &Client) -> Result<T, Failed> {
        let value = self.0.clone().unwrap_or(Value::Null);
        serde_json::from_value(value).map_err(|error| from.not_sluice(&error.to_string()))
    }

    /// A member as a type of the API, if it is there.
    pub(super) fn member<T: DeserializeOwned>(&self, name: &str) -> Option<T> {
        let member = self.0.as_ref()?.get(name)?;
        serde_json::from_value(member.clone()).ok()
    }

    /// For programs. `serde_json` escapes control characters.
    pub(super) fn pretty(&self) -> String {
        let value = self.0.as_ref().unwrap_or(&Value::Null);
        serde_json::to_string_pretty(value).expect("a value is JSON") + "\n"
    }
}

/// Whether a header carries it as it is (RFC 6750, 2.1); the config takes no other either.
fn sendable(token: &str) -> bool {
    token.bytes().all(|byte| byte.is_ascii_graphic())
}

/// A problem (RFC 9457).
#[derive(Deserialize)]
struct Problem {
    title: String,
    detail: String,
}

/// What a person would type; the token stays in its variable.
fn curl(api: &str, token: bool, method: &str, path: &str, body: Option<&str>) -> String {
    let mut line = match method {
        "GET" => "curl".to_owned(),
        _ => format!("curl -X {method}"),
    };
    if token {
        line += " -H \"Authorization: Bearer $SLUICE_TOKEN\"";
    }
    if let Some(body) = body {
        // Names and ids have no quotes: the writer of orders makes none.
        line += &format!(" -d '{body}'");
    }
    line += &format!(" '{}{path}'", api.replace('\'', "%27"));
    printable(&line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_or_a_token_that_cannot_be_sent_is_the_callers_mistake_and_no_silence() {
        for (api, token) in [
            ("nonsense", None),
            ("ftp://127.0.0.1", None),
            ("http://a b", None),
            ("http://127.0.0.1:1", Some("t\u{fc}r")),
            ("http://127.0.0.1:1", Some("two words")),
        ] {
            let client = Client::new(&Access {
                api: api.into(),
                token: token.map(str::to_owned),
                json: false,
                show_http: false,
            });
            for failed in [client.get("/api/v1/power"), client.post("/x", "{}")] {
                let failed = failed.expect_err("nobody answers");
                assert_eq!(failed.code(), 2, "{api}: {failed}");
                assert!(!failed.to_string().contains("two words"), "{failed}");
            }
        }
    }

    #[test]
    fn a_call_is_shown_as_curl_without_the_token() {
        let line = curl(
            "http://127.0.0.1:3380",
            true,
            "POST",
            "/api/v1/orders",
            Some("{\"a\":1}"),
        );
        let expected = r#"curl -X POST -H "Authorization: Bearer $SLUICE_TOKEN" -d '{"a":1}' 'http://127.0.0.1:3380/api/v1/orders'"#;
        assert_eq!(line, expected);
        let line = curl("http://a", false, "GET", "/api/v1/power", None);
        assert_eq!(line, "curl 'http://a/api/v1/power'");
    }
}
