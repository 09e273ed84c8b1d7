// The socket of one client.

import CSys
import Glibc

/// Why a connection ended.
enum ConnectionEnd: Error, Equatable {
  /// The client left, or went away.
  case left
  /// It did not keep to the protocol; what it did, in a few words.
  case broken(String)
  /// It took too long over the handshake.
  case late
  /// The host failed.
  case failed(Int32)
}

/// Receives and sends; closed when it is no longer used.
final class ClientSocket: Sendable {
  private let descriptor: Int32

  init(_ descriptor: Int32) { self.descriptor = descriptor }

  deinit { close(descriptor) }

  /// Ends all calls that wait, and those to come.
  func end() { shutdown(descriptor, Int32(SHUT_RDWR)) }

  /// Adds what has come to the queue, at least one byte. Waits for it `timeout` milliseconds, for ever if that is
  /// negative.
  func receive(into queue: ByteQueue, least: Int, timeout: Int32 = -1) throws(ConnectionEnd) {
    let room = unsafe queue.room(least)
    let got = unsafe csys_receive(descriptor, room.baseAddress, room.count, timeout)
    switch got {
    case 1...: queue.filled(Int(got))
    case 0, -Int64(ECONNRESET): throw .left
    case -Int64(EAGAIN): throw .late
    default: throw .failed(Int32(truncatingIfNeeded: -got))
    }
  }

  /// Sends all of the queue.
  func send(_ queue: ByteQueue) throws(ConnectionEnd) {
    let bytes = unsafe queue.bytes
    let result = unsafe csys_send(descriptor, bytes.baseAddress, bytes.count)
    queue.drop(bytes.count)
    switch result {
    case 0: return
    case -EPIPE, -ECONNRESET: throw .left
    default: throw .failed(-result)
    }
  }
}
