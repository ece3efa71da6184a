//! Tests of the supervisor in virtual time, over a network in memory. Tests that need the operating system are in
//! `loopback.rs`.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tokio::sync::watch;

use super::{
    memory_network::{At, Memory},
    test_broker::{Answer, TestBroker, certs, client},
};
use crate::{
    conn::{
        ClientTls, CloseCode, CloseReason, Config, ConnectError, ConnectErrorKind as Kind,
        ConnectionState, NetworkProvider, OpenError, StartError, Supervisor, Token,
        TransportConfig, Trust, wait_connected,
    },
    tasks::Tasks,
    time,
    wire::{FailureCode, ProducerIdentity},
};

const A: &str = "192.0.2.1:4433";
const B: &str = "192.0.2.2:4433";
const SECOND: Duration = Duration::from_secs(1);

struct World {
    memory: Arc<Memory>,
    tasks: Tasks,
}

impl World {
    fn new() -> Self {
        Self {
            memory: Memory::new(),
            tasks: Tasks::new(),
        }
    }

    fn broker(&self, address: &'static str, answer: Answer) -> TestBroker {
        let network = self.at(address);
        TestBroker::start(address, answer, &network)
    }

    fn at(&self, address: &'static str) -> At {
        At(Arc::clone(&self.memory), address.split(':').next().unwrap())
    }

    fn config(&self, servers: &[&str]) -> Config {
        let mut config = client(servers[0]);
        config.servers = servers.iter().map(ToString::to_string).collect();
        config.network = Arc::new(At(Arc::clone(&self.memory), "192.0.2.100"));
        config
    }

    fn start(&self, config: Config) -> Supervisor {
        Supervisor::start(config, None, &self.tasks).unwrap()
    }
}

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// Waits until the connection is lost, and returns the error.
async fn lost(supervisor: &Supervisor) -> Arc<ConnectError> {
    let mut state = supervisor.watch_state();
    let state = state
        .wait_for(|state| {
            matches!(
                state,
                ConnectionState::Reconnecting { .. } | ConnectionState::Closed(_)
            )
        })
        .await;
    match state.as_deref() {
        Ok(
            ConnectionState::Reconnecting { last_error, .. } | ConnectionState::Closed(last_error),
        ) => Arc::clone(last_error),
        other => panic!("{other:?}"),
    }
}

/// Waits for the first connection as a caller does, and returns why there is none.
async fn refused(supervisor: &Supervisor) -> Arc<ConnectError> {
    supervisor.connected().await.unwrap_err()
}

/// Returns whether the client goes on trying.
fn is_trying(supervisor: &Supervisor) -> bool {
    let state = supervisor.watch_state();
    let state = state.borrow();
    matches!(
        &*state,
        ConnectionState::Connecting { .. } | ConnectionState::Reconnecting { .. }
    )
}

#[tokio::test(start_paused = true)]
async fn a_link_comes_up_and_its_pings_are_answered() {
    let world = World::new();
    let mut broker = world.broker(A, Answer::Welcome);
    let mut config = world.config(&[A]);
    config.token = "secret".into();
    let who = ProducerIdentity {
        name: "orders".into(),
        instance: 7,
        id: None,
    };
    let supervisor = Supervisor::start(config, Some(who.clone()), &world.tasks).unwrap();
    let session = supervisor.wait_connected().await.unwrap();
    assert_eq!(session.number(), 1);
    assert_eq!(
        (session.server(), session.remote_address()),
        (A, address(A))
    );
    assert_eq!(session.connected().max_frame, 1 << 20);
    assert!(session.connected().producer.is_some());

    let (connect, _) = broker.sessions.recv().await.unwrap();
    assert_eq!(&connect.token[..], b"secret");
    assert_eq!(connect.producer, Some(who.clone()));

    let mut pings = session.watch_ping_stats();
    let began = time::now();
    pings.wait_for(|pings| pings.pongs == 4).await.unwrap();
    assert!(time::now() >= began + SECOND * 14, "one every 5 s");
    assert!(pings.borrow().smoothed_rtt.unwrap() < SECOND);
    assert!(session.path_stats().acked_bytes > 0);

    // On the next connection it presents the id that it was assigned.
    world.memory.set_unreachable(address(A), true);
    lost(&supervisor).await;
    world.memory.set_unreachable(address(A), false);
    supervisor.wait_connected().await.unwrap();
    let (connect, _) = broker.sessions.recv().await.unwrap();
    let id = session.connected().producer.map(|enrolled| enrolled.id);
    assert_eq!(connect.producer, Some(ProducerIdentity { id, ..who }));
}

