//! What a hostile client tries, over real QUIC on the loopback, and what holds.

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use rcgen::{CertificateParams, CertifiedIssuer, IsCa, KeyPair};

use super::rig::{
    Client, RawStream, batch, broker, certificates, memory, produce, producer, soon, subscribe,
    with_topic,
};
use crate::{
    broker::{Limits, Permissions, Tokens},
    conn::{
        Admission, ClientTls, CloseCode, ServerTls,
        tls::{CertifiedKey, ClientCertificates, Fingerprint, Pem},
    },
    wire::{BatchBuilder, Connect, FailureCode, Header, Packet, Record, Start},
};

/// A certificate authority of the test, and a client certificate that it has signed.
fn client_certificate() -> (Pem, CertifiedKey, Fingerprint) {
    let mut params = CertificateParams::new(vec![]).unwrap();
    params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let mut params = CertificateParams::new(vec!["client".into()]).unwrap();
    params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, &authority).unwrap();
    let pem = |text: String| Pem::Text(text.into_bytes());
    let pair = CertifiedKey {
        chain: pem(certificate.pem()),
        key: pem(key.serialize_pem()),
    };
    (
        pem(authority.pem()),
        pair,
        Fingerprint::of(certificate.der()),
    )
}

async fn closed_after(client: &Client, connect: Connect) -> (CloseCode, String) {
    let mut session = client.open().await;
    session.send(Packet::Connect(connect)).await;
    client.closed().await
}

#[tokio::test]
async fn where_tokens_are_needed_a_certificate_gives_what_its_line_says_and_nothing_without_one() {
    let (ca, pair, fingerprint) = client_certificate();
    let ServerTls::Parts { certificate, .. } = certificates().server_tls() else {
        panic!("development certificates are parts")
    };
    let tls = || ServerTls::Parts {
        certificate: certificate.clone(),
        clients: ClientCertificates::Required { ca: ca.clone() },
    };
    let own = || ClientTls::trusting(certificates().trust()).with_certificate(pair.clone());
    let mut tokens = Tokens::new();
    tokens.add("sesame", Permissions::all()).unwrap();
    let without = broker(memory()).tls(tls()).tokens(tokens.clone());
    let without = without.bind().await.unwrap();
    let client = Client::dial_with(without.local_addr(), own())
        .await
        .unwrap();
    let (code, why) = closed_after(&client, producer("p", 1)).await;
    assert_eq!(code, CloseCode::Unauthorised);
    assert!(why.contains("a token is needed"), "{why}");

    let only_t = Permissions {
        produce: vec!["t".parse().unwrap()],
        ..Permissions::default()
    };
    tokens.add_certificate(fingerprint, only_t).unwrap();
    let with = broker(memory()).tls(tls()).tokens(tokens);
    let with = with.bind().await.unwrap();
    let client = Client::dial_with(with.local_addr(), own()).await.unwrap();
    let mut session = client.open().await;
    session.send(Packet::Connect(producer("p", 1))).await;
    assert!(matches!(session.next().await, Some(Packet::Connected(_))));
    let mut lane = client.ask([produce(1, "t", batch(["a"]))]).await;
    lane.stored().await;
    let mut lane = client.ask([produce(2, "u", batch(["a"]))]).await;
    assert_eq!(refused(&mut lane).await, FailureCode::Forbidden);
    // A wrong token is not made good by the certificate.
    let client = Client::dial_with(with.local_addr(), own()).await.unwrap();
    let guess = Connect {
        token: Bytes::from_static(b"guess"),
        ..producer("q", 1)
    };
    assert_eq!(
        closed_after(&client, guess).await.0,
        CloseCode::Unauthorised
    );
}

async fn refused(lane: &mut RawStream) -> FailureCode {
    match lane.next().await {
        Some(Packet::Refused(refused)) => refused.failure.code,
        other => panic!("not refused: {other:?}"),
    }
}

#[tokio::test]
async fn a_token_over_the_limit_is_refused_by_its_length() {
    let broker = broker(memory()).bind().await.unwrap();
    let client = Client::dial(broker.local_addr()).await.unwrap();
    let mut session = client.open().await;
    // The head of a Connect with a token of 65,535 bytes, of which none is sent.
    let length = 2 + 65_535 + 1_u32;
    session
        .send_bytes(&[&(length + 1).to_le_bytes()[..], &[1], &[0xff, 0xff]].concat())
        .await;
    let (code, why) = client.closed().await;
    assert_eq!(code, CloseCode::Protocol);
    assert!(why.contains("the limit is"), "{why}");
}

