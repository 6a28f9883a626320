//! The task turn by turn, over a real ledger in a folder of its own; no machines but those that a test names.

use super::*;
use crate::actuators::Actuator;
use crate::api::auth::{Principal, Scopes};
use crate::config::Config;
use crate::curtail::Watts;
use crate::curtail::signal::{Ask, Envelope, FOR_GOOD, Scope};
use crate::curtail::view::OrderStatus;
use crate::ledger::{Batch, Ledger, Row, Writer};
use std::pin::Pin;
use std::sync::Mutex;
use std::task::{Context, Poll, Wake, Waker};
use tempfile::TempDir;

const SITE: &str = "[[pool]]\nurl = \"127.0.0.1:3333\"\nuser = \"a\"\n\
    [site]\nname = \"north\"\nlimit = \"5 MW\"\n\
    [curtail]\nledger = \"ledger.db\"\n\
    [[feeder]]\nname = \"A\"\nrating = \"2 MW\"\n\
    [[group]]\nname = \"hall\"\nfeeder = \"A\"\nmachines = [\"10.1.0.0/20\"]\nmodel = \"s21\"\n\
    [[source]]\nname = \"ems\"\nsecret = \"0123456789abcdef\"\nmost_urgent = 0\nheartbeat = \"none\"\n";

#[tokio::test]
async fn what_waited_for_a_full_disk_is_written_when_there_is_room_however_much_it_is() {
    let lab = Lab::new();
    let mut task = lab.start().await;
    for _ in 0..32 {
        task.journal.raw(Wall(0), "ems", &[b'x'; 1024 * 1024]);
    }
    let (order, _) = cap(&mut task, 1).await.expect("durable");
    assert_eq!(order.id, "o-1");
}

#[tokio::test]
async fn a_number_is_not_given_again_after_a_restart_and_a_repeat_shows_the_order_that_ended() {
    let lab = Lab::new();
    let mut task = lab.start().await;
    for seq in 1..=3 {
        cap(&mut task, seq).await.expect("taken");
    }
    end(&mut task, "o-3").await.expect("in force");
    task.journal.close().await;
    let mut task = lab.start().await;
    let (order, repeated) = cap(&mut task, 3).await.expect("known");
    assert_eq!((order.id.as_str(), repeated), ("o-3", true));
    assert_eq!(order.state, OrderState::Ended);
    let (order, repeated) = cap(&mut task, 4).await.expect("taken");
    assert_eq!((order.id.as_str(), repeated), ("o-4", false));
    assert_eq!(end(&mut task, "o-3").await, Err(Refusal::UnknownOrder));
}

#[tokio::test]
async fn of_more_ended_orders_than_are_put_back_the_highest_number_counts() {
    let lab = Lab::new();
    let mut task = lab.start().await;
    for seq in 1..=70 {
        let (order, _) = cap(&mut task, seq).await.expect("taken");
        if seq > 1 {
            end(&mut task, &order.id).await.expect("in force");
        }
    }
    task.journal.close().await;
    let mut task = lab.start().await;
    let shown = |task: &Task, id: &str| task.view_tx.borrow().orders.iter().any(|o| o.id == id);
    assert!(shown(&task, "o-1"), "in force, however old");
    assert!(shown(&task, "o-7") && !shown(&task, "o-6"));
    let (order, _) = cap(&mut task, 71).await.expect("taken");
    assert_eq!(order.id, "o-71");
}

#[tokio::test]
async fn whoever_is_answered_finds_the_order_in_the_view() {
    let lab = Lab::new();
    let mut task = lab.start().await;
    let eyes = Arc::new(Eyes {
        view_rx: task.view_tx.subscribe(),
        seen: Mutex::default(),
    });
    let (reply_tx, mut reply_rx) = oneshot::channel();
    task.call(signal(1, reply_tx));
    let waker = Waker::from(eyes.clone());
    let pending = Pin::new(&mut reply_rx).poll(&mut Context::from_waker(&waker));
    assert_eq!(pending, Poll::Pending);
    task.turn().await;
    let seen = eyes.seen.lock().expect("nobody panicked").clone();
    assert_eq!(seen, [vec!["o-1".to_owned()]]);
}

