//! Each family's protocol by example, and the ways it says no.

use super::*;
use crate::sim::site::{
    address::address,
    device::Device,
    model::{LAB_GAMMA, LAB_GAMMA_OLD, LAB_M60S, LAB_S21, Model},
};
use serde_json::{Value, json};

#[test]
fn luxos_says_who_it_is_what_it_draws_and_how_it_is() {
    let mut lab = Lab::new(LAB_S21, None);
    let config = lab.luxos("config", "");
    assert_eq!(config["STATUS"][0]["STATUS"], "S");
    assert_eq!(config["CONFIG"][0]["CurtailMode"], "None");
    assert_eq!(config["CONFIG"][0]["Model"], "lab-s21");
    let address = config["CONFIG"][0]["MACAddr"].as_str().unwrap();
    assert!(
        address.starts_with("02:") && address.len() == 17,
        "{address}"
    );
    assert_eq!(
        lab.luxos("power", "")["POWER"][0],
        json!({"PSU": true, "Watts": 3500})
    );
    assert_eq!(lab.luxos("summary", "")["SUMMARY"][0]["GHS 5s"], 200_000.0);
    let joined = lab.luxos("power+version", "");
    assert_eq!(joined["power"][0]["POWER"][0]["Watts"], 3500);
    assert_eq!(joined["version"][0]["STATUS"][0]["STATUS"], "S");
}

#[test]
fn luxos_sleeps_and_wakes_in_a_session_and_counts_those_as_orders() {
    let mut lab = Lab::new(LAB_S21, None);
    let sid = lab.logon();
    assert!(lab.raw_luxos("curtail", &format!("{sid},sleep")).order);
    lab.pass(5);
    assert_eq!(lab.luxos("config", "")["CONFIG"][0]["CurtailMode"], "Sleep");
    assert!(
        lab.luxos("power", "")["POWER"][0]["Watts"]
            .as_u64()
            .unwrap()
            < 40
    );
    assert_eq!(
        code(&lab.luxos("curtail", &format!("{sid},wakeup"))),
        ("S".into(), 1)
    );
    lab.pass(10);
    assert!(
        lab.luxos("power", "")["POWER"][0]["Watts"]
            .as_u64()
            .unwrap()
            > 3_400
    );
    assert!(!lab.raw_luxos("logoff", &sid).order);
    assert_eq!(
        code(&lab.luxos("curtail", &format!("{sid},sleep"))),
        ("E".into(), 403)
    );
}

#[test]
fn a_second_logon_is_402_until_the_first_session_is_idle_for_60_s() {
    let mut lab = Lab::new(LAB_S21, None);
    let first = lab.logon();
    lab.pass(59);
    assert_eq!(code(&lab.luxos("logon", "")), ("E".into(), 402));
    lab.pass(1);
    let second = lab.logon();
    assert_ne!(first, second);
    assert_eq!(
        code(&lab.luxos("curtail", &format!("{first},sleep"))),
        ("E".into(), 403)
    );
    let mut lab = Lab::new(LAB_S21, Some(Fault::Exhausted));
    assert_eq!(code(&lab.luxos("logon", "")), ("E".into(), 402));
}

#[test]
fn a_session_belongs_to_one_machine_and_one_boot() {
    let mut lab = Lab::new(LAB_S21, None);
    let sid = lab.logon();
    let mut other = Lab::seeded(LAB_S21, None, 99);
    let foreign = other.logon();
    assert_ne!(sid, foreign);
    assert_eq!(
        code(&lab.luxos("curtail", &format!("{foreign},sleep"))),
        ("E".into(), 403)
    );
    lab.machine.device.reboot(lab.now.at);
    lab.pass(41);
    assert_eq!(
        code(&lab.luxos("curtail", &format!("{sid},sleep"))),
        ("E".into(), 403)
    );
    assert!(!lab.machine.device.asleep());
}