#[tokio::test]
async fn a_client_that_produces_nothing_cannot_begin_a_long_frame() {
    let broker = broker(with_topic()).bind().await.unwrap();
    let (client, _session, _) = Client::enter(broker.local_addr(), Connect::default()).await;
    let mut stream = client.open().await;
    let length = 1_u32 << 20;
    stream
        .send_bytes(&[&length.to_le_bytes()[..], &[4]].concat())
        .await;
    match stream.next().await {
        Some(Packet::Failed(failure)) => assert_eq!(failure.code, FailureCode::TooLarge),
        other => panic!("not failed: {other:?}"),
    }
}

fn with_headers(count: usize) -> Bytes {
    let empty = Header {
        name: String::new(),
        value: Bytes::new(),
    };
    let mut builder = BatchBuilder::new(0);
    builder.push(&Record {
        headers: vec![empty; count],
        ..Record::default()
    });
    builder.finish()
}

#[tokio::test]
async fn headers_without_content_count_and_too_many_are_refused() {
    let limits = Limits {
        max_message: 1000,
        ..Limits::default()
    };
    let broker = broker(memory()).limits(limits).bind().await.unwrap();
    let (client, _session) = Client::producer(broker.local_addr(), "p").await;
    for (request, headers, code) in [
        (1, 501, FailureCode::TooLarge),
        (2, 1001, FailureCode::TooLarge),
        (3, 8_000_000, FailureCode::TooLarge),
    ] {
        let mut lane = client
            .ask([produce(request, "t", with_headers(headers))])
            .await;
        assert_eq!(refused(&mut lane).await, code, "{headers} headers");
    }
    let mut lane = client.ask([produce(4, "t", with_headers(500))]).await;
    lane.stored().await;
}

#[tokio::test]
async fn a_batch_of_too_many_messages_is_refused_by_its_head() {
    let broker = broker(memory()).bind().await.unwrap();
    let (client, _session) = Client::producer(broker.local_addr(), "p").await;
    // Neither its checksum nor its records are right: nothing behind the head was looked at.
    let head = [&[0; 4][..], &[1, 0], &4_000_000_u32.to_le_bytes(), &[0; 8]].concat();
    let mut lane = client.ask([produce(1, "t", head.into())]).await;
    assert_eq!(refused(&mut lane).await, FailureCode::TooLarge);
}

#[tokio::test]
async fn another_batch_under_the_id_of_a_stored_one_is_refused() {
    let broker = broker(memory()).bind().await.unwrap();
    let (client, _session) = Client::producer(broker.local_addr(), "p").await;
    let mut lane = client.ask([produce(1, "t", batch(["a"]))]).await;
    lane.stored().await;
    for other in [produce(1, "t", batch(["b"])), produce(1, "u", batch(["a"]))] {
        let mut lane = client.ask([other]).await;
        assert_eq!(refused(&mut lane).await, FailureCode::RequestReused);
    }
    let mut lane = client.ask([produce(1, "t", batch(["a"]))]).await;
    lane.stored().await;
}

#[tokio::test]
async fn silent_strangers_give_way_to_a_client_that_behaves() {
    let admission = Admission {
        max_handshakes: 3,
        max_handshakes_per_address: 3,
        handshake_timeout: Duration::from_secs(3600),
        ..Admission::default()
    };
    let broker = broker(with_topic()).admission(admission);
    let broker = broker.bind().await.unwrap();
    let mut silent = Vec::new();
    for _ in 0..6 {
        silent.push(Client::dial(broker.local_addr()).await.unwrap());
    }
    let (client, _session, _) = Client::enter(broker.local_addr(), Connect::default()).await;
    let mut reader = client.ask([subscribe("t", Start::Earliest, 1)]).await;
    assert!(matches!(reader.next().await, Some(Packet::Subscribed(_))));
    // The oldest were given up.
    soon("the end", silent[0].connection.closed()).await;
}

#[tokio::test]
async fn an_address_has_a_share_of_the_connections() {
    let admission = Admission {
        max_connections_per_address: 2,
        ..Admission::default()
    };
    let broker = broker(memory()).admission(admission).bind().await.unwrap();
    let enter = async |address: SocketAddr| Client::enter(address, Connect::default()).await;
    let first = enter(broker.local_addr()).await;
    let _second = enter(broker.local_addr()).await;
    assert!(Client::dial(broker.local_addr()).await.is_err(), "refused");
    drop(first);
    // Its place is free once the broker knows that it has gone.
    soon("a place", async {
        while Client::dial(broker.local_addr()).await.is_err() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}
