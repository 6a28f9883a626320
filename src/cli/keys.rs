//! `sluice keys`: the authority key by which Stratum V2 miners know that they mine for this proxy and nobody in between.
//!
//! Invariant: the secret goes into a file that its owner alone may read, and nowhere else; a key that exists is not
//! written over unless that was asked for.

use super::exit;
use crate::stratum::v2::noise::{Authority, AuthorityError, AuthorityPublic};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// A key file has about 200 bytes.
const MAX_FILE: u64 = 64 * 1024;
/// Owner reads and writes, nobody else does anything.
const PRIVATE: u32 = 0o600;

/// Make or show the key by which Stratum V2 miners know this proxy
///
/// A Stratum V2 miner is given the proxy's PUBLIC key, as the last part of its pool URL, and mines only for who can prove
/// to have the SECRET half. The proxy keeps the secret in a file and proves it anew on every connection; miners never see
/// it. Make one key per site, once: a new key means a new URL in every miner.
///
/// Whoever reads the secret can pretend to be this proxy to your miners. Keep a copy where you keep passwords, and nowhere
/// else.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Make a key:        sluice keys --out /etc/sluice/authority.key\nPrint its URL:     sluice keys --show /etc/sluice/authority.key\n\nA file made by SRI's tools can be shown and used too: it holds the same base58 text."
)]
pub struct Args {
    /// Where the new key goes; only its owner may read the file
    #[arg(long, value_name = "FILE", default_value = "authority.key")]
    out: PathBuf,
    /// Write over a key that is there; its miners must then all be given the new URL
    #[arg(long)]
    force: bool,
    /// Print the public key of an existing file, and make nothing
    #[arg(long, value_name = "FILE", conflicts_with_all = ["out", "force"])]
    show: Option<PathBuf>,
}

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error("{}: {why}", path.display())]
    Content { path: PathBuf, why: AuthorityError },
    #[error(
        "{} is there already. Print its public key with `sluice keys --show {}`, choose another with --out, or write over it with --force: then every miner needs the new URL.",
        .0.display(), .0.display()
    )]
    Exists(PathBuf),
    #[error("{}: {why}", path.display())]
    Io { path: PathBuf, why: io::Error },
    #[error("this machine gives no random numbers: {0}")]
    Chance(getrandom::Error),
}

impl Failed {
    fn code(&self) -> u8 {
        match self {
            Self::Content { .. } => exit::CONFIG,
            _ => exit::ENVIRONMENT,
        }
    }
}

/// Runs it.
pub fn main(args: &Args) -> ExitCode {
    let said = match &args.show {
        Some(path) => show(path),
        None => make(&args.out, args.force),
    };
    match said {
        Ok(text) => {
            // A closed pipe is no error: whoever reads has seen enough.
            let _ = write!(io::stdout(), "{text}");
            ExitCode::SUCCESS
        }
        Err(failed) => {
            let _ = writeln!(io::stderr(), "error: {failed}");
            ExitCode::from(failed.code())
        }
    }
}

fn show(path: &Path) -> Result<String, Failed> {
    let io = |why| Failed::Io {
        path: path.to_owned(),
        why,
    };
    let (len, mode) = fs::metadata(path)
        .map(|data| (data.len(), data.mode()))
        .map_err(io)?;
    if len > MAX_FILE {
        return Err(io(io::Error::other("too long for a key file")));
    }
    let text = fs::read_to_string(path).map_err(io)?;
    let authority = Authority::from_file_text(&text).map_err(|why| Failed::Content {
        path: path.to_owned(),
        why,
    })?;
    let mut said = public_text(&authority.public());
    if mode & 0o077 != 0 {
        said += &format!(
            "\nwarning: others than its owner may read {0}; chmod 600 {0}\n",
            path.display()
        );
    }
    Ok(said)
}

fn make(path: &Path, force: bool) -> Result<String, Failed> {
    let mut chance = [0; 32];
    getrandom::fill(&mut chance).map_err(Failed::Chance)?;
    let authority = Authority::new(chance);
    let written = write(path, force, &file_text(&authority));
    written.map_err(|why| match why.kind() {
        io::ErrorKind::AlreadyExists => Failed::Exists(path.to_owned()),
        _ => Failed::Io {
            path: path.to_owned(),
            why,
        },
    })?;
    let public = public_text(&authority.public());
    Ok(format!(
        "secret key   in {}, for nobody else's eyes\n{public}",
        path.display()
    ))
}