#[test]
fn a_profile_is_ramped_to_in_half_a_minute_and_outlives_a_boot() {
    let mut lab = Lab::new(LAB_S21, None);
    let sid = lab.logon();
    let reply = lab.luxos("profileset", &format!("{sid},395MHz"));
    assert_eq!(code(&reply), ("S".into(), 321));
    lab.pass(10);
    assert!(lab.watts() > 2_600, "{}", lab.watts());
    lab.pass(20);
    assert!((2_450..2_510).contains(&lab.watts()), "{}", lab.watts());
    lab.machine.device.reboot(lab.now.at);
    lab.pass(300);
    assert_eq!(lab.watts(), 2_450);
    let config = &lab.luxos("config", "")["CONFIG"][0];
    assert_eq!(config["Profile"], "395MHz");
    assert_eq!(config["ProfileStep"], "-6");
}

#[test]
fn profiles_are_listed_with_their_watts_and_strange_ones_refused() {
    let mut lab = Lab::new(LAB_S21, None);
    let profiles = lab.luxos("profiles", "");
    assert_eq!(code(&profiles), ("S".into(), 323));
    let rows = profiles["PROFILES"].as_array().unwrap();
    assert_eq!(rows.len(), 25);
    assert_eq!(rows[0]["Watts"], 700);
    assert_eq!(rows[16]["Profile Name"], "default");
    assert_eq!(rows[16]["Watts"], 3500);
    let sid = lab.logon();
    for (parameter, status) in [("2,395MHz", "S"), ("396MHz", "E"), ("2", "E"), ("", "E")] {
        let reply = lab.luxos("profileset", &format!("{sid},{parameter}"));
        assert_eq!(code(&reply).0, status, "{parameter}");
    }
    assert_eq!(code(&lab.luxos("profileset", "x,395MHz")).1, 403);
}

#[test]
fn no_profile_is_set_while_atm_is_on() {
    let mut lab = Lab::new(LAB_S21, None);
    let sid = lab.logon();
    let on = lab.luxos("atmset", &format!("{sid},enabled=true"));
    assert_eq!(code(&on), ("S".into(), 340));
    assert_eq!(lab.luxos("atm", "")["ATM"][0]["Enabled"], true);
    assert_eq!(lab.luxos("config", "")["CONFIG"][0]["IsAtmEnabled"], true);
    let set = format!("{sid},395MHz");
    assert_eq!(code(&lab.luxos("profileset", &set)), ("E".into(), 420));
    lab.luxos("atmset", &format!("{sid},enabled=false"));
    assert_eq!(code(&lab.luxos("profileset", &set)).0, "S");
    let mut lab = Lab::new(LAB_S21, Some(Fault::Atm));
    let sid = lab.logon();
    let set = format!("{sid},395MHz");
    assert_eq!(code(&lab.luxos("profileset", &set)), ("E".into(), 420));
}

#[test]
fn a_whatsminer_gives_identity_and_salt_and_its_power() {
    let mut lab = Lab::new(LAB_M60S, None);
    let info = lab.whatsminer(&json!({"cmd": "get.device.info"}));
    assert_eq!(
        (info["code"].as_i64(), info["desc"].as_str()),
        (Some(0), Some("get.device.info"))
    );
    assert_eq!(info["msg"]["salt"].as_str().unwrap().len(), 8);
    assert_eq!(info["msg"]["miner"]["type"], "lab-m60s");
    assert_eq!(info["msg"]["network"]["mac"].as_str().unwrap().len(), 17);
    let status = lab.whatsminer(&json!({"cmd": "get.miner.status", "param": "summary"}));
    let summary = &status["msg"]["summary"];
    assert_eq!(
        (
            summary["power-realtime"].as_u64(),
            summary["up-freq-finish"].as_u64()
        ),
        (Some(3441), Some(1))
    );
}

#[test]
fn the_token_is_the_published_one() {
    // sha256("set.miner.serviceadminBQ5hoXV91700000000"), by another program.
    assert_eq!(
        whatsminer::token("set.miner.service", "admin", "BQ5hoXV9", 1_700_000_000),
        "j+wwpaF0"
    );
}