#[tokio::test(start_paused = true)]
async fn an_idle_link_lives_for_days() {
    let world = World::new();
    let _broker = world.broker(A, Answer::Welcome);
    let supervisor = world.start(world.config(&[A]));
    let session = supervisor.wait_connected().await.unwrap();
    time::sleep(SECOND * 3600 * 48).await;
    assert_eq!(
        supervisor.wait_connected().await.unwrap().number(),
        session.number()
    );
    assert!(session.watch_ping_stats().borrow().pongs > 48 * 700);
}

#[tokio::test(start_paused = true)]
async fn a_link_that_answers_no_ping_is_dead_after_interval_and_timeout_and_comes_back() {
    let world = World::new();
    let _broker = world.broker(A, Answer::Welcome);
    let supervisor = world.start(world.config(&[A]));
    let session = supervisor.wait_connected().await.unwrap();
    session
        .watch_ping_stats()
        .wait_for(|p| p.pongs == 1)
        .await
        .unwrap();

    world.memory.set_unreachable(address(A), true);
    let cut = time::now();
    let error = lost(&supervisor).await;
    let took = time::now() - cut;
    assert_eq!(error.kind(), Kind::Silent);
    assert_eq!(
        error.to_string(),
        format!("lost the connection to {A}: it did not answer a ping within 5s")
    );
    assert!((SECOND * 9..=SECOND * 11).contains(&took), "{took:?}");
    assert_eq!(session.closed().await, CloseReason::LocallyClosed);
    assert_eq!(session.ping().await, None);

    world.memory.set_unreachable(address(A), false);
    assert_eq!(supervisor.wait_connected().await.unwrap().number(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_broker_whose_session_has_died_is_left_with_the_reason() {
    let world = World::new();
    let mut broker = world.broker(A, Answer::Mute);
    let supervisor = world.start(world.config(&[A]));
    supervisor.wait_connected().await.unwrap();
    let reason = CloseReason::of(&broker.session().await.closed().await);
    assert_eq!(reason.code(), Some(CloseCode::Unresponsive));
    assert_eq!(supervisor.wait_connected().await.unwrap().number(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_ping_does_not_wait_behind_the_data_of_many_streams() {
    let world = World::new();
    let mut broker = world.broker(A, Answer::Welcome);
    let supervisor = world.start(world.config(&[A]));
    let session = supervisor.wait_connected().await.unwrap();
    let connection = broker.session().await;
    world.memory.set_delay(Duration::from_millis(50));
    let mut streams = Vec::new();
    for _ in 0..100 {
        let (mut send, recv) = session.try_open_bi().unwrap();
        send.write_all(&[0; 20_000]).await.unwrap();
        streams.push((send, recv));
    }
    let took = session.ping().await.unwrap();
    // One round trip for the ping, and at most one until the congestion window has room for any packet.
    assert!(took <= Duration::from_millis(210), "{took:?}");
    assert!(
        session.path_stats().full_since.is_some(),
        "the congestion window holds the data back"
    );
    drop(connection);
}

#[tokio::test(start_paused = true)]
async fn a_check_finds_a_dead_link_without_waiting_for_the_next_ping() {
    let world = World::new();
    let _broker = world.broker(A, Answer::Welcome);
    let mut config = world.config(&[A]);
    config.ping_interval = SECOND * 14;
    let supervisor = world.start(config);
    let session = supervisor.wait_connected().await.unwrap();
    assert!(session.ping().await.is_some());
    assert!(session.ping().await.is_some());

    world.memory.set_unreachable(address(A), true);
    let cut = time::now();
    assert_eq!(session.ping().await, None);
    assert_eq!(time::now() - cut, SECOND * 5, "the ping timeout");
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_lets_no_ping_through_and_lives_is_not_dead() {
    let world = World::new();
    let network = world.at(A);
    let mut transport = TransportConfig::server();
    transport.stream_receive_window = 65_536;
    transport.receive_window = 65_536;
    let tls = certs().server_tls();
    let mut broker = TestBroker::with(A, Answer::Welcome, &network, &tls, &transport);
    let supervisor = world.start(world.config(&[A]));
    let session = supervisor.wait_connected().await.unwrap();
    let connection = broker.session().await;
    session
        .watch_ping_stats()
        .wait_for(|p| p.pongs == 1)
        .await
        .unwrap();

    // Sends data that the broker does not read, until flow control blocks every stream.
    let (mut send, _recv) = session.open_bi(Duration::ZERO).await.unwrap();
    let full = time::timeout(SECOND, send.write_all(&[0; 1 << 20])).await;
    assert!(full.is_err(), "the connection's window is used up");
    let pongs = session.watch_ping_stats().borrow().pongs;
    time::sleep(SECOND * 600).await;
    assert_eq!(
        session.watch_ping_stats().borrow().pongs,
        pongs,
        "no ping got through"
    );
    assert_eq!(supervisor.wait_connected().await.unwrap().number(), 1);

    // When the broker reads again, the pings continue.
    let (_send, mut recv) = connection.accept_bi().await.unwrap();
    recv.stop(0u32.into()).unwrap();
    drop((send, recv));
    assert!(session.ping().await.is_some());
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_goes_and_comes_back_is_found_again() {
    let world = World::new();
    let broker = world.broker(A, Answer::Welcome);
    let supervisor = world.start(world.config(&[A]));
    for number in 1..4 {
        let session = supervisor.wait_connected().await.unwrap();
        assert_eq!(session.number(), number);
        if number == 1 {
            broker
                .endpoint
                .close(CloseCode::GoingAway.into(), b"upgrade");
        } else {
            session.close(CloseCode::Internal);
        }
        let error = lost(&supervisor).await;
        if number == 1 {
            let text = format!("lost the connection to {A}: it is shutting down: upgrade");
            assert_eq!((error.kind(), error.to_string()), (Kind::GoingAway, text));
            drop(world.broker(A, Answer::Nothing));
            let again = world.broker(A, Answer::Welcome);
            std::mem::forget(again);
        } else {
            assert_eq!(error.kind(), Kind::ClosedHere);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_announcement_that_a_broker_will_close_is_published() {
    let world = World::new();
    let network = world.at(A);
    let tls = certs().server_tls();
    let transport = TransportConfig::server();
    let mut broker = TestBroker::with(A, Answer::GoAway, &network, &tls, &transport);
    let supervisor = world.start(world.config(&[A]));
    let session = supervisor.wait_connected().await.unwrap();
    session.going_away().await;
    assert!(session.is_going_away());
    assert!(
        session.ping().await.is_some(),
        "it works until it is closed"
    );
    broker.session().await;
}

#[tokio::test(start_paused = true)]
async fn a_caller_is_told_in_time_that_there_is_no_answer_and_the_client_goes_on() {
    let world = World::new();
    let mut config = world.config(&[A]);
    for (limit, words) in [
        (10_000, "no answer within 5s"),
        (500, "no answer within 500ms"),
    ] {
        config.connect_timeout = Duration::from_millis(limit);
        let supervisor = world.start(config.clone());
        let began = time::now();
        let error = refused(&supervisor).await;
        assert_eq!(time::now() - began, config.connect_timeout);
        assert_eq!(error.kind(), Kind::NoAnswer);
        assert!(error.to_string().contains(words), "{error}");
        assert!(is_trying(&supervisor));
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_starts_hours_before_its_broker_connects_when_that_comes() {
    let world = World::new();
    let supervisor = world.start(world.config(&[A]));
    time::sleep(SECOND * 3600 * 5).await;
    assert!(is_trying(&supervisor));
    let _broker = world.broker(A, Answer::Welcome);
    let came = time::now();
    assert_eq!(supervisor.wait_connected().await.unwrap().number(), 1);
    assert!(time::now() - came <= SECOND * 15, "the longest delay");
}

#[tokio::test(start_paused = true)]
async fn within_a_second_of_silence_the_state_says_so_and_names_likely_causes() {
    let world = World::new();
    let broker = world.broker(A, Answer::Welcome);
    let silent = |state: &ConnectionState| {
        state
            .error()
            .is_some_and(|error| error.kind() == Kind::NoAnswer)
    };
    let supervisor = world.start(world.config(&[B]));
    let mut state = supervisor.watch_state();
    let began = time::now();
    let said = state.wait_for(silent).await.unwrap().to_string();
    assert!(time::now() - began <= SECOND);
    let causes = "it is not running, listens at another port, or UDP is blocked on the way";
    assert_eq!(
        said,
        format!("connecting (attempt 1): cannot connect to {B}: no answer yet; {causes}")
    );

    // The same after a connection, counted from the first attempt to make another.
    let supervisor = world.start(world.config(&[A]));
    let session = supervisor.wait_connected().await.unwrap();
    world.memory.set_unreachable(address(A), true);
    session.close(CloseCode::Internal);
    let mut state = supervisor.watch_state();
    lost(&supervisor).await;
    let began = time::now();
    let said = state.wait_for(silent).await.unwrap().to_string();
    assert!(time::now() - began <= SECOND + Duration::from_millis(200));
    assert!(said.starts_with("reconnecting (attempt 1)"), "{said}");
    drop(broker);
}

#[tokio::test(start_paused = true)]
async fn what_waiting_does_not_help_is_told_at_once_and_mended_all_the_same() {
    let world = World::new();
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca.pem");
    let other = tempfile::tempdir().unwrap();
    let other = crate::conn::DevCerts::ensure(other.path(), &["192.0.2.1"]).unwrap();
    std::fs::copy(&other.ca, &ca).unwrap();
    let _broker = world.broker(A, Answer::Welcome);
    let mut config = world.config(&[A]);
    config.tls = ClientTls::ca_file(&ca);
    let supervisor = world.start(config);
    let began = time::now();
    let error = refused(&supervisor).await;
    assert_eq!(error.kind(), Kind::Untrusted);
    assert!(error.to_string().contains("holds another CA"), "{error}");
    assert!(time::now() - began < SECOND);
    assert!(is_trying(&supervisor));

    // A file that is damaged while it is replaced changes nothing.
    std::fs::write(&ca, "half").unwrap();
    time::sleep(SECOND * 60).await;
    assert!(is_trying(&supervisor));
    std::fs::copy(&certs().ca, &ca).unwrap();
    supervisor.wait_connected().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_token_is_read_before_each_attempt_and_a_refused_one_ends_it_unless_it_has_changed() {
    let world = World::new();
    let mut broker = world.broker(A, Answer::Welcome);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    let mut config = world.config(&[A]);
    config.token = Token::file(&file);
    let unreadable = Supervisor::start(config.clone(), None, &world.tasks).unwrap_err();
    let why = std::error::Error::source(&unreadable).unwrap().to_string();
    assert!(why.contains("cannot be read"), "{why}");
    std::fs::write(&file, "one\n").unwrap();
    let supervisor = world.start(config.clone());
    let (connect, connection) = broker.sessions.recv().await.unwrap();
    assert_eq!(&connect.token[..], b"one");
    std::fs::write(&file, "two\n").unwrap();
    connection.close(CloseCode::Internal.into(), b"");
    let (connect, _) = broker.sessions.recv().await.unwrap();
    assert_eq!(&connect.token[..], b"two");
    drop((broker, supervisor));

    // It changes between the reading and the refusal.
    let mut strict = world.broker(A, Answer::Close(CloseCode::Unauthorised, "old"));
    let calls = Arc::new(std::sync::atomic::AtomicU32::new(0));
    let counted = Arc::clone(&calls);
    config.token = Token::from_fn(move || {
        let call = counted.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        Ok(format!("token {}", (call / 3).min(2)).into())
    });
    let supervisor = world.start(config);
    let mut tokens = std::collections::BTreeSet::new();
    let error = supervisor.wait_connected().await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unauthorised);
    while let Ok((connect, _)) = strict.sessions.try_recv() {
        tokens.insert(String::from_utf8(connect.token.to_vec()).unwrap());
    }
    assert!(tokens.contains("token 1"), "{tokens:?}");
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_starts_late_is_reached_with_the_next_attempt() {
    let world = World::new();
    let mut config = world.config(&[A]);
    config.handshake_timeout = SECOND;
    let supervisor = world.start(config);
    let mut state = supervisor.watch_state();
    let tried_twice = |state: &ConnectionState| {
        matches!(state, ConnectionState::Connecting { attempt: 3, last_error: Some(e) }
            if e.kind() == Kind::NoAnswer)
    };
    state.wait_for(tried_twice).await.unwrap();
    let _broker = world.broker(A, Answer::Welcome);
    supervisor.wait_connected().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_name_is_looked_up_again_on_every_attempt() {
    let world = World::new();
    let mut config = world.config(&["broker.test:4433"]);
    config.handshake_timeout = SECOND;
    let supervisor = world.start(config);
    let mut state = supervisor.watch_state();
    let failed_as = |kind| {
        move |state: &ConnectionState| match state {
            ConnectionState::Connecting {
                last_error: Some(error),
                ..
            } => error.kind() == kind,
            _ => false,
        }
    };
    state.wait_for(failed_as(Kind::UnknownHost)).await.unwrap();
    world.memory.name("broker.test", &[address(B)]);
    state.wait_for(failed_as(Kind::NoAnswer)).await.unwrap();
    let _broker = world.broker(A, Answer::Welcome);
    world.memory.name("broker.test", &[address(A)]);
    let session = supervisor.wait_connected().await.unwrap();
    assert_eq!(session.remote_address(), address(A));
}

#[tokio::test(start_paused = true)]
async fn a_name_that_nobody_knows_is_told_as_such() {
    let world = World::new();
    let supervisor = world.start(world.config(&["broker.test:4433"]));
    let error = refused(&supervisor).await;
    assert_eq!(error.kind(), Kind::UnknownHost);
    assert_eq!(
        error.to_string(),
        "cannot connect to broker.test:4433: the name does not resolve"
    );
}

#[tokio::test(start_paused = true)]
async fn a_dead_address_of_a_name_does_not_hold_up_the_one_behind_it() {
    let world = World::new();
    let _broker = world.broker(A, Answer::Welcome);
    world.memory.name("broker.test", &[address(B), address(A)]);
    let supervisor = world.start(world.config(&["broker.test:4433"]));
    let began = time::now();
    let session = supervisor.wait_connected().await.unwrap();
    assert_eq!(session.remote_address(), address(A));
    assert!(time::now() - began < SECOND / 2);
}

#[tokio::test(start_paused = true)]
async fn the_next_server_is_tried_when_one_is_gone() {
    let world = World::new();
    let mut at_b = world.broker(B, Answer::Welcome);
    let supervisor = world.start(world.config(&[A, B]));
    let session = supervisor.wait_connected().await.unwrap();
    assert_eq!(session.server(), B);
    at_b.session().await;

    // The server that was connected last is tried first.
    let mut at_a = world.broker(A, Answer::Welcome);
    session.close(CloseCode::Internal);
    lost(&supervisor).await;
    assert_eq!(supervisor.wait_connected().await.unwrap().server(), B);

    // A server that is going away is tried last, even if it still answers.
    let connection = at_b.session().await;
    connection.close(CloseCode::GoingAway.into(), b"");
    lost(&supervisor).await;
    let session = supervisor.wait_connected().await.unwrap();
    assert_eq!((session.server(), session.number()), (A, 3));
    at_a.session().await;
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_told_at_once_in_the_broker_s_words() {
    for (failure, code, kind, sentence) in [
        (
            FailureCode::Unauthorised,
            CloseCode::Unauthorised,
            Kind::Unauthorised,
            "it does not accept our credentials: unknown token",
        ),
        (
            FailureCode::Fenced,
            CloseCode::Fenced,
            Kind::Fenced,
            "a later producer of the same name has taken over: unknown token",
        ),
    ] {
        for answer in [
            Answer::Refuse(failure, "unknown token"),
            Answer::Close(code, "unknown token"),
        ] {
            let world = World::new();
            let _broker = world.broker(A, answer.clone());
            let supervisor = world.start(world.config(&[A]));
            let began = time::now();
            let error = refused(&supervisor).await;
            assert_eq!(error.kind(), kind, "{answer:?}");
            assert_eq!(
                error.to_string(),
                format!("cannot connect to {A}: {sentence}")
            );
            assert!(time::now() - began < SECOND, "no second attempt");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_talks_nonsense_is_told_at_once() {
    let world = World::new();
    let mut broker = world.broker(A, Answer::WrongPacket);
    let supervisor = world.start(world.config(&[A]));
    let error = refused(&supervisor).await;
    assert_eq!(error.kind(), Kind::Protocol);
    let text = format!("cannot connect to {A}: it violates the protocol: Probed on the session");
    assert_eq!(error.to_string(), text);
    let reason = CloseReason::of(&broker.session().await.closed().await);
    assert_eq!(reason.code(), Some(CloseCode::Protocol));
}

#[tokio::test(start_paused = true)]
async fn a_session_that_is_reset_is_tried_again_on_another_connection() {
    let world = World::new();
    let mut broker = world.broker(A, Answer::Reset);
    let supervisor = world.start(world.config(&[A]));
    let (first, second) = (broker.session().await, broker.session().await);
    assert_ne!(first.stable_id(), second.stable_id());
    drop(broker);
    let _broker = world.broker(A, Answer::Welcome);
    assert!(supervisor.wait_connected().await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_accepts_and_says_nothing_is_given_up_in_time() {
    let world = World::new();
    let mut broker = world.broker(A, Answer::Nothing);
    let supervisor = world.start(world.config(&[A]));
    let reason = CloseReason::of(&broker.session().await.closed().await);
    assert_eq!(reason.code(), Some(CloseCode::HandshakeTimeout));
    let error = refused(&supervisor).await;
    assert_eq!(error.kind(), Kind::NoAnswer);
    assert!(
        error
            .to_string()
            .contains("it did not open the session within"),
        "{error}"
    );
}

#[tokio::test(start_paused = true)]
async fn one_server_that_refuses_does_not_end_it_while_another_may_come() {
    let world = World::new();
    let _a = world.broker(A, Answer::Close(CloseCode::Unauthorised, ""));
    let mut config = world.config(&[A, B]);
    config.handshake_timeout = SECOND;
    let supervisor = world.start(config.clone());
    let began = time::now();
    let error = refused(&supervisor).await;
    assert_eq!(time::now() - began, SECOND * 10, "B was retried");
    assert_eq!(
        error.kind(),
        Kind::Unauthorised,
        "A's error is more specific"
    );

    let supervisor = world.start(config);
    let _b = world.broker(B, Answer::Welcome);
    assert_eq!(supervisor.wait_connected().await.unwrap().server(), B);
}

#[tokio::test(start_paused = true)]
async fn a_producer_that_is_fenced_does_not_come_back() {
    let world = World::new();
    let mut broker = world.broker(A, Answer::Welcome);
    let _other = world.broker(B, Answer::Welcome);
    let supervisor = world.start(world.config(&[A, B]));
    supervisor.wait_connected().await.unwrap();
    let connection = broker.session().await;
    connection.close(CloseCode::Fenced.into(), b"orders connected again");
    let error = refused(&{
        lost(&supervisor).await;
        supervisor
    })
    .await;
    assert_eq!(error.kind(), Kind::Fenced);
    assert_eq!(
        error.to_string(),
        format!(
            "lost the connection to {A}: a later producer of the same name has taken over: orders connected again"
        )
    );
}

#[tokio::test(start_paused = true)]
async fn a_client_that_was_connected_comes_back_after_hours() {
    let world = World::new();
    let broker = world.broker(A, Answer::Welcome);
    let supervisor = world.start(world.config(&[A]));
    supervisor.wait_connected().await.unwrap();
    world.memory.set_unreachable(address(A), true);
    lost(&supervisor).await;
    time::sleep(SECOND * 3600 * 5).await;
    let ConnectionState::Reconnecting { attempt, since, .. } =
        supervisor.watch_state().borrow().clone()
    else {
        panic!("it must retry")
    };
    assert!(attempt > 1000 && time::now() - since > SECOND * 3600 * 4);
    world.memory.set_unreachable(address(A), false);
    let back = time::now();
    assert_eq!(supervisor.wait_connected().await.unwrap().number(), 2);
    assert!(time::now() - back <= SECOND * 15, "the longest delay");
    drop(broker);
}

#[tokio::test(start_paused = true)]
async fn a_credential_that_is_taken_away_ends_it_at_the_next_connection() {
    let world = World::new();
    let broker = world.broker(A, Answer::Welcome);
    let supervisor = world.start(world.config(&[A]));
    supervisor.wait_connected().await.unwrap();
    drop(broker);
    let _strict = world.broker(A, Answer::Close(CloseCode::Unauthorised, ""));
    lost(&supervisor).await;
    assert_eq!(refused(&supervisor).await.kind(), Kind::Unauthorised);
}

#[tokio::test(start_paused = true)]
async fn closing_tells_the_broker_and_ends_the_task() {
    let world = World::new();
    let mut broker = world.broker(A, Answer::Welcome);
    let supervisor = world.start(world.config(&[A]));
    supervisor.wait_connected().await.unwrap();
    let connection = broker.session().await;
    let mut state = supervisor.watch_state();
    supervisor.close(SECOND * 5).await;
    let error = wait_connected(&mut state).await.unwrap_err();
    assert_eq!(error.kind(), Kind::ClosedHere);
    let reason = CloseReason::of(&connection.closed().await);
    assert_eq!(reason.code(), Some(CloseCode::Done));
    world.tasks.join().await;
}

#[tokio::test(start_paused = true)]
async fn closing_toward_a_broker_that_is_gone_takes_no_longer_than_its_limit() {
    let world = World::new();
    let _broker = world.broker(A, Answer::Welcome);
    let supervisor = world.start(world.config(&[A]));
    supervisor.wait_connected().await.unwrap();
    world.memory.set_unreachable(address(A), true);
    let began = time::now();
    supervisor.close(Duration::from_millis(1)).await;
    assert!(time::now() - began <= Duration::from_millis(2));
    world.tasks.join().await;
}

#[tokio::test(start_paused = true)]
async fn dropping_the_supervisor_and_stopping_its_tasks_close_the_connection() {
    for stop in [true, false] {
        let world = World::new();
        let mut broker = world.broker(A, Answer::Welcome);
        let supervisor = world.start(world.config(&[A]));
        supervisor.wait_connected().await.unwrap();
        let connection = broker.session().await;
        if stop {
            world.tasks.stop();
        } else {
            drop(supervisor);
        }
        world.tasks.join().await;
        let reason = CloseReason::of(&connection.closed().await);
        assert_eq!(reason.code(), Some(CloseCode::Done));
    }
}

#[tokio::test(start_paused = true)]
async fn closing_in_the_middle_of_an_attempt_does_not_wait_for_it() {
    let world = World::new();
    let supervisor = world.start(world.config(&[A]));
    let mut state = supervisor.watch_state();
    time::sleep(SECOND).await;
    let began = time::now();
    drop(supervisor);
    let error = wait_connected(&mut state).await.unwrap_err();
    assert_eq!(error.kind(), Kind::ClosedHere);
    world.tasks.join().await;
    assert_eq!(time::now(), began);
}

#[tokio::test(start_paused = true)]
async fn a_stream_over_the_peer_s_limit_is_refused_at_once_or_after_the_wait() {
    let world = World::new();
    let network = world.at(A);
    let mut transport = TransportConfig::server();
    transport.max_streams = 3;
    let tls = certs().server_tls();
    let mut broker = TestBroker::with(A, Answer::Welcome, &network, &tls, &transport);
    let supervisor = world.start(world.config(&[A]));
    let session = supervisor.wait_connected().await.unwrap();
    let connection = broker.session().await;

    let mut first = session.open_bi(Duration::ZERO).await.unwrap();
    let second = session.try_open_bi().unwrap();
    let began = time::now();
    assert_eq!(session.try_open_bi().unwrap_err(), OpenError::PeerLimit);
    assert_eq!(
        session.open_bi(SECOND).await.unwrap_err(),
        OpenError::PeerLimit
    );
    assert_eq!(time::now() - began, SECOND);

    // A stream that both ends have finished makes room for another.
    first.0.write_all(b"x").await.unwrap();
    first.0.finish().unwrap();
    let (mut send, mut recv) = connection.accept_bi().await.unwrap();
    recv.read_to_end(10).await.unwrap();
    send.finish().unwrap();
    first.1.read_to_end(10).await.unwrap();
    session.open_bi(SECOND).await.unwrap();
    drop(second);

    connection.close(CloseCode::Internal.into(), b"");
    let reason = session.closed().await;
    assert_eq!(
        session.open_bi(SECOND).await.unwrap_err(),
        OpenError::Lost(reason)
    );
}

#[tokio::test(start_paused = true)]
async fn a_connection_moves_to_a_new_socket_without_being_lost() {
    let world = World::new();
    let mut broker = world.broker(A, Answer::Welcome);
    let supervisor = world.start(world.config(&[A]));
    let session = supervisor.wait_connected().await.unwrap();
    let connection = broker.session().await;
    assert!(session.ping().await.is_some());
    let before = connection.remote_address();
    world.memory.set_unreachable(before, true);
    supervisor.rebind().unwrap();
    assert!(session.ping().await.is_some());
    assert_ne!(connection.remote_address(), before);
    assert_eq!(supervisor.wait_connected().await.unwrap().number(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_local_address_of_another_family_reaches_no_server() {
    let world = World::new();
    let mut config = world.config(&[A]);
    config.local_address = Some("[::]:0".parse().unwrap());
    let error = refused(&world.start(config)).await;
    assert_eq!(
        error.to_string(),
        format!("cannot connect to {A}: the name has no usable address")
    );
}

#[tokio::test(start_paused = true)]
async fn a_socket_that_cannot_be_had_is_told_at_once() {
    #[derive(Debug)]
    struct NoSockets;

    impl NetworkProvider for NoSockets {
        fn bind(&self, _: SocketAddr) -> std::io::Result<Arc<dyn quinn::AsyncUdpSocket>> {
            Err(std::io::ErrorKind::AddrInUse.into())
        }
    }

    let world = World::new();
    let mut config = world.config(&[A]);
    config.network = Arc::new(NoSockets);
    let error = refused(&world.start(config)).await;
    assert_eq!(error.kind(), Kind::NoSocket);
    assert_eq!(
        error.to_string(),
        format!("cannot connect to {A}: cannot open a UDP socket at 0.0.0.0:0")
    );
}

#[tokio::test(start_paused = true)]
async fn options_that_cannot_work_never_begin() {
    let world = World::new();
    let wrong = Supervisor::start(Config::default(), None, &world.tasks).unwrap_err();
    assert!(matches!(wrong, StartError::Config(_)), "{wrong}");
    let nameless = ProducerIdentity {
        name: String::new(),
        instance: 1,
        id: None,
    };
    let wrong = Supervisor::start(world.config(&[A]), Some(nameless), &world.tasks).unwrap_err();
    let StartError::Config(rule) = wrong else {
        panic!("{wrong}");
    };
    assert_eq!(rule.to_string(), r#"name = "": must have 1 to 200 bytes"#);
    let mut config = world.config(&[A]);
    config.tls = ClientTls::trusting(Trust::CaPem(vec![]));
    let wrong = Supervisor::start(config, None, &world.tasks).unwrap_err();
    assert!(matches!(wrong, StartError::Tls(_)), "{wrong}");
    assert_eq!(world.tasks.len(), 0);
}

#[tokio::test(start_paused = true)]
async fn every_state_prints_in_one_line() {
    let world = World::new();
    let mut broker = world.broker(A, Answer::Welcome);
    world.memory.name("broker.test", &[address(A)]);
    let supervisor = world.start(world.config(&["broker.test:4433"]));
    let mut state = supervisor.watch_state();
    let shown = |state: &watch::Receiver<ConnectionState>| state.borrow().to_string();
    assert_eq!(shown(&state), "connecting (attempt 1)");
    assert!(!state.borrow().is_connected());

    let session = wait_connected(&mut state).await.unwrap();
    assert_eq!(
        shown(&state),
        format!("connected to broker.test:4433 ({A})")
    );
    assert!(state.borrow().is_connected());
    assert!(state.borrow().session().is_some());

    let error = "lost the connection to broker.test:4433 (192.0.2.1:4433): it failed: disk full";
    broker
        .session()
        .await
        .close(CloseCode::Internal.into(), b"disk\nfull");
    session.closed().await;
    lost(&supervisor).await;
    assert_eq!(shown(&state), format!("reconnecting (attempt 0): {error}"));
    drop(supervisor);
    wait_connected(&mut state).await.unwrap_err();
    assert!(shown(&state).starts_with("closed: cannot connect to broker.test:4433"));
}

#[tokio::test(start_paused = true)]
async fn a_refusal_of_several_lines_prints_in_one() {
    let world = World::new();
    let refuse = Answer::Refuse(FailureCode::Unauthorised, "two\nlines");
    let _broker = world.broker(A, refuse);
    let error = refused(&world.start(world.config(&[A]))).await.to_string();
    assert!(error.ends_with("credentials: two lines"), "{error}");
}