/// A new file, whole or not at all: written beside it first, then put in its place.
fn write(path: &Path, force: bool, text: &str) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(PRIVATE);
    if !force {
        return fill(options.open(path)?, text);
    }
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    // Of a run that was cut short.
    let _ = fs::remove_file(&beside);
    let written = options.open(&beside).and_then(|file| fill(file, text));
    let placed = written.and_then(|()| fs::rename(&beside, path));
    if placed.is_err() {
        let _ = fs::remove_file(&beside);
    }
    placed
}

fn fill(mut file: File, text: &str) -> io::Result<()> {
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

fn file_text(authority: &Authority) -> String {
    format!(
        "# Sluice: the SECRET authority key for Stratum V2. Whoever reads it can pretend to be this proxy to its miners.\n\
         # Its public half, for the URL in the miners: {}\n\
         {}\n",
        authority.public(),
        authority.secret_text()
    )
}

fn public_text(public: &AuthorityPublic) -> String {
    format!(
        "public key   {public}\nin miners    stratum2+tcp://HOST:PORT/{public}\n\n\
         HOST:PORT is where this proxy listens, as the miners reach it. Firmware that asks for the pool's authority key\n\
         apart from the URL is given the public key.\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::TempDir;

    #[test]
    fn a_key_is_made_for_its_owner_alone_and_shown_again() {
        let (_folder, path) = place();
        let said = make(&path, false).expect("made");
        let mode = fs::metadata(&path).expect("written").mode();
        assert_eq!(mode & 0o777, PRIVATE);
        let shown = show(&path).expect("read");
        assert!(said.ends_with(&shown), "{said}\n{shown}");
        let key = shown.split_whitespace().nth(2).expect("the key");
        key.parse::<AuthorityPublic>().expect("a public key");
        assert!(shown.contains(&format!("stratum2+tcp://HOST:PORT/{key}\n")));
    }

    #[test]
    fn no_secret_is_said() {
        let (_folder, path) = place();
        let said = make(&path, false).expect("made");
        let text = fs::read_to_string(&path).expect("written");
        let authority = Authority::from_file_text(&text).expect("a key");
        assert!(!said.contains(&authority.secret_text()));
        assert!(
            !show(&path)
                .expect("read")
                .contains(&authority.secret_text())
        );
    }

    #[test]
    fn a_key_that_is_there_stays_unless_that_is_asked_for() {
        let (folder, path) = place();
        make(&path, false).expect("made");
        let first = fs::read_to_string(&path).expect("written");
        let error = make(&path, false).expect_err("refused");
        assert_eq!(error.code(), exit::ENVIRONMENT);
        assert!(error.to_string().contains("--force"), "{error}");
        assert_eq!(fs::read_to_string(&path).expect("there"), first);
        make(&path, true).expect("made anew");
        assert_ne!(fs::read_to_string(&path).expect("there"), first);
        let mode = fs::metadata(&path).expect("written").mode();
        assert_eq!(mode & 0o777, PRIVATE);
        let files = fs::read_dir(folder.path()).expect("a folder").count();
        assert_eq!(files, 1, "nothing is left beside it");
    }

    #[test]
    fn a_file_that_others_may_read_is_shown_with_a_warning() {
        use std::os::unix::fs::PermissionsExt as _;
        let (_folder, path) = place();
        make(&path, false).expect("made");
        let open = fs::Permissions::from_mode(0o640);
        fs::set_permissions(&path, open).expect("ours");
        let shown = show(&path).expect("read");
        assert!(shown.contains("chmod 600"), "{shown}");
    }

    #[test]
    fn what_is_wrong_with_a_file_is_said_with_its_place() {
        let (folder, path) = place();
        let error = show(&path).expect_err("absent");
        assert_eq!(error.code(), exit::ENVIRONMENT);
        fs::write(&path, "# x\nnonsense 0\n").expect("written");
        let error = show(&path).expect_err("no key");
        assert_eq!(error.code(), exit::CONFIG);
        let text = error.to_string();
        assert!(
            text.contains("authority.key: line 2: ' ' at place 9"),
            "{text}"
        );
        let nowhere = folder.path().join("absent/key");
        assert!(make(&nowhere, false).is_err());
    }

    fn place() -> (TempDir, PathBuf) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("authority.key");
        (folder, path)
    }
}
