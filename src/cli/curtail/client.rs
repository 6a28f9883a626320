//! One call to the API and what came of it. Invariant: the token is shown nowhere, and what comes from the API is printed
//! without control characters.

use super::Access;
use crate::cli::ask::{AskError, Proxy, printable};
use crate::cli::exit;
use crate::curtail::Watts;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::io::{self, Write};
use std::time::Duration;

/// Longer than the API waits for its controller, so that it can say itself what is not known.
const TIMEOUT: Duration = Duration::from_secs(8);

/// Why nothing came of it.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failed {
    #[error(transparent)]
    Ask(#[from] AskError),
    #[error(
        "the call to {api} broke off ({why}). Whether it was taken is not known: look at `sluice curtail status`."
    )]
    BrokeOff { api: String, why: String },
    #[error("{0}")]
    Usage(String),
    #[error("nothing was ordered: {asked} were asked, at most {most} can be had")]
    NotAll { asked: Watts, most: Watts },
}

impl Failed {
    /// As the table of the verb says.
    pub(super) fn code(&self) -> u8 {
        match self {
            Self::Ask(AskError::Refused { .. }) => 1,
            Self::Usage(_) => 2,
            Self::NotAll { .. } => exit::LATER,
            _ => exit::ENVIRONMENT,
        }
    }

    /// Whether the same call may succeed a moment later.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            Self::Ask(AskError::Unreachable { .. }) | Self::BrokeOff { .. } => true,
            Self::Ask(AskError::Refused { status, .. }) => *status >= 500,
            Self::Ask(AskError::NotSluice { .. }) | Self::Usage(_) | Self::NotAll { .. } => false,
        }
    }

    /// Whether the API knows nothing of this kind that could be ended.
    pub(super) fn is_unknown(&self) -> bool {
        matches!(self, Self::Ask(AskError::Refused { status: 404, .. }))
    }
}

/// The API of one proxy.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) json: bool,
    token: Option<String>,
    show_http: bool,
    proxy: Proxy,
}

/// What was answered.
#[derive(Debug)]
pub(super) struct Answer(Option<Value>);

impl Client {
    pub(super) fn new(access: &Access) -> Self {
        let token = access.token.clone();
        let token = token.or_else(|| std::env::var("SLUICE_TOKEN").ok());
        Self {
            json: access.json,
            token: token.filter(|token| !token.is_empty()),
            show_http: access.show_http,
            proxy: Proxy::new(&access.api, TIMEOUT),
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
            let line = curl(&self.proxy.api, self.token.is_some(), method, path, body);
            let _ = writeln!(io::stderr(), "{line}");
        }
        if self.token.as_ref().is_some_and(|token| !sendable(token)) {
            let why = "the token is not one: a header carries ASCII without spaces alone";
            return Err(Failed::Usage(why.into()));
        }
        let mut request = self.proxy.request(method, path);
        if let Some(token) = &self.token {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        let sent = self.proxy.send(request, body);
        let text = self
            .proxy
            .text(sent.map_err(|error| self.failed(method, &error))?)
            .map_err(|error| self.without_token(error))?;
        if text.is_empty() {
            return Ok(Answer(None));
        }
        let value = serde_json::from_str(&text);
        Ok(Answer(Some(
            value.map_err(|error| self.not_sluice(&error.to_string()))?,
        )))
    }

    /// Says how a token is given to whoever gave none.
    fn without_token(&self, error: AskError) -> AskError {
        match error {
            AskError::Refused {
                status: 401, title, ..
            } if self.token.is_none() => AskError::Refused {
                status: 401,
                title,
                detail: "No token was sent: set SLUICE_TOKEN or --token.".into(),
            },
            error => error,
        }
    }

    fn failed(&self, method: &str, error: &ureq::Error) -> Failed {
        let (api, why) = (printable(&self.proxy.api), self.proxy.in_words(error));
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
            true => self.proxy.unreachable(error).into(),
            false => Failed::BrokeOff { api, why },
        }
    }

    pub(super) fn not_sluice(&self, why: &str) -> Failed {
        self.proxy.not_sluice(why).into()
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