#[tokio::test]
async fn a_machine_whose_group_was_renamed_is_where_its_address_lies_now() {
    let lab = Lab::new();
    let machine = |address: &str| Row {
        key: address.into(),
        body: format!(
            r#"{{"group":"old-hall","address":"{address}","identity":null,"model":"Antminer S21","family":null}}"#
        ),
    };
    lab.hold(&Batch {
        machines: vec![machine("10.1.0.7"), machine("10.9.0.7")],
        ..Batch::default()
    });
    let task = lab.start().await;
    assert!(task.controller.find("10.1.0.7").is_some());
    assert_eq!(
        task.controller.find("10.9.0.7"),
        None,
        "in no group's ranges"
    );
}

/// Notes the orders in the view whenever it is woken.
struct Eyes {
    view_rx: watch::Receiver<Arc<View>>,
    seen: Mutex<Vec<Vec<String>>>,
}

impl Wake for Eyes {
    fn wake(self: Arc<Self>) {
        let view = self.view_rx.borrow();
        let ids = view.orders.iter().map(|order| order.id.clone()).collect();
        self.seen.lock().expect("nobody panicked").push(ids);
    }
}

struct Lab {
    folder: TempDir,
}

impl Lab {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        Self { folder }
    }

    /// Has the ledger hold this.
    fn hold(&self, batch: &Batch) {
        let (mut ledger, _) = Ledger::open(&self.folder.path().join("ledger.db")).expect("opens");
        ledger.commit(batch).expect("written");
        ledger.close().expect("closed");
    }

    /// A task on what the ledger holds by now.
    async fn start(&self) -> Task {
        let file = self.folder.path().join("sluice.toml");
        let config = Config::from_toml(&file.display().to_string(), SITE, &|_| None);
        let config = config.expect("valid").site.expect("has a site");
        let (ledger, recovered) = Ledger::open(&config.ledger).expect("opens");
        let (view_tx, _) = watch::channel(Arc::default());
        let base = Instant::now();
        let families: Vec<Arc<dyn Actuator>> = Vec::new();
        let mut task = Task {
            controller: Controller::new(base, config.site.clone()),
            journal: Journal::new(Writer::start(ledger)),
            power: Arc::new(Power::new(config.bindings.clone())),
            fleet: Fleet::new(config, families),
            base,
            desks: vec![Arc::default()],
            view_tx,
            waiting: HashMap::new(),
            calls: 0,
            batch: Vec::new(),
        };
        task.begin("", recovered, None, Vec::new()).await;
        task
    }
}

/// An order of class 0, which no clock refuses: 100 kW for good.
fn signal(seq: u64, reply: Reply) -> Call {
    let envelope = Envelope {
        source: "ems".into(),
        audience: "north".into(),
        epoch: 1,
        seq,
        issued_at: Wall(0),
        ends_at: None,
        expires_at: FOR_GOOD,
        starts_at: None,
        class: 0,
        ask: Ask::Cap(Watts(100_000)),
        ramp_watts_per_s: None,
        deadline: None,
        scope: Scope::Mining,
    };
    Call::Signal {
        envelope: Box::new(envelope),
        raw: format!("order {seq}").into_bytes(),
        who: ems(),
        dry_run: false,
        reply,
    }
}

fn ems() -> Principal {
    Principal {
        name: "ems".into(),
        source: Some("ems".into()),
        scopes: Scopes {
            read: true,
            curtail: true,
            admin: false,
        },
    }
}

async fn cap(task: &mut Task, seq: u64) -> Result<(Box<OrderStatus>, bool), Refusal> {
    let (reply_tx, reply_rx) = oneshot::channel();
    task.call(signal(seq, reply_tx));
    task.turn().await;
    match reply_rx.await.expect("answered")? {
        Accepted::Order {
            status, repeated, ..
        } => Ok((status, repeated)),
        other => panic!("{other:?}"),
    }
}

async fn end(task: &mut Task, id: &str) -> Result<(), Refusal> {
    let (reply_tx, reply_rx) = oneshot::channel();
    task.call(Call::Release {
        id: id.into(),
        who: ems(),
        dry_run: false,
        reply: reply_tx,
    });
    task.turn().await;
    reply_rx.await.expect("answered").map(|_| ())
}
