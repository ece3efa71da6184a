//! Sockets, clock and network together, with bare datagrams and with quinn.

mod exact;
mod faults;
mod quic;

use std::{
    future::poll_fn,
    io::IoSliceMut,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use quinn::{
    AsyncUdpSocket,
    udp::{EcnCodepoint, RecvMeta, Transmit},
};

use super::*;

const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));
const OTHER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2));
const SERVER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 9));

fn at(host: IpAddr, port: u16) -> SocketAddr {
    SocketAddr::new(host, port)
}

/// A socket at each end of a link each way.
struct Pair {
    client: Arc<Socket>,
    server: Arc<Socket>,
    there: Direction,
    back: Direction,
}

fn pair(net: &Network, config: LinkConfig) -> Pair {
    let (there, back) = net.connect(CLIENT, SERVER, config).unwrap();
    Pair {
        client: net.socket(at(CLIENT, 1000)).unwrap(),
        server: net.socket(at(SERVER, 4433)).unwrap(),
        there,
        back,
    }
}

fn send(socket: &Socket, to: SocketAddr, contents: &[u8]) {
    send_segments(socket, to, contents, None);
}

fn send_segments(socket: &Socket, to: SocketAddr, contents: &[u8], segment_size: Option<usize>) {
    let transmit = Transmit {
        destination: to,
        ecn: Some(EcnCodepoint::Ect0),
        contents,
        segment_size,
        src_ip: None,
    };
    socket.try_send(&transmit).unwrap();
}

/// Returns the packets of one call to the socket, one or several.
async fn receive(socket: &Socket) -> Vec<(RecvMeta, Vec<u8>)> {
    let mut storage = [[0; 2000]; 8];
    let mut meta = [RecvMeta::default(); 8];
    let received = poll_fn(|cx| {
        let mut bufs = storage.each_mut().map(|buf| IoSliceMut::new(buf));
        socket.poll_recv(cx, &mut bufs, &mut meta)
    });
    let received = received.await.unwrap();
    let packets = storage.iter().zip(meta).take(received);
    packets
        .map(|(buf, meta)| (meta, buf[..meta.len].to_vec()))
        .collect()
}

/// Returns the packets that arrive in `time`, each with its virtual time of arrival.
async fn receive_for(
    net: &Network,
    socket: &Socket,
    time: std::time::Duration,
) -> Vec<(std::time::Duration, Vec<u8>)> {
    let until = net.sleep(time);
    let mut until = std::pin::pin!(until);
    let mut arrived = Vec::new();
    loop {
        tokio::select! {
            biased;
            packets = receive(socket) => {
                arrived.extend(packets.into_iter().map(|(_, bytes)| (net.elapsed(), bytes)));
            }
            () = &mut until => return arrived,
        }
    }
}
