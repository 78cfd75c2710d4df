//! A UDP socket that hands the system few datagrams at a time: each connection keeps a buffer for as many for good.

use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, UdpPoller};

/// Bytes that are handed to the system at a time. More saves next to nothing, and a server keeps that much for each
/// connection, idle ones too.
const BATCH: usize = 24 * 1024;

/// A socket of datagrams of at most some bytes.
#[derive(Debug)]
pub(crate) struct Batched {
    inner: Arc<dyn AsyncUdpSocket>,
    most: usize,
}

impl Batched {
    pub(crate) fn over(inner: Arc<dyn AsyncUdpSocket>, max_udp_payload: u16) -> Arc<dyn AsyncUdpSocket> {
        let most = inner.max_transmit_segments().min(BATCH / usize::from(max_udp_payload).max(1)).max(1);
        Arc::new(Batched { inner, most })
    }
}

impl AsyncUdpSocket for Batched {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Arc::clone(&self.inner).create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        self.inner.try_send(transmit)
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        self.inner.poll_recv(cx, bufs, meta)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.most
    }

    fn max_receive_segments(&self) -> usize {
        self.inner.max_receive_segments()
    }

    fn may_fragment(&self) -> bool {
        self.inner.may_fragment()
    }
}
