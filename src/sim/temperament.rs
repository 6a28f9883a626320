//! What firmware families do differently, as data.
//!
//! Invariant: every quirk is a field here; the miner's logic never asks for a family by name.

/// A firmware family.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub enum Temperament {
    /// Waits for each reply, reads exactly one line after configure, gives up after 90 s of silence.
    #[default]
    Cgminer,
    /// Pipelines its handshake, ignores recent job ids, never notices silence.
    Bitaxe,
    /// Loops configure when keys come back that it did not ask for.
    Whatsminer,
    /// Authorizes first, then subscribes; rolls ntime.
    Antminer,
    /// Submits before it is authorized, sends keepalives without id, suggests a difficulty.
    NerdMiner,
    /// A proxy below us: several workers on one connection.
    Proxy,
}

/// One request of the handshake.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// `mining.configure` with version-rolling.
    Configure,
    /// `mining.subscribe`.
    Subscribe,
    /// `mining.authorize`, once per worker.
    Authorize,
    /// `mining.extranonce.subscribe`.
    ExtranonceSubscribe,
    /// `mining.suggest_difficulty`.
    SuggestDifficulty,
    /// A `mining.submit` of nonsense, before the right to.
    EarlySubmit,
}

/// The quirks of a family.
#[derive(Clone, Copy, Debug)]
pub struct Quirks {
    /// What it calls itself.
    pub user_agent: &'static str,
    /// Its handshake, in order.
    pub handshake: &'static [Step],
    /// Sends the whole handshake without waiting.
    pub pipelined: bool,
    /// Rolls version bits and sends the sixth parameter.
    pub rolls_version: bool,
    /// Advances ntime with the seconds since the notify.
    pub rolls_ntime: bool,
    /// Ignores a notify whose id is one of so many before.
    pub ignores_last_ids: usize,
    /// Takes a new difficulty at once, not with the next job.
    pub difficulty_at_once: bool,
    /// Reconnects after so many seconds without a line; `None`: never notices.
    pub gives_up_after_s: Option<u64>,
    /// Sends a keepalive without id every so many seconds.
    pub keepalive_s: Option<u64>,
    /// Sends configure again when keys come back that were not asked for.
    pub loops_configure: bool,
    /// Takes whatever comes first after configure for its reply.
    pub one_line_after_configure: bool,
    /// Answers a ping with a request of its own.
    pub pongs: bool,
    /// Workers on one connection.
    pub workers: usize,
}

const PATIENT: Quirks = Quirks {
    user_agent: "cgminer/4.12.1",
    handshake: &[Step::Configure, Step::Subscribe, Step::Authorize],
    pipelined: false,
    rolls_version: true,
    rolls_ntime: false,
    ignores_last_ids: 0,
    difficulty_at_once: false,
    gives_up_after_s: Some(90),
    keepalive_s: None,
    loops_configure: false,
    one_line_after_configure: true,
    pongs: false,
    workers: 1,
};

impl Temperament {
    /// All of them, in the order in which a mixed fleet deals them out.
    pub const ALL: [Self; 6] = [
        Self::Cgminer,
        Self::Bitaxe,
        Self::Whatsminer,
        Self::Antminer,
        Self::NerdMiner,
        Self::Proxy,
    ];

    /// As the command line writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cgminer => "cgminer",
            Self::Bitaxe => "bitaxe",
            Self::Whatsminer => "whatsminer",
            Self::Antminer => "antminer",
            Self::NerdMiner => "nerdminer",
            Self::Proxy => "proxy",
        }
    }

    /// By [`Temperament::name`].
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|t| t.name() == name)
    }

    /// What it does differently.
    pub fn quirks(self) -> Quirks {
        use Step::{
            Authorize, Configure, EarlySubmit, ExtranonceSubscribe, Subscribe, SuggestDifficulty,
        };
        match self {
            Self::Cgminer => PATIENT,
            Self::Bitaxe => Quirks {
                user_agent: "bitaxe/BM1370/v2.9.0",
                handshake: &[Configure, Subscribe, Authorize, ExtranonceSubscribe],
                pipelined: true,
                pongs: true,
                one_line_after_configure: false,
                ignores_last_ids: 16,
                gives_up_after_s: None,
                ..PATIENT
            },
            Self::Whatsminer => Quirks {
                user_agent: "btminer/3.1.0",
                loops_configure: true,
                ..PATIENT
            },
            Self::Antminer => Quirks {
                user_agent: "Antminer S19/1.0",
                handshake: &[Configure, Authorize, Subscribe],
                rolls_ntime: true,
                ..PATIENT
            },
            Self::NerdMiner => Quirks {
                user_agent: "NerdMinerV2/1.8.3",
                handshake: &[Subscribe, EarlySubmit, Authorize, SuggestDifficulty],
                rolls_version: false,
                difficulty_at_once: true,
                keepalive_s: Some(20),
                ..PATIENT
            },
            Self::Proxy => Quirks {
                user_agent: "ckproxy/1.0",
                handshake: &[Configure, Subscribe, Authorize, ExtranonceSubscribe],
                workers: 3,
                ..PATIENT
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Temperament;

    #[test]
    fn every_temperament_is_found_by_its_name() {
        for temperament in Temperament::ALL {
            assert_eq!(Temperament::by_name(temperament.name()), Some(temperament));
        }
        assert_eq!(Temperament::by_name("avalon"), None);
    }
}
