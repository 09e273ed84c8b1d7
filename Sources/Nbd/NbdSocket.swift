// A socket to the other side, of a server or of a client.

import CSys
import Glibc
import Storage

/// Why a connection ended.
package enum ConnectionEnd: Error, Equatable {
  /// The other side left, or went away.
  case left
  /// It did not keep to the protocol; what it did, in a few words.
  case broken(String)
  /// It took too long.
  case late
  /// The host failed.
  case failed(Int32)
}

/// Receives and sends; closed when it is no longer used.
package final class NbdSocket: Sendable {
  private let descriptor: Int32

  package init(_ descriptor: Int32) { self.descriptor = descriptor }

  /// Connects to a server. What takes longer than `timeout` milliseconds fails, to send later on as well.
  ///
  /// - Throws: ``ConnectionEnd/failed(_:)`` with the host's error number, `EADDRNOTAVAIL` for a host that no name is
  ///   known of.
  package convenience init(_ place: NbdAddress.Place, timeout: Int32) throws(ConnectionEnd) {
    let descriptor =
      switch place {
      case .socket(let path): unsafe ByteText.withCString(path) { unsafe csys_connect_unix($0, timeout) }
      case .host(let host, let port):
        unsafe ByteText.withCString(host) { unsafe csys_connect_internet($0, Int32(port), timeout) }
      }
    guard descriptor >= 0 else { throw .failed(-descriptor) }
    self.init(descriptor)
  }

  deinit { close(descriptor) }

  /// Ends all calls that wait, and those to come.
  package func end() { shutdown(descriptor, Int32(SHUT_RDWR)) }

  /// Adds what has come to the queue, at least one byte. Waits for it `timeout` milliseconds, for ever if that is
  /// negative.
  ///
  /// - Throws: ``ConnectionEnd``, `late` if nothing has come.
  package func receive(into queue: ByteQueue, least: Int, timeout: Int32 = -1) throws(ConnectionEnd) {
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
  ///
  /// - Throws: ``ConnectionEnd``.
  package func send(_ queue: ByteQueue) throws(ConnectionEnd) {
    let bytes = unsafe queue.bytes
    let result = unsafe csys_send(descriptor, bytes.baseAddress, bytes.count)
    queue.drop(bytes.count)
    switch result {
    case 0: return
    case -EPIPE, -ECONNRESET: throw .left
    case -EAGAIN: throw .late
    default: throw .failed(-result)
    }
  }
}