#[test]
fn a_whatsminer_obeys_a_good_token_alone() {
    let mut lab = Lab::new(LAB_M60S, None);
    let stop = lab.signed("set.miner.service", &json!("stop"), 0);
    let mut wrong = stop.clone();
    wrong["token"] = json!("AAAAAAAA");
    assert_eq!(lab.whatsminer(&wrong)["code"], -2);
    let mut wrong = stop.clone();
    wrong["account"] = json!("user1");
    assert_eq!(lab.whatsminer(&wrong)["code"], -2);
    assert!(!lab.machine.device.asleep());
    assert_eq!(lab.whatsminer(&stop)["code"], 0);
    lab.pass(3);
    let status = lab.whatsminer(&json!({"cmd": "get.miner.status"}));
    assert!(status["msg"]["summary"]["power-realtime"].as_u64().unwrap() < 172);
    assert_eq!(status["msg"]["summary"]["up-freq-finish"], 0);
}

#[test]
fn a_clock_may_be_off_by_60_s_and_no_more() {
    for (skew, code) in [(60, 0), (61, -4)] {
        let mut lab = Lab::new(LAB_M60S, None);
        let early = lab.signed("set.miner.service", &json!("stop"), -skew);
        assert_eq!(lab.whatsminer(&early)["code"], code);
        let mut lab = Lab::new(LAB_M60S, None);
        let late = lab.signed("set.miner.service", &json!("stop"), skew);
        assert_eq!(lab.whatsminer(&late)["code"], code);
    }
}

#[test]
fn a_percentage_is_text_in_an_object_or_in_text_and_waits_for_the_frequency() {
    let cmd = "set.miner.power_percent";
    let mut lab = Lab::new(LAB_M60S, None);
    for (param, code) in [
        (json!({"percent": "70", "mode": "fast"}), 0),
        (json!("{\"percent\":\"60\",\"mode\":\"normal\"}"), 0),
        (json!({"percent": 70, "mode": "fast"}), -1),
        (json!({"percent": "101", "mode": "fast"}), -1),
        (json!({"percent": "70", "mode": "quick"}), -1),
    ] {
        let request = lab.signed(cmd, &param, 0);
        assert_eq!(lab.whatsminer(&request)["code"], code, "{param}");
    }
    let (stop, start) = (
        lab.signed("set.miner.service", &json!("stop"), 0),
        lab.signed("set.miner.service", &json!("start"), 0),
    );
    lab.whatsminer(&stop);
    lab.whatsminer(&start);
    let request = lab.signed(cmd, &json!({"percent": "70", "mode": "fast"}), 0);
    assert_eq!(lab.whatsminer(&request)["code"], -1);
}

#[test]
fn the_tenth_client_gets_in_and_the_eleventh_does_not_until_one_leaves() {
    let mut lab = Lab::new(LAB_M60S, None);
    let admitted = (0..11).filter(|_| lab.machine.admit(lab.now.at)).count();
    assert_eq!(admitted, 10);
    lab.machine.leave();
    assert!(lab.machine.admit(lab.now.at));
}

#[test]
fn a_bitaxe_pauses_and_resumes_from_2_14_on() {
    let mut lab = Lab::new(LAB_GAMMA, None);
    assert_eq!(
        lab.bitaxe("GET", "/api/system/info").1["miningPaused"],
        false
    );
    assert_eq!(lab.bitaxe("POST", "/api/system/pause"), (200, json!({})));
    lab.pass(2);
    let info = lab.bitaxe("GET", "/api/system/info").1;
    assert_eq!(info["miningPaused"], true);
    assert!(info["power"].as_f64().unwrap() < 3.1);
    assert_eq!(lab.bitaxe("POST", "/api/system/resume").0, 200);
    assert_eq!(lab.bitaxe("GET", "/api/system/pause").0, 404);
    let mut old = Lab::new(LAB_GAMMA_OLD, None);
    assert_eq!(old.bitaxe("POST", "/api/system/pause").0, 404);
    assert!(
        old.bitaxe("GET", "/api/system/info")
            .1
            .get("miningPaused")
            .is_none()
    );
    assert!(!old.machine.device.asleep());
}

