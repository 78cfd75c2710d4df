//! The two halves of a stream, over QUIC or in memory, with tokio's traits.
//!
//! The `io::Error`s of both hold a [`StreamError`]; [`StreamError::of`] takes it out.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use quinn::{ReadError, VarInt, WriteError};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};

use crate::classify::{close_reason, code_u32};
use crate::error::StreamError;
use crate::memory::{MemoryRecv, MemorySend};

/// The sending half. Dropped without [`SendHalf::reset`], it finishes: the peer then sees a regular end of data.
pub struct SendHalf(Send);

/// The receiving half. Dropped before the end of data, it stops the peer's sending with code 0.
pub struct RecvHalf(Recv);

enum Send {
    Quic(quinn::SendStream),
    Memory(MemorySend),
}

enum Recv {
    Quic(quinn::RecvStream),
    Memory(MemoryRecv),
}

impl SendHalf {
    pub(crate) fn quic(stream: quinn::SendStream) -> SendHalf {
        SendHalf(Send::Quic(stream))
    }

    pub(crate) fn memory(stream: MemorySend) -> SendHalf {
        SendHalf(Send::Memory(stream))
    }

    /// Ends the data: the peer reads to the end of what was written. Does not wait.
    ///
    /// # Errors
    /// [`StreamError::Finished`] when finished or reset before.
    pub fn finish(&mut self) -> Result<(), StreamError> {
        match &mut self.0 {
            Send::Quic(stream) => stream.finish().map_err(|_| StreamError::Finished),
            Send::Memory(stream) => stream.finish(),
        }
    }

    /// Abandons the stream: the peer's reads fail with [`StreamError::Reset`].
    ///
    /// # Errors
    /// [`StreamError::Finished`] when there is nothing left to abandon.
    pub fn reset(&mut self, code: u32) -> Result<(), StreamError> {
        match &mut self.0 {
            Send::Quic(stream) => stream.reset(VarInt::from_u32(code)).map_err(|_| StreamError::Finished),
            Send::Memory(stream) => stream.reset(code),
        }
    }

    /// Waits until the peer has received all of a finished stream; false if it never will. In memory, where nothing is
    /// kept for it, it has at once. Cancel safe.
    pub async fn delivered(&mut self) -> bool {
        match &self.0 {
            Send::Quic(stream) => matches!(stream.stopped().await, Ok(None)),
            Send::Memory(_) => true,
        }
    }

    /// Writes `parts`, which are not empty, one after the other, in one go and, where the stream is QUIC's, without
    /// copying them.
    ///
    /// # Errors
    /// As writing by [`AsyncWrite`].
    pub async fn write_parts(&mut self, parts: &mut [Bytes]) -> io::Result<()> {
        if let Send::Quic(stream) = &mut self.0 {
            return stream.write_all_chunks(parts).await.map_err(write_error);
        }
        for part in parts {
            self.write_all(part).await?;
        }
        Ok(())
    }

    /// Streams with a higher priority send first; all begin with 0. Nothing in memory, where nothing queues.
    ///
    /// # Errors
    /// [`StreamError::Finished`] when finished or reset before.
    pub fn set_priority(&self, priority: i32) -> Result<(), StreamError> {
        match &self.0 {
            Send::Quic(stream) => stream.set_priority(priority).map_err(|_| StreamError::Finished),
            Send::Memory(stream) => stream.still_open(),
        }
    }
}

impl RecvHalf {
    pub(crate) fn quic(stream: quinn::RecvStream) -> RecvHalf {
        RecvHalf(Recv::Quic(stream))
    }

    pub(crate) fn memory(stream: MemoryRecv) -> RecvHalf {
        RecvHalf(Recv::Memory(stream))
    }

    /// Refuses to read more: the peer's writes fail with [`StreamError::Stopped`].
    ///
    /// # Errors
    /// [`StreamError::Finished`] when stopped before or read to the end.
    pub fn stop(&mut self, code: u32) -> Result<(), StreamError> {
        match &mut self.0 {
            Recv::Quic(stream) => stream.stop(VarInt::from_u32(code)).map_err(|_| StreamError::Finished),
            Recv::Memory(stream) => stream.stop(code),
        }
    }
}

fn write_error(error: WriteError) -> io::Error {
    io::Error::from(match error {
        WriteError::Stopped(code) => StreamError::Stopped(code_u32(code)),
        WriteError::ConnectionLost(error) => StreamError::Connection(close_reason(error)),
        WriteError::ClosedStream | WriteError::ZeroRttRejected => StreamError::Finished,
    })
}

fn read_error(error: ReadError) -> io::Error {
    io::Error::from(match error {
        ReadError::Reset(code) => StreamError::Reset(code_u32(code)),
        ReadError::ConnectionLost(error) => StreamError::Connection(close_reason(error)),
        ReadError::ClosedStream | ReadError::IllegalOrderedRead | ReadError::ZeroRttRejected => StreamError::Finished,
    })
}

impl AsyncWrite for SendHalf {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.0 {
            Send::Quic(stream) => Pin::new(stream).poll_write(cx, data).map_err(write_error),
            Send::Memory(stream) => stream.poll_write(cx, data),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(())) // both kinds send what they hold without being asked
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.finish().map_err(io::Error::from))
    }
}

impl AsyncRead for RecvHalf {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut self.0 {
            Recv::Quic(stream) => stream.poll_read_buf(cx, buffer).map_err(read_error),
            Recv::Memory(stream) => stream.poll_read(cx, buffer),
        }
    }
}
