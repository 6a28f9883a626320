//! Which ledger a verb reads: the file that is named, else the one that a configuration's proxy writes.
//!
//! Reads no ledger. Invariant: without a name it is the very file that `sluice run` would write with the same
//! configuration and environment.

use super::{exit, run};
use crate::config::{Config, Findings};
use std::path::{Path, PathBuf};

/// Arguments of every verb that reads a ledger.
#[derive(Clone, Debug, Default, clap::Args)]
pub(super) struct Which {
    /// The ledger; if not given, that of the configuration
    #[arg(value_name = "LEDGER", conflicts_with = "config")]
    pub(super) file: Option<PathBuf>,
    /// The configuration whose ledger it is [default: ./sluice.toml]. Under systemd a ledger that it does not name is in
    /// the service's StateDirectory
    #[arg(short, long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
}

/// Why there is none to read.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoLedger {
    /// The configuration cannot be read so far.
    #[error("{findings}\nName the ledger itself, or a configuration with -c FILE.")]
    Config {
        /// What is wrong with it.
        findings: Findings,
    },
    /// It is of a proxy without curtailment.
    #[error("{}: there is no [site], so there is no ledger", .0.display())]
    NoSite(PathBuf),
}

impl NoLedger {
    /// The exit code that says so.
    pub(super) fn code(&self) -> u8 {
        match self {
            Self::Config { .. } => exit::CONFIG,
            Self::NoSite(_) => exit::ENVIRONMENT,
        }
    }
}

impl Which {
    /// Its path; whether there is such a file is for who opens it to say.
    pub(super) fn path(&self) -> Result<PathBuf, NoLedger> {
        if let Some(file) = &self.file {
            return Ok(file.clone());
        }
        let config = self.config.as_deref();
        let config = config.unwrap_or(Path::new(run::DEFAULT_FILE));
        match Config::ledger(config) {
            Ok(ledger) => ledger.ok_or_else(|| NoLedger::NoSite(config.to_owned())),
            Err(findings) => Err(NoLedger::Config { findings }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Secrets that nobody has here, and a mistake elsewhere.
    const SITE: &str = "[site]\nname = \"north\"\n[[token]]\nsecret = { env = \"NOT_SET_HERE\" }\n[log]\nfilter = 3\n";

    #[test]
    fn a_named_file_is_it_and_no_configuration_is_looked_at() {
        let which = Which {
            file: Some("/no/such.db".into()),
            config: None,
        };
        assert_eq!(which.path().expect("as named"), Path::new("/no/such.db"));
    }

    #[test]
    fn a_configuration_names_its_ledger_though_the_secrets_of_the_proxy_are_not_here() {
        let (folder, which) = configured(&format!("{SITE}[curtail]\nledger = \"a/b.db\"\n"));
        assert_eq!(which.path().expect("named"), folder.path().join("a/b.db"));
    }

    #[test]
    fn a_configuration_without_that_key_has_its_ledger_beside_it() {
        let (folder, which) = configured(SITE);
        let beside = folder.path().join("sluice-ledger.db");
        assert_eq!(which.path().expect("by default"), beside);
    }

    #[test]
    fn a_proxy_without_a_site_has_none_and_a_file_that_cannot_be_read_is_a_finding() {
        let (_folder, which) = configured("");
        let error = which.path().expect_err("there is none");
        assert_eq!(error.code(), exit::ENVIRONMENT);
        assert!(error.to_string().contains("no [site]"), "{error}");
        for text in ["[site", "[site]\n[curtail]\nledger = 7\n"] {
            let (_folder, which) = configured(text);
            let error = which.path().expect_err(text);
            assert_eq!(error.code(), exit::CONFIG);
            assert!(error.to_string().contains("-c FILE"), "{error}");
        }
    }

    fn configured(text: &str) -> (tempfile::TempDir, Which) {
        let folder = tempfile::tempdir().expect("a folder");
        let config = folder.path().join("sluice.toml");
        std::fs::write(&config, text).expect("a folder of ours");
        let which = Which {
            file: None,
            config: Some(config),
        };
        (folder, which)
    }
}