#[test]
fn a_silent_machine_obeys_and_sends_no_byte() {
    let mut lab = Lab::new(LAB_S21, Some(Fault::SilentThoughApplied));
    let sid = lab.logon();
    assert_eq!(
        lab.raw_luxos("curtail", &format!("{sid},sleep")).bytes,
        None
    );
    let mut lab = Lab::new(LAB_M60S, Some(Fault::SilentThoughApplied));
    let stop = lab.signed("set.miner.service", &json!("stop"), 0);
    let reply = whatsminer::handle(&mut lab.machine, lab.now, stop.to_string().as_bytes());
    assert_eq!((reply.bytes, lab.machine.device.asleep()), (None, true));
}

#[test]
fn any_bytes_are_answered_or_refused_without_harm() {
    let mut rng = crate::sim::rng::Rng::new(4);
    for model in [LAB_S21, LAB_M60S] {
        let mut lab = Lab::new(model, None);
        for _ in 0..2_000 {
            let size = (rng.next_u64() % 40) as usize;
            let bytes = rng.bytes(size);
            let reply = match model.family {
                Family::Luxos => luxos::handle(&mut lab.machine, lab.now, &bytes),
                _ => whatsminer::handle(&mut lab.machine, lab.now, &bytes),
            };
            assert!(reply.bytes.is_some());
        }
        assert!(!lab.machine.device.asleep());
    }
}

/// One machine, its time, and a client of its protocol.
struct Lab {
    machine: Machine,
    now: Received,
}

impl Lab {
    fn new(model: Model, fault: Option<Fault>) -> Self {
        Self::seeded(model, fault, 1)
    }

    fn seeded(model: Model, fault: Option<Fault>, seed: u64) -> Self {
        let now = Received {
            at: Instant::now(),
            unix_s: 1_700_000_000,
        };
        let device = Device::new(now.at, model, 1.0, fault, seed);
        Self {
            machine: Machine::new(device, address(0), "admin"),
            now,
        }
    }

    fn pass(&mut self, seconds: u64) {
        self.now.at += Duration::from_secs(seconds);
        self.now.unix_s += seconds;
    }

    fn raw_luxos(&mut self, command: &str, parameter: &str) -> Reply {
        let request = json!({"command": command, "parameter": parameter}).to_string();
        luxos::handle(&mut self.machine, self.now, request.as_bytes())
    }

    fn luxos(&mut self, command: &str, parameter: &str) -> Value {
        let mut bytes = self.raw_luxos(command, parameter).bytes.unwrap();
        assert_eq!(bytes.pop(), Some(0));
        serde_json::from_slice(&bytes).unwrap()
    }

    fn watts(&mut self) -> u64 {
        let power = self.luxos("power", "");
        power["POWER"][0]["Watts"].as_u64().unwrap()
    }

    fn logon(&mut self) -> String {
        let reply = self.luxos("logon", "");
        assert_eq!(code(&reply), ("S".into(), 316), "{reply}");
        reply["SESSION"][0]["SessionID"]
            .as_str()
            .unwrap()
            .to_owned()
    }

    fn whatsminer(&mut self, request: &Value) -> Value {
        let bytes = whatsminer::handle(&mut self.machine, self.now, request.to_string().as_bytes())
            .bytes
            .unwrap();
        let (length, body) = bytes.split_first_chunk::<4>().unwrap();
        assert_eq!(u32::from_le_bytes(*length) as usize, body.len());
        serde_json::from_slice(body).unwrap()
    }

    fn signed(&mut self, cmd: &str, param: &Value, skew: i64) -> Value {
        let info = self.whatsminer(&json!({"cmd": "get.device.info"}));
        let ts = self.now.unix_s.saturating_add_signed(skew);
        let token = whatsminer::token(cmd, "admin", info["msg"]["salt"].as_str().unwrap(), ts);
        json!({"cmd": cmd, "ts": ts, "token": token, "account": "super", "param": param})
    }

    fn bitaxe(&mut self, method: &str, path: &str) -> (u16, Value) {
        let reply = bitaxe::handle(&mut self.machine, self.now, method, path);
        (
            reply.status,
            serde_json::from_slice(&reply.bytes.unwrap()).unwrap(),
        )
    }
}

fn code(reply: &Value) -> (String, i64) {
    let status = &reply["STATUS"][0];
    (
        status["STATUS"].as_str().unwrap().to_owned(),
        status["Code"].as_i64().unwrap(),
    )
}
