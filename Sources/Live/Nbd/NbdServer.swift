// Takes clients from a listening socket and serves each on a thread of its own.

import CSys
import Glibc
import Nbd

/// A server of one disk. It takes clients until it is stopped.
package final class NbdServer: @unchecked Sendable {
  /// Clients at a time; further ones wait.
  package static let mostClients = 8

  private let listening: Int32
  private let export: NbdExport
  private let monitor = Monitor()
  /// What happened to clients, for those who ask.
  private let tells: @Sendable (Event) -> Void
  private var isStopping = false
  private var clients: [Int: Client] = [:]
  private var finished: [UInt64] = []
  private var nextNumber = 1
  private var acceptor: UInt64 = 0

  private struct Client {
    var socket: NbdSocket
    var thread: UInt64
  }

  /// What happened to a client, by its number from 1 on.
  package enum Event: Sendable, Equatable {
    case came(Int)
    /// Why it went, if not of its own will.
    case went(Int, reason: String?)
  }

  /// Serves clients of a socket that listens, as ``csys_listen_unix`` makes it; the server closes it.
  ///
  /// `tells` is called on threads of the server.
  ///
  /// - Throws: ``ServerError`` if the host has no thread left.
  package init(
    _ listening: Int32, _ export: NbdExport, tells: @escaping @Sendable (Event) -> Void = { _ in }
  ) throws(ServerError) {
    self.listening = listening
    self.export = export
    self.tells = tells
    do throws(ServerError) { acceptor = try Thread.start { self.accept() } } catch {
      close(listening)
      throw error
    }
  }

  /// Ends all connections and returns when nobody uses the disk any more. Requests under way are finished.
  package func stop() {
    let isFirst = monitor.locked {
      defer { isStopping = true }
      for client in clients.values { client.socket.end() }
      monitor.changed()
      return !isStopping
    }
    guard isFirst else { return }
    shutdown(listening, Int32(SHUT_RDWR))
    Thread.join(acceptor)
    close(listening)
    while let thread = monitor.locked({ nextFinished() }) { Thread.join(thread) }
  }

  /// A thread that has ended or is about to; waits for those that serve. Nil behind the last.
  private func nextFinished() -> UInt64? {
    while finished.isEmpty && !clients.isEmpty { monitor.wait() }
    return finished.popLast()
  }

  private func accept() {
    while true {
      guard monitor.locked({ waitForRoom() }) else { return }
      let descriptor = csys_accept(listening)
      guard descriptor >= 0 else {
        if monitor.locked({ isStopping }) { return }
        // The host has no descriptor left for now.
        usleep(100_000)
        continue
      }
      let socket = NbdSocket(descriptor)
      let number: Int? = monitor.locked {
        guard !isStopping else { return nil }
        let number = nextNumber
        nextNumber += 1
        // Known before it begins, so that whoever stops finds it.
        clients[number] = Client(socket: socket, thread: 0)
        return number
      }
      guard let number else { return }
      do throws(ServerError) {
        let thread = try Thread.start { self.serve(socket, number) }
        monitor.locked {
          if clients[number] != nil { clients[number]?.thread = thread } else { finished.append(thread) }
          monitor.changed()
        }
      } catch {
        monitor.locked {
          clients[number] = nil
          monitor.changed()
        }
      }
    }
  }

  /// False when the server stops.
  private func waitForRoom() -> Bool {
    while let thread = finished.popLast() { Thread.join(thread) }
    while clients.count >= Self.mostClients && !isStopping {
      monitor.wait()
      while let thread = finished.popLast() { Thread.join(thread) }
    }
    return !isStopping
  }

  private func serve(_ socket: NbdSocket, _ number: Int) {
    tells(.came(number))
    // Several requests of the size that guests like fit, so that memory is not asked for and given back with each.
    let input = ByteQueue(usual: 2 << 20)
    let output = ByteQueue(usual: 2 << 20)
    var reason: String?
    do throws(ConnectionEnd) {
      var handshake = Handshake(socket, input, output, export)
      let agreement = try handshake.run()
      try NbdSession(socket, input, output, export, agreement, number: UInt32(clamping: number)).run()
    } catch {
      switch error {
      case .left: reason = nil
      case .broken(let what): reason = "it sent \(what)"
      case .late: reason = "it took too long over the handshake"
      case .failed(let number): reason = "the connection failed with error \(number)"
      }
    }
    socket.end()
    tells(.went(number, reason: reason))
    monitor.locked {
      let thread = clients.removeValue(forKey: number)?.thread ?? 0
      // The thread that started this one has not noted it yet, and finds it gone.
      if thread != 0 { finished.append(thread) }
      monitor.changed()
    }
  }
}

/// Why a server does not begin.
package struct ServerError: Error, CustomStringConvertible {
  /// The host's error number.
  package let errno: Int32
  /// What was tried.
  package let what: String

  package init(_ errno: Int32, _ what: String) {
    self.errno = errno
    self.what = what
  }

  package var description: String { unsafe "\(what): \(String(cString: strerror(errno)))" }
}

/// Threads of the host.
package enum Thread {
  private final class Work {
    let body: @Sendable () -> Void
    init(_ body: @escaping @Sendable () -> Void) { self.body = body }
  }

  /// Runs `body` on a thread of its own, which has to be joined.
  ///
  /// - Throws: ``ServerError`` if the host has no thread left.
  package static func start(_ body: @escaping @Sendable () -> Void) throws(ServerError) -> UInt64 {
    let work = unsafe Unmanaged.passRetained(Work(body))
    var thread: UInt64 = 0
    let result = unsafe csys_thread_start(
      &thread,
      { context in
        guard let context = unsafe context else { return }
        unsafe Unmanaged<Work>.fromOpaque(context).takeRetainedValue().body()
      }, work.toOpaque())
    guard result == 0 else {
      unsafe work.release()
      throw ServerError(-result, "no thread can be started")
    }
    return thread
  }

  /// Returns when the thread has ended.
  package static func join(_ thread: UInt64) { csys_thread_join(thread) }
}
